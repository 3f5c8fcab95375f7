"""Checks that nothing is left, however a call, a session, a runtime or its owner ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from atoll.engine.running import Launch, Reply, Session, whole
from atoll.model.errors import AlgorithmFailed
from atoll.runtimes.conformance.bench import (
    Bench,
    Thread,
    ask,
    asking,
    expect,
    in_time,
    same,
)
from atoll.runtimes.conformance.examining import Check
from atoll.runtimes.conformance.subject import NotPromised

#: Seconds after which all has ended that is to end.
_SOON = 10.0
#: How many processes of `linger` hold the thread.
_HOLDERS = 3


async def _cancel(bench: Bench) -> None:
    launch = bench.launch()
    with bench.thread(launch) as thread:
        async with bench.session(launch) as session:
            call = await _lingering(session, launch, thread)
            call.cancel()
            await in_time(asyncio.wait([call]), "a call that was cancelled", _SOON)
            expect(call.cancelled(), "a call that was cancelled ended otherwise")
            await thread.torn(_SOON)
            same("next", await ask(session, launch, "echo", said="next"), "the next call")


async def _left(bench: Bench) -> None:
    launch = bench.launch()
    with bench.thread(launch) as thread:
        async with bench.session(launch) as session:
            same("left", await ask(session, launch, "linger", thread=thread.path, ends=True), "the answer")
            await thread.torn(_SOON)


async def _close(bench: Bench) -> None:
    launch = bench.launch()
    async with bench.session(launch) as session:
        await ask(session, launch, "echo", said="once")
        for _ in range(2):
            await in_time(session.close(), "the end of a session", _SOON)


async def _killed(bench: Bench) -> None:
    launch = bench.launch()
    with bench.thread(launch) as thread:
        async with bench.session(launch) as session:
            call = await _lingering(session, launch, thread, act="linger")
            for pid in _holders(thread):
                _kill(pid)
            await in_time(asyncio.wait([call]), "a call whose processes were killed", _SOON)
            error = call.exception()
            if error is None:
                same(-signal.SIGKILL, call.result().exit_code, "the exit status")
            else:
                expect(isinstance(error, AlgorithmFailed), f"it ended with {error!r}")
            same("next", await ask(session, launch, "echo", said="next"), "the next call")


async def _box_killed(bench: Bench) -> None:
    launch = bench.launch()
    with bench.thread(launch) as thread:
        async with bench.session(launch) as session:
            call = await _lingering(session, launch, thread, act="linger_once")
            first = _first_of(_holders(thread))
            if first is None:
                call.cancel()
                await asyncio.wait([call])
                raise NotPromised("its processes have no namespace of their own, and so no first one")
            _kill(first)
            await in_time(asyncio.wait([call]), "a call whose box was killed", _SOON)
            await thread.torn(_SOON)
            error = call.exception()
            if error is None:
                reply = call.result()
                again = reply.exit_code == 0 and json.loads(whole(reply.output)) == "again"
                expect(again or reply.exit_code < 0, f"it ended with {reply.exit_code}: {reply.log_tail}")
            else:
                expect(isinstance(error, AlgorithmFailed), f"it ended with {error!r}")
        async with bench.session(launch) as session:
            same("next", await ask(session, launch, "echo", said="next"), "the next session")


async def _owner(bench: Bench) -> None:
    """The owner is another interpreter, which is killed while a call is under way."""
    launch = bench.launch()
    with bench.thread(launch) as thread:
        program = (
            "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from {0} import main; main(sys.argv[2])"
        )
        make = bench.subject.make
        told = {
            "module": make.__module__,
            "name": make.__qualname__,
            "options": dict(bench.subject.options),
            "image": None
            if launch.image is None
            else [launch.image.kind.value, launch.image.name, launch.image.digest],
            "folder": str(bench.folder),
            "thread": str(thread.path),
        }
        owner = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            program.format("atoll.runtimes.conformance.owner"),
            json.dumps(sys.path),
            json.dumps(told),
            stdin=subprocess.DEVNULL,
        )
        taken, ended = asyncio.ensure_future(thread.taken(_HOLDERS)), asyncio.ensure_future(owner.wait())
        try:
            await asyncio.wait((taken, ended), return_when=asyncio.FIRST_COMPLETED)
            expect(not ended.done(), "another interpreter could not run the algorithm: what it says is above")
            await taken
        finally:
            taken.cancel()
            with suppress(ProcessLookupError):
                owner.kill()
            await ended
        await in_time(bench.runtime.recover(), "recovery")
        await thread.torn(_SOON)
    async with bench.session(launch) as session:
        same("next", await ask(session, launch, "echo", said="next"), "the next session")
    await in_time(bench.runtime.recover(), "recovery where nothing is left")


async def _lingering(
    session: Session, launch: Launch, thread: Thread, *, act: str = "linger"
) -> asyncio.Task[Reply]:
    """A call under way, whose processes all hold the thread."""
    call = asyncio.create_task(session.call(asking(session, launch, act, thread=thread.path)))
    await thread.taken(_HOLDERS)
    return call


def _holders(thread: Thread) -> list[int]:
    """The processes that hold a thread, in this process's numbers.

    Raises:
        NotPromised: they can't be seen from here.
    """
    there = os.stat(thread.path)
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) == os.getpid():
            continue
        with suppress(OSError):
            for each in (process / "fd").iterdir():
                with suppress(OSError):
                    if os.path.samestat(each.stat(), there):
                        found.append(int(process.name))
                        break
    if not found:
        raise NotPromised(
            "the processes of this runtime can't be seen, and so not killed, by who examines it"
        )
    return found


def _first_of(holders: list[int]) -> int | None:
    """The first process of their namespace; None where it is this process's own."""
    theirs = os.stat(f"/proc/{holders[0]}/ns/pid")
    if os.path.samestat(theirs, os.stat("/proc/self/ns/pid")):
        return None
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        with suppress(OSError):
            if os.path.samestat(os.stat(process / "ns" / "pid"), theirs):
                status = (process / "status").read_text().splitlines()
                numbers = next(line for line in status if line.startswith("NSpid:")).split()
                if numbers[-1] == "1":
                    return int(process.name)
    return None


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


ENDS = (
    Check(
        name="cancel",
        what="A call that is cancelled leaves no process, and the session goes on.",
        run=_cancel,
    ),
    Check(
        name="left",
        what="What a call leaves running ends with it, in groups and sessions of its own as well.",
        run=_left,
    ),
    Check(name="close", what="A session is closed twice.", run=_close),
    Check(
        name="killed",
        what="A call whose processes are killed from outside fails soon, and the session goes on.",
        run=_killed,
    ),
    Check(
        name="box-killed",
        what="A call whose box is killed fails soon, or is done again; the next session works.",
        run=_box_killed,
    ),
    Check(
        name="owner-killed",
        what="When whoever owns the runtime was killed, recovery leaves nothing of its sessions alive.",
        run=_owner,
    ),
)
