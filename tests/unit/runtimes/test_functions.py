"""Functions of the SDK in this process: what only there is so."""

from __future__ import annotations

import asyncio
import builtins
import json
import sys
import textwrap
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from atoll.engine.running import Head, Launch, Reply, Request, Style, whole
from atoll.model.errors import AlgorithmFailed
from atoll.model.work import Content, Seat
from atoll.runtimes.inline import InlineRuntime


def launch_of(folder: Path, script: str, seat: str = "local0", target: str = "mean.py") -> Launch:
    (folder / "mean.py").write_text(textwrap.dedent(script))
    return Launch(
        seat=Seat(seat),
        style=Style.TALK,
        code=folder / "mean.py",
        code_name="mean.py",
        command=("python", "-m", "atoll_algorithm", f"/computation/{target}"),
        temporary=folder,
        log=folder / f"{seat}.log",
    )


def request_of(function: str, **fields: Any) -> Request:
    databases = [
        {"label": label, "type": "csv", "uri": "", "options": {}} for label in fields.get("tables", ())
    ]
    header = json.dumps({"value": {"function": function, "args": {}, "databases": None}}).encode()
    body = b"ATO1" + len(header).to_bytes(4, "big") + header
    return Request(
        head={"do": "call", "seat": "local0", "sites": [], "databases": databases}, body=body, **fields
    )


def value_of(reply: Reply) -> Any:
    assert reply.head["say"] == "returned", reply
    body = whole(reply.output)
    return json.loads(body[8 : 8 + int.from_bytes(body[4:8], "big")])["value"]


class Host:
    """Hears remarks, and answers questions with no part at all."""

    async def answers(self, head: Head, body: Content) -> AsyncIterator[tuple[Head, Content]]:
        if head["say"] == "call":
            yield {"do": "end"}, b""

    def listen(self, listener: int) -> None:
        raise AssertionError(listener)


def called(launch: Launch, *requests: Request) -> list[Reply]:
    async def go() -> list[Reply]:
        runtime = InlineRuntime()
        session = await runtime.start(launch)
        replies = [await session.call(request, doorway=Host()) for request in requests]
        await session.close()
        await runtime.close()
        return replies

    return asyncio.run(go())


THREADS = """
    import threading
    from atoll_algorithm import Sites, central, partial

    count = 0

    @partial
    def plain():
        global count
        count += 1
        return [threading.get_ident(), count]

    @central
    def asking(sites: Sites):
        sites.call(plain, on_failure="drop")
        return threading.get_ident()
"""


def test_function_that_asks_nothing_runs_where_the_loop_runs(tmp_path: Path) -> None:
    """It costs no thread; one that may ask has its own, so that the loop can answer."""
    plain, asking = called(launch_of(tmp_path, THREADS), request_of("plain"), request_of("asking"))

    assert threading.get_ident() == value_of(plain)[0]
    assert threading.get_ident() != value_of(asking)


def test_module_is_loaded_once_for_all_seats(tmp_path: Path) -> None:
    """What a function keeps in a global is not kept per site, and nothing is promised of it."""

    async def go() -> list[Any]:
        runtime = InlineRuntime()
        sessions = [await runtime.start(launch_of(tmp_path, THREADS, seat)) for seat in ("local0", "local1")]
        return [value_of(await session.call(request_of("plain"), doorway=Host()))[1] for session in sessions]

    assert [1, 2] == asyncio.run(go())
    assert [1] == [value_of(reply)[1] for reply in called(launch_of(tmp_path, THREADS), request_of("plain"))]


def test_tables_in_memory_are_handed_on(tmp_path: Path) -> None:
    """A database may be a table of this process: it is neither written nor read."""
    script = """
        from atoll_algorithm import Table, partial
        @partial
        def total(data: Table):
            data.attrs["seen"] = True
            return int(data["a"].sum())
    """
    table = pd.DataFrame({"a": [1, 2, 3]})

    (reply,) = called(launch_of(tmp_path, script), request_of("total", tables={"default": table}))

    assert 6 == value_of(reply)


def test_breakpoint_and_print_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are this process's own, in a function that asks as well."""
    script = """
        from atoll_algorithm import Sites, central, partial
        @partial
        def plain():
            print("plain")
            breakpoint()
        @central
        def asking(sites: Sites):
            print("asking")
            breakpoint()
    """
    reached: list[str] = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: reached.append(sys._getframe(1).f_code.co_name))
    assert builtins.breakpoint is not None

    called(launch_of(tmp_path, script), request_of("plain"), request_of("asking"))

    assert (["plain", "asking"], "plain\nasking\n") == (reached, capsys.readouterr().out)


def test_nobody_waits_for_a_function_that_never_returns(tmp_path: Path) -> None:
    """Its call can be cancelled, its session closed and the loop ended; what it asks then fails."""
    script = """
        import pathlib, threading
        from atoll_algorithm import Sites, central, partial
        go_on = threading.Event()
        ended = threading.Event()
        @partial
        def plain():
            pass
        @central
        def asking(sites: Sites):
            begun.set()
            go_on.wait()
            try:
                sites.call(plain)
            finally:
                ended.set()
        begun = threading.Event()
    """
    launch = launch_of(tmp_path, script)

    async def go() -> Any:
        runtime = InlineRuntime()
        session = await runtime.start(launch)
        module = sys.modules["mean"]
        call = asyncio.create_task(session.call(request_of("asking"), doorway=Host()))
        await asyncio.to_thread(module.begun.wait)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await session.close()
        await runtime.close()
        return module

    module = asyncio.run(go())
    module.go_on.set()
    assert module.ended.wait(10)


def test_interrupt_ends_the_call(tmp_path: Path) -> None:
    """Ctrl-C in a function is for the person, not a failed call."""
    script = """
        from atoll_algorithm import Sites, central, partial
        @partial
        def plain():
            raise KeyboardInterrupt
        @central
        def asking(sites: Sites):
            raise KeyboardInterrupt
    """
    for function in ("plain", "asking"):
        with pytest.raises(KeyboardInterrupt):
            called(launch_of(tmp_path, script), request_of(function))


def test_target_beside_the_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AlgorithmFailed, match="expected a module or a package's folder of the algorithm's"):
        called(launch_of(tmp_path, "", target="other.py"))
