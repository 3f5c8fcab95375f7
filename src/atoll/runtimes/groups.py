"""Control groups that bound what a session's calls take: memory, processes and processors.

Linux knows two kinds. In version 1 each resource has a tree of its own, and so a session has a
group in each; in version 2 there is one tree, and one group. Where this process may make none, or
not for every resource, `caveat` says so.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from atoll.engine.limits import CallLimits

_numbers = itertools.count(1)
_NAME = "atoll-"
#: What a group is called: its maker's namespace, number and start, and which of its maker's it is.
_OURS = re.compile(rf"{_NAME}(?P<owner>(?P<namespace>\d+)-(?P<pid>\d+)-\d*)-\d+")
#: How often, and how many seconds apart, we try to end what is in a group.
_END_TRIES, _END_SECONDS = 200, 0.005
#: Microseconds of the periods in which processor time is dealt out: the kernel's own default.
_PERIOD = 100_000
_RESOURCES = ("memory", "pids", "cpu")
#: Bounds that are tried to find out where groups can be made.
_TRIED = CallLimits(memory_bytes=1 << 30, processes=64, processors=1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """Where this process may make groups."""

    folder: Path
    version: int
    resources: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A group in one of the trees."""

    folder: Path
    version: int
    resources: frozenset[str]

    @property
    def door(self) -> Path:
        # In version 1 a single thread moves without holding up every fork of the machine.
        return self.folder / ("cgroup.procs" if self.version == 2 else "tasks")


class Group:
    """A session's control group, or one in each tree."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self._parts = parts
        self._held: str | None = None
        #: Writing ``0`` to each of these files moves the writer in.
        self.doors = tuple(part.door for part in parts)

    @property
    def held(self) -> bool:
        """Whether it has had no new process since something of it was ended."""
        return self._held is not None

    def bounds(self, resource: str) -> bool:
        """Whether it bounds ``memory``, ``pids`` or ``cpu``."""
        return self._part(resource) is not None

    def kills(self) -> int | None:
        """How often the system ended a process of this group because it had no memory left."""
        part = self._part("memory")
        if part is None:
            return None
        return _count(
            part.folder / ("memory.events" if part.version == 2 else "memory.oom_control"), "oom_kill"
        )

    def refusals(self) -> int | None:
        """How often a process of this group could not have another one."""
        part = self._part("pids")
        return None if part is None else _count(part.folder / "pids.events", "max")

    def members(self) -> set[int]:
        """The processes in it."""
        try:
            return {int(pid) for part in self._parts for pid in part.door.read_text().split()}
        except FileNotFoundError:
            return set()  # it was removed, with all that was in it

    def hold(self) -> None:
        """Let it have no new process: what is to be ended then can't be outrun."""
        part = self._part("pids")
        if part is not None and self._held is None:
            file = part.folder / "pids.max"
            with suppress(FileNotFoundError):  # it was removed, with all that was in it
                self._held = file.read_text()
                file.write_text("0")

    def release(self) -> None:
        """Let it have processes again."""
        part = self._part("pids")
        if part is not None and self._held is not None:
            with suppress(FileNotFoundError):  # as above
                (part.folder / "pids.max").write_text(self._held)
            self._held = None

    def kill(self) -> bool:
        """End every process in it, as far as that is done at once; whether there was any."""
        pids = self.members()
        if pids:
            self.hold()
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return bool(pids)

    async def sweep(self) -> None:
        """End every process in it."""
        for _ in range(_END_TRIES):
            if not self.kill():
                break
            await asyncio.sleep(_END_SECONDS)
        self.release()

    async def remove(self) -> None:
        """End what is left in it, and the group."""
        await self.sweep()
        for part in self._parts:
            for _ in range(_END_TRIES):
                try:
                    part.folder.rmdir()
                except FileNotFoundError:
                    break
                except OSError:  # the last of its processes is ending
                    await asyncio.sleep(_END_SECONDS)
                else:
                    break

    def _part(self, resource: str) -> _Part | None:
        return next((part for part in self._parts if resource in part.resources), None)


class _Running(Protocol):
    ended: asyncio.Future[int]

    def kill(self) -> None: ...


class Grouped:
    """A process in a group, which ends with all of the group, whoever has come from whom."""

    def __init__(self, running: _Running, group: Group) -> None:
        self._running = running
        self._group = group
        #: Its exit status, or minus the signal that ended it.
        self.ended = running.ended

    def kill(self) -> None:
        """End it with everything that it started. `ended` is set when that has happened."""
        if not self.ended.done():
            # First: to find out what has come from what takes long among a thousand that are busy.
            self._group.kill()
            self._running.kill()


def make_group(limits: CallLimits, *, counted: bool = False) -> Group | None:
    """Make a group of its own for a session, or None where nothing is to be bounded, or can be.

    Args:
        limits: the bounds.
        counted: whether the number of processes is bounded in another way, or needn't be. To enter a
            group of version 2 takes some 15 ms, in which the kernel waits for all its processors. No
            call waits for that where it can do without.
    """
    parts = []
    alone = limits.memory_bytes is None and limits.processors is None
    for spot in find_spots():
        if spot.version == 2 and alone and counted:
            continue
        part = _make(spot, limits)
        if part is not None:
            parts.append(part)
    return Group(parts) if parts else None


async def end_orphans() -> None:
    """End and remove the groups of processes that are no more, with all that is left in them."""
    for spot in find_spots():
        for folder in _orphans(spot):
            await Group([_Part(folder=folder, version=spot.version, resources=spot.resources)]).remove()


def _orphans(spot: _Spot) -> Iterator[Path]:
    """The groups whose makers have ended without removing them."""
    for folder in spot.folder.glob(f"{_NAME}*"):
        ours = _OURS.fullmatch(folder.name)
        if ours is None or ours["namespace"] != _namespace():
            continue  # others call theirs as they like
        if ours["owner"] != _owner(int(ours["pid"])):
            yield folder


def _owner(pid: int) -> str:
    """What no other process of this machine is ever called: numbers are given again."""
    try:
        began = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        began = ""
    return f"{_namespace()}-{pid}-{began}"


@cache
def _namespace() -> str:
    """The namespace in which this process's number means something."""
    return str(os.stat("/proc/self/ns/pid").st_ino)


@cache
def find_spots() -> tuple[_Spot, ...]:
    """Find out, by doing it, where this process may make groups, and what they bound."""
    found: list[_Spot] = []
    for spot in _candidates():
        if any(spot.resources & other.resources for other in found):
            continue
        part = _make(spot, _TRIED)
        if part is not None:
            part.folder.rmdir()
            found.append(spot)
            for folder in _orphans(spot):
                with suppress(OSError):  # something is left in it: `end_orphans` is for that
                    folder.rmdir()
    return tuple(found)


def _make(spot: _Spot, limits: CallLimits) -> _Part | None:
    asked = {name for name in spot.resources if _settings(name, spot.version, limits)}
    if not asked:
        return None
    folder = spot.folder / f"{_NAME}{_owner(os.getpid())}-{next(_numbers)}"
    part = _Part(folder=folder, version=spot.version, resources=frozenset(asked))
    try:
        folder.mkdir()
    except OSError:
        return None
    try:
        for resource in sorted(asked):
            for name, value in _settings(resource, spot.version, limits).items():
                # Swap isn't there where the kernel doesn't count it.
                if "sw" not in name or (folder / name).exists():
                    (folder / name).write_text(value)
        if not os.access(part.door, os.W_OK):
            raise PermissionError
    except OSError:
        folder.rmdir()
        return None
    return part


def _settings(resource: str, version: int, limits: CallLimits) -> Mapping[str, str]:
    """The files of a group that say what it bounds, and their content."""
    memory, processes, processors = limits.memory_bytes, limits.processes, limits.processors
    if resource == "memory" and memory is not None:
        if version == 1:
            return {"memory.limit_in_bytes": str(memory), "memory.memsw.limit_in_bytes": str(memory)}
        return {"memory.max": str(memory), "memory.swap.max": "0", "memory.oom.group": "0"}
    if resource == "pids" and processes is not None:
        return {"pids.max": str(processes)}
    if resource == "cpu" and processors is not None:
        quota = max(round(processors * _PERIOD), 1000)  # the least that the kernel takes
        if version == 1:
            return {"cpu.cfs_period_us": str(_PERIOD), "cpu.cfs_quota_us": str(quota)}
        return {"cpu.max": f"{quota} {_PERIOD}"}
    return {}


def _count(file: Path, word: str) -> int:
    try:
        words = file.read_text().split()
    except FileNotFoundError:
        return 0  # it was removed
    return int(words[words.index(word) + 1]) if word in words else 0


def group_of(pid: int) -> Group | None:
    """The group that somebody else has made for a process, to look at; None where it is this process's own."""
    theirs, ours = list(_memberships(str(pid))), list(_memberships("self"))
    parts = [
        _Part(folder=spot.folder, version=spot.version, resources=spot.resources)
        for spot in theirs
        if spot not in ours and spot.folder.exists()
    ]
    return Group(parts) if parts else None


def _candidates() -> Iterator[_Spot]:
    """This process's own groups, and for version 2 the one above, which alone may have no processes."""
    for spot in _memberships("self"):
        if spot.version == 1:
            yield spot
        else:
            for above in (spot.folder, spot.folder.parent):
                yield _Spot(folder=above, version=2, resources=_handed_on(above, "subtree_control"))


def _memberships(pid: str) -> Iterator[_Spot]:
    """The groups that a process is in, and what they bound or could."""
    try:
        memberships = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").split("\n")[:-1]
    except OSError:
        return
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        version = 1 if controllers else 2
        named = frozenset(_RESOURCES) & frozenset(controllers.split(","))
        if controllers and not named:
            continue
        folder = _folder_of(path, mounts, version, named)
        if folder is not None and version == 1:
            yield _Spot(folder=folder, version=1, resources=named)
        elif folder is not None:
            yield _Spot(folder=folder, version=2, resources=_handed_on(folder, "controllers"))


def _folder_of(path: str, mounts: list[str], version: int, named: frozenset[str]) -> Path | None:
    for line in mounts:
        fields, _, kinds = line.partition(" - ")
        root, point = fields.split()[3:5]
        kind, _, options = kinds.split(" ")[:3]  # what is mounted may have an empty name
        right = kind == "cgroup2" if version == 2 else kind == "cgroup" and named <= set(options.split(","))
        if right and (path == root or path.startswith(root.rstrip("/") + "/")):
            return Path(point, path[len(root.rstrip("/")) :].lstrip("/"))
    return None


def _handed_on(folder: Path, file: str) -> frozenset[str]:
    """What a group bounds, or what groups below it may."""
    try:
        return frozenset(_RESOURCES) & frozenset((folder / f"cgroup.{file}").read_text().split())
    except OSError:
        return frozenset()


@cache
def counts_users() -> bool:
    """Whether the kernel bounds a user's processes in each of its namespaces, as it does for all but root."""
    release = os.uname().release.split("-")[0].split(".")
    return os.geteuid() != 0 and [int(number) for number in release[:2]] >= [5, 14]


def not_promised(*, counted: bool = False) -> Mapping[str, str]:
    """What no runtime promises here that stands on these groups: checks of its conformance, and why.

    Args:
        counted: as `make_group` has it.
    """
    bounded = {
        resource
        for spot in find_spots()
        for resource in spot.resources
        if resource != "pids" or spot.version == 1 or not counted
    }
    checks = {"pids": ("fork-bomb", "disk-hidden"), "cpu": ("processors",)}
    return {
        check: f"no control group can be made here for {resource}"
        for resource, names in checks.items()
        for check in names
        if resource not in bounded
    }


def caveat(*, sandboxed: bool = True) -> str:
    """Which bounds hold here and which don't, as a sentence.

    Args:
        sandboxed: whether calls have a user's namespace of their own.
    """
    bounded = {resource for spot in find_spots() for resource in spot.resources}
    if "fork-bomb" in not_promised(counted=not sandboxed):
        bounded.discard("pids")
    if sandboxed and counts_users():
        bounded.add("pids")
    if "memory" in bounded:
        memory = "a bound on memory holds for a call with all its processes"
    else:
        memory = (
            "a bound on memory holds for each process by itself, because no control group can be made here, and "
            "files in memory don't count"
        )
    others = {"pids": "the number of processes", "cpu": "the use of processors"}
    unbounded = [words for resource, words in others.items() if resource not in bounded]
    if unbounded:
        memory += f"; {' and '.join(unbounded)} {'are' if len(unbounded) > 1 else 'is'} not bounded, for want of one"
    return f"{memory}; a bound on the disk is looked after from outside, and can be overrun for a second"
