"""What a container is made with: all that keeps an algorithm in, in one place.

No network, no capability, no new privilege, an unprivileged user, a read-only root, the engine's own filter
of system calls, bounds on memory, processes and processors. What can be written to is what the
launch names, and nothing of this machine is there beside.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.engine.running import Launch
from atoll.model.errors import AlgorithmFailed
from atoll.runtimes import view
from atoll.runtimes.boxes import LINE
from atoll.runtimes.command import code_at
from atoll.runtimes.containers.engine import OWNER, SEAT

#: Bytes of what a container's first process may print, which nobody reads unless it can't start.
_LOG_OPTIONS = {"max-size": "1m", "max-file": "1"}
#: Bytes of shared memory, which libraries with workers use. They count as the container's own.
_SHARED_BYTES = 256 * 1024 * 1024
#: Billionths of a processor.
_NANO = 1_000_000_000
#: Open files of a process.
_FILES_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """What all containers of one owner have in common."""

    owner: str
    user: tuple[int, int]
    #: The groups that its user is in beside.
    groups: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()
    is_podman: bool = False
    #: Whether the engine is its user's own, who has only a part of the machine's users.
    is_rootless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Flags:
    """What the flags of a container depend on beside its launch."""

    owned: Owned
    #: The engine's id of the image.
    image: str
    #: Folders for which the engine would make room on its own disk, which nobody bounds.
    volumes: tuple[str, ...] = ()
    #: Its first process.
    command: tuple[str, ...]
    #: The working directory of that.
    folder: str
    #: Beside those of the image, for its first process.
    environment: Mapping[str, str]
    #: The folder through which the node is heard.
    line: Path | None = None
    #: What it is told of names: Docker writes none into a container without a network.
    hosts: Path | None = None
    #: The container whose network it is in, which has none but its own loopback either. None: one of its own.
    network_of: str | None = None


def body_of(launch: Launch, flags: Flags) -> dict[str, Any]:
    """What an engine is asked to make."""
    user, group = flags.owned.user
    return {
        "Image": flags.image,
        "Entrypoint": list(flags.command[:1]),
        "Cmd": list(flags.command[1:]),
        "WorkingDir": flags.folder,
        "Env": [f"{name}={value}" for name, value in flags.environment.items()],
        "User": f"{user}:{group}",
        **({} if flags.network_of else {"Hostname": "atoll", "NetworkDisabled": True}),
        "Labels": {OWNER: flags.owned.owner, SEAT: str(launch.seat)},
        "AttachStdin": False,
        "AttachStdout": False,
        "AttachStderr": False,
        "OpenStdin": False,
        "Tty": False,
        "StopSignal": "SIGKILL",
        "HostConfig": _host_config(launch, flags),
    }


def _host_config(launch: Launch, flags: Flags) -> dict[str, Any]:
    limits = launch.limits
    config: dict[str, Any] = {
        "NetworkMode": f"container:{flags.network_of}" if flags.network_of else "none",
        "IpcMode": "private",
        "Privileged": False,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "GroupAdd": [str(group) for group in flags.owned.groups],
        "Mounts": [*_mounts(launch, flags)],
        "Tmpfs": {**_rooms(launch, flags), **dict(_covers(launch))},
        # What runs as nobody may listen at any port of its own loopback.
        **({} if flags.network_of else {"Sysctls": {"net.ipv4.ip_unprivileged_port_start": "0"}}),
        "ShmSize": _SHARED_BYTES,
        "Ulimits": _ulimits(flags.owned),
        "LogConfig": {"Type": "json-file", "Config": _LOG_OPTIONS},
        "RestartPolicy": {"Name": "no"},
        "OomKillDisable": False,
        "AutoRemove": False,
        "Init": False,
    }
    if flags.owned.is_rootless and flags.owned.is_podman:
        # Whoever runs the node is the same user inside; else its folders would be a stranger's.
        config["UsernsMode"] = "keep-id"
    if limits.memory_bytes is not None:
        # The same for both: there is no swap beside it.
        config |= {"Memory": limits.memory_bytes, "MemorySwap": limits.memory_bytes}
    if limits.processes is not None:
        config["PidsLimit"] = limits.processes
    if limits.processors is not None:
        config["NanoCpus"] = int(limits.processors * _NANO)
    if flags.owned.gpus:
        config["DeviceRequests"] = [_gpus(flags.owned.gpus)]
    return config


def _ulimits(owned: Owned) -> list[dict[str, Any]]:
    """No core files, and no more open files than this process may have itself.

    Podman forgets what its site has set of these where any of them is asked for: it is left alone.
    """
    if owned.is_podman:
        return []
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    bound = _FILES_MAX if files == resource.RLIM_INFINITY else min(_FILES_MAX, files)
    return [{"Name": "core", "Soft": 0, "Hard": 0}, {"Name": "nofile", "Soft": bound, "Hard": bound}]


def _gpus(wanted: Sequence[str]) -> dict[str, Any]:
    request: dict[str, Any] = {"Driver": "", "Capabilities": [["gpu"]], "Options": {}}
    return {**request, "Count": -1} if "all" in wanted else {**request, "Count": 0, "DeviceIDs": list(wanted)}


def _mounts(launch: Launch, flags: Flags) -> Iterator[dict[str, Any]]:
    yield _bind(launch.temporary, view.TEMPORARY, writable=True)
    if launch.code is not None:
        yield _bind(launch.code, code_at(launch))
        for real, inside in view.masked(launch):
            if not real.is_dir():
                yield _bind(Path(os.devnull), inside)
    for mount in launch.mounts:
        shown, target = view.shown(mount)
        yield _bind(shown, target, writable=mount.writable)
    for _, source, target in view.lent(launch.modules):
        yield _bind(Path(source), target)
    if flags.hosts is not None:
        yield _bind(flags.hosts, "/etc/hosts")
    if flags.line is not None:
        yield _bind(flags.line, LINE, writable=True)
        for _, source, target in view.guests():
            yield _bind(Path(source), target)


def _bind(source: Path, target: str, *, writable: bool = False) -> dict[str, Any]:
    real = os.path.realpath(source)
    if not writable and (within := _mounted_within(real)):
        # The engine would show them, too, and writable: its own read-only mount ends where another begins.
        raise AlgorithmFailed(
            f"{str(source)!r} can't be shown to the algorithm read-only: another file system is mounted within it, "
            f"at {within!r}. Name that folder itself"
        )
    return {
        "Type": "bind",
        "Source": real,
        "Target": target,
        "ReadOnly": not writable,
        "BindOptions": {"Propagation": "rprivate"},
    }


def _mounted_within(path: str) -> str | None:
    """A mount below a folder of this machine, if there is one."""
    with open("/proc/self/mountinfo", "rb") as file:
        within = (point for point in map(_point, file) if point.startswith(path.rstrip("/") + "/"))
        return next(within, None)


def _point(line: bytes) -> str:
    """Where a line of the kernel's list of mounts says that something is mounted. Names are written as in C."""
    return os.fsdecode(line.split(b" ")[4].decode("unicode_escape").encode("latin-1"))


def _rooms(launch: Launch, flags: Flags) -> dict[str, str]:
    """Folders of an image that are written to: each is memory, and counts as that of the container."""
    shown = {view.TEMPORARY, *(os.path.normpath(mount.target) for mount in launch.mounts)}
    if launch.code is not None:
        shown.add(code_at(launch))
    folders = {os.path.normpath(volume) for volume in flags.volumes} - shown
    user, group = flags.owned.user
    # Docker keeps the mode that the folder has in the image, and Podman knows no owner of it.
    own = "" if flags.owned.is_podman else f",uid={user},gid={group}"
    return dict.fromkeys(sorted(folders), f"rw,nosuid,nodev,mode=1777,size={_SHARED_BYTES}{own}")


def _covers(launch: Launch) -> Iterator[tuple[str, str]]:
    """Folders of the code that the algorithm must not see: an empty one lies over each."""
    for real, inside in view.masked(launch):
        if real.is_dir():
            yield inside, "ro,size=4k,mode=0555"
