"""Connections that pass between a compute node and its node within their line of frames.

What one side has not taken yet is bounded for each connection: a reader that doesn't read holds up its
own writer, and neither the others nor the line.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from atoll.runtimes.slurm.frames import Frames, LineBrokenError

#: Bytes that may be on their way in one direction of a connection.
_WINDOW_BYTES = 1024 * 1024
_READ_BYTES = 64 * 1024
#: The words of frames that are about connections.
WORDS = frozenset({"bytes", "taken", "end", "gone"})


class Relay:
    """The connections of one session, at one of its two sides.

    Args:
        frames: the line.
        first: the number of the first one that this side opens; the other side's are odd where these are even.
    """

    def __init__(self, frames: Frames, *, first: int) -> None:
        self._frames = frames
        self._next = first
        self._carried: dict[int, _Carried] = {}

    def open(self, connection: socket.socket, words: Mapping[str, Any]) -> int:
        """Carry a connection to the other side.

        Args:
            connection: taken over.
            words: tell the other side what it is.
        """
        number = self.reserve()
        self._carry(number, connection, {"say": "open", "stream": number, **words})
        return number

    def reserve(self) -> int:
        """A number for a connection that the other side is asked for."""
        number, self._next = self._next, self._next + 2
        return number

    def accept(self, number: int, connection: socket.socket) -> None:
        """Carry a connection that the other side has opened."""
        self._carry(number, connection, None)

    async def refuse(self, number: int) -> None:
        """There is nothing to connect to here."""
        with suppress(LineBrokenError):
            await self._frames.send({"say": "gone", "stream": number})

    def hear(self, head: Mapping[str, Any], body: bytes) -> None:
        """The other side has said something of a connection. One that has gone is no fault."""
        carried = self._carried.get(head["stream"])
        if carried is not None:
            carried.hear(head, body)

    def drop(self, number: int) -> None:
        """End a connection."""
        if (carried := self._carried.get(number)) is not None:
            carried.stop()

    async def close(self) -> None:
        """End all of them."""
        for carried in (left := list(self._carried.values())):
            carried.stop()
        await asyncio.gather(*(carried.task for carried in left), return_exceptions=True)

    def _carry(self, number: int, connection: socket.socket, opening: Mapping[str, Any] | None) -> None:
        connection.setblocking(False)
        self._carried[number] = _Carried(
            self._frames, number, connection, opening, lambda: self._carried.pop(number, None)
        )


class _Carried:
    """One connection."""

    def __init__(
        self,
        frames: Frames,
        number: int,
        connection: socket.socket,
        opening: Mapping[str, Any] | None,
        ended: Callable[[], object],
    ) -> None:
        self._frames = frames
        self._number = number
        self._connection = connection
        self._opening = opening
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._came: asyncio.Queue[bytes] = asyncio.Queue()
        self._waiting_bytes = 0
        self._room_bytes = _WINDOW_BYTES
        self._room = asyncio.Event()
        self.task = self._loop.create_task(self._carry())
        # Also where it is stopped before it has begun.
        self.task.add_done_callback(self._left)

    def hear(self, head: Mapping[str, Any], body: bytes) -> None:
        """The other side has said something."""
        if head["say"] == "taken":
            self._room_bytes += head["size"]
            self._room.set()
        elif head["say"] == "gone" or self._waiting_bytes + len(body) > _WINDOW_BYTES:
            self.task.cancel()
        else:
            self._waiting_bytes += len(body)
            self._came.put_nowait(body)  # Nothing says that it has ended.

    def stop(self) -> None:
        """End it, soon."""
        self.task.cancel()

    async def _carry(self) -> None:
        try:
            if self._opening is not None:
                await self._frames.send(self._opening)
            both = [self._loop.create_task(each) for each in (self._outwards(), self._inwards())]
            try:
                await asyncio.gather(*both)
            finally:
                for task in both:
                    task.cancel()
                await asyncio.gather(*both, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            # Not passed on: whoever stops it doesn't stop who asks for that.
            with suppress(LineBrokenError, asyncio.CancelledError):
                await self._frames.send({"say": "gone", "stream": self._number})
        except LineBrokenError:
            pass  # Both sides end what the line has carried.

    def _left(self, _task: object) -> None:
        self._connection.close()
        self._ended()

    async def _outwards(self) -> None:
        """From the connection to the other side."""
        while True:
            while self._room_bytes <= 0:
                self._room.clear()
                await self._room.wait()
            piece = await self._loop.sock_recv(self._connection, min(_READ_BYTES, self._room_bytes))
            if not piece:
                await self._frames.send({"say": "end", "stream": self._number})
                return
            self._room_bytes -= len(piece)
            await self._frames.send({"say": "bytes", "stream": self._number}, piece)

    async def _inwards(self) -> None:
        """From the other side to the connection."""
        while piece := await self._came.get():
            await self._loop.sock_sendall(self._connection, piece)
            self._waiting_bytes -= len(piece)
            await self._frames.send({"say": "taken", "stream": self._number, "size": len(piece)})
        with suppress(OSError):  # It has gone already.
            self._connection.shutdown(socket.SHUT_WR)
