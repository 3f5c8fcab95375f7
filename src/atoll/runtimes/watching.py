"""What a call takes, looked at while it runs: time, answer, log, processes and disk.

Time and the answer's size are told at once. At the others somebody looks now and then, and once
more before a reply is taken, so that a call which is quick is caught as well. What can be read
in microseconds is read in the event loop; folders are looked through in a thread, and only where
they have a bound.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Protocol

from atoll.engine.limits import DISK_ENTRIES_MAX, FOLDERS_DEEP_MAX, CallLimits
from atoll.model.errors import LimitReached
from atoll.runtimes.streams import Log, too_large

#: Seconds between two looks at a call. A fork bomb needs as long to become a nuisance.
_LOOK_SECONDS = 0.25
#: A look at the folders is followed by a pause of so many times its own length, and of a second at least.
_PAUSES, _PAUSE_SECONDS = 10, 1.0
#: What a file counts at least: its name and its inode need room, too.
_ENTRY_BYTES = 512
#: Bytes of the blocks that `stat` counts in, whatever the file system's own are.
_BLOCK_BYTES = 512
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class _Running(Protocol):
    def kill(self) -> None: ...


class _Place(Protocol):
    limits: CallLimits
    writable: Sequence[Path]

    def refusals(self) -> int | None: ...

    def members(self) -> Collection[int]: ...


class Watch:
    """Ends a process that goes beyond a bound, and remembers which.

    Args:
        place: where the process runs.
    """

    def __init__(self, place: _Place) -> None:
        self._place = place
        self._limits = place.limits
        self._refused = 0
        self._running: _Running | None = None
        self._log: Log | None = None
        #: What the log may grow to; known when the session's first call begins.
        self._log_end = -1
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._looking: asyncio.Future[LimitReached | None] | None = None
        #: When the folders may be looked through again.
        self._rested = 0.0
        self.reached: LimitReached | None = None

    def begin(self, running: _Running, log: Log) -> None:
        """A call of this process begins, which prints to this log."""
        self._running, self._log = running, log
        if self._log_end < 0:
            self._log_end = log.start + self._limits.log_bytes  # it may have printed since
        self.reached = None
        if self._refused:  # what was ended then may have been refused one more since
            self._refused = self._place.refusals() or 0
        loop = asyncio.get_running_loop()
        self._deadline = loop.time() + self._limits.seconds
        self._wait()

    def end(self) -> None:
        """The call has ended, and so has its process if it was stopped."""
        if self._timer is not None:
            self._timer.cancel()
        if self._log is not None and self._printed_too_much():
            self._log.cut(self._log_end)
        if self.reached is not None:  # what it was refused while it was ended is not the next call's
            self._refused = self._place.refusals() or 0
        self._running = self._log = None

    def too_much(self) -> None:
        """The answer is larger than it may be."""
        self._stop(too_large(self._limits.reply_bytes))

    async def settle(self) -> None:
        """Look once more at what the call has taken.

        Raises:
            LimitReached: it was too much, whether or not the call was ended for it.
        """
        if self._timer is not None:
            self._timer.cancel()
        if self.reached is None:
            self.reached = self._told_at_once()
        if self.reached is None and self._limits.disk_bytes is not None:
            self.reached = await asyncio.to_thread(self._weigh)
        if self.reached is not None:
            raise self.reached

    def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_at(min(self._deadline, loop.time() + _LOOK_SECONDS), self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        reached = _too_long(self._limits.seconds) if loop.time() >= self._deadline else self._told_at_once()
        if reached is not None:
            self._stop(reached)
            return
        if self._limits.disk_bytes is not None and self._looking is None and loop.time() >= self._rested:
            running, began = self._running, loop.time()
            self._looking = loop.run_in_executor(None, self._weigh)
            self._looking.add_done_callback(lambda looking: self._weighed(looking, running, began))
        self._wait()

    def _told_at_once(self) -> LimitReached | None:
        """What is told without a wait: the size of the log, and the processes that there were not."""
        if self._printed_too_much():
            return LimitReached(
                f"the algorithm has printed more than {self._limits.log_bytes} bytes, the most that one session may "
                "print beside its answers, and was ended. Print less, or raise the bound"
            )
        refused = self._place.refusals()
        if refused is not None and refused > self._refused:
            self._refused = refused
            return LimitReached(
                f"the call wanted more than {self._limits.processes} processes and threads, the most that it may "
                "have at a time, and was ended. Start fewer, or raise the bound"
            )
        return None

    def _printed_too_much(self) -> bool:
        return self._log is not None and self._log.size() > self._log_end

    def _weigh(self) -> LimitReached | None:
        """Whether the folders hold too much. Called in a thread."""
        bound = self._limits.disk_bytes
        assert bound is not None
        try:
            if weigh(self._place.writable, bound, self._place.members()) <= bound:
                return None
        except Unmeasured as error:
            return LimitReached(
                f"the folders that the call writes to {error}, so that their bound of {bound} bytes can't be "
                "checked, and the call was ended. Write fewer and larger files, where everybody may read them"
            )
        return LimitReached(
            f"the folders that the call writes to hold more than {bound} bytes, the most that they may hold together, "
            "and the call was ended. Raise the bound, or remove what isn't needed any more"
        )

    def _weighed(
        self, looking: asyncio.Future[LimitReached | None], running: _Running | None, began: float
    ) -> None:
        self._looking = None
        now = asyncio.get_running_loop().time()
        self._rested = now + max(_PAUSE_SECONDS, _PAUSES * (now - began))
        reached = None if looking.cancelled() else looking.result()
        if reached is not None and running is self._running:
            self._stop(reached)

    def _stop(self, reached: LimitReached) -> None:
        if self.reached is None and self._running is not None:
            self.reached = reached
            self._running.kill()


class Unmeasured(Exception):
    """What folders hold can't be told."""


def weigh(folders: Sequence[Path], enough: int, processes: Collection[int] = ()) -> int:
    """The bytes that folders take on the disk; counting stops beyond `enough`.

    Links are never followed, what has several names is counted once, and files with holes count
    by what they fill. Every file and folder counts for something.

    Args:
        folders: what is looked through.
        enough: counting stops beyond it.
        processes: those that may hold files open which have been removed.

    Raises:
        Unmeasured: they are too deep, hold too many files, or can't be looked into.
    """
    scales = _Scales(enough)
    for folder in folders:
        scales.add(folder)
    for process in processes:
        scales.add_open(process)
    return scales.total


class _Scales:
    """What was counted so far."""

    def __init__(self, enough: int) -> None:
        self.total = 0
        self._enough = enough
        self._entries = 0
        self._seen: set[tuple[int, int]] = set()
        #: The file systems that the folders lie in.
        self._devices: set[int] = set()

    def add(self, path: Path) -> None:
        """Count a folder or a file."""
        try:
            found = os.stat(path)  # A launch may name a link; what lies beneath is the algorithm's.
        except FileNotFoundError:
            return
        self._devices.add(found.st_dev)
        if not stat.S_ISDIR(found.st_mode):
            self._count(found)
            return
        stack: list[tuple[int, list[str]]] = []
        try:
            self._open(os.path.realpath(path), None, stack)
            while stack:
                descriptor, names = stack[-1]
                if names and self.total <= self._enough:
                    self._open(names.pop(), descriptor, stack)
                else:
                    os.close(descriptor)
                    stack.pop()
        finally:
            for descriptor, _ in stack:
                os.close(descriptor)

    def add_open(self, process: int) -> None:
        """Count the files of these file systems that a process holds open and that have no name."""
        try:
            names = os.listdir(f"/proc/{process}/fd")
        except OSError:
            return  # it has ended
        for name in names:
            try:
                found = os.stat(f"/proc/{process}/fd/{name}")
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 0 and found.st_dev in self._devices:
                self._count(found)

    def _open(self, name: str, above: int | None, stack: list[tuple[int, list[str]]]) -> None:
        """Count what lies in a folder, and put the folders within it on the stack."""
        try:
            descriptor = os.open(name, _OPEN_FOLDER, dir_fd=above)
        except PermissionError:
            raise Unmeasured("hold a folder that can't be looked into") from None
        except OSError:
            return  # it is gone, or is a folder no more
        if len(stack) > FOLDERS_DEEP_MAX:
            os.close(descriptor)
            raise Unmeasured(f"have more than {FOLDERS_DEEP_MAX} folders within each other")
        folders: list[str] = []
        stack.append((descriptor, folders))
        if not self._count(os.fstat(descriptor)):
            return
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    try:
                        found = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    if stat.S_ISDIR(found.st_mode):
                        folders.append(entry.name)
                    else:
                        self._count(found)
                    if self.total > self._enough:
                        return
        except OSError:
            return

    def _count(self, found: os.stat_result) -> bool:
        """Count a file; whether it was not counted before."""
        if found.st_nlink != 1 or stat.S_ISDIR(found.st_mode):
            key = (found.st_dev, found.st_ino)
            if key in self._seen:
                return False
            self._seen.add(key)
        self._entries += 1
        if self._entries > DISK_ENTRIES_MAX:
            raise Unmeasured(f"hold more than {DISK_ENTRIES_MAX} files and folders")
        self.total += max(found.st_blocks * _BLOCK_BYTES, _ENTRY_BYTES)
        return True


def _too_long(seconds: float) -> LimitReached:
    return LimitReached(
        f"the call took longer than {seconds:g} seconds, the most that one call may take, and was "
        "ended. Raise the bound, or do less in one call"
    )
