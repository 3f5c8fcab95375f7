"""What is passed on between an algorithm and a server, and how it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from tests.descriptors import descriptors

from atoll.engine.limits import RELAYED_MAX
from atoll.node.network import relay as module
from atoll.node.network.relay import Direct, Relay, Target

Serving = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers when all was said."""
    said = await reader.read()
    writer.write(b"all: " + said)
    writer.close()


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Never says anything, and ends when the other side is gone."""
    try:
        while await reader.read():
            pass
        await writer.wait_closed()
    except ConnectionResetError:
        pass
    finally:
        writer.transport.abort()


@dataclass
class Scene:
    """A server, and the relay that leads there."""

    relay: Relay
    port: int

    async def connect(self, port: int | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The algorithm's end of a connection that the relay has taken."""
        ours, theirs = socket.socketpair()
        target = Target(host="127.0.0.2", port=1, way=Direct(host="127.0.0.1", port=port or self.port))
        self.relay.outlet(target).take(theirs.detach())
        return await asyncio.open_connection(sock=ours)


@asynccontextmanager
async def scene(serving: Serving) -> AsyncIterator[Scene]:
    server = await asyncio.start_server(serving, "127.0.0.1", 0)
    relay = Relay()
    try:
        yield Scene(relay, server.sockets[0].getsockname()[1])
    finally:
        await relay.close()
        server.close()


def test_one_side_may_end_before_the_other() -> None:
    """A server that answers when all was said is heard, however much there was."""

    async def go() -> bytes:
        async with scene(echo) as place:
            reader, writer = await place.connect()
            writer.write(b"x" * 3_000_000)
            writer.write_eof()
            said = await reader.read()
            writer.close()
            return said

    assert asyncio.run(go()) == b"all: " + b"x" * 3_000_000


def test_a_connection_ends_where_nobody_is_there() -> None:
    async def go() -> bytes:
        async with scene(echo) as place:
            unused = socket.create_server(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            unused.close()
            reader, writer = await place.connect(port)
            said = await reader.read()
            writer.close()
            return said

    assert asyncio.run(go()) == b""


def test_a_connection_ends_where_one_side_is_silent_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has ended isn't waited for by one that says nothing any more."""
    monkeypatch.setattr(module, "_LINGER_SECONDS", 0.01)

    async def go() -> bytes:
        async with scene(silent) as place:
            reader, writer = await place.connect()
            writer.write_eof()
            try:
                return await reader.read()
            except ConnectionResetError:
                return b""
            finally:
                writer.close()

    assert asyncio.run(go()) == b""


def test_there_are_no_more_connections_than_there_may_be() -> None:
    """One more is closed at once; where one has ended, there is room again."""

    async def go() -> None:
        async with scene(silent) as place:
            kept = [await place.connect() for _ in range(RELAYED_MAX)]
            reader, writer = await place.connect()
            assert await reader.read() == b""
            writer.close()
            await place.relay.close()
            for reader, writer in kept:
                with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
                    await reader.readexactly(1)
                writer.close()
        async with scene(echo) as place:
            reader, writer = await place.connect()
            writer.write_eof()
            assert await reader.read() == b"all: "
            writer.close()

    before = len(descriptors())
    asyncio.run(go())
    assert len(descriptors()) == before
