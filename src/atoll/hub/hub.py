"""The hub without HTTP and without SQL.

It takes one event of a run at a time, asks the conductor what changes, and stores that in one
transaction. Then it wakes who waits for it.
It routes messages by id and never looks into a body.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from atoll.engine.conductor import Choreographies, advance, begin, stop
from atoll.engine.ports import BlobStore, Changes, ChildState, OpenState, RunStore
from atoll.hub.notices import Bells, Notice, notice_of
from atoll.model.errors import NotRepeatable, NotYours, StaleEvent
from atoll.model.events import (
    Decision,
    Event,
    JobBroke,
    JobClaimed,
    JobDecided,
    JobEvent,
    JobLost,
    JobReported,
    RoundGivenUp,
    RoundRequested,
    RunStopped,
)
from atoll.model.work import (
    Blob,
    Failure,
    Job,
    JobId,
    JobStatus,
    Message,
    Round,
    Run,
    RunId,
    RunStatus,
    Seat,
    Ticket,
)


class Listener(Protocol):
    """Hears of every change as it is stored, in the order of the changes."""

    def changed(self, event: Event | None, job: Job | None, changes: Changes) -> None:
        """An event changed a run; `event` is None when the run has just begun, `job` where it is of none."""
        ...


class Hub:
    """Keeps runs and moves them on.

    Args:
        runs: where runs are kept.
        blobs: where files are kept.
        choreographies: what comes next, by dialect.
        listeners: hear of every change.
        relay: is told every notice, to pass it on to the hub's replicas.
    """

    def __init__(
        self,
        runs: RunStore,
        blobs: BlobStore,
        choreographies: Choreographies,
        listeners: Sequence[Listener] = (),
        relay: Callable[[Notice], None] | None = None,
    ) -> None:
        self._runs = runs
        self._blobs = blobs
        self._choreographies = choreographies
        self._listeners = listeners
        self._relay = relay
        #: Who waits in this process. Replicas ring it with what they are told.
        self.bells = Bells()

    async def submit(
        self, run: Run, messages: Sequence[Message], also: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Keep a new run and open its first round.

        Args:
            run: as it begins.
            messages: what opens its steps.
            also: is done in the same transaction, after the run was added.
        """
        async with self._runs.writing():
            await self._runs.add(run, messages)
            if also is not None:
                await also()
            notice = await self._store(None, None, begin(run, self._choreographies))
        self._tell(notice)

    async def ended(self, run_id: RunId) -> Run:
        """Wait until the run has ended."""
        while True:
            end = self.bells.run(run_id)
            run = await self._runs.get(run_id)
            if run.status.ended:
                return run
            await end.wait()

    async def settled(self, run_id: RunId, step: int) -> Mapping[Seat, Message]:
        """The last message of each seat that has done its work in a step."""
        ids = await self._runs.settled(run_id, step)
        messages = await self._runs.messages(run_id, list(ids.values()))
        return dict(zip(ids, messages, strict=True))

    async def listen(self, node: str) -> None:
        """Wait until there may be a job for this node."""
        bell = self.bells.work(node)
        await bell.wait()
        bell.clear()

    async def claim(self, node: str) -> Ticket | None:
        """Hand the next job of this node to it."""
        while True:
            try:
                async with self._runs.writing():
                    job = await self._runs.next_job(node)
                    if job is None:
                        return None
                    event = JobClaimed(run_id=job.run_id, job_id=job.id)
                    state, changes, notice = await self._advance(node, event)
                    ticket = await self._ticket(state.round, changes)
            except StaleEvent:  # It was cancelled, or claimed through a replica, since it was found.
                continue
            self._tell(notice)
            return ticket

    async def report(self, node: str, event: JobReported | JobBroke) -> None:
        """Take in how a job ended.

        Raises:
            StaleEvent: the job, or its run, has ended already, or was claimed anew.
            NotYours: the job is another node's.
        """
        message = event.outcome.message if isinstance(event, JobReported) else None
        async with self._runs.writing():
            _, _, notice = await self._advance(node, event, () if message is None else (message,))
        self._tell(notice)

    async def lost(self, node: str, event: JobLost) -> None:
        """Take in that nobody works at a job any more.

        Raises:
            StaleEvent: the job, or its run, has ended already, or was claimed anew.
            NotYours: the job is another node's.
        """
        async with self._runs.writing():
            _, _, notice = await self._advance(node, event)
        self._tell(notice)

    async def decide(self, run_id: RunId, job_id: JobId, decision: Decision) -> None:
        """Do with a job what somebody who may has decided.

        Raises:
            StaleEvent: the job, or its run, has ended already.
            NotYours: that can't be done with this job.
        """
        async with self._runs.writing():
            event = JobDecided(run_id=run_id, job_id=job_id, decision=decision)
            _, _, notice = await self._advance(None, event)
        self._tell(notice)

    async def stop(self, run_id: RunId, failure: Failure) -> None:
        """End a run before its time.

        Raises:
            StaleEvent: it has ended already.
        """
        async with self._runs.writing():
            event = RunStopped(run_id=run_id, failure=failure)
            notice = await self._store(event, None, stop(await self._runs.get(run_id), event))
        self._tell(notice)

    async def ask(self, node: str, event: RoundRequested, messages: Sequence[Message]) -> int:
        """Open a child round, or find the one that this request has got before; its number."""
        brought = {message.id for message in messages}
        if not all(brought.issuperset(order.inbox) for order in event.orders):
            raise NotYours(f"{node} asked that messages be read which it did not bring")
        async with self._runs.writing():
            known = await self._runs.child(event.run_id, event.job_id, request=event.number)
            new = () if known is not None else messages
            _, changes, notice = await self._advance(node, event, new, child=known)
        self._tell(notice)
        if changes.run.status is RunStatus.FAILED:
            assert changes.run.failure is not None
            raise NotRepeatable(changes.run.failure.message)
        return changes.rounds[-1].number if known is None else known.round.number

    async def at_work(self, node: str, run_id: RunId, job_id: JobId, attempt: int | None) -> OpenState:
        """A job that this node works at.

        Raises:
            StaleEvent: the job, or its run, has ended already, or was claimed anew.
            NotYours: the job is another node's.
        """
        state = await self._runs.open_state(run_id, job_id)
        if state.job.served_by != node:
            raise NotYours(f"{node} spoke about job {job_id}, which is another seat's")
        if state.job.status is not JobStatus.ACTIVE or attempt not in (None, state.job.attempt):
            raise StaleEvent(f"job {job_id} is {state.job.status.value}, or was claimed anew")
        return state

    async def child(self, node: str, run_id: RunId, job_id: JobId, number: int) -> ChildState:
        """A child round of a job of this node, with what its jobs have left.

        Raises:
            StaleEvent: the job, or its run, has ended already.
            NotYours: the job is another node's, or has not asked for such a round.
        """
        job = (await self._runs.open_state(run_id, job_id)).job
        if job.served_by == node and job.status.ended:
            raise StaleEvent(f"job {job_id} asked for round {number}, and is {job.status.value}")
        child = await self._runs.child_round(run_id, job_id, number)
        if job.served_by != node or child is None:
            raise NotYours(f"job {job_id} has asked for no round {number}")
        return child

    async def child_ended(self, node: str, run_id: RunId, job_id: JobId, number: int) -> None:
        """Wait until a child round has ended.

        Raises:
            StaleEvent: the job, or its run, has ended already.
            NotYours: the job is another node's, or has not asked for such a round.
        """
        while True:
            # Taken before it looks: what ends meanwhile would else be waited for.
            end = self.bells.round(run_id, number)
            if (await self.child(node, run_id, job_id, number)).round.ended:
                return
            await end.wait()

    async def give_up(self, node: str, event: RoundGivenUp) -> None:
        """End what is still open in a child round."""
        async with self._runs.writing():
            child = await self._runs.child_round(event.run_id, event.job_id, event.round_number)
            _, _, notice = await self._advance(node, event, child=child)
        self._tell(notice)

    async def release(self, node: str, run_id: RunId, job_id: JobId, number: int) -> None:
        """Forget the messages of a child round that were read for the last time."""
        await self.child(node, run_id, job_id, number)
        await self._runs.forget(run_id, number)

    async def cancelled(self, node: str) -> JobId:
        """Wait for a claimed job of this node that nobody waits for any more; each is told once."""
        return await self.bells.cancelled(node).next()

    async def put_blob(self, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        """Keep a file's content; see `BlobStore.put`."""
        await self._blobs.put(blob, chunks)

    def get_blob(self, blob: Blob) -> AsyncIterator[bytes]:
        """A file's content; see `BlobStore.get`."""
        return self._blobs.get(blob)

    async def _advance(
        self,
        node: str | None,
        event: JobEvent,
        messages: Sequence[Message] = (),
        child: ChildState | None = None,
    ) -> tuple[OpenState, Changes, Notice]:
        state = await self._runs.open_state(event.run_id, event.job_id)
        if node is not None and state.job.served_by != node:
            raise NotYours(f"{node} spoke about job {event.job_id}, which is another seat's")
        for message in messages:
            if message.sender != state.job.seat:
                raise NotYours(f"{node} reported a message that {message.sender} is said to have sent")
            if not f"{message.id}.".startswith(f"{event.job_id}."):
                raise NotYours(
                    f"{node} reported a message {message.id!r}, which is not of job {event.job_id}"
                )
        if child is not None:
            state = replace(state, child=child)
        changes = advance(state, event, self._choreographies)
        addressed = [replace(message, readers=_read_by(state, event, message)) for message in messages]
        return state, changes, await self._store(event, state.job, changes, addressed)

    async def _store(
        self, event: Event | None, job: Job | None, changes: Changes, messages: Sequence[Message] = ()
    ) -> Notice:
        cancelled = await self._runs.apply(changes, messages)
        for listener in self._listeners:
            listener.changed(event, job, changes)
        return notice_of(changes, tuple(cancelled))

    def _tell(self, notice: Notice) -> None:
        self.bells.ring(notice)
        if self._relay is not None:
            self._relay(notice)

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


def _read_by(state: OpenState, event: JobEvent, message: Message) -> tuple[Seat, ...]:
    """Who may read a message. Who sent it has no say in that: it might name itself to others' files."""
    if isinstance(event, RoundRequested):
        return tuple(order.seat for order in event.orders if message.id in order.inbox)
    return _readers(state.run, state.round, state.job)


def _readers(run: Run, round_: Round, job: Job) -> tuple[Seat, ...]:
    """Who reads what this job sends: the aggregator what sites send, and the other way round."""
    if round_.asker is not None:
        return (round_.asker,)
    if not run.steps[round_.step].aggregated or run.aggregator is None:
        return (job.seat,)
    return run.present if job.seat == run.aggregator else (run.aggregator,)
