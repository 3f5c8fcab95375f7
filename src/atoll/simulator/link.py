"""A link that is a function call, and the order in which a simulation's seats pass it.

Seats work at the same time, and which of them ends first is chance. So that a seed repeats a
run event for event, the claims and reports of a round pass a turnstile, one by one in an order
that the dice chose when the round opened. Nobody loses by it: what follows a round follows only
when all have reported. Each round has a lane of its own, as a job may report only after a round
that it has asked for itself.

Nobody waits in a lane for somebody who waits for him. A job that has asked for a child round goes
to the end of its round's reports: whoever is done before it, and is needed at its own seat by what
was asked, goes first. A seat takes its jobs in the order of their rounds, in all lanes alike.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from random import Random

from atoll.engine.ports import Changes, ChildState, Dice
from atoll.hub.hub import Hub
from atoll.model.events import Event, JobBroke, JobReported, RoundGivenUp, RoundRequested
from atoll.model.work import Blob, Job, JobId, Message, RunId, Seat, Ticket


class _Lane:
    """The order of one kind of event in one round."""

    def __init__(self, order: Sequence[Seat]) -> None:
        self._turns = deque(order)
        self._waiting: dict[Seat, asyncio.Future[None]] = {}

    def expected(self) -> Sequence[Seat]:
        """Who has not passed."""
        return tuple(self._turns)

    async def enter(self, seat: Seat) -> None:
        """Wait for this seat's turn."""
        if self._turns and self._turns[0] != seat and seat in self._turns:
            self._waiting[seat] = asyncio.get_running_loop().create_future()
            await self._waiting[seat]

    def leave(self, seat: Seat) -> None:
        """Let the next one pass."""
        if self._turns and self._turns[0] == seat:
            self._turns.popleft()
        elif seat in self._turns:
            self._turns.remove(seat)
        following = self._waiting.pop(self._turns[0], None) if self._turns else None
        if following is not None and not following.done():
            following.set_result(None)

    def put_off(self, seat: Seat) -> None:
        """Let this seat pass as the last."""
        if seat in self._turns:
            self.leave(seat)
            self._turns.append(seat)

    def open(self) -> None:
        """Let all pass, now and from now on."""
        self._turns.clear()
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_result(None)


class Turnstile:
    """Lets claims and reports of a round pass in the order of the dice. A hub's listener.

    Args:
        dice: draws the order.
        apart: whether reports have an order of their own. Else they come in that of the claims,
            which costs less: who is called first is mostly done first.
    """

    def __init__(self, dice: Dice, *, apart: bool = True) -> None:
        self._dice = dice
        self._apart = apart
        #: Rung in the order of the dice, so that who claims first is woken first.
        self._bells: dict[Seat, asyncio.Event] = {}
        self._claims: dict[int, _Lane] = {}
        self._reports: dict[int, _Lane] = {}
        #: The rounds in which a seat has a job that it has not claimed.
        self._unclaimed: dict[Seat, deque[int]] = {}
        #: The job that asked for a round.
        self._parents: dict[int, JobId] = {}

    def changed(self, event: Event | None, job: Job | None, changes: Changes) -> None:
        """A round has opened: draw its order. A run has ended: nobody waits any more."""
        if changes.run.status.ended:
            for number in list(self._reports):
                self._close(number)
            return
        if isinstance(event, RoundRequested) and job is not None and changes.rounds:
            self._put_off(job)
        for round_ in changes.rounds:
            if round_.ended:
                self._close(round_.number)
            elif round_.number not in self._reports:
                seats = [
                    job.seat
                    for job in changes.jobs
                    if job.round_number == round_.number and not job.status.ended
                ]
                if round_.open_count == round_.job_count and seats:
                    self._draw(round_.number, seats, round_.parent)
        if changes.cancel_round is not None:
            self._close(changes.cancel_round)
            self._close_below(None)
        if changes.cancel_below is not None:
            self._close_below(changes.cancel_below)

    async def listen(self, seat: Seat) -> None:
        """Wait until there may be a job for this seat."""
        bell = self._bell(seat)
        await bell.wait()
        bell.clear()

    def next_claim(self, seat: Seat) -> int | None:
        """The round of the next job of this seat, if it has one; whoever asks is to claim it."""
        waiting = self._unclaimed.get(seat)
        return waiting[0] if waiting else None

    async def enter_claim(self, number: int, seat: Seat) -> None:
        """Wait for this seat's turn to claim its job of a round."""
        if (lane := self._claims.get(number)) is not None:
            await lane.enter(seat)

    def leave_claim(self, number: int, seat: Seat) -> None:
        """Let the next one claim: this seat has claimed its job of a round, or never will."""
        waiting = self._unclaimed.get(seat)
        if waiting and number in waiting:
            waiting.remove(number)
        if (lane := self._claims.get(number)) is not None:
            lane.leave(seat)

    async def enter_report(self, number: int, seat: Seat) -> None:
        """Wait for this seat's turn to report its job of a round."""
        if (lane := self._reports.get(number)) is not None:
            await lane.enter(seat)

    def leave_report(self, number: int, seat: Seat) -> None:
        """Let the next one report."""
        if (lane := self._reports.get(number)) is not None:
            lane.leave(seat)

    def let_pass(self, number: int, parent: JobId) -> None:
        """Let who has something to report in a round that this job has asked for do so in any order."""
        lane = self._reports.get(number)
        if lane is not None and self._parents.get(number) == parent:
            lane.open()

    def is_child(self, number: int) -> bool:
        """Whether a job has asked for this round."""
        return number in self._parents

    def _draw(self, number: int, seats: list[Seat], parent: JobId | None) -> None:
        if parent is not None:
            self._parents[number] = parent
        self._dice.shuffle(seats)
        self._claims[number] = _Lane(seats)
        for seat in seats:
            self._unclaimed.setdefault(seat, deque()).append(number)
            self._bell(seat).set()
        if self._apart:
            self._dice.shuffle(seats)
        self._reports[number] = _Lane(seats)

    def _bell(self, seat: Seat) -> asyncio.Event:
        bell = self._bells.get(seat)
        if bell is None:
            bell = self._bells[seat] = asyncio.Event()
        return bell

    def _put_off(self, job: Job) -> None:
        if (lane := self._reports.get(job.round_number)) is not None:
            lane.put_off(job.seat)

    def _close(self, number: int) -> None:
        self._parents.pop(number, None)
        if (claims := self._claims.get(number)) is not None:
            for seat in claims.expected():
                self._unclaimed[seat].remove(number)
        for lanes in (self._claims, self._reports):
            if (lane := lanes.pop(number, None)) is not None:
                lane.open()

    def _close_below(self, job_id: JobId | None) -> None:
        """Close what this job has asked for, and what was asked for in rounds that are closed."""
        # In the order of their numbers: what lies above was closed before.
        for number, parent in list(self._parents.items()):
            if parent == job_id or _round_of(parent) not in self._reports:
                self._close(number)


def _round_of(job_id: JobId) -> int:
    return int(job_id.rsplit(".", 2)[1])


class LocalLink:
    """The hub as a seat of a simulation sees it."""

    def __init__(self, hub: Hub, seat: Seat, turnstile: Turnstile) -> None:
        self._hub = hub
        self._seat = seat
        self._turnstile = turnstile

    async def listen(self) -> None:
        await self._turnstile.listen(self._seat)

    async def claim(self) -> Ticket | None:
        while (number := self._turnstile.next_claim(self._seat)) is not None:
            await self._turnstile.enter_claim(number, self._seat)
            ticket = await self._hub.claim(self._seat)
            self._turnstile.leave_claim(number, self._seat)
            if ticket is not None:
                if ticket.job.round_number != number:  # which has ended meanwhile
                    self._turnstile.leave_claim(ticket.job.round_number, self._seat)
                return ticket
        return None

    async def report(self, event: JobReported | JobBroke) -> None:
        number = _round_of(event.job_id)
        # Bad news of a main round doesn't queue: the run has failed, whoever else is at work.
        if isinstance(event, JobReported) or self._turnstile.is_child(number):
            await self._turnstile.enter_report(number, self._seat)
        try:
            await self._hub.report(self._seat, event)
        finally:
            self._turnstile.leave_report(number, self._seat)

    async def ask(self, event: RoundRequested, messages: Sequence[Message]) -> int:
        return await self._hub.ask(self._seat, event, messages)

    async def child(self, run_id: RunId, job_id: JobId, number: int) -> ChildState:
        return await self._hub.child(self._seat, run_id, job_id, number)

    async def child_ended(self, run_id: RunId, job_id: JobId, number: int) -> None:
        await self._hub.child_ended(self._seat, run_id, job_id, number)

    async def give_up(self, event: RoundGivenUp) -> None:
        # Whoever is done, and only waits for its turn to say so, is not late.
        self._turnstile.let_pass(event.round_number, event.job_id)
        await asyncio.sleep(0)
        await self._hub.give_up(self._seat, event)

    async def release(self, run_id: RunId, job_id: JobId, number: int) -> None:
        await self._hub.release(self._seat, run_id, job_id, number)

    async def cancelled(self) -> JobId:
        return await self._hub.cancelled(self._seat)

    async def put_blob(self, run_id: RunId, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        await self._hub.put_blob(blob, chunks)

    def get_blob(self, run_id: RunId, blob: Blob) -> AsyncIterator[bytes]:
        return self._hub.get_blob(blob)


class SeededDice:
    """Chance that a seed repeats."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311  # The order of claims is no secret.

    def shuffle(self, items: list[Seat]) -> None:
        self._random.shuffle(items)
