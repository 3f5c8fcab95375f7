"""A command, run to its end as a subprocess and measured from outside.

The wall clock tells how long a user waits; on a machine that others use as well, the processor
time is the steadier figure. The kernel counts both, and the peak of memory.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from benchmarks.memory import TreePeak

#: Where the examples lie, and where `python -m benchmarks.…` finds its modules.
ROOT = Path(__file__).resolve().parent.parent
#: Seconds between two looks at a process's peak. The peak itself is the kernel's, so that only
#: what it grows by in its last hundredth of a second can be missed.
_LOOK_SECONDS = 0.01
#: ``prctl``'s word for it.
_SET_CHILD_SUBREAPER = 36


class CommandFailed(Exception):
    """A measured command ended with an error: there is nothing to measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one command took."""

    seconds: float
    #: User and system time of the command and of all that it started and waited for.
    cpu_seconds: float
    #: The peak of the command's own process. Its children have memory of their own.
    peak_bytes: int
    #: The peak of all processes together; None where that wasn't followed.
    tree_bytes: int | None
    #: What it printed on standard output.
    printed: str


def python(*words: object, interpreter: Path | None = None, tree: bool = False) -> Cost:
    """Run Python with these arguments; see `run`."""
    return run([interpreter or sys.executable, *words], tree=tree)


def run(words: Sequence[object], *, tree: bool = False) -> Cost:
    """Run a command in the repository's folder.

    Args:
        words: the command.
        tree: whether to follow the memory of all its processes, which takes time from them.

    Raises:
        CommandFailed: its exit status isn't 0.
    """
    command = [str(word) for word in words]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, cwd=ROOT, env=_environment()
        )
        with _Peak(process.pid) as peak, TreePeak() if tree else nullcontext() as whole:
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
        cpu_seconds = usage.ru_utime + usage.ru_stime + _orphans()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        printed = output.read().decode("utf-8", "replace")
        if process.returncode:
            said = (printed + errors.read().decode("utf-8", "replace"))[-2000:]
            raise CommandFailed(f"{' '.join(command)} ended with status {process.returncode}:\n{said}")
    return Cost(
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_bytes=peak.bytes,
        tree_bytes=None if whole is None else whole.bytes,
        printed=printed,
    )


def _environment() -> dict[str, str]:
    """What a command inherits: it may keep what it compiles, as it does for whoever installed it."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def adopt() -> None:
    """Become the parent of what a command leaves behind: sandboxes are counted only so."""
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _orphans() -> float:
    """Wait for the sandboxes of a command that has ended; their processor time."""
    seconds = 0.0
    while True:
        try:
            _, _, usage = os.wait4(-1, 0)
        except ChildProcessError:
            return seconds
        seconds += usage.ru_utime + usage.ru_stime


class _Peak:
    """Follows the peak of a process's memory.

    Not ``ru_maxrss``: that one also counts the largest child, and what this process had when
    it started the command.
    """

    def __init__(self, pid: int) -> None:
        self.bytes = 0
        self._status = Path(f"/proc/{pid}/status")
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
            try:
                lines = self._status.read_text().splitlines()
            except OSError:
                return  # The process has ended.
            for line in lines:
                if line.startswith("VmHWM:"):
                    self.bytes = int(line.split()[1]) * 1024
