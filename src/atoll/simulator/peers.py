"""Jobs of one run that talk to each other, where the hub is a function call."""

from __future__ import annotations

from collections.abc import Sequence

from atoll.engine.peers import Announced, Channel, Peer, Port, Standing
from atoll.hub.peers.switchboard import Switchboard
from atoll.model.work import JobId, Seat


class LocalPeers:
    """The hub's switchboard as a seat of a simulation sees it; see `PeerLink`.

    Args:
        board: of the hub.
        seat: who speaks.
    """

    def __init__(self, board: Switchboard, seat: Seat) -> None:
        self._board = board
        self._seat = seat

    async def peers(self, standing: Standing) -> Sequence[Peer]:
        return await self._board.peers(self._seat, standing)

    async def announce(self, standing: Standing, ports: Sequence[Port]) -> Announced:
        return await self._board.announce(self._seat, standing, ports)

    async def connect(self, standing: Standing, to: JobId, port: int, key: bytes) -> tuple[Channel, bytes]:
        return await self._board.connect(self._seat, standing, to, port, key)

    async def answer(self, standing: Standing, stream: str, key: bytes) -> Channel:
        return await self._board.answer(self._seat, standing, stream, key)
