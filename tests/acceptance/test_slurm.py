"""Sessions on a real Slurm cluster of one compute node."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests import sif
from tests.acceptance.computations import SUM_LOCAL, SUM_REMOTE, Heard, write_computation
from tests.contract.runtime_bench import Bench
from tests.contract.test_runtimes_http import KNOCK, Porch, knocking
from tests.contract.test_runtimes_http import call as knock
from tests.contract.test_runtimes_talking import Host, talking
from tests.slurm import Cluster, until

from atoll.engine.limits import CallLimits
from atoll.engine.running import Image, ImageKind, Launch, Request, Session, whole
from atoll.model.errors import AlgorithmFailed, LimitReached, RuntimeUnavailable
from atoll.runtimes.slurm.frames import LineBrokenError
from atoll.runtimes.slurm.options import SlurmOptions, Talk
from atoll.runtimes.slurm.queue import why_not
from atoll.runtimes.slurm.runtime import SlurmRuntime
from atoll.runtimes.slurm.sockets import dial
from atoll.runtimes.slurm.spec import Pace
from atoll.simulator import choice
from atoll.simulator.arguments import Arguments
from atoll.simulator.simulation import simulate

pytestmark = [pytest.mark.acceptance, pytest.mark.needs("slurm"), pytest.mark.timeout(120)]

#: The two ways of talking, each with a runtime inside: not each with each, as they know nothing of each other.
WAYS = [
    pytest.param((Talk.SOCKET, "bubblewrap"), id="socket", marks=pytest.mark.needs("bubblewrap")),
    pytest.param((Talk.FOLDER, "process"), id="folder"),
]
PACE = Pace(poll_seconds=0.25, beat_seconds=0.5, silent_seconds=5.0)


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> tuple[Talk, str]:
    found: tuple[Talk, str] = request.param
    return found


def made(
    cluster: Cluster, folder: Path, way: tuple[Talk, str] = (Talk.SOCKET, "process"), **fields: Any
) -> SlurmRuntime:
    """A runtime with a spool in this folder."""
    options = SlurmOptions(talk=way[0], inner=way[1], address="127.0.0.1", conf=cluster.conf, **fields)
    assert [] == options.faults()
    return SlurmRuntime(folder=folder / "spool", options=options, roots=[folder], pace=PACE)


@asynccontextmanager
async def started(runtime: SlurmRuntime, launch: Launch) -> AsyncIterator[Session]:
    try:
        session = await runtime.start(launch)
        try:
            yield session
        finally:
            await session.close()
    finally:
        await runtime.close()


def bench(folder: Path) -> Bench:
    return Bench("process", folder, lambda: pytest.fail("the cluster makes it"))


def left(folder: Path) -> list[Path]:
    """The folders of sessions that are still there."""
    return list((folder / "spool" / "sessions").glob("*"))


# --- Calls ------------------------------------------------------------------------------------


def test_calls_run_on_a_compute_node(slurm: Cluster, tmp_path: Path, way: tuple[Talk, str]) -> None:
    """A request, a large answer, a log, an exit status of its own; then nothing is left."""
    script = """
        import os, sys
        said = sys.stdin.buffer.read()
        print("log", len(said), file=sys.stderr)
        sys.stdout.buffer.write(said * 2)
        sys.exit(3 if len(said) == 1 else 0)
    """
    large = os.urandom(2_500_000)

    async def go() -> None:
        launch = bench(tmp_path).launch(script)
        async with started(made(slurm, tmp_path, way), launch) as session:
            reply = await session.call(Request(body=large))
            assert (large * 2, 0, "log 2500000\n") == (reply.output, reply.exit_code, reply.log_tail)
            reply = await session.call(Request(body=b"x"))
            assert (b"xx", 3, "log 1\n") == (reply.output, reply.exit_code, reply.log_tail)
            output = session.inside(launch.mounts[0].source / "file")
            assert output == ("/output/file" if way[1] == "bubblewrap" else f"{tmp_path}/local0/output/file")

    asyncio.run(go())

    assert [] == left(tmp_path)
    until(lambda: not slurm.jobs(), "the job has ended")


def test_what_a_served_process_keeps_is_there_at_its_next_call(
    slurm: Cluster, tmp_path: Path, way: tuple[Talk, str]
) -> None:
    script = "import coinstac\ncalls = []\ndef local(data):\n    calls.append(data)\n    return {'output': calls}\n"
    launch = bench(tmp_path).served(f"{script}coinstac.start(local, None)")

    async def go() -> list[bytes]:
        async with started(made(slurm, tmp_path, way), launch) as session:
            requests = [json.dumps({"mode": "local", "data": number}).encode() for number in (1, 2)]
            return [whole((await session.call(Request(body=each))).output) for each in requests]

    assert [{"output": [1]}, {"output": [1, 2]}] == [json.loads(output) for output in asyncio.run(go())]


def test_a_talking_process_asks_its_node(slurm: Cluster, tmp_path: Path, way: tuple[Talk, str]) -> None:
    """Its questions and their answers cross with their heads and bodies; an error of the answer is the call's."""
    script = """
        while True:
            head, body, _ = receive()
            send({"say": "call"}, b"what?")
            answer, more, _ = receive()
            send({"say": "returned", "got": answer}, body + more)
    """

    class Refusing(Host):
        async def answers(self, head: Any, body: Any) -> AsyncIterator[Any]:
            raise AlgorithmFailed("not that")
            yield

    async def go() -> tuple[Any, bytes]:
        async with started(made(slurm, tmp_path, way), talking(bench(tmp_path), script)) as session:
            host = Host(({"n": 7}, b" that"))
            reply = await session.call(Request(head={"do": "it"}, body=b"this:"), doorway=host)
            with pytest.raises(AlgorithmFailed, match="not that"):
                await session.call(Request(head={"do": "it"}, body=b""), doorway=Refusing())
            return reply.head["got"], whole(reply.output)

    assert ({"n": 7}, b"this: that") == asyncio.run(go())


def test_a_call_reaches_its_door_over_http(slurm: Cluster, tmp_path: Path, way: tuple[Talk, str]) -> None:
    """Each call its own, through as many connections as it makes."""
    script = f"for _ in range(3):\n{_indented(KNOCK)}"

    async def go() -> list[bytes]:
        async with started(made(slurm, tmp_path, way), knocking(bench(tmp_path), script)) as session:
            return [await knock(session, Porch(name), body=b"hi") for name in ("one", "two")]

    expected = [
        b"".join([b"%s heard hi\n" % name, *[b"%s heard -\n" % name] * 2]) for name in (b"one", b"two")
    ]
    assert expected == asyncio.run(go())


def _indented(script: str) -> str:
    return script.replace("\n    ", "\n        ").replace("    import os", "    import os")


@pytest.mark.needs("mksquashfs")
@pytest.mark.needs("bubblewrap")
def test_an_image_that_is_a_file_runs_on_a_compute_node(slurm: Cluster, tmp_path: Path) -> None:
    launch = bench(tmp_path).launch("import os; print(os.getcwd())", image=sif.plain())

    async def go() -> bytes:
        async with started(made(slurm, tmp_path, (Talk.SOCKET, "bubblewrap")), launch) as session:
            return whole((await session.call(Request())).output)

    assert asyncio.run(go()) == b"/computation\n"
    assert (tmp_path / "spool" / "images" / "roots").is_dir()


@pytest.mark.parametrize(
    ("inner", "image"), [("apptainer", None), ("process", ImageKind.SIF), ("bubblewrap", ImageKind.OCI)]
)
def test_what_compute_nodes_do_not_run_is_refused_before_it_is_queued(
    slurm: Cluster, tmp_path: Path, inner: str, image: ImageKind | None
) -> None:
    packed = None if image is None else Image(kind=image, name="x", digest="sha256:0")
    launch = bench(tmp_path).launch("", image=packed)

    with pytest.raises(RuntimeUnavailable, match="compute nodes"):
        asyncio.run(_start(made(slurm, tmp_path, (Talk.SOCKET, inner)), launch))

    assert not (tmp_path / "spool").exists()


# --- Ends -------------------------------------------------------------------------------------

WAITING = "import sys, time\nprint('on', file=sys.stderr, flush=True)\ntime.sleep(1000)\n"


def _is_on(launch: Launch) -> bool:
    return launch.log.exists() and bool(launch.log.read_text())


def test_a_call_that_takes_too_long_is_ended_and_so_is_one_that_is_cancelled(
    slurm: Cluster, tmp_path: Path
) -> None:
    """The next call of the session finds everything in order."""
    script = "import sys, time\nif sys.stdin.read() == 'wait':\n    time.sleep(1000)\nprint('done')"
    launch = bench(tmp_path).launch(script, limits=CallLimits(seconds=0.7))

    async def go() -> bytes:
        async with started(made(slurm, tmp_path), launch) as session:
            with pytest.raises(LimitReached, match=r"longer than 0\.7 seconds"):
                await session.call(Request(body=b"wait"))
            calling = asyncio.create_task(session.call(Request(body=b"wait")))
            await asyncio.sleep(0)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            return whole((await session.call(Request())).output)

    assert asyncio.run(go()) == b"done\n"


def test_a_job_that_slurm_ends_is_a_failed_call_with_slurm_s_word(slurm: Cluster, tmp_path: Path) -> None:
    launch = bench(tmp_path).launch(WAITING)

    async def go() -> None:
        async with started(made(slurm, tmp_path), launch) as session:
            calling = asyncio.create_task(session.call(Request()))
            await asyncio.to_thread(until, lambda: _is_on(launch), "the call is on")
            await asyncio.to_thread(slurm.ask, "scancel", *slurm.jobs("RUNNING"))
            with pytest.raises(AlgorithmFailed, match="Slurm calls it CANCELLED"):
                await calling
            with pytest.raises(AlgorithmFailed, match="can't answer another call"):
                await session.call(Request())

    asyncio.run(go())


def test_a_command_that_is_not_there_is_told_as_it_is_here(slurm: Cluster, tmp_path: Path) -> None:
    launch = bench(tmp_path).launch(command=("no-such-program",))

    with pytest.raises(AlgorithmFailed, match="the command 'no-such-program' can't be started"):
        asyncio.run(_start(made(slurm, tmp_path), launch))

    assert [] == left(tmp_path)


def test_what_a_compute_node_does_not_see_is_named(slurm: Cluster, tmp_path: Path) -> None:
    launch = bench(tmp_path).launch("", modules=(tmp_path / "elsewhere",))

    with pytest.raises(
        RuntimeUnavailable, match=r"elsewhere is not on the compute node .*: expected the workspace"
    ):
        asyncio.run(_start(made(slurm, tmp_path), launch))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"partition": "night"}, "Slurm doesn't take the session's job: sbatch says: .*[Ii]nvalid partition"),
        ({"partition": "hour", "minutes": 120}, "would wait for ever, as Slurm gives PartitionTimeLimit"),
    ],
)
def test_a_job_that_slurm_will_not_run_is_told(
    slurm: Cluster, tmp_path: Path, fields: dict[str, Any], words: str
) -> None:
    with pytest.raises(RuntimeUnavailable, match=words):
        asyncio.run(_start(made(slurm, tmp_path, **fields), bench(tmp_path).launch("")))

    assert [] == slurm.jobs("PENDING")
    assert [] == left(tmp_path)


async def _start(runtime: SlurmRuntime, launch: Launch) -> None:
    async with started(runtime, launch):
        pass


def test_a_wrong_secret_is_turned_away(slurm: Cluster, tmp_path: Path) -> None:
    """Who knows the address and the session's name, but not its secret, is not heard; the job is."""
    seen: list[str] = []

    async def go() -> bytes:
        with slurm.filled():
            starting = asyncio.create_task(
                runtime.start(bench(tmp_path).launch("print('mine')", waits=seen.append))
            )
            await asyncio.to_thread(until, lambda: bool(seen), "it is queued")
            (folder,) = left(tmp_path)
            address, port = json.loads((folder / "spec.json").read_text())["address"]
            with pytest.raises(LineBrokenError, match="doesn't know the session's secret"):
                await dial(address, port, folder.name, b"x" * 32)
        session = await starting
        try:
            return whole((await session.call(Request())).output)
        finally:
            await session.close()
            await runtime.close()

    runtime = made(slurm, tmp_path)
    assert asyncio.run(go()) == b"mine\n"


# --- The queue --------------------------------------------------------------------------------


def test_a_queued_job_is_told_as_queued_and_taken_back_when_nobody_waits(
    slurm: Cluster, tmp_path: Path
) -> None:
    seen: list[str] = []
    runtime = made(slurm, tmp_path)

    async def go() -> None:
        starting = asyncio.create_task(runtime.start(bench(tmp_path).launch("", waits=seen.append)))
        await asyncio.to_thread(until, lambda: any("reason" in text for text in seen), "it is queued")
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        await runtime.close()

    with slurm.filled():
        asyncio.run(go())

        assert [] == slurm.jobs("PENDING")
    assert seen[-1].startswith("queued in Slurm as job ")
    assert seen[-1].endswith(("(reason: Resources)", "(reason: Priority)"))
    assert [] == left(tmp_path)


def test_a_job_that_is_queued_for_too_long_is_taken_back(slurm: Cluster, tmp_path: Path) -> None:
    with slurm.filled():
        with pytest.raises(LimitReached, match=r"was queued for 0\.3 seconds, the most that it may wait"):
            asyncio.run(_start(made(slurm, tmp_path, queued_seconds=0.3), bench(tmp_path).launch("")))

        assert [] == slurm.jobs("PENDING")


#: Starts a session and stays in its one call, until it is killed.
OWNER = """
import asyncio, sys
sys.path[:0] = {path!r}
from pathlib import Path
from tests.acceptance.test_slurm import WAITING, Cluster, Request, Talk, bench, made
async def go():
    folder = Path({folder!r})
    runtime = made(Cluster(folder=folder, conf=Path({conf!r})), folder, {way})
    session = await runtime.start(bench(folder).launch(WAITING))
    await session.call(Request())
asyncio.run(go())
"""


def owner(cluster: Cluster, folder: Path, way: str) -> subprocess.Popen[bytes]:
    """A process of its own that waits for a session, and in it."""
    text = OWNER.format(path=sys.path, conf=str(cluster.conf), folder=str(folder), way=way)
    return subprocess.Popen([sys.executable, "-c", text])


@pytest.mark.parametrize(
    "way", ["(Talk.SOCKET, 'process')", "(Talk.FOLDER, 'process')"], ids=["socket", "folder"]
)
def test_a_job_whose_node_was_killed_ends_by_itself(slurm: Cluster, tmp_path: Path, way: str) -> None:
    launch = bench(tmp_path).launch(WAITING)
    process = owner(slurm, tmp_path, way)
    try:
        until(lambda: _is_on(launch), "the call is on")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()

    until(lambda: not slurm.jobs(), "the job has ended")


def test_a_node_that_starts_again_takes_back_what_it_had_queued(slurm: Cluster, tmp_path: Path) -> None:
    """Its own alone: somebody else's job stays."""
    with slurm.filled():
        process = owner(slurm, tmp_path, "(Talk.SOCKET, 'process')")
        try:
            until(lambda: bool(slurm.jobs("PENDING")), "the job is queued")
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        others = slurm.jobs("RUNNING")

        asyncio.run(made(slurm, tmp_path).recover())

        assert [] == slurm.jobs("PENDING")
        assert others == slurm.jobs("RUNNING")
    assert [] == left(tmp_path)


def test_the_cluster_answers(slurm: Cluster) -> None:
    assert why_not(slurm.conf) is None


# --- A whole run ------------------------------------------------------------------------------


class Watching(Heard):
    """Tells of the first that is told to wait."""

    def __init__(self, queued: Callable[[], None]) -> None:
        super().__init__()
        self.texts: list[str] = []
        self._queued = queued

    def progressed(self, **shown: Any) -> None:
        self.texts.append(shown["text"])
        if "(reason: " in shown["text"]:
            self._queued()


@pytest.mark.needs("bubblewrap")
def test_the_guides_example_runs_on_a_cluster_that_is_full_at_first(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who watches the run sees that it is queued, and where it runs then."""
    inputs = [{"start": {"value": 1}}, {"start": {"value": 1.5}}]
    computation = write_computation(tmp_path / "sum", local=SUM_LOCAL, remote=SUM_REMOTE, inputs=inputs)
    options = SlurmOptions(conf=slurm.conf, address="127.0.0.1")

    def make(_name: str, _asked: Arguments, roots: list[Path]) -> SlurmRuntime:
        return SlurmRuntime(folder=tmp_path / "spool", options=options, roots=roots, pace=PACE)

    monkeypatch.setattr(choice, "make_runtime", make)

    async def go() -> tuple[Any, list[str]]:
        free = asyncio.Event()
        watching = Watching(free.set)
        asked = Arguments(path=computation, output=tmp_path / "out", runtime="bubblewrap")
        with slurm.filled():
            running = asyncio.create_task(simulate(asked, lambda: watching))
            await free.wait()
        _, report = await running
        return report, watching.texts

    report, texts = asyncio.run(go())

    assert ("done", {"sum": 5}, 5) == (report.status, report.result, report.iterations)
    assert any(text.startswith("queued in Slurm as job ") for text in texts)
    assert 3 == sum(text.startswith("runs in Slurm as job ") for text in texts)
