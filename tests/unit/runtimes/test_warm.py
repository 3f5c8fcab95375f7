"""Warm parents that crash, and the module that a computation finds outside of Atoll."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from atoll.engine.running import Launch, Mount, Reply, Request, Session, Style, whole
from atoll.model.errors import AlgorithmFailed
from atoll.model.work import Seat
from atoll.runtimes import process
from atoll.runtimes.children import Child
from atoll.runtimes.guest import warm
from atoll.runtimes.pool import HERE, SERVED, Kind, Pool
from atoll.runtimes.process import ProcessRuntime

#: Ends the parent that forked it, as often as there are files to remove.
PARRICIDE = """
import os, signal, sys
def call(data):
    for name in sorted(os.listdir(os.environ["OUTPUT"])):
        os.unlink(os.path.join(os.environ["OUTPUT"], name))
        os.kill(os.getppid(), signal.SIGKILL)
        signal.pause()
    return "alive"
if os.environ.get("SERVE"):
    import coinstac
    coinstac.start(call, call)
else:
    print(call(None))
"""


def run(folder: Path, style: Style, times: int) -> Reply:
    for name in ("code", "tmp", "output"):
        (folder / name).mkdir()
    (folder / "code" / "local.py").write_text(PARRICIDE)
    for number in range(times):
        (folder / "output" / str(number)).touch()
    environment = {"OUTPUT": str(folder / "output")} | ({"SERVE": "1"} if style is Style.SERVE else {})
    launch = Launch(
        seat=Seat("local0"),
        style=style,
        code=folder / "code",
        command=("python", "local.py"),
        mounts=(Mount(source=folder / "output", target="/output", writable=True),),
        temporary=folder / "tmp",
        log=folder / "log",
        environment=environment,
    )

    async def go() -> Reply:
        runtime = ProcessRuntime()
        try:
            session: Session = await runtime.start(launch)
            try:
                return await session.call(Request(body=b'{"mode": "local", "data": 1}'))
            finally:
                await session.close()
        finally:
            await runtime.close()

    return asyncio.run(go())


def test_call_is_done_again_when_its_parent_crashed(tmp_path: Path) -> None:
    """A call whose parent ended is done again in a new one."""
    assert b"alive\n" == run(tmp_path, Style.CALL, 1).output


def test_call_is_done_again_only_once(tmp_path: Path) -> None:
    """A call that ends its parents one after another fails."""
    with pytest.raises(AlgorithmFailed, match="ended twice"):
        run(tmp_path, Style.CALL, 5)


def test_served_process_is_lost_with_its_parent(tmp_path: Path) -> None:
    """What a served process kept in memory can't be had again: its call fails."""
    with pytest.raises(AlgorithmFailed, match="was lost, and with it what it kept in memory"):
        run(tmp_path, Style.SERVE, 1)


def test_a_parent_that_could_not_be_started_is_started_when_it_is_asked_for_again() -> None:
    """What a machine had no room for once may have room a moment later."""
    tries: list[Kind] = []

    def start(kind: Kind, command: Sequence[str], line: int, errors: int) -> Child:
        tries.append(kind)
        if len(tries) == 1:
            raise AlgorithmFailed("'python3' can't be started: Resource temporarily unavailable")
        return process._start_parent(kind, command, line, errors)

    async def go() -> bool:
        pool = Pool(start, here=str(HERE), isolated=False)
        kind = Kind(executable=Path(sys.executable), libraries=())
        try:
            with pytest.raises(AlgorithmFailed, match="temporarily unavailable"):
                await pool.parent(kind)
            parent = await pool.parent(kind)
            return parent is not None and parent.alive
        finally:
            await pool.close()

    assert asyncio.run(go())


def test_more_addresses_are_listened_at_than_travel_with_one_message() -> None:
    async def go() -> int:
        pool = Pool(process._start_parent, here=str(HERE), isolated=False)
        try:
            parent = await pool.parent(Kind(executable=Path(sys.executable), libraries=()))
            assert parent is not None
            listeners = await parent.listen([("127.0.0.1", 0)] * 300)
            for listener in listeners:
                os.close(listener)
            return len(listeners)
        finally:
            await pool.close()

    assert asyncio.run(go()) == 300


def test_a_host_that_ended_without_reading_has_ended() -> None:
    """Else a parent breaks off where it would have ended what it forked."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        theirs.send(b'{"started": 1}')
        ours.close()

        assert warm._receive(theirs) == (b"", [])


def test_coinstac_says_who_should_start_it() -> None:
    """Outside of Atoll the module tells what to do."""
    environment = {"PYTHONPATH": str(SERVED), "PATH": os.environ["PATH"]}
    program = "import coinstac; coinstac.start(print, print)"

    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False
    )

    assert (1, True) == (ended.returncode, "try 'atoll simulate'" in ended.stderr)


def test_no_signal_of_the_terminal_reaches_a_parent(tmp_path: Path) -> None:
    """Ctrl-C is for Atoll, which ends its calls itself: they are in sessions of their own."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "local.py").write_text("import os; print(os.getsid(0) == os.getpid())")
    launch = Launch(
        seat=Seat("local0"),
        style=Style.CALL,
        code=tmp_path / "code",
        command=("python", "local.py"),
        temporary=tmp_path,
        log=tmp_path / "log",
    )

    async def go() -> bytes:
        runtime = ProcessRuntime()
        try:
            session = await runtime.start(launch)
            return whole((await session.call(Request())).output)
        finally:
            await runtime.close()

    before = signal.getsignal(signal.SIGINT)
    assert b"True\n" == asyncio.run(go())
    assert before == signal.getsignal(signal.SIGINT)
