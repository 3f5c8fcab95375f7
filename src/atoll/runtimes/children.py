"""Processes that this process starts itself, and their end: every descendant with them."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from atoll.model.errors import AlgorithmFailed


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """What a process is given besides its command. Whoever made the descriptors closes them."""

    stdin: int
    stdout: int
    stderr: int
    #: The socket of a served process.
    serve: int | None = None
    #: The socket over which the process sends those that listen for its doorway and its outlets.
    door: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the system keeps a process from taking."""

    #: What each of its processes may allocate.
    data_bytes: int | None = None
    #: What each file that it writes may hold.
    file_bytes: int | None = None
    #: The files of control groups that take it in.
    groups: tuple[Path, ...] = ()


#: Nothing is kept from it.
UNBOUNDED = Bounds()
#: What a shell counts files in.
_FILE_BLOCK_BYTES = 512


class Child:
    """A process that was started, and the process group that it leads."""

    def __init__(self, process: subprocess.Popen[bytes], *, sandboxed: bool) -> None:
        self._process = process
        self._sandboxed = sandboxed
        self._killed = False
        self._loop = asyncio.get_running_loop()
        #: Its exit status, or minus the signal that ended it.
        self.ended: asyncio.Future[int] = self._loop.create_future()
        self._descriptor = os.pidfd_open(process.pid)
        self._loop.add_reader(self._descriptor, self._reap)

    def kill(self) -> None:
        """End it with everything that it started. `ended` is set when that has happened."""
        if not self.ended.done():
            self._killed = True
            kill_tree(self._process.pid)

    def _reap(self) -> None:
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        if self._killed or not self._sandboxed:
            # What it left behind: bubblewrap too, if it was killed while it made its sandbox. It
            # isn't reaped yet, so that its number can't be another's.
            kill_tree(self._process.pid)
        status = self._process.wait()
        if self._sandboxed and 128 < status <= 128 + signal.SIGRTMAX:
            status = 128 - status
        if not self.ended.done():
            self.ended.set_result(status)


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    streams: Streams,
    *,
    cwd: Path | None = None,
    passed: Sequence[int] = (),
    bounds: Bounds = UNBOUNDED,
    sandboxed: bool = False,
    ends_itself: bool = False,
) -> Child:
    """Start a process that leads a session of its own, leaves no core file and dies with us.

    Args:
        command: its first word is a path.
        environment: its whole environment.
        streams: its standard streams, and the socket that it serves.
        cwd: its working directory.
        passed: further descriptors that it inherits, under the same numbers.
        bounds: what it may take.
        sandboxed: whether it is bubblewrap, which leaves nothing behind, and which reports a
            signal that ended its own child as shells do.
        ends_itself: whether it notices our end itself, and has things to do then.

    Raises:
        AlgorithmFailed: the command can't be started.
    """
    sockets = [each for each in (streams.serve, streams.door) if each is not None]
    try:
        process = subprocess.Popen(
            [*_prelude(bounds, ends_itself=ends_itself), *command],
            env=dict(environment),
            cwd=cwd,
            stdin=streams.stdin,
            stdout=streams.stdout,
            stderr=streams.stderr,
            pass_fds=(*sockets, *passed),
            start_new_session=True,
        )
    except OSError as error:
        raise AlgorithmFailed(f"{command[0]!r} can't be started: {error.strerror}") from error
    try:
        return Child(process, sandboxed=sandboxed)
    except BaseException:  # of whose end nobody would hear
        kill_tree(process.pid)
        process.wait()
        raise


def _prelude(bounds: Bounds, *, ends_itself: bool) -> list[str]:
    """A shell that sets limits and becomes the command: all that needs no Python in between."""
    # The groups come first: what is written to them is bounded like a file.
    lines = [f"echo 0 > {shlex.quote(str(door))}" for door in bounds.groups]
    lines.append("ulimit -c 0")
    if bounds.data_bytes is not None:
        lines.append(f"ulimit -d {max(bounds.data_bytes // 1024, 1)}")
    if bounds.file_bytes is not None:
        lines.append(f"ulimit -f {-(-bounds.file_bytes // _FILE_BLOCK_BYTES)}")
    words = []
    if _setpriv() is not None and not ends_itself:
        words = [str(_setpriv()), "--pdeathsig", "KILL", "--"]
    lines.append('exec "$@"')
    return ["/bin/sh", "-c", "; ".join(lines), "sh", *words]


@cache
def _setpriv() -> str | None:
    return shutil.which("setpriv")


def kill_tree(pid: int) -> None:
    """Kill a process, its group, its session, and all that descends from them.

    Each is stopped before its children are looked up, so that none slips away by forking. A
    process that left the session and whose parent has ended can't be told from any other.
    """
    found: set[int] = set()
    while new := _related(pid, found) - found:
        for each in new:
            _signal(os.kill, each, signal.SIGSTOP)
        found |= new
    for each in found - {pid}:
        _signal(os.kill, each)
    _signal(os.kill, pid)


def _related(pid: int, found: set[int]) -> set[int]:
    """The process, and those whose parent, group or session is known to belong to it."""
    known = found | {pid}
    related = {pid}
    for entry in os.listdir("/proc"):
        if entry.isdecimal():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    # The name stands in brackets and may hold anything.
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue  # it has just ended
            parent, group, session = int(fields[1]), int(fields[2]), int(fields[3])
            if parent in known or pid in (group, session):
                related.add(int(entry))
    return related


def _signal(send: Callable[[int, int], None], pid: int, number: int = signal.SIGKILL) -> None:
    try:
        send(pid, number)
    except (ProcessLookupError, PermissionError):
        pass  # it has ended, or has become another's
