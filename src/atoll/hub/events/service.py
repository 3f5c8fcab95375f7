"""Follow what happens: the events that somebody may hear of, as they come.

An event holds the whole public form of one thing. Whoever has read a list or a single answer goes on
from the cursor that came with it: that state, with each later event's form in the place of the one
before, is the state as it is now.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from atoll.hub.ownership import Ownership
from atoll.hub.parts import Rooms
from atoll.hub.principal import Principal
from atoll.model.errors import NotThere, Refused
from atoll.model.scopes import Reach, Sight, Whose
from atoll.model.work import RunId
from atoll.stores.sql.events import EVENTS_READ_MAX, KeptEvent, cursor, events_after

#: Seconds after which a follower looks although nobody woke it: a replica's word may be lost.
_LOOK_SECONDS = 5.0
#: Seconds that a follower waits for more, once it was woken: a round's reports come in a bunch.
_BUNCH_SECONDS = 0.02
#: What each kind of event shows, as scopes call it.
_SHOWS = {"run": "run", "round": "run", "job": "run", "log": "log", "node": "node"}


class Events:
    """The events of one hub.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        self._database = rooms.parts.database
        self._bells = rooms.parts.hub.bells
        self._ownership = rooms.of(Ownership)

    async def cursor(self) -> int:
        """The number of the latest event. Read it before the state that it goes with."""
        return await cursor(self._database)

    async def following(
        self,
        who: Principal,
        after: int | None,
        *,
        run: RunId | None = None,
        collaboration: str | None = None,
        again: Callable[[], Awaitable[Principal]] | None = None,
    ) -> AsyncIterator[Sequence[KeptEvent]]:
        """What somebody may hear of after a cursor, a few events at a time; empty ones are signs of life.

        Args:
            who: follows.
            after: the cursor; None: from now on.
            run: of this run alone.
            collaboration: of this collaboration alone.
            again: says who he is by now, as a stream goes on for long; None: who he was. Where nobody
                is known any more, or he may hear of nothing, the stream ends.

        Raises:
            NotAllowed: he may hear of nothing.
            NotThere: he may not hear of this run or collaboration, or there is none.
            EventsGone: the events after this cursor are kept no longer.
        """
        hearing = _Hearing.of(who, run, collaboration)
        if run is not None:
            await self._ownership.check(who, run, "event", "receive")
        at = await self.cursor() if after is None else after
        # Read once before the stream begins: what can't be followed is refused, not cut off.
        first = await self._after(at, hearing)
        return self._stream(hearing, at, first, again)

    async def _stream(
        self,
        hearing: _Hearing,
        at: int,
        found: Sequence[KeptEvent],
        again: Callable[[], Awaitable[Principal]] | None,
    ) -> AsyncIterator[Sequence[KeptEvent]]:
        while True:
            seen = [event for event in found if await self._is_heard(hearing, event)]
            if found:
                at = found[-1].cursor
            if seen:
                yield seen
            following: Sequence[KeptEvent] = ()
            if len(found) < EVENTS_READ_MAX:
                stirred = self._bells.anything()
                following = await self._after(at, hearing)
                if not following:
                    if not await _waited(stirred):
                        yield ()
                    await asyncio.sleep(_BUNCH_SECONDS)
            if again is not None:
                try:
                    hearing = _Hearing.of(await again(), hearing.run, hearing.collaboration)
                except Refused:
                    return
            found = following or await self._after(at, hearing)

    async def _after(self, at: int, hearing: _Hearing) -> Sequence[KeptEvent]:
        return await events_after(self._database, at, run=hearing.run, collaborations=hearing.within)

    async def _is_heard(self, hearing: _Hearing, event: KeptEvent) -> bool:
        if hearing.all:
            return True
        whose = None if event.run_id is None else await self._ownership.of(RunId(event.run_id))
        if whose is None:  # It is about no run, or tells that one is gone.
            of = event.collaboration_id
            whose = Whose(collaborations=frozenset() if of is None else frozenset({of}))
        return hearing.covers(event.kind, whose)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hearing:
    """What somebody hears of: what he asks for, as far as he may."""

    run: RunId | None
    collaboration: str | None
    #: The collaborations whose events are read; None for all.
    within: Sequence[str] | None
    #: How far he may hear of anything.
    received: Sight
    #: How far he may look at each kind of thing: who hears of it sees all of it.
    seen: Mapping[str, Sight]
    #: Whether nothing is kept from him.
    all: bool

    @classmethod
    def of(cls, who: Principal, run: RunId | None, collaboration: str | None) -> _Hearing:
        """What somebody hears of.

        Raises:
            NotAllowed: nothing.
            NotThere: nothing of this collaboration, or there is none.
        """
        received = who.require_some("event", "receive")
        seen = {kind: who.sight(resource, "view") for kind, resource in _SHOWS.items()}
        return cls(
            run=run,
            collaboration=collaboration,
            within=_within(received, collaboration),
            received=received,
            seen=seen,
            all=all(sight.reach is Reach.GLOBAL for sight in (received, *seen.values())),
        )

    def covers(self, kind: str, whose: Whose) -> bool:
        """Whether he hears of a thing."""
        return self.received.covers(whose) and self.seen[kind].covers(whose)


def _within(sight: Sight, collaboration: str | None) -> Sequence[str] | None:
    """The collaborations whose events are read; None for all."""
    if sight.reach is Reach.GLOBAL:
        return None if collaboration is None else [collaboration]
    if collaboration is None:
        return sorted(sight.collaborations)
    if collaboration not in sight.collaborations:
        raise NotThere(f"there is no collaboration {collaboration}")
    return [collaboration]


async def _waited(stirred: asyncio.Event) -> bool:
    """Wait until something stirs; whether it has."""
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            await stirred.wait()
    except TimeoutError:
        return False
    return True
