"""A session whose network is this machine's own: what it is offered it reaches, and it can be reached."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from atoll.engine.running import Doorway, Outlet, Reply, Request


class LoopbackSession:
    """Listens for its outlets at free ports of this machine."""

    def __init__(self) -> None:
        self._listening: dict[tuple[str, int], socket.socket] = {}
        self.offered: list[tuple[str, int]] = []

    async def offer(self, outlet: Outlet) -> None:
        """Listen, and hand over what arrives."""
        loop = asyncio.get_running_loop()
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        self._listening[outlet.host, outlet.port] = listening
        self.offered.append((outlet.host, outlet.port))

        def accept() -> None:
            accepted, _ = listening.accept()
            outlet.take(accepted.detach())

        loop.add_reader(listening, accept)

    async def reach(self, port: int) -> int:
        """Connect to this machine."""
        connection = socket.socket()
        connection.setblocking(False)
        try:
            await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        except OSError:
            connection.close()
            raise
        return connection.detach()

    async def dial(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, as the algorithm does that was told of an address."""
        return await asyncio.open_connection(*self._listening[host, port].getsockname())

    async def close(self) -> None:
        """Listen no more."""
        for listening in self._listening.values():
            asyncio.get_running_loop().remove_reader(listening)
            listening.close()
        self._listening.clear()

    @property
    def address(self) -> tuple[str, int] | None:
        """None: nobody calls anything here."""
        return None

    def inside(self, path: Path) -> str:
        """Where it lies."""
        return str(path)

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        """Nobody does."""
        raise NotImplementedError
