"""What every runtime promises of functions written with the SDK, in this process too."""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.contract.runtime_bench import KINDS, Bench, make_bench, run
from tests.descriptors import descriptors

import atoll_algorithm
from atoll.engine.limits import CallLimits
from atoll.engine.running import Head, Launch, Reply, Request, Session, Style, whole
from atoll.model.errors import LimitReached, ReplyInvalid
from atoll.model.work import Content
from atoll.runtimes.held import HELD_BYTES_MIN, MemoryFile
from atoll.runtimes.inline import InlineRuntime

SDK = Path(atoll_algorithm.__file__).parent

ALGORITHM = """
    import random
    from atoll_algorithm import Sites, Stop, central, log, partial, progress

    print("loaded")

    @partial
    def double(number):
        print("doubling", number)
        return number * 2

    @partial
    def telling(count):
        for n in range(count):
            progress(n / count, "step")
            log("line")
        return count

    @partial
    def failing(how):
        if how == "exit":
            raise SystemExit(3)
        if how == "stop":
            raise Stop("too few rows")
        return 1 / 0

    @partial
    def drawing():
        return random.random()

    @partial
    def large(content, times):
        return content * times

    @partial
    def total(values):
        return float(values.sum())

    @central
    def asking(sites: Sites, number, rounds=1):
        return [[part for part in sites.call(double, number=number)] for _ in range(rounds)]
"""


@pytest.fixture(params=["inline", *KINDS])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """Overrides that of the other suites: it has one kind more."""
    if request.param == "inline":
        return Bench("inline", tmp_path, InlineRuntime)
    return make_bench(request.param, tmp_path)


def launch_of(bench: Bench, script: str = ALGORITHM, **fields: Any) -> Launch:
    module = bench.folder / "home" / "mean.py"
    module.parent.mkdir(exist_ok=True)
    module.write_text(textwrap.dedent(script))
    command = ("python", "-m", "atoll_algorithm", "/computation/mean.py")
    return bench.launch(
        style=Style.TALK, code=module, code_name="mean.py", command=command, modules=(SDK,), **fields
    )


def container(value: Any) -> bytes:
    header = json.dumps({"value": value}).encode()
    return b"ATO1" + len(header).to_bytes(4, "big") + header


def value_of(content: Content) -> Any:
    body = whole(content)
    assert body[:4] == b"ATO1"
    return json.loads(body[8 : 8 + int.from_bytes(body[4:8], "big")])["value"]


def request_of(function: str, **args: Any) -> Request:
    head = {"do": "call", "seat": "local0", "sites": ["local0", "local1"], "seed": None, "databases": []}
    return Request(head=head, body=container({"function": function, "args": args, "databases": None}))


class Host:
    """Answers each call of other sites with the same parts, and remembers what was said."""

    def __init__(self, value: Any = None, until: Awaitable[Any] | None = None) -> None:
        self.heard: list[Head] = []
        self._body: Content = container(value)
        self._until = until
        self.begun = asyncio.Event()

    async def answers(self, head: Head, body: Content) -> AsyncIterator[tuple[Head, Content]]:
        self.heard.append(head)
        self.begun.set()
        if head["say"] == "call":
            if self._until is not None:
                await self._until
            for site in ("local0", "local1"):
                yield {"do": "part", "site": site, "status": "done", "failure": None}, self._body
            yield {"do": "end"}, b""

    def listen(self, listener: int) -> None:
        raise AssertionError(listener)


Scene = Callable[[Session], Awaitable[Any]]


def play(bench: Bench, scene: Scene, launch: Launch | None = None) -> Any:
    results: list[Any] = []

    async def go() -> None:
        async with bench.session(launch or launch_of(bench)) as session:
            results.append(await scene(session))

    run(go())
    return results.pop()


def called(bench: Bench, function: str, *, host: Host | None = None, **args: Any) -> Reply:
    async def scene(session: Session) -> Reply:
        return await session.call(request_of(function, **args), doorway=host or Host())

    reply: Reply = play(bench, scene)
    return reply


def test_function_is_called(bench: Bench) -> None:
    async def scene(session: Session) -> list[Any]:
        replies = [await session.call(request_of("double", number=n), doorway=Host()) for n in (1, 2)]
        return [[reply.head["say"], value_of(reply.output)] for reply in replies]

    assert [["returned", 2], ["returned", 4]] == play(bench, scene)


def test_function_that_asks_is_answered(bench: Bench) -> None:
    host = Host(21)

    reply = called(bench, "asking", host=host, number=1, rounds=3)

    assert [[21, 21]] * 3 == value_of(reply.output)
    assert [("call", "double")] * 3 == [(head["say"], head["function"]) for head in host.heard]


def test_remarks_are_heard_in_order(bench: Bench) -> None:
    host = Host()

    reply = called(bench, "telling", host=host, count=3)

    assert 3 == value_of(reply.output)
    assert ["progress", "log"] * 3 == [head["say"] for head in host.heard]
    assert [0, 1 / 3, 2 / 3] == [head["fraction"] for head in host.heard[::2]]


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [("divide", "ZeroDivisionError", None), ("stop", "Stop", "too few rows"), ("exit", "SystemExit", None)],
)
def test_failure_is_told_without_its_words(bench: Bench, how: str, kind: str, message: str | None) -> None:
    """A failed call says its type and lines of code; the traceback stays in the seat's log."""

    async def scene(session: Session) -> list[Reply]:
        return [
            await session.call(request_of("failing", how=how), doorway=Host()),
            await session.call(request_of("double", number=1), doorway=Host()),
        ]

    launch = launch_of(bench)
    failed, fine = play(bench, scene, launch)

    assert ("failed", kind, message) == (failed.head["say"], failed.head["type"], failed.head["message"])
    assert "failing" == failed.head["frames"][-1][2]
    assert kind in failed.log_tail
    assert failed.log_tail in launch.log.read_text()
    assert (2, "") == (value_of(fine.output), fine.log_tail.replace("doubling 1\n", ""))


def test_algorithm_that_can_not_be_loaded_fails_each_call(bench: Bench) -> None:
    async def scene(session: Session) -> list[Reply]:
        return [await session.call(request_of("double"), doorway=Host()) for _ in range(2)]

    launch = launch_of(bench, "import no_such_module_anywhere")
    replies = play(bench, scene, launch)

    assert ["ModuleNotFoundError"] * 2 == [reply.head["type"] for reply in replies]
    assert "no_such_module_anywhere" in replies[0].log_tail
    assert "no_such_module_anywhere" in launch.log.read_text()


def test_error_of_the_doorway_is_the_calls(bench: Bench) -> None:
    """Whatever a function makes of it: a call whose doorway gave up has failed."""

    async def fail() -> None:
        raise LimitReached("too deep")

    with pytest.raises(LimitReached, match="too deep"):
        called(bench, "asking", host=Host(until=fail()), number=1)


def test_question_without_a_doorway_is_refused(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        with pytest.raises(ReplyInvalid, match="nobody was to be asked"):
            await session.call(request_of("asking", number=1))

    play(bench, scene)


def test_cancelled_question_is_given_up(bench: Bench) -> None:
    """Who cancels a call that asks need not wait for its function, nor does anyone who closes."""

    async def scene(session: Session) -> bool:
        waits = asyncio.get_running_loop().create_future()
        host = Host(until=waits)
        call = asyncio.create_task(session.call(request_of("asking", number=1), doorway=host))
        await host.begun.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        while not waits.cancelled():
            await asyncio.sleep(0)
        return len(host.heard) == 1

    assert play(bench, scene)


def test_large_bodies_come_and_go(bench: Bench) -> None:
    """A held body is read where it lies; what is returned may be as large."""
    text = "x" * HELD_BYTES_MIN
    request = request_of("large", content=text, times=3)
    held = Request(head=request.head, body=MemoryFile.of(whole(request.body)))

    async def scene(session: Session) -> list[int]:
        replies = [await session.call(each, doorway=Host()) for each in (request, held)]
        return [len(value_of(reply.output)) for reply in replies]

    before = descriptors()
    assert [3 * len(text)] * 2 == play(bench, scene)
    assert before == descriptors()


def test_answers_to_questions_may_be_held(bench: Bench) -> None:
    host = Host()
    host._body = MemoryFile.of(container("y" * HELD_BYTES_MIN))

    reply = called(bench, "asking", host=host, number=1)

    assert [["y" * HELD_BYTES_MIN] * 2] == value_of(reply.output)


def test_answer_is_bounded(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        with pytest.raises(LimitReached, match="more than 1000 bytes"):
            await session.call(request_of("large", content="x", times=2000), doorway=Host())

    play(bench, scene, launch_of(bench, limits=CallLimits(reply_bytes=1000)))


def test_seed_repeats_what_a_function_draws(bench: Bench) -> None:
    def drawn(seed: int) -> Any:
        async def scene(session: Session) -> Any:
            return value_of((await session.call(request_of("drawing"), seed=seed, doorway=Host())).output)

        return play(bench, scene)

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


def test_neighbours_of_a_module_are_not_there(bench: Bench) -> None:
    """A function finds its module, the SDK and what is installed, and nothing of its folder."""
    if bench.kind == "inline":
        pytest.skip("code in this process finds what lies beside it")
    (bench.folder / "home").mkdir()
    (bench.folder / "home" / "neighbour.py").touch()
    script = """
        from atoll_algorithm import partial
        import importlib.util
        @partial
        def look():
            return importlib.util.find_spec("neighbour") is None
    """

    async def scene(session: Session) -> Any:
        return value_of((await session.call(request_of("look"), doorway=Host())).output)

    assert play(bench, scene, launch_of(bench, script))
