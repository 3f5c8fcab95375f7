"""The hub without HTTP and without SQL.

It takes one event at a time, asks the conductor what changes, and stores that in one step.
It routes messages by id and never looks into a body.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Protocol
from weakref import WeakValueDictionary

from atoll.engine.conductor import Choreographies, advance, begin
from atoll.engine.ports import BlobStore, Changes, ChildState, OpenState, RunStore
from atoll.model.errors import NotRepeatable, NotYours, StaleEvent
from atoll.model.events import Event, JobBroke, JobClaimed, JobReported, RoundGivenUp, RoundRequested
from atoll.model.work import Blob, Job, JobId, Message, Round, Run, RunId, RunStatus, Seat, Ticket


class Listener(Protocol):
    """Hears of every change after it is stored, in the order of the changes."""

    def changed(self, event: Event | None, job: Job | None, changes: Changes) -> None:
        """An event about a job changed its run; both are None when the run has just begun."""
        ...


class Hub:
    """Keeps runs and moves them on."""

    def __init__(
        self,
        runs: RunStore,
        blobs: BlobStore,
        choreographies: Choreographies,
        listeners: Sequence[Listener] = (),
    ) -> None:
        self._runs = runs
        self._blobs = blobs
        self._choreographies = choreographies
        self._listeners = listeners
        self._writing = asyncio.Lock()
        self._bells: dict[Seat, asyncio.Event] = {}
        self._endings: dict[RunId, asyncio.Event] = {}
        #: The ends of child rounds, for as long as somebody waits for them.
        self._ends: WeakValueDictionary[tuple[RunId, int], asyncio.Event] = WeakValueDictionary()
        #: Claimed jobs that nobody waits for any more, by seat, until they are told.
        self._cancelled: dict[Seat, asyncio.Queue[JobId]] = {}

    async def submit(self, run: Run, messages: Sequence[Message]) -> None:
        """Keep a new run and open its first round."""
        async with self._writing:
            self._endings[run.id] = asyncio.Event()
            await self._runs.add(run, messages)
            await self._store(None, None, begin(run, self._choreographies))

    async def ended(self, run_id: RunId) -> Run:
        """Wait until the run has ended."""
        await self._endings[run_id].wait()
        return await self._runs.get(run_id)

    async def settled(self, run_id: RunId, step: int) -> Mapping[Seat, Message]:
        """The last message of each seat that has done its work in a step."""
        ids = await self._runs.settled(run_id, step)
        messages = await self._runs.messages(run_id, list(ids.values()))
        return dict(zip(ids, messages, strict=True))

    async def listen(self, seat: Seat) -> None:
        """Wait until there may be a job for this seat."""
        bell = self._bell(seat)
        await bell.wait()
        bell.clear()

    async def claim(self, seat: Seat) -> Ticket | None:
        """Hand the next job of this seat to its node."""
        async with self._writing:
            job = await self._runs.next_job(seat)
            if job is None:
                return None
            event = JobClaimed(run_id=job.run_id, job_id=job.id)
            state, changes = await self._advance(seat, event)
            return await self._ticket(state.round, changes)

    async def report(self, seat: Seat, event: JobReported | JobBroke) -> None:
        """Take in how a job ended.

        Raises:
            StaleEvent: the job, or its run, has ended already.
            NotYours: the job is another seat's.
        """
        message = event.outcome.message if isinstance(event, JobReported) else None
        async with self._writing:
            await self._advance(seat, event, () if message is None else (message,))

    async def ask(self, seat: Seat, event: RoundRequested, messages: Sequence[Message]) -> int:
        """Open a child round, or find the one that this request has got before; its number."""
        brought = {message.id for message in messages}
        if not all(brought.issuperset(order.inbox) for order in event.orders):
            raise NotYours(f"{seat} asked that messages be read which it did not bring")
        async with self._writing:
            known = await self._runs.child(event.run_id, event.job_id, request=event.number)
            new = () if known is not None else messages
            _, changes = await self._advance(seat, event, new, child=known)
            if changes.run.status is RunStatus.FAILED:
                assert changes.run.failure is not None
                raise NotRepeatable(changes.run.failure.message)
            if known is not None:
                return known.round.number
            return changes.rounds[-1].number

    async def child(self, seat: Seat, run_id: RunId, job_id: JobId, number: int) -> ChildState:
        """A child round of a job of this seat, with what its jobs have left.

        Raises:
            StaleEvent: the job, or its run, has ended already.
            NotYours: the job is another seat's, or has not asked for such a round.
        """
        job = (await self._runs.open_state(run_id, job_id)).job
        if job.seat == seat and job.status.ended:
            raise StaleEvent(f"job {job_id} asked for round {number}, and is {job.status.value}")
        child = await self._runs.child_round(run_id, job_id, number)
        if job.seat != seat or child is None:
            raise NotYours(f"job {job_id} has asked for no round {number}")
        return child

    async def child_ended(self, seat: Seat, run_id: RunId, job_id: JobId, number: int) -> None:
        """Wait until a child round has ended.

        Raises:
            StaleEvent: the job, or its run, has ended already.
            NotYours: the job is another seat's, or has not asked for such a round.
        """
        while True:
            # Taken before it looks: what ends meanwhile would else be waited for.
            end = self._end_of(run_id, number)
            if (await self.child(seat, run_id, job_id, number)).round.ended:
                return
            await end.wait()

    async def give_up(self, seat: Seat, event: RoundGivenUp) -> None:
        """End what is still open in a child round."""
        async with self._writing:
            child = await self._runs.child_round(event.run_id, event.job_id, event.round_number)
            await self._advance(seat, event, child=child)

    async def release(self, seat: Seat, run_id: RunId, job_id: JobId, number: int) -> None:
        """Forget the messages of a child round that were read for the last time."""
        await self.child(seat, run_id, job_id, number)
        await self._runs.forget(run_id, number)

    async def cancelled(self, seat: Seat) -> JobId:
        """Wait for a claimed job of this seat that nobody waits for any more; each is told once."""
        return await self._cancellations(seat).get()

    async def put_blob(self, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        """Keep a file's content; see `BlobStore.put`."""
        await self._blobs.put(blob, chunks)

    def get_blob(self, blob: Blob) -> AsyncIterator[bytes]:
        """A file's content; see `BlobStore.get`."""
        return self._blobs.get(blob)

    async def _advance(
        self,
        seat: Seat,
        event: Event,
        messages: Sequence[Message] = (),
        child: ChildState | None = None,
    ) -> tuple[OpenState, Changes]:
        state = await self._runs.open_state(event.run_id, event.job_id)
        if state.job.seat != seat:
            raise NotYours(f"{seat} spoke about job {event.job_id}, which is another seat's")
        for message in messages:
            if message.sender != seat:
                raise NotYours(f"{seat} reported a message that {message.sender} is said to have sent")
            if not f"{message.id}.".startswith(f"{event.job_id}."):
                raise NotYours(
                    f"{seat} reported a message {message.id!r}, which is not of job {event.job_id}"
                )
        if child is not None:
            state = replace(state, child=child)
        changes = advance(state, event, self._choreographies)
        await self._store(event, state.job, changes, messages)
        return state, changes

    async def _store(
        self, event: Event | None, job: Job | None, changes: Changes, messages: Sequence[Message] = ()
    ) -> None:
        for cancelled in await self._runs.apply(changes, messages):
            self._cancellations(cancelled.seat).put_nowait(cancelled.id)
        for listener in self._listeners:
            listener.changed(event, job, changes)
        if changes.run.status.ended:
            self._endings[changes.run.id].set()
        else:
            self._ring(changes)
        if changes.run.status.ended or changes.cancel_round is not None or changes.cancel_below is not None:
            self._wake_all(changes.run.id)

    def _ring(self, changes: Changes) -> None:
        """Wake the seats that have got a job, and who waits for a round that has ended."""
        for round_ in changes.rounds:
            if round_.parent is not None and round_.ended:
                self._wake(changes.run.id, round_.number)
        opened = changes.rounds[-1] if changes.rounds else None
        if opened is not None and opened.open_count == opened.job_count:
            for new in changes.jobs:
                if new.round_number == opened.number and not new.status.ended:
                    self._bell(new.seat).set()

    def _end_of(self, run_id: RunId, number: int) -> asyncio.Event:
        end = self._ends.get((run_id, number))
        if end is None:
            end = self._ends[run_id, number] = asyncio.Event()
        return end

    def _wake(self, run_id: RunId, number: int) -> None:
        end = self._ends.pop((run_id, number), None)
        if end is not None:
            end.set()

    def _wake_all(self, run_id: RunId) -> None:
        """Rounds have ended without being listed: whoever waits for one of the run looks again."""
        for of, number in list(self._ends):
            if of == run_id:
                self._wake(run_id, number)

    async def _ticket(self, round_: Round, changes: Changes) -> Ticket:
        (job,) = changes.jobs
        run = changes.run
        return Ticket(
            job=job,
            algorithm=run.steps[round_.step].algorithm,
            step=round_.step,
            iteration=round_.iteration,
            role=round_.role,
            work=round_.work,
            inbox=tuple(await self._runs.messages(run.id, job.inbox)),
            readers=_readers(run, round_, job),
            sites=run.sites,
            parent=round_.parent,
            origin=round_.origin,
        )

    def _cancellations(self, seat: Seat) -> asyncio.Queue[JobId]:
        if seat not in self._cancelled:
            self._cancelled[seat] = asyncio.Queue()
        return self._cancelled[seat]

    def _bell(self, seat: Seat) -> asyncio.Event:
        return self._bells.setdefault(seat, asyncio.Event())


def _readers(run: Run, round_: Round, job: Job) -> tuple[Seat, ...]:
    """Who reads what this job sends: the aggregator what sites send, and the other way round."""
    if round_.asker is not None:
        return (round_.asker,)
    if not run.steps[round_.step].aggregated or run.aggregator is None:
        return (job.seat,)
    return run.sites if job.seat == run.aggregator else (run.aggregator,)
