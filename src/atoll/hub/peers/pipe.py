"""One direction of a stream: pieces in order, few of them at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

from atoll.engine.limits import STREAM_BUFFER_BYTES
from atoll.model.errors import StreamBroken


class Pipe:
    """Holds what one end has written and the other has not read, up to a bound. Who writes more waits."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._held_bytes = 0
        self._is_over = False
        self._stirred = asyncio.Event()

    async def put(self, piece: bytes) -> None:
        """Write a piece.

        Raises:
            StreamBroken: nobody will read it.
        """
        while self._held_bytes and self._held_bytes + len(piece) > STREAM_BUFFER_BYTES and not self._is_over:
            await self._stir()
        if self._is_over:
            raise StreamBroken("the stream is over: the other side has ended it")
        self._pieces.append(piece)
        self._held_bytes += len(piece)
        self._stirred.set()

    async def get(self) -> bytes | None:
        """The next piece; None where none will come."""
        while not self._pieces:
            if self._is_over:
                return None
            await self._stir()
        piece = self._pieces.popleft()
        self._held_bytes -= len(piece)
        self._stirred.set()
        return piece

    def end(self, *, drop: bool = False) -> None:
        """Nothing more is written.

        Args:
            drop: forget what nobody has read.
        """
        self._is_over = True
        if drop:
            self._pieces.clear()
            self._held_bytes = 0
        self._stirred.set()

    async def _stir(self) -> None:
        self._stirred.clear()
        await self._stirred.wait()


class _Owner(Protocol):
    """Whose streams these are."""

    def used(self) -> None:
        """Something was passed on."""
        ...

    def left(self) -> None:
        """An end was closed."""
        ...


class End:
    """One end of a stream, as the hub gives it to a node.

    Args:
        stream: is told when it is used, and when it is closed.
        own: what this end writes to.
        other: what it reads.
    """

    def __init__(self, stream: _Owner, own: Pipe, other: Pipe) -> None:
        self._stream = stream
        self._own = own
        self._other = other
        self._is_closed = False

    async def send(self, piece: bytes) -> None:
        """Pass a piece on."""
        self._stream.used()
        await self._own.put(piece)

    async def receive(self) -> bytes | None:
        """The next piece; None where the stream is over."""
        return await self._other.get()

    async def close(self) -> None:
        """End it: what was written is still read, and nobody writes any more."""
        if not self._is_closed:
            self._is_closed = True
            self._own.end()
            self._other.end(drop=True)
            self._stream.left()
