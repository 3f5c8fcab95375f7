"""Who is heard, and when anybody is."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from tests.unit.runtimes.slurm.lines import NAME

from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.slurm.frames import LineBrokenError
from atoll.runtimes.slurm.sockets import Listener, dial

SECRET = b"s" * 32


def test_a_wrong_secret_is_turned_away_and_the_right_one_is_heard_after_it() -> None:
    async def go() -> None:
        listener = Listener("127.0.0.1", 0)
        address, port, came = await listener.expect(NAME, SECRET)

        with pytest.raises(LineBrokenError, match="doesn't know the session's secret"):
            await dial(address, port, NAME, b"x" * 32)

        assert not came.done()
        seat, keys = await dial(address, port, NAME, SECRET)
        node, same = await came
        assert keys == same
        await asyncio.gather(seat.close(), node.close())
        await listener.close()

    asyncio.run(go())


def test_who_only_repeats_what_a_seat_said_is_turned_away() -> None:
    """A proof is of one connection: the node draws anew for each."""

    async def go() -> bytes:
        listener = Listener("127.0.0.1", 0)
        address, port, came = await listener.expect(NAME, SECRET)
        reader, writer = await asyncio.open_connection(address, port)
        writer.write(b"atoll seat 1\n" + NAME.encode() + bytes(32))
        await reader.readexactly(64)
        writer.write(secrets.token_bytes(32))

        rest = await reader.read()

        assert not came.done()
        writer.close()
        await writer.wait_closed()
        await listener.close()
        return rest

    assert asyncio.run(go()) == b""


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"atoll seat 1\n" + b"f" * 32 + bytes(32)])
def test_a_stranger_hears_nothing(said: bytes) -> None:
    async def go() -> bytes:
        listener = Listener("127.0.0.1", 0)
        address, port, _ = await listener.expect(NAME, SECRET)
        reader, writer = await asyncio.open_connection(address, port)
        writer.write(said)
        try:
            return await reader.read()
        finally:
            writer.close()
            await listener.close()

    assert asyncio.run(go()) == b""


def test_only_one_connection_of_a_session_is_taken_and_then_nobody_is_heard() -> None:
    async def go() -> None:
        listener = Listener("127.0.0.1", 0)
        address, port, came = await listener.expect(NAME, SECRET)
        assert listener.listens

        seat, _ = await dial(address, port, NAME, SECRET)
        node, _ = await came

        assert not listener.listens
        with pytest.raises(LineBrokenError):
            await dial(address, port, NAME, SECRET)
        await asyncio.gather(seat.close(), node.close(), listener.close())

    asyncio.run(go())


def test_a_node_listens_while_any_session_is_waited_for() -> None:
    async def go() -> list[bool]:
        listener = Listener("127.0.0.1", 0)
        found = [listener.listens]
        for name in (NAME, "1" * 32):
            await listener.expect(name, SECRET)
        found.append(listener.listens)
        listener.forget(NAME)
        found.append(listener.listens)
        listener.forget("1" * 32)
        return [*found, listener.listens]

    assert [False, True, True, False] == asyncio.run(go())


def test_an_address_of_another_machine_is_told() -> None:
    async def go() -> None:
        with pytest.raises(RuntimeUnavailable, match=r"can't listen at 192\.0\.2\.7, port any"):
            await Listener("192.0.2.7", 0).expect(NAME, SECRET)

    asyncio.run(go())
