"""Sessions where Slurm's programs are stand-ins: what a node does when a job is slow, says why it ends, or is left."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.contract.runtime_bench import Bench

from atoll.engine.limits import CallLimits
from atoll.engine.running import Launch, Request, Session, whole
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes.slurm.frames import HEAD_BYTES_MAX, Frames, LineBrokenError
from atoll.runtimes.slurm.options import SlurmOptions, Talk
from atoll.runtimes.slurm.runtime import SlurmRuntime
from atoll.runtimes.slurm.sockets import dial
from atoll.runtimes.slurm.spec import Pace, decode
from atoll.runtimes.slurm.spool import SessionFolder

PACE = Pace(beat_seconds=0.01, silent_seconds=9.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Slurm:
    """Programs that say that there is a cluster, which has one job: it has the number 1."""

    folder: Path

    def says(self, name: str, *lines: str) -> None:
        """What one of them does."""
        path = self.folder / "programs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(("#!/bin/sh", *lines, "")))
        path.chmod(0o755)

    def runs_jobs(self) -> None:
        """A job begins at once, on this machine."""
        script, output = self.folder / "script", self.folder / "job-output"
        begin = f"{shutil.which('setsid')} /bin/sh {script} > {output} 2>&1 < /dev/null &"
        self.says("sbatch", f"/bin/cat > {script}", begin, "echo 1")

    def runtime(self, talk: Talk = Talk.SOCKET) -> SlurmRuntime:
        options = SlurmOptions(inner="process", talk=talk, address="127.0.0.1")
        return SlurmRuntime(folder=self.folder / "spool", options=options, pace=PACE)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    found = Slurm(folder=tmp_path)
    found.says("scontrol", "echo 'Slurmctld(primary) at island is UP'")
    found.says("sbatch", "echo 1")
    found.says("squeue", "echo '1|RUNNING|None|island'")
    found.says("scancel")
    monkeypatch.setenv("PATH", f"{tmp_path}/programs:/usr/bin:/bin")
    return found


def launch_in(folder: Path, script: str = "", **fields: Any) -> Launch:
    return Bench("process", folder, lambda: pytest.fail("Slurm makes it")).launch(script, **fields)


@asynccontextmanager
async def a_job(slurm: Slurm, runtime: SlurmRuntime) -> AsyncIterator[tuple[asyncio.Task[Session], Frames]]:
    """A session that starts, and its job's end of the line: this test is the job."""
    starting = asyncio.create_task(runtime.start(launch_in(slurm.folder)))
    sessions = slurm.folder / "spool" / "sessions"
    while not (found := list(sessions.glob("*/spec.json"))):
        await asyncio.sleep(0.01)
    folder = SessionFolder(found[0].parent)
    told = decode(folder.spec.read_bytes())
    assert told.address is not None
    pieces, keys = await dial(*told.address, folder.name, folder.take_secret())
    job = Frames(pieces, own=keys.seat, others=keys.node, body_bytes_max=1000)
    try:
        async with asyncio.timeout(10):
            yield starting, job
    finally:
        starting.cancel()
        (session,) = await asyncio.gather(starting, return_exceptions=True)
        if not isinstance(session, BaseException):
            await session.close()
        await asyncio.gather(job.close(), runtime.close())


async def hear(job: Frames, word: str) -> dict[str, Any]:
    """What the node says with this word, whatever it says before."""
    while True:
        head, _ = await job.receive()
        if head["say"] == word:
            return head


READY: dict[str, Any] = {"say": "ready", "address": None, "inside": {}, "host": "island"}


def test_a_job_that_takes_long_to_be_ready_hears_that_its_node_is_there(slurm: Slurm) -> None:
    """Else it would take its node for dead, and end while it unpacks an image."""

    async def go() -> None:
        async with a_job(slurm, slurm.runtime()) as (_, job):
            await job.send({"say": "beat"})
            await hear(job, "beat")

    asyncio.run(go())


def test_a_job_whose_start_nobody_waits_for_any_more_is_hung_up_on(slurm: Slurm) -> None:
    async def go() -> None:
        async with a_job(slurm, slurm.runtime()) as (starting, job):
            await job.send({"say": "beat"})
            await hear(job, "beat")
            starting.cancel()
            with pytest.raises(LineBrokenError):
                await hear(job, "nothing of this kind")

    asyncio.run(go())


def test_a_job_that_slurm_was_just_taking_is_taken_back(slurm: Slurm) -> None:
    taking, go_on = slurm.folder / "taking", slurm.folder / "go-on"
    os.mkfifo(taking)
    os.mkfifo(go_on)
    slurm.says("sbatch", f"echo > {taking}", f"read _ < {go_on}", "echo 1")
    slurm.says("scancel", f'echo "$@" > {slurm.folder}/taken-back')

    async def go() -> None:
        runtime = slurm.runtime()
        starting = asyncio.create_task(runtime.start(launch_in(slurm.folder)))
        await asyncio.to_thread(taking.read_text)
        starting.cancel()
        await asyncio.to_thread(go_on.write_text, "\n")
        with pytest.raises(asyncio.CancelledError):
            await starting
        await runtime.close()

    asyncio.run(go())

    assert (slurm.folder / "taken-back").read_text() == "--quiet 1\n"


def test_who_waits_for_a_connection_is_told_when_the_session_is_closed(slurm: Slurm) -> None:
    async def go() -> None:
        async with a_job(slurm, slurm.runtime()) as (starting, job):
            await job.send(READY)
            session = await starting
            reaching = asyncio.create_task(session.reach(80))
            await hear(job, "reach")
            closing = asyncio.create_task(session.close())
            await hear(job, "close")
            await job.send({"say": "closed"})
            await closing
            with pytest.raises(RuntimeUnavailable, match="Slurm job 1 is gone"):
                await reaching

    asyncio.run(go())


def test_a_session_is_closed_whole_though_who_closes_it_is_called_away(slurm: Slurm) -> None:
    async def go() -> list[Path]:
        async with a_job(slurm, slurm.runtime()) as (starting, job):
            await job.send(READY)
            session = await starting
            closing = asyncio.create_task(session.close())
            await hear(job, "close")
            closing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await closing
            again = asyncio.create_task(session.close())
            await asyncio.sleep(0)
            assert not again.done()
            await job.send({"say": "closed"})
            await again
            return list((slurm.folder / "spool" / "sessions").iterdir())

    assert [] == asyncio.run(go())


def test_a_connection_that_nobody_waits_for_any_more_is_ended_where_it_was_made(slurm: Slurm) -> None:
    async def go() -> None:
        async with a_job(slurm, slurm.runtime()) as (starting, job):
            await job.send(READY)
            reaching = asyncio.create_task((await starting).reach(80))
            stream = (await hear(job, "reach"))["stream"]
            reaching.cancel()
            assert stream == (await hear(job, "gone"))["stream"]
            await job.send({"say": "reached", "stream": stream})
            assert stream == (await hear(job, "gone"))["stream"]
            await job.send({"say": "closed"})

    asyncio.run(go())


@pytest.mark.parametrize("talk", Talk)
def test_what_a_job_says_of_its_end_counts_more_than_slurm_s_word_for_it(slurm: Slurm, talk: Talk) -> None:
    """Slurm may know that it has ended before what it said has arrived."""
    slurm.runs_jobs()
    slurm.says("squeue", "echo '1|COMPLETED|None|island'")

    async def go() -> None:
        runtime = slurm.runtime(talk)
        with pytest.raises(AlgorithmFailed, match="the command 'no-such-program' can't be started"):
            await runtime.start(launch_in(slurm.folder, command=("no-such-program",)))
        await runtime.close()

    asyncio.run(go())


def test_what_bounds_an_answer_does_not_bound_what_is_asked(slurm: Slurm) -> None:
    """Whoever combines what many sites have answered is sent all of it."""
    slurm.runs_jobs()
    script = "import sys; print(len(sys.stdin.read()))"
    launch = launch_in(slurm.folder, script, limits=CallLimits(reply_bytes=1000))

    async def go() -> bytes:
        runtime = slurm.runtime()
        session = await runtime.start(launch)
        try:
            return whole((await session.call(Request(body=bytes(HEAD_BYTES_MAX + 10_000)))).output)
        finally:
            await session.close()
            await runtime.close()

    assert b"%d\n" % (HEAD_BYTES_MAX + 10_000) == asyncio.run(go())
