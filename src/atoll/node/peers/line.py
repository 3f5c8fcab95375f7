"""Carries bytes between a connection of the algorithm's and its end of a stream, sealed.

The two directions end apart, as those of a connection do. A stream that was cut off, or changed on
its way, breaks the algorithm's connection: it never takes a part for the whole.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from atoll.engine.limits import STREAM_PIECE_BYTES
from atoll.engine.peers import Channel
from atoll.model.errors import StreamBroken
from atoll.transports.plug import Plug


class Sealing(Protocol):
    """Seals what is sent."""

    def seal(self, data: bytes, *, last: bool = False) -> bytes:
        """The next piece."""
        ...


class Opening(Protocol):
    """Opens what comes."""

    ended: bool

    def open(self, piece: bytes) -> bytes:
        """What a piece holds."""
        ...


async def carry(plug: Plug, channel: Channel, sealing: Sealing, opening: Opening) -> None:
    """Carry until both directions have ended, or one of the two breaks. Both are closed then.

    Raises:
        StreamBroken: the stream was cut off, or changed on its way.
        OSError: the algorithm has broken its connection.
    """
    tasks = [
        asyncio.create_task(_send(plug, channel, sealing)),
        asyncio.create_task(_receive(plug, channel, opening)),
    ]
    try:
        await asyncio.gather(*tasks)
    except BaseException:
        plug.reset()
        raise
    else:
        await plug.close()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await channel.close()


async def _send(plug: Plug, channel: Channel, sealing: Sealing) -> None:
    while data := await plug.read(STREAM_PIECE_BYTES):
        await channel.send(sealing.seal(data))
    await channel.send(sealing.seal(b"", last=True))


async def _receive(plug: Plug, channel: Channel, opening: Opening) -> None:
    while not opening.ended:
        piece = await channel.receive()
        if piece is None:
            raise StreamBroken("the other site, or the hub, has cut a stream off")
        if data := opening.open(piece):
            await plug.write(data)
    await plug.end()
