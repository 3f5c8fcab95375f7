"""The memory that a command takes with all processes that it starts.

What processes share is counted once: a page of a library that ten processes have mapped counts a
tenth in each of them. A memory file counts with its whole size for as long as one process has it
open or mapped, however many do, and also where nobody has mapped it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

#: Seconds between two looks. A look takes milliseconds of a processor, so that memory and time
#: are not measured in the same run.
_LOOK_SECONDS = 0.02
_PROC = Path("/proc")


class TreePeak:
    """Follows the memory of all that descends from this process, in a thread."""

    def __init__(self) -> None:
        self.bytes = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _follow(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            self.bytes = max(self.bytes, taken_bytes(_descendants(os.getpid())))


def taken_bytes(processes: list[int]) -> int:
    """The memory of these processes together."""
    own_bytes = 0
    files: dict[tuple[int, int], int] = {}
    for pid in processes:
        try:
            own_bytes += _own_bytes(pid)
            files.update(_memory_files(pid))
        except OSError:
            continue  # It has ended meanwhile.
    return own_bytes + sum(files.values())


def _own_bytes(pid: int) -> int:
    """Its share of all but memory files."""
    kinds = ("Pss_Anon:", "Pss_File:")
    lines = (_PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(kinds))


def _memory_files(pid: int) -> Iterator[tuple[tuple[int, int], int]]:
    """The memory files that it has open or mapped: device and number, and size."""
    folder = _PROC / str(pid)
    for entry in os.scandir(folder / "fd"):
        try:
            if os.readlink(entry.path).startswith("/memfd:"):
                status = entry.stat()
                yield (status.st_dev, status.st_ino), status.st_blocks * 512
        except OSError:
            continue  # It was closed meanwhile.
    for line in (folder / "maps").read_text().splitlines():
        words = line.split(maxsplit=5)
        if len(words) == 6 and words[5].startswith("/memfd:"):
            first, last = (int(word, 16) for word in words[0].split("-"))
            major, minor = (int(word, 16) for word in words[3].split(":"))
            yield (os.makedev(major, minor), int(words[4])), int(words[2], 16) + last - first


def _descendants(ancestor: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            try:
                status = (_PROC / entry.name / "stat").read_text()
            except OSError:
                continue  # As above.
            # The name of a command may hold spaces and brackets; what follows it doesn't.
            parent = int(status.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [ancestor]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found
