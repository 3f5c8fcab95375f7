"""Both ends of a line of frames, in one process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from atoll.runtimes.slurm.frames import Frames, Keys, Pieces
from atoll.runtimes.slurm.sockets import Listener, dial
from atoll.runtimes.slurm.spool import SessionFolder

NAME = "0" * 32
BODY_BYTES_MAX = 8 * 1024 * 1024
KINDS = ("socket", "folder")


@asynccontextmanager
async def both(kind: str, folder: Path) -> AsyncIterator[tuple[Frames, Frames]]:
    """The node's end and the seat's."""
    session = SessionFolder(folder / NAME)
    secret = session.make()
    if kind == "folder":
        keys = Keys.of(secret, NAME.encode())
        node, seat = ends(session.of_node(), keys, session.of_seat(), keys)
    else:
        listener = Listener("127.0.0.1", 0)
        address, port, came = await listener.expect(NAME, secret)
        dialled, keys = await dial(address, port, NAME, secret)
        node, seat = ends(*await came, dialled, keys)
        await listener.close()
    try:
        yield node, seat
    finally:
        await asyncio.gather(node.close(), seat.close())


def ends(node: Pieces, node_keys: Keys, seat: Pieces, seat_keys: Keys) -> tuple[Frames, Frames]:
    return (
        Frames(node, own=node_keys.node, others=node_keys.seat, body_bytes_max=BODY_BYTES_MAX),
        Frames(seat, own=seat_keys.seat, others=seat_keys.node, body_bytes_max=BODY_BYTES_MAX),
    )
