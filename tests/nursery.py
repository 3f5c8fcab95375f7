"""Atoll's commands as processes of their own that needn't load their code first.

A command spends more than half of its processor's time on imports. So what tests start many of comes
from here: one process has imported the modules, and forks itself for each command. The command has its
own arguments, folder, environment, files and end, and runs what ``python -m atoll`` runs. It is no child
of the test's process, and others see the nursery's words as its command line; a test that looks at
either, or at how a command starts, starts ``python -m atoll``.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import random
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, Any

#: What nearly every command imports.
_ALWAYS = ("atoll.cli.main", "atoll.cli.output", "atoll.cli.refusal")
#: What a verb imports when it is carried out.
_FOR_VERB = {
    "simulate": (
        "atoll.cli.conduct",
        "atoll.simulator.coinstac",
        "atoll.simulator.functions",
        "atoll.simulator.looking",
        "atoll.simulator.packed",
        "atoll.simulator.vantage6",
    ),
    "hub": ("atoll.cli.hosting", "uvicorn.protocols.http.httptools_impl"),
    "node": (
        "atoll.cli.stationed",
        "atoll.node.joining",
        "atoll.node.station",
        "atoll.transports.connection",
        "atoll.transports.http",
    ),
    "run": ("atoll.cli.run_acting", "atoll.client.client"),
}
#: An interpreter reads these when it starts, which is over here.
_READ_AT_START = ("PYTHON", "LANG", "LC_", "LD_", "MALLOC_")
_MESSAGE_BYTES_MAX = 200_000


class Started:
    """A command that was started. It is used as `subprocess.Popen` is."""

    def __init__(self, words: Sequence[str], line: socket.socket) -> None:
        self._words = words
        self._line = line
        self._said = b""
        self.returncode: int | None = None
        self._listen(lines=1)
        if not self._said.startswith(b"began "):
            line.close()
            raise OSError(f"{' '.join(words)} can't be started with this folder and these files")
        #: Its number.
        self.pid = int(self._said.split()[1])

    def poll(self) -> int | None:
        """Its exit status, if it has ended."""
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Its exit status, when it has ended.

        Raises:
            subprocess.TimeoutExpired: it goes on for longer.
        """
        if self.returncode is None:
            self._line.settimeout(timeout)
            try:
                self._listen(lines=2)
            except (TimeoutError, BlockingIOError):  # the second where it is asked to wait no time
                raise subprocess.TimeoutExpired(self._words, timeout or 0) from None
            self.returncode = int(self._said.split()[3])
            self._line.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send it a signal, where it hasn't ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)

    def _listen(self, *, lines: int) -> None:
        while self._said.count(b"\n") < lines:
            piece = self._line.recv(100)
            if not piece:
                raise RuntimeError(f"the nursery ended before {' '.join(self._words)} did")
            self._said += piece


def start(
    *words: object,
    stdin: IO[bytes] | None = None,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    start_new_session: bool = False,
) -> Started:
    """Start ``atoll`` with these words. It neither reads nor writes what isn't given to it."""
    environment = dict(os.environ if env is None else env)
    early = [
        name
        for name in {*environment, *os.environ}
        if name.startswith(_READ_AT_START) and environment.get(name) != os.environ.get(name)
    ]
    if early:
        raise ValueError(f"{', '.join(early)} is read when an interpreter starts: start python -m atoll")
    said = [str(word) for word in words]
    asked = {
        "words": said,
        "cwd": os.fspath(cwd or Path.cwd()),
        "env": environment,
        "session": start_new_session,
    }
    line, theirs = socket.socketpair()
    with theirs, open(os.devnull, "r+b", buffering=0) as nothing:
        files = [each.fileno() for each in (stdin or nothing, stdout or nothing, stderr or nothing, theirs)]
        socket.send_fds(_nursery(), [json.dumps(asked).encode()], files)
    return Started(said, line)


def run(
    *words: object,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    timeout: float = 100,
) -> subprocess.CompletedProcess[str]:
    """Run ``atoll`` with these words until it ends; what it wrote.

    Raises:
        subprocess.TimeoutExpired: it took longer, and was ended.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        started = start(*words, stdout=out, stderr=err, cwd=cwd, env=env)
        try:
            status = started.wait(timeout)
        finally:
            started.kill()
            started.wait()
        for file in (out, err):
            file.seek(0)
        return subprocess.CompletedProcess(
            [*map(str, words)], status, out.read().decode(), err.read().decode()
        )


@cache
def _nursery() -> socket.socket:
    """The line to the nursery of this process of tests, which is started when it is first asked for."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# --- The nursery itself -----------------------------------------------------------------------


class _Nursery:
    """The loop of the process that forks. It has one thread: a fork copies no other."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        #: Where to tell the end of what was forked.
        self._lines: dict[int, socket.socket] = {}
        self._awake, self._wakeup = os.pipe()
        for descriptor in (self._awake, self._wakeup):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> dict[str, Any] | None:
        """Fork what is asked for. In a forked process: what it was asked to be; at the end: nothing."""
        while True:
            ready, _, _ = select.select([self._control.fileno(), self._awake], [], [])
            for descriptor in ready:
                if descriptor == self._awake:
                    self._reap()
                    continue
                said, files, _, _ = socket.recv_fds(self._control, _MESSAGE_BYTES_MAX, 4)
                if not said:
                    return None
                asked = json.loads(said)
                if self._fork(asked, files):
                    return dict(asked)

    def _fork(self, asked: dict[str, Any], files: list[int]) -> bool:
        """Fork; whether this is the forked process."""
        _load(_FOR_VERB.get(next(iter(asked["words"]), ""), ()))
        gc.collect()
        gc.freeze()
        pid = os.fork()
        if pid == 0:
            self._leave(asked, files)
            return True
        self._lines[pid] = socket.socket(fileno=files.pop())
        for file in files:
            os.close(file)
        return False

    def _leave(self, asked: dict[str, Any], files: list[int]) -> None:
        """Become a process that has nothing of the nursery but its modules."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, file in enumerate(files[:3]):
            os.dup2(file, number)
        for file in (*files[:3], self._awake, self._wakeup):
            os.close(file)
        for line in (self._control, *self._lines.values()):
            line.close()
        if asked["session"]:
            os.setsid()
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        # Or all would draw the same.
        random.seed()
        # Only now, as whoever hears it may look at the process.
        with socket.socket(fileno=files[3]) as line:
            line.send(b"began %d\n" % os.getpid())

    def _reap(self) -> None:
        try:
            os.read(self._awake, 4096)
        except BlockingIOError:
            return
        for pid in list(self._lines):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                # Whoever started it may be gone.
                with self._lines.pop(pid) as line, suppress(OSError):
                    line.send(b"ended %d\n" % os.waitstatus_to_exitcode(status))


def _load(modules: tuple[str, ...]) -> None:
    for module in modules:
        importlib.import_module(module)


def _main() -> None:
    # This file's folder, whose modules nobody imports by these names.
    del sys.path[0]
    _load(_ALWAYS)
    asked = _Nursery(socket.socket(fileno=int(sys.argv[1]))).serve()
    if asked is not None:
        sys.path.insert(0, os.getcwd())
        sys.argv = ["atoll", *asked["words"]]
        runpy.run_module("atoll", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
