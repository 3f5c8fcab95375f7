"""A real hub at a real address, for tests: the whole application behind its real server.

It listens on a Unix socket in the test's own event loop, or on a TCP port in a thread of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
from fastapi import FastAPI
from tests.hub_app import HubApp, hub_app

from atoll.hub import codes
from atoll.hub.hub import Hub
from atoll.hub.serving import WEBSOCKETS
from atoll.stores.sql.people_tables import organizations
from atoll.stores.sql.site_tables import node_keys, nodes
from atoll.transports.connection import Connection, Pace


class Server(uvicorn.Server):
    """A server whose life is its user's: it takes no signals, and waits for nobody at its end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the test."""
        yield

    async def begin(self, sockets: list[socket.socket]) -> None:
        """Listen."""
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets=sockets)

    async def end(self) -> None:
        """Stop, whoever still waits for an answer."""
        for server in self.servers:
            server.close()
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in list(self.server_state.connections):
            connection.transport.abort()


def server_of(app: FastAPI) -> Server:
    """A server of an application."""
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="off", http="httptools", loop="none", **WEBSOCKETS
    )
    return Server(config)


@asynccontextmanager
async def on_socket(app: FastAPI, path: Path) -> AsyncIterator[None]:
    """Serve an application on a Unix socket, in this event loop."""
    server = server_of(app)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(128)
        await server.begin([listening])
        try:
            yield
        finally:
            await server.end()


class Elsewhere:
    """A hub that lives in another thread: each call is done there."""

    def __init__(self, hub: Hub, loop: asyncio.AbstractEventLoop) -> None:
        self._hub = hub
        self._loop = loop

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._hub, name)

        async def call(*arguments: Any) -> Any:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(method(*arguments), self._loop))

        return call


@contextmanager
def in_thread(folder: Path, nodes_: Sequence[str]) -> Iterator[tuple[int, Elsewhere]]:
    """A hub on a TCP port of this machine, in a thread with an event loop of its own; its port, and the hub."""
    began = threading.Event()
    over: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, Hub]] = []

    async def serve(listening: socket.socket) -> None:
        async with hub_app(folder) as app:
            await settle(app, nodes_)
            server = server_of(app.app)
            await server.begin([listening])
            end = asyncio.Event()
            over.append((asyncio.get_running_loop(), end, app.parts.hub))
            began.set()
            await end.wait()
            await server.end()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(serve(listening)))
        thread.start()
        assert began.wait(10)
        loop, end, hub = over[0]
        try:
            yield listening.getsockname()[1], Elsewhere(hub, loop)
        finally:
            loop.call_soon_threadsafe(end.set)
            thread.join()


def key_of(node: str) -> str:
    """What a node of a test is known by."""
    return f"atn_{node}"


async def settle(app: HubApp, names: Sequence[str]) -> None:
    """Let a hub know nodes of these names, each of an organization of its own."""
    async with app.parts.database.writing() as connection:
        for name in names:
            called = {"name": name, "name_key": name.lower(), "created_at": 0.0}
            await connection.execute(organizations.insert(), {"id": f"org_{name}", **called})
            await connection.execute(
                nodes.insert(),
                {"id": f"nod_{name}", "organization_id": f"org_{name}", "holds_data": True, **called},
            )
    for name in names:
        await know(app, name)


async def know(app: HubApp, node: str) -> None:
    """Let a hub know a node by its key."""
    async with app.parts.database.writing() as connection:
        key = {"hash": codes.digest(key_of(node)), "node_id": f"nod_{node}", "created_at": 0.0}
        await connection.execute(node_keys.insert(), key)


async def _at_once(_: float) -> None:
    await asyncio.sleep(0)


async def _never(_: float) -> None:
    await asyncio.Event().wait()


#: Whoever is to wait a little goes on at once; a heartbeat, which comes after many seconds, never comes.
def pace() -> Pace:
    """The pace of a test: to wait costs no time, and heartbeats come when the test asks for one."""

    async def sleep(seconds: float) -> None:
        await (_never if seconds >= 10 else _at_once)(seconds)

    return Pace(dice=lambda: 0.5, sleep=sleep)


def over_socket(path: Path, node: str) -> Connection:
    """A node's connection to a hub on a Unix socket."""
    return Connection(
        "http://localhost",
        key_of(node),
        connector=lambda: aiohttp.UnixConnector(str(path), limit=0),
        pace=pace(),
    )


def over_tcp(port: int, node: str) -> Connection:
    """A node's connection to a hub on a port of this machine."""
    return Connection(f"http://127.0.0.1:{port}", key_of(node), pace=pace())


@contextlib.asynccontextmanager
async def cutting(port: int) -> AsyncIterator[Cutter]:
    """Something between a node and its hub that cuts connections."""
    cutter = Cutter(port)
    server = await asyncio.start_server(cutter.carry, "127.0.0.1", 0)
    cutter.port = server.sockets[0].getsockname()[1]
    try:
        yield cutter
    finally:
        server.close()
        cutter.cut_all()
        await asyncio.gather(*cutter.tasks, return_exceptions=True)


class Cutter:
    """Carries bytes between a node and its hub, and cuts connections where it is told to."""

    def __init__(self, target: int) -> None:
        self._target = target
        self.port = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self._transports: set[asyncio.StreamWriter] = set()
        #: Text in what a node sends at which its connection is cut before it gets its answer, and
        #: how often that is done.
        self.cut_answer: dict[bytes, int] = {}
        #: Text in what a node sends at which its connection is cut before it comes to the hub.
        self.cut_request: dict[bytes, int] = {}
        #: Bytes after which a connection to the hub is cut, once.
        self.cut_after_bytes: int | None = None
        #: Cuts so far.
        self.cuts = 0

    def cut_all(self) -> None:
        """Cut all connections."""
        for writer in list(self._transports):
            writer.transport.abort()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        there, back = await asyncio.open_connection("127.0.0.1", self._target)
        mine = {writer, back}
        self._transports |= mine
        silent: list[bool] = [False]
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            await asyncio.gather(
                self._up(reader, back, mine, silent), self._down(there, writer, mine, silent)
            )
        for each in mine:
            each.transport.abort()
        self._transports -= mine
        self.tasks.discard(task)

    async def _up(
        self,
        reader: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        mine: set[asyncio.StreamWriter],
        silent: list[bool],
    ) -> None:
        while chunk := await reader.read(1 << 16):
            if _found(self.cut_request, chunk):
                self._cut(mine)
                return
            if _found(self.cut_answer, chunk):
                silent[0] = True
            if self.cut_after_bytes is not None:
                self.cut_after_bytes -= len(chunk)
                if self.cut_after_bytes < 0:
                    self.cut_after_bytes = None
                    self._cut(mine)
                    return
            back.write(chunk)
            await back.drain()
        self._abort(mine)

    async def _down(
        self,
        there: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        mine: set[asyncio.StreamWriter],
        silent: list[bool],
    ) -> None:
        while chunk := await there.read(1 << 16):
            if silent[0]:
                self._cut(mine)
                return
            writer.write(chunk)
            await writer.drain()
        self._abort(mine)

    def _cut(self, mine: set[asyncio.StreamWriter]) -> None:
        self.cuts += 1
        self._abort(mine)

    @staticmethod
    def _abort(mine: set[asyncio.StreamWriter]) -> None:
        for writer in mine:
            writer.transport.abort()


def _found(texts: dict[bytes, int], chunk: bytes) -> bool:
    for text, count in texts.items():
        if count and text in chunk:
            texts[text] = count - 1
            return True
    return False
