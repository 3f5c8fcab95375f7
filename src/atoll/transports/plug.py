"""A connection of an algorithm's, taken over by its descriptor."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from contextlib import suppress
from typing import Self

#: A connection that is closed with this is reset: what is written to it is not waited for.
_AT_ONCE = struct.pack("ii", 1, 0)


class Plug:
    """A TCP connection whose two directions end apart.

    Args:
        reader: what the algorithm writes.
        writer: what it reads.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def of(cls, descriptor: int, *, read_bytes: int, kind: type[socket.socket] = socket.socket) -> Self:
        """Take over a descriptor, which is closed with this.

        Args:
            descriptor: a connection.
            read_bytes: what is read ahead.
            kind: of socket, where nobody else may have a copy of it: any.

        Raises:
            OSError: it is no connection.
        """
        try:
            connection = kind(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            raise
        try:
            connection.setblocking(False)
            return cls(*await asyncio.open_connection(sock=connection, limit=read_bytes))
        except BaseException:
            connection.close()
            raise

    async def read(self, most_bytes: int) -> bytes:
        """What the algorithm has written; empty at its end.

        Raises:
            OSError: it has broken the connection.
        """
        return await self._reader.read(most_bytes)

    async def write(self, data: bytes) -> None:
        """Give something to the algorithm; waits where it reads slowly.

        Raises:
            OSError: it has broken the connection.
        """
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> None:
        """Nothing more is written to the algorithm; it may still write itself."""
        with suppress(OSError):  # It has gone.
            self._writer.write_eof()

    async def close(self) -> None:
        """Close the connection in order."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()

    def reset(self) -> None:
        """Break the connection, so that the algorithm takes nothing for its end."""
        with suppress(OSError):
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        self._writer.transport.abort()
