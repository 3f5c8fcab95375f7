"""What stands between a session and a dialect's door, for one call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, Self

from atoll.engine.gate import Door
from atoll.engine.running import Head
from atoll.model.work import Content


class Server(Protocol):
    """What serves HTTP."""

    def listen(self, listener: int) -> None:
        """Serve on a socket that listens, and close it in the end."""
        ...

    async def close(self) -> None:
        """End it with every connection."""
        ...


class Porch:
    """The doorway of one call. What it started ends with the call."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._server: Server | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            await self._server.close()

    def answers(self, head: Head, body: Content) -> AsyncIterator[tuple[Head, Content]]:
        """The frames that answer a question."""
        return self._door.answers(head, body)

    def listen(self, listener: int) -> None:
        """Serve HTTP on a socket that the algorithm can reach."""
        # Imported here: most algorithms speak no HTTP, and start without it.
        from atoll.node.gateway.http import HttpServer

        if self._server is None:
            self._server = HttpServer(self._door.respond)
        self._server.listen(listener)
