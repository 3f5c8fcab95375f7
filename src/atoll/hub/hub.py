"""The hub without HTTP and without SQL.

It takes one event at a time, asks the conductor what changes, and stores that in one step.
It routes messages by id and never looks into a body.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from atoll.engine.conductor import Choreographies, advance, begin
from atoll.engine.ports import BlobStore, Changes, OpenState, RunStore
from atoll.model.errors import NotYours
from atoll.model.events import Event, JobBroke, JobClaimed, JobReported
from atoll.model.work import Blob, Job, Message, Round, Run, RunId, Seat, Ticket


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

    async def submit(self, run: Run, messages: Sequence[Message]) -> None:
        """Keep a new run and open its first round."""
        async with self._writing:
            self._endings[run.id] = asyncio.Event()
            await self._runs.add(run, messages)
            await self._store(None, None, begin(run, self._choreographies), None)

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
            state, changes = await self._advance(seat, event, None)
            return await self._ticket(state.round, changes)

    async def report(self, seat: Seat, event: JobReported | JobBroke) -> None:
        """Take in how a job ended.

        Raises:
            StaleEvent: the job, or its run, has ended already.
            NotYours: the job is another seat's.
        """
        message = event.outcome.message if isinstance(event, JobReported) else None
        async with self._writing:
            await self._advance(seat, event, message)

    async def put_blob(self, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        """Keep a file's content; see `BlobStore.put`."""
        await self._blobs.put(blob, chunks)

    def get_blob(self, blob: Blob) -> AsyncIterator[bytes]:
        """A file's content; see `BlobStore.get`."""
        return self._blobs.get(blob)

    async def _advance(self, seat: Seat, event: Event, message: Message | None) -> tuple[OpenState, Changes]:
        state = await self._runs.open_state(event.run_id, event.job_id)
        if state.job.seat != seat:
            raise NotYours(f"{seat} spoke about job {event.job_id}, which is another seat's")
        if message is not None and message.sender != seat:
            raise NotYours(f"{seat} reported a message that {message.sender} is said to have sent")
        changes = advance(state, event, self._choreographies)
        await self._store(event, state.job, changes, message)
        return state, changes

    async def _store(
        self, event: Event | None, job: Job | None, changes: Changes, message: Message | None
    ) -> None:
        await self._runs.apply(changes, message)
        for listener in self._listeners:
            listener.changed(event, job, changes)
        if changes.run.status.ended:
            self._endings[changes.run.id].set()
        elif changes.rounds:
            opened = changes.rounds[-1].number
            for new in changes.jobs:
                if new.round_number == opened and not new.status.ended:
                    self._bell(new.seat).set()

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
            readers=_readers(run, round_.step, job),
        )

    def _bell(self, seat: Seat) -> asyncio.Event:
        return self._bells.setdefault(seat, asyncio.Event())


def _readers(run: Run, step: int, job: Job) -> tuple[Seat, ...]:
    """Who reads what this job sends: the aggregator what sites send, and the other way round."""
    if not run.steps[step].aggregated or run.aggregator is None:
        return (job.seat,)
    return run.sites if job.seat == run.aggregator else (run.aggregator,)
