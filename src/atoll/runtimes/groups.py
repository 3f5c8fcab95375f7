"""Control groups that bound the memory of a call with all its processes."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_numbers = itertools.count(1)
#: How often, and how many seconds apart, we try to remove a group whose processes are ending.
_REMOVE_TRIES, _REMOVE_SECONDS = 200, 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """Where this process may make groups."""

    folder: Path
    version: int


class MemoryGroup:
    """A control group with a bound on its memory."""

    def __init__(self, folder: Path, version: int) -> None:
        self._folder = folder
        self._version = version
        #: Writing ``0`` to this file moves the writer in.
        self.door = folder / "cgroup.procs"

    def kills(self) -> int:
        """How often the system ended a process of this group because it had no memory left."""
        name = "memory.events" if self._version == 2 else "memory.oom_control"
        words = (self._folder / name).read_text().split()
        return int(words[words.index("oom_kill") + 1]) if "oom_kill" in words else 0

    async def remove(self) -> None:
        """End what is left in the group, and the group."""
        for _ in range(_REMOVE_TRIES):
            try:
                for pid in self.door.read_text().split():
                    os.kill(int(pid), signal.SIGKILL)
            except (FileNotFoundError, ProcessLookupError):
                pass
            try:
                self._folder.rmdir()
            except FileNotFoundError:
                return
            except OSError:
                await asyncio.sleep(_REMOVE_SECONDS)
            else:
                return


def make_group(memory_bytes: int) -> MemoryGroup | None:
    """Make a group of its own for a session, or None where this process may not."""
    place = find_place()
    return None if place is None else _make(place, memory_bytes)


@cache
def find_place() -> _Place | None:
    """Find out, by doing it, where this process may make groups that bound memory."""
    for place in _candidates():
        group = _make(place, 1 << 30)
        if group is not None:
            group.door.parent.rmdir()
            return place
    return None


def _make(place: _Place, memory_bytes: int) -> MemoryGroup | None:
    folder = place.folder / f"atoll-{os.getpid()}-{next(_numbers)}"
    try:
        folder.mkdir()
    except OSError:
        return None
    settings = {
        1: ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        2: ("memory.max", "memory.swap.max"),
    }[place.version]
    try:
        (folder / settings[0]).write_text(str(memory_bytes))
        swap = folder / settings[1]
        if swap.exists():  # not where the kernel doesn't count swap
            swap.write_text(str(memory_bytes) if place.version == 1 else "0")
        if not os.access(folder / "cgroup.procs", os.W_OK):
            raise PermissionError
        if place.version == 2:
            (folder / "memory.oom.group").write_text("0")
    except OSError:
        folder.rmdir()
        return None
    return MemoryGroup(folder, place.version)


def _candidates() -> list[_Place]:
    """This process's own groups, and for version 2 the one above, which alone may have no processes."""
    try:
        memberships = Path("/proc/self/cgroup").read_text().splitlines()
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return []
    places = []
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        version = 1 if controllers else 2
        folder = _folder_of(path, mounts, version)
        if folder is None:
            continue
        above = [folder, folder.parent] if version == 2 else [folder]
        places += [
            _Place(folder=place, version=version)
            for place in above
            if version == 1 or _hands_memory_on(place)
        ]
    return places


def _folder_of(path: str, mounts: list[str], version: int) -> Path | None:
    for line in mounts:
        fields, _, kinds = line.partition(" - ")
        root, point = fields.split()[3:5]
        kind, _, options = kinds.split()[:3]
        right = kind == "cgroup2" if version == 2 else kind == "cgroup" and "memory" in options.split(",")
        if right and (path == root or path.startswith(root.rstrip("/") + "/")):
            return Path(point, path[len(root.rstrip("/")) :].lstrip("/"))
    return None


def _hands_memory_on(folder: Path) -> bool:
    try:
        return "memory" in (folder / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def caveat() -> str:
    """Which bounds hold here and which don't, as a sentence."""
    if find_place() is not None:
        memory = "a bound on memory holds for a call with all its processes"
    else:
        memory = (
            "a bound on memory holds for each process by itself, because no control group can be made here, and "
            "files in memory don't count"
        )
    return f"{memory}; the number of processes and the use of disk and processors are not bounded"
