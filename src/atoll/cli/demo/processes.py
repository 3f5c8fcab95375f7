"""The demo's processes: started apart from who starts them, found again, and ended.

A process is known by its number and by when it started: a number alone may be another's by now.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

#: Seconds that a process has to end by itself.
_PATIENCE_SECONDS = 15.0
#: Seconds between looks at processes that no descriptor stands for.
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process of the demo."""

    #: What it is: ``hub``, or a node's name.
    name: str
    pid: int
    #: When it started, as the system counts; of no use but to tell it from another.
    started: str

    @property
    def is_running(self) -> bool:
        """Whether it is still there."""
        return _started(self.pid) == self.started


def start(name: str, command: Sequence[str | Path], *, log: Path) -> Child:
    """Start a process that outlives this one, and holds none of its streams.

    Args:
        name: what it is.
        command: what to start.
        log: what it prints is appended here.
    """
    with log.open("ab") as output:
        # It isn't waited for here: whoever ends the demo is mostly another process.
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            close_fds=True,
        )
    return Child(name=name, pid=process.pid, started=_started(process.pid) or "")


def stop(children: Sequence[Child]) -> list[Child]:
    """End processes and all that they have started; those that had to be killed.

    They are asked first. All are asked at the same time.
    """
    running = [child for child in children if child.is_running]
    watched = [(child, _descriptor(child)) for child in running]
    for child in running:
        _signal(child, signal.SIGTERM)
    until = time.monotonic() + _PATIENCE_SECONDS
    stubborn = [child for child, handle in watched if not _ends(child, handle, until)]
    for child in stubborn:
        _signal(child, signal.SIGKILL)
    for child in running:
        # What it has started is of its group, and should have ended with it.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child.pid, os.WNOHANG)
    return stubborn


def _ends(child: Child, handle: int | None, until: float) -> bool:
    """Wait until a process has ended; whether it has."""
    try:
        while child.is_running:
            left = until - time.monotonic()
            if left <= 0:
                return False
            if handle is None:
                time.sleep(min(left, _LOOK_SECONDS))
            else:
                select.select([handle], [], [], left)
                with suppress(ChildProcessError):
                    os.waitpid(child.pid, os.WNOHANG)  # Else it stays as a zombie where it is ours.
    finally:
        if handle is not None:
            os.close(handle)
    return True


def _descriptor(child: Child) -> int | None:
    """What can be waited on until the process ends; None where the system has no such thing."""
    try:
        return os.pidfd_open(child.pid)
    except OSError:
        return None


def _signal(child: Child, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if child.is_running:
            os.kill(child.pid, number)


def _started(pid: int) -> str | None:
    """When a process started; None where there is none, or only what is left of it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # A program's name stands in brackets and may hold anything; the state comes first after it.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]
