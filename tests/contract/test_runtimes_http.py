"""What every runtime promises of calls that may speak HTTP to their node."""

from __future__ import annotations

import asyncio
import os
import socket
import textwrap
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contract.runtime_bench import Bench, run
from tests.contract.test_runtimes_talking import asking, talking
from tests.descriptors import descriptors

from atoll.engine.running import Head, Launch, Request, Session, whole
from atoll.model.work import Content
from atoll.runtimes.command import code_of


class Porch:
    """A doorway that answers each connection with its own name, and what was said."""

    def __init__(self, name: str = "porch", *, accepts: bool = True, closes: bool = True) -> None:
        self._name = name
        self._accepts = accepts
        self._closes = closes
        self._listeners: list[socket.socket] = []
        self._serving: list[asyncio.Task[None]] = []

    def listen(self, listener: int) -> None:
        self._listeners.append(socket.socket(fileno=listener))
        self._listeners[-1].setblocking(False)
        if self._accepts:
            self._serving.append(asyncio.create_task(self._serve(self._listeners[-1])))

    async def answers(self, head: Head, body: Content) -> AsyncIterator[tuple[Head, Content]]:
        yield {"do": "end"}, b""

    async def _serve(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            with connection:
                said = await loop.sock_recv(connection, 1000)
                await loop.sock_sendall(connection, self._name.encode() + b" heard " + said)

    async def close(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        if self._closes:
            self.forget()

    def forget(self) -> None:
        for listener in self._listeners:
            listener.close()


async def call(session: Session, porch: Porch, **fields: Any) -> bytes:
    """What a call wrote, after its doorway was closed."""
    assert session.address is not None
    environment = {"HOST": session.address[0], "PORT": str(session.address[1])}
    try:
        reply = await session.call(Request(environment=environment, **fields), doorway=porch)
    finally:
        await porch.close()
    return whole(reply.output) or reply.log_tail.encode()


KNOCK = """
    import os, socket, sys
    with socket.create_connection((os.environ["HOST"], int(os.environ["PORT"]))) as line:
        line.sendall(sys.stdin.read().encode() or b'-')
        print(line.recv(1000).decode())
"""


def knocking(bench: Bench, script: str = KNOCK, **fields: Any) -> Launch:
    return bench.launch(script, speaks_http=True, **fields)


def listeners() -> set[str]:
    """Where this process, which gets every door, listens on this machine's own network.

    Others on the machine may listen as they like.
    """
    ours = set()
    for name in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the one that lists them
            ours.add(os.readlink(f"/proc/self/fd/{name}"))
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        if os.path.exists(table):
            rows = [line.split() for line in Path(table).read_text().splitlines()[1:]]
            found |= {row[1] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in ours}
    return found


def test_calls_reach_their_doorway(bench: Bench) -> None:
    """Each call of a session reaches its own doorway at the session's address."""

    async def go() -> list[bytes]:
        async with bench.session(knocking(bench)) as session:
            return [
                await call(session, Porch(name), body=name[:1].encode()) for name in ("one", "two", "three")
            ]

    before = descriptors()
    assert [b"one heard o\n", b"two heard t\n", b"three heard t\n"] == run(go())
    assert before == descriptors()


def test_there_is_no_address_where_nobody_speaks(bench: Bench) -> None:
    async def go() -> Any:
        async with bench.session(bench.launch("print(1)")) as session:
            await session.call(Request(), doorway=Porch())
            return session.address

    assert run(go()) is None


def test_call_without_a_doorway_works(bench: Bench) -> None:
    """Nobody answers then, and nothing is left of it for the next call."""

    async def go() -> tuple[bytes, bytes]:
        async with bench.session(knocking(bench, "print('silent')")) as session:
            silent = whole((await session.call(Request())).output)
            (bench.folder / "code" / "local.py").write_text(textwrap.dedent(KNOCK))
            return silent, await call(session, Porch())

    assert (b"silent\n", b"porch heard -\n") == run(go())


@pytest.mark.parametrize("words", [("bash", "/computation/run.sh"), ("./run.sh",)])
def test_other_languages_reach_it_too(bench: Bench, words: tuple[str, ...]) -> None:
    """A program gets the door, and else starts as it would without one."""
    knock = "exec 3<>/dev/tcp/$HOST/$PORT; printf hi >&3; cat <&3"
    script = f"#!/bin/bash\n{knock}; grep SigIgn /proc/self/status; ls /proc/self/fd | wc -l"
    plain = bench.launch(command=words)
    (code_of(plain) / "run.sh").write_text(script.replace(knock, "exec 3</dev/null"))
    (code_of(plain) / "run.sh").chmod(0o755)
    without = whole(bench.call(plain).output)
    (code_of(plain) / "run.sh").write_text(script)

    async def go() -> bytes:
        async with bench.session(replace(plain, speaks_http=True)) as session:
            return await call(session, Porch())

    assert b"porch heard hi" + without == run(go())


def test_nothing_listens_on_this_machine(bench: Bench) -> None:
    """A sandbox's door is within it; without isolation it is on the loopback alone."""
    seen: list[set[str]] = []
    before = listeners()

    class Watching(Porch):
        def listen(self, listener: int) -> None:
            seen.append(listeners())
            super().listen(listener)

    async def go() -> tuple[bytes, Any]:
        async with bench.session(knocking(bench)) as session:
            return await call(session, Watching()), session.address

    said, (host, port) = run(go())
    new = set.union(*seen) - before
    assert (b"porch heard -\n", "127.0.0.1") == (said, host)
    if bench.isolated:
        assert 8080 == port
        assert set() == new
    else:
        assert {f"0100007F:{port:04X}"} == new
    assert set() == listeners() - before


def test_door_leads_nowhere_else(bench: Bench) -> None:
    """A sandbox that has a door has no other way out: not to this machine, and not to a neighbour."""
    if not bench.isolated:
        pytest.skip("a plain process sees the network of this machine")
    script = """
        import os, socket, sys
        ports = [int(word) for word in sys.stdin.read().split()]
        for host, port in [(h, p) for p in ports for h in ("127.0.0.1", "localhost", "::1")] + [("192.0.2.1", 80)]:
            try:
                socket.create_connection((host, port), timeout=1).close()
                print("reached", port)
            except OSError:
                pass
        print([name for _, name in socket.if_nameindex()][:1])
    """

    async def go() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as other:
            async with bench.session(knocking(bench, script)) as session:
                return await call(session, Porch(), body=str(other.getsockname()[1]).encode())

    assert b"['lo']\n" == run(go())


def test_seats_have_doors_of_their_own(bench: Bench) -> None:
    """Two calls at the same time, at the same address, meet each its own doorway."""

    async def go() -> list[bytes]:
        runtime = bench.make()
        try:
            sessions = [await runtime.start(knocking(bench, seat=seat)) for seat in ("local0", "local1")]
            calls = [call(session, Porch(str(n))) for n, session in enumerate(sessions)]
            said = await asyncio.gather(*calls)
            for session in sessions:
                await session.close()
            return said
        finally:
            await runtime.close()

    assert [b"0 heard -\n", b"1 heard -\n"] == run(go())


@pytest.mark.parametrize("closes", [True, False])
def test_connection_is_answered_in_its_calls_name_or_never(bench: Bench, closes: bool) -> None:
    """What one call left waiting at the door is not there for the next, whoever still holds the door."""
    script = """
        import os, socket, sys
        def knock():
            line = socket.create_connection((os.environ["HOST"], int(os.environ["PORT"])))
            line.sendall(sys.stdin.read().encode() or b"first")
            return line
        if os.path.exists(os.environ["TMPDIR"] + "/second"):
            print(knock().recv(1000).decode())
        else:
            lines = [knock() for _ in range(20)]
            if os.fork() == 0:
                os.setsid()
                lines[0].recv(1)
            print("left", flush=True)
            os._exit(0)
    """
    launch = knocking(bench, script)
    heard: list[bytes] = []

    class Listening(Porch):
        async def _serve(self, listener: socket.socket) -> None:
            loop = asyncio.get_running_loop()
            while True:
                connection, _ = await loop.sock_accept(listener)
                with connection:
                    heard.append(await loop.sock_recv(connection, 1000))
                    await loop.sock_sendall(connection, b"yes")

    async def go() -> list[bytes]:
        first = Porch(accepts=False, closes=closes)
        try:
            async with bench.session(launch) as session:
                said = [await call(session, first)]
                (launch.temporary / "second").touch()
                return [*said, await call(session, Listening(), body=b"second")]
        finally:
            first.forget()

    assert ([b"left\n", b"yes\n"], [b"second"]) == (run(go()), heard)


def test_algorithm_cannot_take_the_door(bench: Bench) -> None:
    """While a call runs, its address is taken: nobody else answers there."""
    script = """
        import os, socket
        try:
            socket.create_server((os.environ["HOST"], int(os.environ["PORT"])))
        except OSError as error:
            print(type(error).__name__)
    """

    async def go() -> bytes:
        async with bench.session(knocking(bench, script)) as session:
            return await call(session, Porch())

    assert b"OSError\n" == run(go())


def test_door_is_open_before_any_code_of_the_algorithm(bench: Bench) -> None:
    """What an algorithm brings to be imported is not imported by whoever opens the door."""
    own = bench.folder / "code" / "own"
    own.mkdir(parents=True)
    for name in ("socket", "array", "signal", "sitecustomize", "guest"):
        (own / f"{name}.py").write_text("import os; os._exit(55)")
    launch = bench.launch(command=("bash", "-c", "echo $HOST"), speaks_http=True)
    path = "/computation/own" if bench.isolated else str(own)
    launch = replace(launch, environment={"PYTHONPATH": path})

    async def go() -> bytes:
        async with bench.session(launch) as session:
            return await call(session, Porch())

    assert b"127.0.0.1\n" == run(go())


def test_served_process_has_a_door_for_each_call(bench: Bench) -> None:
    """A process that answers call after call reaches the doorway of the call that is under way."""
    script = """
        import time
        while True:
            head, _, _ = receive()
            with socket.create_connection(head) as door:
                door.sendall(b"x")
                send({"say": "returned"}, door.recv(1000))
    """
    launch = replace(talking(bench, script), speaks_http=True)

    async def go() -> list[Content]:
        async with bench.session(launch) as session:
            said = []
            for name in ("one", "two"):
                porch = Porch(name)
                try:
                    said.append((await session.call(asking(session.address), doorway=porch)).output)
                finally:
                    await porch.close()
            return said

    before = descriptors()
    assert [b"one heard x", b"two heard x"] == run(go())
    assert before == descriptors()


def test_cancelled_call_leaves_no_door(bench: Bench) -> None:
    script = KNOCK + "\n    import signal; signal.pause()"
    begun = asyncio.Event()

    class Noting(Porch):
        def listen(self, listener: int) -> None:
            super().listen(listener)
            begun.set()

    async def go() -> None:
        async with bench.session(knocking(bench, script)) as session:
            calling = asyncio.create_task(call(session, Noting()))
            await begun.wait()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling

    before, there = descriptors(), listeners()
    run(go())
    assert before == descriptors()
    assert there == listeners()
