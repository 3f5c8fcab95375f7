"""A link that is a function call, and the order in which a simulation's seats pass it.

Seats work at the same time, and which of them ends first is chance. So that a seed repeats a
run event for event, claims and reports pass a turnstile, one by one in an order that the dice
chose when their round opened. Nobody loses by it: a round follows only when all have reported.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from random import Random

from atoll.engine.ports import Changes, Dice
from atoll.hub.hub import Hub
from atoll.model.events import Event, JobBroke, JobReported
from atoll.model.work import Blob, Job, Seat, Ticket

_Turn = tuple[str, Seat]


class Turnstile:
    """Lets claims and reports of a round pass in the order of the dice. A hub's listener."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._turns: deque[_Turn] = deque()
        #: How often a turn is to come. Twice, where a seat's report has just opened a round in which
        #: it has a report to make again: then it has not left its last turn yet.
        self._expected: Counter[_Turn] = Counter()
        self._waiting: dict[_Turn, asyncio.Future[None]] = {}

    def changed(self, event: Event | None, job: Job | None, changes: Changes) -> None:
        """A round has opened: draw its order. A run has ended: nobody waits any more."""
        if changes.run.status.ended:
            self._open()
        elif changes.rounds:
            opened = changes.rounds[-1].number
            seats = [job.seat for job in changes.jobs if job.round_number == opened and not job.status.ended]
            for kind in ("claim", "report") if seats else ():
                self._dice.shuffle(seats)
                self._turns.extend((kind, seat) for seat in seats)
                self._expected.update((kind, seat) for seat in seats)

    def expects(self, kind: str, seat: Seat) -> bool:
        """Whether this seat has a turn to come."""
        return self._expected[kind, seat] > 0

    async def enter(self, kind: str, seat: Seat) -> None:
        """Wait for this seat's turn."""
        turn = (kind, seat)
        if self.expects(kind, seat) and self._turns[0] != turn:
            self._waiting[turn] = asyncio.get_running_loop().create_future()
            await self._waiting[turn]

    def leave(self, kind: str, seat: Seat) -> None:
        """Let the next one pass."""
        if not self.expects(kind, seat):
            return  # The run has ended meanwhile.
        self._expected[kind, seat] -= 1
        self._turns.popleft()
        following = self._waiting.pop(self._turns[0], None) if self._turns else None
        if following is not None and not following.done():
            following.set_result(None)

    def _open(self) -> None:
        self._turns.clear()
        self._expected.clear()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_result(None)


class LocalLink:
    """The hub as a seat of a simulation sees it."""

    def __init__(self, hub: Hub, seat: Seat, turnstile: Turnstile) -> None:
        self._hub = hub
        self._seat = seat
        self._turnstile = turnstile

    async def listen(self) -> None:
        await self._hub.listen(self._seat)

    async def claim(self) -> Ticket | None:
        if not self._turnstile.expects("claim", self._seat):
            return None
        await self._turnstile.enter("claim", self._seat)
        try:
            return await self._hub.claim(self._seat)
        finally:
            self._turnstile.leave("claim", self._seat)

    async def report(self, event: JobReported | JobBroke) -> None:
        # Bad news doesn't queue: the run has failed, whoever else is still at work.
        if isinstance(event, JobReported):
            await self._turnstile.enter("report", self._seat)
        try:
            await self._hub.report(self._seat, event)
        finally:
            self._turnstile.leave("report", self._seat)

    async def put_blob(self, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        await self._hub.put_blob(blob, chunks)

    def get_blob(self, blob: Blob) -> AsyncIterator[bytes]:
        return self._hub.get_blob(blob)


class SeededDice:
    """Chance that a seed repeats."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  # The order of claims is no secret.

    def shuffle(self, items: list[Seat]) -> None:
        self._random.shuffle(items)
