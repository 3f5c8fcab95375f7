"""What is looked after now and then: nodes that are gone, runs that have had their time, old files."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

from atoll.engine.limits import LEASE_HEARTBEATS
from atoll.hub.blobs.service import Blobs
from atoll.hub.parts import Rooms
from atoll.hub.peers.service import PeerService
from atoll.hub.sites.protocol import Nodes
from atoll.model.errors import DeadlinePassed, NotYours, StaleEvent
from atoll.model.events import JobLost
from atoll.model.work import Failure
from atoll.stores.sql import presence
from atoll.stores.sql.leases import Overdue

_LOG = logging.getLogger(__name__)
#: Seconds between two sweeps at most: a lost node is noticed within a lease and this.
_SWEEP_SECONDS = 5.0
#: Sweeps between two looks at files: those of a day ago can wait for some minutes.
_FILES_SWEEPS = 60
#: Seats that a sentence names.
_NAMED_MAX = 5


class Sweeper:
    """Looks after what nobody asks for.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        parts = rooms.parts
        self._hub = parts.hub
        self._database = parts.database
        self._now = parts.now
        # Each replica writes down whom it has heard of before another could take them for gone.
        self._pace_seconds = min(_SWEEP_SECONDS, parts.settings.heartbeat_seconds)
        self._lease_seconds = LEASE_HEARTBEATS * parts.settings.heartbeat_seconds
        self._nodes = rooms.of(Nodes)
        self._blobs = rooms.of(Blobs)
        self._peers = rooms.of(PeerService)

    async def sweep_for_ever(self) -> None:
        """Sweep until cancelled. First those that could not be heard of get the time to be."""
        await self._nodes.leases.grace(self._now())
        count = 0
        while True:
            await asyncio.sleep(self._pace_seconds)
            count += 1
            try:
                await self.sweep()
                if count % _FILES_SWEEPS == 0:
                    await self._blobs.sweep()
            except Exception:  # the next sweep may go better: the hub outlives a database that is away
                _LOG.exception("sweeping failed; it is tried again in %s seconds", self._pace_seconds)

    async def sweep(self) -> None:
        """Look once at what nobody asks for."""
        now = self._now()
        last, self._nodes.heard_of = self._nodes.heard_of, {}
        await presence.seen(self._database, last, now - self._lease_seconds)
        for claim in await self._nodes.leases.expired(now):
            event = JobLost(run_id=claim.run_id, job_id=claim.job_id, attempt=claim.attempt)
            # It was reported since it was found, or another replica was first.
            with suppress(StaleEvent, NotYours):
                await self._hub.lost(claim.node, event)
        for run in await self._nodes.leases.overdue(now):
            with suppress(StaleEvent):  # It has ended since it was found.
                await self._hub.stop(run.run_id, _deadline_passed(run))
        await self._peers.sweep()


def _deadline_passed(run: Overdue) -> Failure:
    seats = [seat if seat == node else f"{seat} (at {node})" for seat, node in dict.fromkeys(run.waited_for)]
    more = f" and {len(seats) - _NAMED_MAX} others" if len(seats) > _NAMED_MAX else ""
    return Failure(
        type=DeadlinePassed.__name__,
        message=f"the run has had the time that it was given. It waited for {', '.join(seats[:_NAMED_MAX])}{more}",
    )
