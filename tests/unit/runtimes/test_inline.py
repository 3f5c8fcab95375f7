"""Protocol-2 functions are called in this process, each seat's with modules of its own."""

from __future__ import annotations

import asyncio
import json
import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.federation import LOCAL0, write_computation

from atoll.engine.limits import LOG_TAIL_BYTES, CallLimits
from atoll.engine.running import Launch, Reply, Request, Session, Style, whole
from atoll.model.errors import AlgorithmFailed, LimitReached, RuntimeUnavailable
from atoll.model.work import Seat
from atoll.runtimes.command import code_of
from atoll.runtimes.inline import InlineRuntime

ECHO = """
    def local(data):
        return {"output": data}

    def remote(data):
        return {"output": "remote"}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where computations lie."""
    return tmp_path


def launch_of(root: Path, source: str = ECHO, seat: Seat = LOCAL0) -> Launch:
    """A launch of a computation with this source."""
    code = root / "code"
    if not code.exists():
        write_computation(code, source)
    return Launch(
        seat=seat,
        style=Style.SERVE,
        code=code,
        command=("python", "/computation/entry.py"),
        temporary=root,
        log=root / f"{seat}.log",
    )


def request(data: Any, mode: str = "local") -> bytes:
    """What a node hands over."""
    return json.dumps({"mode": mode, "data": data}).encode()


def called(launch: Launch, *requests: bytes, seed: int | None = None) -> list[Reply]:
    """The replies of one session."""

    async def talk() -> list[Reply]:
        session = await InlineRuntime().start(launch)
        replies = [await session.call(Request(body=each), seed=seed) for each in requests]
        await session.close()
        await session.close()
        return replies

    return asyncio.run(talk())


def outputs(replies: list[Reply]) -> list[Any]:
    """What the functions returned as output."""
    assert all(reply.exit_code == 0 for reply in replies), replies
    return [json.loads(whole(reply.output))["output"] for reply in replies]


# --- Calls ------------------------------------------------------------------------------------


def test_each_side_calls_its_function_with_the_data(root: Path) -> None:
    replies = called(launch_of(root), request({"a": [1, None]}), request({}, mode="remote"))

    assert [{"a": [1, None]}, "remote"] == outputs(replies)


def test_what_a_computation_keeps_in_its_globals_stays_at_its_seat(root: Path) -> None:
    source = """
        import memory

        def local(data):
            memory.seen.append(data)
            return {"output": memory.seen}

        remote = local
    """
    code = write_computation(root / "code", source)
    (code / "memory.py").write_text("seen = []\n")

    async def talk() -> list[Any]:
        runtime = InlineRuntime()
        sessions = [await runtime.start(launch_of(root, seat=Seat(name))) for name in ("local0", "local1")]
        replies = [
            await session.call(Request(body=request(number))) for number in (1, 2) for session in sessions
        ]
        await runtime.close()
        return outputs(replies)

    assert [[1], [1], [1, 2], [1, 2]] == asyncio.run(talk())


def test_nothing_that_a_computation_imports_stays_in_this_process(root: Path) -> None:
    code = write_computation(root / "code", "import deep.own\n" + ECHO.replace("\n    ", "\n"))
    (code / "deep").mkdir()
    (code / "deep" / "own.py").write_text("")
    modules, path = set(sys.modules), sys.path[:]

    called(launch_of(root), request(1))

    assert {"coinstac", "deep.own", "deep"} & set(sys.modules) == set()
    assert modules <= set(sys.modules)
    assert path == sys.path


def test_a_coinstac_module_that_was_there_is_there_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = types.ModuleType("coinstac")
    monkeypatch.setitem(sys.modules, "coinstac", installed)

    called(launch_of(root), request(1))

    assert installed is sys.modules["coinstac"]


def test_the_script_that_starts_last_counts(root: Path) -> None:
    source = """
        import coinstac

        coinstac.start(None, None)

        def local(data):
            return {"output": __name__}

        remote = local
    """

    assert ["__main__"] == outputs(called(launch_of(root, source), request(1)))


def test_an_entry_script_in_a_folder_imports_what_lies_beside_it(root: Path) -> None:
    code = write_computation(
        root / "code" / "scripts", "import beside\n" + ECHO.replace("\n    ", "\n")
    ).parent
    (code / "scripts" / "beside.py").write_text("")
    launch = replace(launch_of(root), command=("python", "/computation/scripts/entry.py"))

    assert [1] == outputs(called(launch, request(1)))


def test_a_folder_is_seen_where_it_is(root: Path) -> None:
    async def inside() -> str:
        session: Session = await InlineRuntime().start(launch_of(root))
        return session.inside(root / "base")

    assert str(root / "base") == asyncio.run(inside())


# --- Chance -----------------------------------------------------------------------------------

DRAW = """
    import random
    import numpy

    def local(data):
        return {"output": [random.random(), float(numpy.random.random())]}

    remote = local
"""


def test_a_seed_repeats_what_a_function_draws(root: Path) -> None:
    launch = launch_of(root, DRAW)

    first, second = outputs(called(launch, request(1), request(1), seed=2**63 + 1))
    (other,) = outputs(called(launch, request(1), seed=2))

    assert first == second
    assert first[0] != other[0]
    assert first[1] != other[1]


def test_without_a_seed_a_function_draws_what_it_likes(root: Path) -> None:
    first, second = outputs(called(launch_of(root, DRAW), request(1), request(1)))

    assert first != second


def test_a_seed_asks_for_no_numpy(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)

    assert [1] == outputs(called(launch_of(root), request(1), seed=1))


# --- Failures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "last_line"),
    [
        ("raise ValueError('no')", "ValueError: no"),
        ("return {1, 2}", "TypeError: Object of type set is not JSON serializable"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("return undefined", "NameError: name 'undefined' is not defined"),
    ],
)
def test_a_function_that_fails_is_a_reply_with_its_traceback(root: Path, body: str, last_line: str) -> None:
    source = f"def local(data):\n    {body}\n\nremote = local\n"
    launch = launch_of(root, source)

    (reply,) = called(launch, request(1))

    assert (1, b"") == (reply.exit_code, reply.output)
    assert last_line == reply.log_tail.strip().splitlines()[-1]
    assert reply.log_tail == launch.log.read_text()


def test_a_session_goes_on_after_a_failed_call(root: Path) -> None:
    source = "def local(data):\n    return {'output': 1 / data}\n\nremote = local\n"

    failed, fine = called(launch_of(root, source), request(0), request(1))

    assert 1 == failed.exit_code
    assert [1.0] == outputs([fine])


def test_only_the_end_of_a_long_traceback_is_quoted(root: Path) -> None:
    source = "def local(data):\n    raise ValueError('x' * 10_000 + 'end')\n\nremote = local\n"

    (reply,) = called(launch_of(root, source), request(1))

    assert LOG_TAIL_BYTES == len(reply.log_tail)
    assert reply.log_tail.endswith("end\n")


def test_an_answer_may_not_exceed_its_limit(root: Path) -> None:
    source = "def local(data):\n    return {'output': 'x' * data}\n\nremote = local\n"
    launch = replace(launch_of(root, source), limits=CallLimits(reply_bytes=100))
    frame = len('{"output": ""}')

    (fits,) = called(launch, request(100 - frame))
    with pytest.raises(LimitReached, match="the answer has more than 100 bytes, the most that one call may"):
        called(launch, request(101 - frame))

    assert 100 == len(whole(fits.output))


@pytest.mark.parametrize(
    ("source", "last_line"),
    [
        ("import no_such_module_anywhere", "No module named 'no_such_module_anywhere'"),
        ("def local(:", "SyntaxError"),
        ("raise ValueError('no')", "ValueError: no"),
        ("raise SystemExit(2)", "SystemExit: 2"),
    ],
)
def test_an_entry_script_that_can_not_be_loaded_is_named_with_its_traceback(
    root: Path, source: str, last_line: str
) -> None:
    launch = launch_of(root, source)
    path = sys.path[:]

    with pytest.raises(AlgorithmFailed) as failed:
        called(launch)

    assert str(failed.value).startswith("entry.py could not be loaded:\nTraceback")
    assert last_line in str(failed.value).splitlines()[-1]
    assert last_line in launch.log.read_text()
    assert path == sys.path
    assert "coinstac" not in sys.modules


def test_an_entry_script_that_starts_nothing_is_no_entry_script(root: Path) -> None:
    launch = launch_of(root)
    (code_of(launch) / "entry.py").write_text("import coinstac\n")

    with pytest.raises(AlgorithmFailed) as failed:
        called(launch)

    assert str(failed.value) == (
        "entry.py called no coinstac.start(local, remote): expected a protocol-2 entry script. "
        "Name another one with --entry"
    )


def test_an_algorithm_that_is_started_for_each_call_is_not_run_inline(root: Path) -> None:
    launch = replace(launch_of(root), style=Style.CALL)

    with pytest.raises(
        RuntimeUnavailable, match=r"expected decorated functions.*use --runtime process or bubb"
    ):
        called(launch)


def test_what_inline_code_is_not_kept_from_is_said() -> None:
    (caveat,) = InlineRuntime().caveats()

    assert "inside Atoll's own process" in caveat
    assert "inline" == InlineRuntime().name
    assert not InlineRuntime().isolated
