"""What a sandbox hands over is looked at before it is used."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import threading
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from atoll.engine.running import Launch, Outlet, Style
from atoll.model.errors import RuntimeUnavailable
from atoll.model.work import Seat
from atoll.runtimes import outlets
from atoll.runtimes.doors import SandboxDoors
from atoll.runtimes.guest import ports
from atoll.runtimes.outlets import Delivery, Outlets, Shared, accept, connected, listening
from atoll.runtimes.warm import Parent


def hand_over(*files: int, text: bytes = b"+") -> socket.socket:
    """The node's end of a line over which something came."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", files))] if files else []
    with theirs:
        theirs.sendmsg([text], rights)
    return ours


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Any:
    others = set(threading.enumerate())
    before = len(os.listdir("/proc/self/fd"))
    yield
    for thread in set(threading.enumerate()) - others:
        thread.join(10)
    assert len(os.listdir("/proc/self/fd")) == before


def test_sockets_come_in_pieces() -> None:
    """Nothing is there before all are, and the order is kept."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    made = ports.listen([("127.0.0.1", 0)] * 3)
    names = [each.getsockname() for each in made]
    delivery = Delivery(ours, 3)
    with ours, theirs:
        ports.send(theirs.fileno(), made[:2])
        assert delivery.receive() is None
        ports.send(theirs.fileno(), made[2:])
        came = delivery.receive()
    ports.close(made)

    assert came is not None
    found = [socket.socket(fileno=each) for each in came]
    assert [each.getsockname() for each in found] == names
    ports.close(found)


@pytest.mark.parametrize(
    ("files", "text", "expected"),
    [
        (1, b"98", OSError),  # an error, and a file that nobody wants
        (0, b"13", PermissionError),
        (0, b"+", BrokenPipeError),
        (1, b"?", BrokenPipeError),
        (3, b"+", BrokenPipeError),  # more than was asked for
        (0, b"", BrokenPipeError),
        (0, b"9" * 16, BrokenPipeError),  # a number that no error has
    ],
)
def test_what_is_no_delivery_is_dropped(files: int, text: bytes, expected: type[OSError]) -> None:
    with (
        open(os.devnull, "rb") as nothing,
        hand_over(*[nothing.fileno()] * files, text=text) as line,
        pytest.raises(expected),
    ):
        Delivery(line, 2).receive()


def test_an_error_is_told_by_its_number() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ports.refuse(theirs.fileno(), OSError(errno.EADDRINUSE, ""))
        with pytest.raises(OSError, match="already in use") as caught:
            Delivery(ours, 1).receive()

    assert caught.value.errno == errno.EADDRINUSE


def unix() -> int:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")
    listener.listen()
    return listener.detach()


def elsewhere() -> int:
    return socket.create_server(("127.0.0.2", 0)).detach()


def idle() -> int:
    return socket.socket().detach()


def datagram() -> int:
    return socket.socket(type=socket.SOCK_DGRAM).detach()


def file() -> int:
    return os.open(os.devnull, os.O_RDONLY)


@pytest.mark.parametrize("made", [unix, elsewhere, idle, datagram, file])
def test_what_does_not_listen_where_it_should_is_closed(made: Callable[[], int]) -> None:
    assert listening(made(), ("127.0.0.1", 80)) is None


@pytest.mark.parametrize("made", [unix, datagram, file])
def test_what_is_no_connection_is_closed(made: Callable[[], int]) -> None:
    with pytest.raises(RuntimeUnavailable, match="something else than a connection"):
        asyncio.run(connected(made(), 80))


def test_what_was_never_begun_is_no_connection() -> None:
    with pytest.raises(OSError, match="not connected"):
        asyncio.run(connected(idle(), 80))


def test_a_connection_that_nobody_takes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An algorithm may let its queue fill: whoever waits for it does so for a bounded time."""
    monkeypatch.setattr(outlets, "REACH_SECONDS_MAX", 0.01)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        first = [ports.connect(port) for _ in range(3)]

        with pytest.raises(RuntimeUnavailable, match="took no connection"):
            asyncio.run(connected(ports.connect(port).detach(), port))
        ports.close(first)


def test_nobody_listens_at_a_port_that_was_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(ConnectionRefusedError):
        asyncio.run(connected(ports.connect(port).detach(), port))


def test_a_taken_address_opens_none_of_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, pytest.raises(OSError, match="already in use"):
        ports.listen([("127.0.0.1", 0), listener.getsockname()])


def test_an_outlet_waits_where_no_descriptor_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system has none for a connection, it is taken later; others aren't held up."""
    monkeypatch.setattr(outlets, "_PAUSE_SECONDS", 0.01)
    accept, failures = socket.socket.accept, [OSError(errno.EMFILE, "")]

    def scarce(self: socket.socket) -> Any:
        if failures:
            raise failures.pop()
        return accept(self)

    async def go() -> None:
        taken: asyncio.Queue[int] = asyncio.Queue()
        (listener,) = ports.listen([("127.0.0.1", 0)])
        host, port = listener.getsockname()
        opened = Outlets([Outlet(host=host, port=port, take=taken.put_nowait)])
        opened.serve([listener.detach()])
        monkeypatch.setattr(socket.socket, "accept", scarce)
        with socket.create_connection((host, port)):
            os.close(await taken.get())
        failures.append(OSError(errno.EMFILE, ""))
        with socket.create_connection((host, port)):
            while failures:
                await asyncio.sleep(0)
            opened.close()

    asyncio.run(go())


def test_a_listener_that_is_made_to_wait_holds_nobody_up() -> None:
    """Who keeps a copy of a listener decides whether a call on it waits."""

    async def go() -> None:
        taken: asyncio.Queue[int] = asyncio.Queue()
        with socket.create_server(("127.0.0.1", 0)) as copy:
            host, port = copy.getsockname()
            opened = Outlets([Outlet(host=host, port=port, take=taken.put_nowait)])
            opened.serve([os.dup(copy.fileno())])
            waiting = asyncio.create_task(accept(copy))
            copy.setblocking(True)
            with socket.create_connection((host, port)):
                # One of the two gets it, and the other goes on waiting for another, in a thread.
                handed = asyncio.create_task(taken.get())
                either: set[asyncio.Task[Any]] = {waiting, handed}
                await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                if handed.done():
                    os.close(handed.result())
                if waiting.done():
                    waiting.result().close()
            opened.close()
            waiting.cancel()

    asyncio.run(go())


def test_a_connection_that_comes_when_nobody_waits_any_more_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scenario() -> bytes:
        def come(own: socket.socket, then: Callable[..., None]) -> None:
            then([own.accept()[0]], failed=False)
            waiting.cancel()

        def accept_one(own: socket.socket, _: int, then: Callable[..., None]) -> None:
            asyncio.get_running_loop().call_soon(come, own, then)

        monkeypatch.setattr(outlets, "accept_some", accept_one)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            waiting = asyncio.create_task(accept(listener))
            with socket.create_connection(listener.getsockname(), timeout=10) as caller:
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                return caller.recv(1)

    assert asyncio.run(scenario()) == b""


def test_a_connection_that_is_to_linger_does_not() -> None:
    """A connection is accepted with what its listener was told: closing it would wait until all is read."""

    async def go() -> None:
        taken: asyncio.Queue[int] = asyncio.Queue()
        (listener,) = ports.listen([("127.0.0.1", 0)])
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 100_000))
        host, port = listener.getsockname()
        opened = Outlets([Outlet(host=host, port=port, take=taken.put_nowait)])
        opened.serve([listener.detach()])
        with (
            socket.create_connection((host, port)),
            socket.socket(fileno=await taken.get()) as connection,
        ):
            told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, 8)
            assert struct.unpack("ii", told)[0] == 0
        opened.close()

    asyncio.run(go())


def test_a_shared_connection_never_waits() -> None:
    ours, theirs = socket.socketpair()
    with theirs, Shared(fileno=ours.detach()) as connection:
        connection.setblocking(False)
        os.set_blocking(connection.fileno(), True)  # as whoever has a copy may

        with pytest.raises(BlockingIOError):
            connection.recv(1)
        with pytest.raises(BlockingIOError):
            connection.recv_into(bytearray(1))
        with pytest.raises(BlockingIOError):
            all(connection.send(bytes(65_536)) for _ in range(1_000))
        with pytest.raises(BlockingIOError):
            all(connection.sendmsg([bytes(65_536)]) for _ in range(1_000))
    connection.close()


def lingering() -> tuple[int, Callable[[], None]]:
    """A socket whose closing waits for ever, and what ends that."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sent = socket.create_connection(listener.getsockname())
        kept, _ = listener.accept()
    sent.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 100_000))
    sent.setblocking(False)
    with suppress(BlockingIOError):
        all(sent.send(bytes(65_536)) for _ in range(10_000))
    return sent.detach(), kept.close


@pytest.mark.parametrize("heard", [True, False])
def test_a_socket_that_nobody_asked_for_holds_nobody_up(heard: bool) -> None:
    """Where a box sends one that waits for its reader, whoever closes it last waits."""

    async def go() -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        parent = Parent(None, ours, isolated=True)
        descriptor, end_it = lingering()
        with theirs:
            theirs.sendmsg([b"{}"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))])
            os.close(descriptor)
            if heard:
                theirs.send(b"?")  # which ends it, behind what came before
                while parent.alive:
                    await asyncio.sleep(0)
            parent.lose()
        end_it()

    asyncio.run(go())


def test_what_is_added_while_a_process_starts_takes_no_address_of_the_others(tmp_path: Path) -> None:
    async def go() -> dict[str, bytes]:
        heard: dict[str, bytes] = {}
        all_heard = asyncio.Event()

        def outlet(name: str, listener: socket.socket) -> Outlet:
            def take(connection: int) -> None:
                with socket.socket(fileno=connection) as made:
                    made.setblocking(True)
                    heard[name] = made.recv(100)
                if len(heard) == 3:
                    all_heard.set()

            host, port = listener.getsockname()
            return Outlet(host=host, port=port, take=take)

        listeners = ports.listen([("127.0.0.1", 0)] * 3)
        names = [each.getsockname() for each in listeners]
        first, second, added = map(outlet, ("first", "second", "added"), listeners)
        launch = Launch(
            seat=Seat("local0"),
            style=Style.CALL,
            code=None,
            command=(),
            temporary=tmp_path,
            log=tmp_path / "log",
            outlets=(first, second),
        )
        doors = SandboxDoors(launch)
        line = doors.offer()
        assert line is not None
        with line:
            doors.add(added, os.dup(listeners[2].fileno()))
            ports.send(line.fileno(), listeners[:2])
        ports.close(listeners)
        for number, name in enumerate(names):
            with socket.create_connection(name) as connection:
                connection.sendall(b"to %d" % number)
        await all_heard.wait()
        doors.close()
        return heard

    assert asyncio.run(go()) == {"first": b"to 0", "second": b"to 1", "added": b"to 2"}


class _Scarce(socket.socket):
    """A listener of a process that has no descriptor left."""

    def dup(self) -> _Scarce:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def test_who_has_no_descriptor_left_hears_that_the_listener_has_nothing_to_give() -> None:
    """So that it looks again later: an outlet isn't closed for that."""

    async def go() -> tuple[list[socket.socket], bool]:
        told: asyncio.Future[tuple[list[socket.socket], bool]] = asyncio.get_running_loop().create_future()

        def then(connections: list[socket.socket], *, failed: bool) -> None:
            told.set_result((list(connections), failed))

        with _Scarce() as listener:
            outlets.accept_some(listener, 1, then)
            return await told

    assert asyncio.run(go()) == ([], True)
