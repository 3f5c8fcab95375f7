"""Streams between jobs of one run, where this hub passes them on."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from atoll.engine.limits import LEASE_HEARTBEATS
from atoll.engine.peers import Peer, Port, Standing
from atoll.hub.parts import Rooms
from atoll.hub.peers.pipe import End
from atoll.hub.peers.switchboard import Announcement, Switchboard
from atoll.hub.principal import Principal
from atoll.model.errors import NotAllowed
from atoll.model.work import JobId
from atoll.stores.sql.leases import Leases


class PeerService:
    """Connects jobs of one run, each spoken for by the node that works at it.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        parts = rooms.parts
        self._board = Switchboard(parts.hub, parts.now)
        parts.hub.bells.on_end.append(self._board.run_ended)
        lease_seconds = LEASE_HEARTBEATS * parts.settings.heartbeat_seconds
        self._leases = Leases(parts.database, lease_seconds=lease_seconds)
        streams = parts.settings.streams
        #: A replica knows nothing of another's streams, and can't tell whether there is one.
        self._is_open = streams == "on" or (streams == "auto" and not parts.database.is_server)

    async def peers(self, node: Principal, standing: Standing) -> Sequence[Peer]:
        """The jobs of the run whose ports are announced."""
        self._check_open()
        return await self._board.peers(node.name, standing)

    async def announce(self, node: Principal, standing: Standing, ports: Sequence[Port]) -> Announcement:
        """Let others of its run call a job."""
        self._check_open()
        return await self._board.announce(node.name, standing, ports)

    async def connect(
        self, node: Principal, standing: Standing, to: JobId, port: int, key: bytes
    ) -> tuple[End, bytes]:
        """Call a port of another job; the stream, and the key of its other end."""
        self._check_open()
        return await self._board.connect(node.name, standing, to, port, key)

    async def answer(self, node: Principal, standing: Standing, stream: str, key: bytes) -> End:
        """Take a call."""
        return await self._board.answer(node.name, standing, stream, key)

    async def sweep(self) -> None:
        """End what belongs to jobs that have ended, and what has carried nothing for long."""
        await self._board.look(self._working)

    async def _working(self, node: str) -> Collection[Standing]:
        """At what a node works."""
        return [
            Standing(run_id=claim.run_id, job_id=claim.job_id, attempt=claim.attempt)
            for claim in await self._leases.active(node)
        ]

    def _check_open(self) -> None:
        """Refuse where streams would get lost between replicas.

        Raises:
            NotAllowed: this hub passes none on.
        """
        if not self._is_open:
            raise NotAllowed(
                "this hub passes no streams between sites on. It may have replicas, which know nothing of each other's "
                "streams: its operator can set 'streams: on' where there is one, or where all of a run's streams are "
                "sent to the same"
            )
