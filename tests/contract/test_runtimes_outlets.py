"""What runtimes with isolation promise of outlets, and of ports at which an algorithm listens."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.contract.runtime_bench import Bench, make_bench, run
from tests.contract.test_runtimes_http import Porch
from tests.descriptors import descriptors

from atoll.engine.limits import OUTLETS_MAX
from atoll.engine.running import Launch, Outlet, Request, Session, whole
from atoll.model.errors import RuntimeUnavailable

SANDBOXES = [
    pytest.param("bubblewrap-cold", marks=pytest.mark.needs("bubblewrap")),
    pytest.param("bubblewrap-warm", marks=pytest.mark.needs("bubblewrap")),
]
#: Says a word to each address of its input, and tells what each says.
ASK = """
    import json, socket, sys
    said = []
    for host, port in json.load(sys.stdin):
        with socket.create_connection((host, port)) as line:
            line.sendall(b"hello")
            line.shutdown(socket.SHUT_WR)
            said.append(line.makefile().read())
    print(json.dumps(said))
"""


@pytest.fixture(params=SANDBOXES)
def sandbox(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return make_bench(request.param, tmp_path)


@pytest.fixture
def warm(tmp_path: Path) -> Bench:
    return make_bench("bubblewrap-warm", tmp_path)


class Harbour:
    """Answers each connection of an outlet with the outlet's name, and what was said."""

    def __init__(self) -> None:
        self._serving: set[asyncio.Task[None]] = set()

    def outlet(self, host: str, port: int, alias: str = "") -> Outlet:
        def take(descriptor: int) -> None:
            task = asyncio.get_running_loop().create_task(self._answer(descriptor, f"{host}:{port}"))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

        return Outlet(host=host, port=port, alias=alias, take=take)

    async def _answer(self, descriptor: int, name: str) -> None:
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=descriptor))
        said = await reader.read()
        writer.write(f"{name} heard {said.decode()}".encode())
        writer.close()
        await writer.wait_closed()


async def asked(session: Session, text: str) -> bytes:
    reply = await session.call(Request(body=text.encode()))
    assert reply.exit_code == 0, reply.log_tail
    return whole(reply.output)


@asynccontextmanager
async def talking(bench: Bench, launch: Launch) -> AsyncIterator[Session]:
    before = len(descriptors())
    async with bench.session(launch) as session:
        yield session
    # What was handed over ends with the session; a selector of the loop may still be there.
    assert len(descriptors()) <= before


def test_outlets_are_reached_by_address_and_by_name(sandbox: Bench) -> None:
    """Each call finds every outlet, at low ports too, beside the call's door."""
    low = 80
    harbour = Harbour()
    outlets = (
        harbour.outlet("127.0.0.1", 3128),
        harbour.outlet("127.0.0.2", 5432, "omop"),
        harbour.outlet("127.0.0.3", low, "graph.example.org"),
    )

    async def go() -> list[bytes]:
        async with talking(sandbox, sandbox.launch(ASK, outlets=outlets, speaks_http=True)) as session:
            text = f'[["127.0.0.1", 3128], ["omop", 5432], ["graph.example.org", {low}]]'
            said = [await asked(session, text) for _ in range(2)]
            porch = Porch("porch")
            request = Request(body=b'[["127.0.0.1", 8080]]')
            reply = await session.call(request, doorway=porch)
            await porch.close()
            return [*said, whole(reply.output)]

    heard = ", ".join(
        f'"{where} heard hello"' for where in ("127.0.0.1:3128", "127.0.0.2:5432", f"127.0.0.3:{low}")
    )
    expected = f"[{heard}]\n".encode()
    assert [expected, expected, b'["porch heard hello"]\n'] == run(go())


def test_more_outlets_than_travel_at_once_are_there(sandbox: Bench) -> None:
    harbour = Harbour()
    outlets = tuple(harbour.outlet("127.0.0.2", port) for port in range(20_000, 20_250))

    async def go() -> bytes:
        async with talking(sandbox, sandbox.launch(ASK, outlets=outlets)) as session:
            return await asked(session, '[["127.0.0.2", 20000], ["127.0.0.2", 20249]]')

    assert run(go()) == b'["127.0.0.2:20000 heard hello", "127.0.0.2:20249 heard hello"]\n'


@pytest.mark.needs("bubblewrap")
def test_no_right_is_left_of_those_that_opened_an_outlet(warm: Bench) -> None:
    """An algorithm has no capability, though its outlets may be at low ports."""
    script = """
        import socket
        print([line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")])
        try:
            socket.create_server(("127.0.0.1", 81))
        except PermissionError:
            print("refused")
    """

    async def go() -> bytes:
        outlets = (Harbour().outlet("127.0.0.2", 80),)
        async with talking(warm, warm.launch(script, outlets=outlets)) as session:
            return await asked(session, "")

    assert run(go()) == f"{['0' * 16] * 5}\nrefused\n".encode()


@pytest.mark.needs("bubblewrap")
def test_a_cold_call_has_no_right_at_any_time(tmp_path: Path) -> None:
    """Though it listens at low ports: those of its network are open to all."""
    script = 'print([line.split()[1] for line in open("/proc/self/status") if line.startswith("Cap")])'
    bench = make_bench("bubblewrap-cold", tmp_path)

    reply = bench.call(bench.launch(script, outlets=(Harbour().outlet("127.0.0.2", 80),)))

    assert whole(reply.output) == f"{['0' * 16] * 5}\n".encode(), reply.log_tail


@pytest.mark.needs("bubblewrap")
def test_a_cold_call_that_can_not_listen_says_where(tmp_path: Path) -> None:
    bench = make_bench("bubblewrap-cold", tmp_path)
    outlets = (Harbour().outlet("192.0.2.1", 8000),)

    reply = bench.call(bench.launch(ASK, outlets=outlets))

    assert (reply.exit_code, reply.log_tail) == (
        127,
        "the algorithm's addresses can't be opened: 192.0.2.1:8000: Cannot assign requested address\n",
    )


def test_outlets_of_one_sandbox_are_nobody_elses(sandbox: Bench) -> None:
    """What is open in one session's sandbox is not there in another's, nor on this machine."""
    script = """
        import socket, sys
        try:
            socket.create_connection(("127.0.0.2", 5432))
        except ConnectionRefusedError:
            print("refused")
    """

    async def go() -> bytes:
        runtime = sandbox.make()
        try:
            one = await runtime.start(
                sandbox.launch("import sys; sys.stdin.read()", outlets=(Harbour().outlet("127.0.0.2", 5432),))
            )
            await asked(one, "")
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.2", 5432))
            other = await runtime.start(sandbox.launch(script, seat="local1"))
            said = await asked(other, "")
            await one.close()
            await other.close()
            return said
        finally:
            await runtime.close()

    # The second launch's script has taken the place of the first's by then.
    assert run(go()) == b"refused\n"


#: Listens, says so, and answers what it hears at its port; then asks where its input says.
SERVE = """
    import os, socket
    with socket.create_server(("127.0.0.1", 7000)) as server:
        os.write(os.open("/output/alive", os.O_WRONLY), b"o")
        line, _ = server.accept()
        with line:
            host, port = line.recv(100).decode().split()
        with socket.create_connection((host, int(port))) as line:
            line.sendall(b"found")
            line.shutdown(socket.SHUT_WR)
            print(line.makefile().read())
"""


@pytest.mark.needs("bubblewrap")
def test_a_port_inside_is_reached_and_outlets_come_later(warm: Bench) -> None:
    """While a call runs, its port is reached from outside, and a further outlet is opened for it."""

    async def go() -> bytes:
        launch = warm.launch(SERVE)
        pipe = launch.mounts[0].source / "alive"
        os.mkfifo(pipe)
        async with talking(warm, launch) as session:
            calling = asyncio.create_task(asked(session, ""))
            with await asyncio.to_thread(pipe.open, "rb", 0) as alive:
                await asyncio.to_thread(alive.read, 1)
            with pytest.raises(ConnectionRefusedError):
                await session.reach(7001)
            await session.offer(Harbour().outlet("127.0.0.9", 443))
            with socket.socket(fileno=await session.reach(7000)) as line:
                line.setblocking(True)
                line.sendall(b"127.0.0.9 443")
            return await calling

    assert run(go()) == b"127.0.0.9:443 heard found\n"


@pytest.mark.needs("bubblewrap")
def test_an_outlet_that_came_later_is_there_for_the_next_call(warm: Bench) -> None:
    async def go() -> list[bytes]:
        async with talking(warm, warm.launch(ASK)) as session:
            first = await asked(session, "[]")
            await session.offer(Harbour().outlet("127.0.0.9", 443))
            return [first, await asked(session, '[["127.0.0.9", 443]]')]

    assert run(go()) == [b"[]\n", b'["127.0.0.9:443 heard hello"]\n']


@pytest.mark.needs("bubblewrap")
def test_what_cannot_be_offered_is_refused(warm: Bench) -> None:
    """Before a call there is nothing to offer to, a taken address stays whose it is, and there is a bound."""
    harbour = Harbour()

    async def go() -> None:
        async with talking(warm, warm.launch(ASK)) as session:
            for work in (session.offer(harbour.outlet("127.0.0.2", 80)), session.reach(80)):
                with pytest.raises(RuntimeUnavailable, match="nothing of it runs yet"):
                    await work
            await asked(session, "[]")
            await session.offer(harbour.outlet("127.0.0.2", 80))
            with pytest.raises(RuntimeUnavailable, match="Address already in use"):
                await session.offer(harbour.outlet("127.0.0.2", 80))
        outlets = tuple(harbour.outlet("127.0.0.2", 1000 + number) for number in range(OUTLETS_MAX + 1))
        with pytest.raises(RuntimeUnavailable, match="the most that there may be"):
            async with warm.session(warm.launch(ASK, outlets=outlets)):
                pass

    run(go())


@pytest.mark.needs("bubblewrap")
def test_a_taken_address_fails_the_call(tmp_path: Path) -> None:
    """Where an outlet has the door's address, no call starts without it."""
    bench = make_bench("bubblewrap-warm", tmp_path)
    outlets = (Harbour().outlet("127.0.0.1", 8080),)

    reply = bench.call(bench.launch(ASK, outlets=outlets, speaks_http=True))

    assert reply.exit_code == 127
    assert "Address already in use" in reply.log_tail


@pytest.mark.parametrize("kind", ["process-cold", "process-warm"])
def test_without_isolation_there_are_no_outlets(kind: str, tmp_path: Path) -> None:
    """A plain process finds none, and nobody can reach into a network that is this machine's."""
    bench = make_bench(kind, tmp_path)

    async def go() -> None:
        async with bench.session(
            bench.launch("print(1)", outlets=(Harbour().outlet("127.0.0.2", 80),))
        ) as session:
            assert await asked(session, "") == b"1\n"
            with pytest.raises(RuntimeUnavailable, match="no network of its own"):
                await session.reach(80)
            with pytest.raises(RuntimeUnavailable, match="no network of its own"):
                await session.offer(Harbour().outlet("127.0.0.2", 80))

    run(go())
