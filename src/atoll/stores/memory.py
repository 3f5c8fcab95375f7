"""Stores that forget when the process ends: what a simulation keeps its runs in."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from atoll.engine.limits import CHUNK_BYTES
from atoll.engine.ports import Changes, ChildState, OpenState
from atoll.model.errors import BlobMismatch, StaleEvent
from atoll.model.work import Blob, Job, JobId, JobStatus, Message, MessageId, Round, Run, RunId, Seat


class _Room:
    """A round, its jobs, and the messages that belong to it alone."""

    # A function may ask ten thousand times, and each leaves one of these until it has ended.
    __slots__ = ("asked", "jobs", "left", "round")

    def __init__(self, round_: Round) -> None:
        self.round = round_
        self.jobs: dict[JobId, Job] = {}
        #: Of a child round: what was asked, and what its jobs have left.
        self.asked: Sequence[MessageId] = ()
        self.left: list[MessageId] = []


class _Book:
    """One run: its header, its latest main round with all that was asked below it, its messages.

    Ended main rounds are dropped with what only they could read: a run of ten thousand
    iterations would otherwise hold every message that it ever passed on.
    """

    def __init__(self, run: Run, messages: Sequence[Message]) -> None:
        self.run = run
        self.rooms: dict[int, _Room] = {}
        #: The number of the latest main round.
        self.main = -1
        #: The child rounds that a job has got, in the order of its requests.
        self.children: dict[JobId, list[int]] = {}
        self.messages = {message.id: message for message in messages}
        self.settled: dict[int, dict[Seat, MessageId]] = {}
        #: Written in the latest main round; the next one reads them.
        self.fresh: dict[MessageId, None] = {}
        #: Written in the round before it; the latest one reads them.
        self.passing: dict[MessageId, None] = {}

    def room_of(self, job_id: JobId) -> _Room | None:
        """The round that a job is of, if it is still there."""
        # A job's id ends with the numbers of its round and of its place there.
        return self.rooms.get(int(job_id.rsplit(".", 2)[1]))

    def settle(self, step: int, seat: Seat, message_id: MessageId) -> None:
        """Keep a message until the run is forgotten."""
        self.settled.setdefault(step, {})[seat] = message_id
        self.fresh.pop(message_id, None)

    def enter(self, round_: Round) -> None:
        """Take in a round: a new one, or a known one that has moved."""
        room = self.rooms.get(round_.number)
        if room is not None:
            room.round = round_
            if round_.parent is not None and round_.ended:
                self._answer(room)
            return
        if round_.parent is None:
            self._turn(round_.number)
        else:
            self.children.setdefault(round_.parent, []).append(round_.number)
        self.rooms[round_.number] = _Room(round_)

    def take(self, messages: Sequence[Message], changes: Changes) -> None:
        """File the messages that an event brought."""
        if not messages:
            return
        opened = changes.rounds[-1] if changes.rounds else None
        if opened is not None and opened.parent is not None and opened.number not in self.rooms:
            self.enter(opened)
            self.rooms[opened.number].asked = tuple(message.id for message in messages)
        else:
            for message in messages:
                room = self.rooms[changes.jobs[0].round_number]
                if room.round.parent is None:
                    self.fresh[message.id] = None
                else:
                    room.left.append(message.id)
        for message in messages:
            self.messages[message.id] = message

    def forget(self, number: int) -> None:
        """Drop what the jobs of a child round have left, and with it what is known of those that ended."""
        room = self.rooms.get(number)
        if room is not None and room.round.parent is not None:
            self._drop(room.left)
            room.left = []
            room.jobs = {id_: job for id_, job in room.jobs.items() if not job.status.ended}

    def remove(self, number: int) -> None:
        """Forget a child round, which nobody can ask about any more."""
        room = self.rooms.pop(number)
        self._drop(room.asked)
        self._drop(room.left)

    def end(self, room: _Room) -> None:
        """None of a child round's jobs will be heard of any more."""
        room.round = replace(room.round, open_count=0)
        self._answer(room)

    def _turn(self, number: int) -> None:
        """Open a main round, and drop the one before with the messages that nobody can ask for.

        Its jobs have all ended, and what they had asked for was forgotten then.
        """
        self.rooms.pop(self.main, None)
        self.main = number
        for message_id in self.passing:
            del self.messages[message_id]
        self.passing, self.fresh = self.fresh, {}

    def _answer(self, room: _Room) -> None:
        """All jobs of a child round have ended: nobody reads what they were asked."""
        self._drop(room.asked)
        room.asked = ()

    def _drop(self, ids: Sequence[MessageId]) -> None:
        for message_id in ids:
            self.messages.pop(message_id, None)


class MemoryRunStore:
    """Runs in dictionaries: a claim looks at one seat's queue, an event at one job."""

    def __init__(self) -> None:
        self._books: dict[RunId, _Book] = {}
        self._queues: dict[str, deque[Job]] = {}
        self._lock = asyncio.Lock()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        # What is refused is refused before anything is written.
        async with self._lock:
            yield

    async def add(self, run: Run, messages: Sequence[Message]) -> None:
        self._books[run.id] = _Book(run, messages)

    async def get(self, run_id: RunId) -> Run:
        return self._books[run_id].run

    async def open_state(self, run_id: RunId, job_id: JobId) -> OpenState:
        book = self._books[run_id]
        room = book.room_of(job_id)
        job = None if room is None else room.jobs.get(job_id)
        if room is None or job is None:
            raise StaleEvent(f"job {job_id} is of a round that is over")
        siblings = tuple(room.jobs.values()) if room.round.open_count == 1 else ()
        return OpenState(run=book.run, round=room.round, job=job, siblings=siblings)

    async def child(self, run_id: RunId, job_id: JobId, *, request: int) -> ChildState | None:
        book = self._books[run_id]
        numbers = book.children.get(job_id, [])
        if request >= len(numbers):
            return None
        room = book.rooms[numbers[request]]
        return ChildState(round=room.round, jobs=tuple(room.jobs.values()))

    async def child_round(self, run_id: RunId, job_id: JobId, number: int) -> ChildState | None:
        book = self._books[run_id]
        room = book.rooms.get(number)
        if room is None or room.round.parent != job_id:
            return None
        jobs = tuple(room.jobs.values())
        left = [job.outcome.message if job.outcome else None for job in jobs]
        messages = tuple(book.messages.get(message.id) if message else None for message in left)
        return ChildState(round=room.round, jobs=jobs, messages=messages)

    async def forget(self, run_id: RunId, number: int) -> None:
        self._books[run_id].forget(number)

    async def apply(self, changes: Changes, messages: Sequence[Message] = ()) -> Sequence[Job]:
        book = self._books[changes.run.id]
        cancelled: list[Job] = []
        # First, as a new main round may be opened, and jobs of the last one would be found no more.
        if changes.cancel_below is not None:
            self._end_below(book, changes.cancel_below, cancelled)
        book.run = changes.run
        book.take(messages, changes)
        for step, seat, message_id in changes.settled:
            book.settle(step, seat, message_id)
        for round_ in changes.rounds:
            book.enter(round_)
        for job in changes.jobs:
            self._put(book, job)
        if changes.cancel_open_jobs:
            for room in list(book.rooms.values()):
                self._cancel(book, room, cancelled)
        if changes.cancel_round is not None:
            self._cancel(book, book.rooms[changes.cancel_round], cancelled)
        return cancelled

    async def next_job(self, node: str) -> Job | None:
        queue = self._queues.get(node)
        return queue[0] if queue else None

    async def messages(self, run_id: RunId, ids: Sequence[MessageId]) -> Sequence[Message]:
        messages = self._books[run_id].messages
        return [messages[message_id] for message_id in ids]

    async def settled(self, run_id: RunId, step: int) -> Mapping[Seat, MessageId]:
        return dict(self._books[run_id].settled.get(step, {}))

    def _put(self, book: _Book, job: Job) -> None:
        room = book.rooms.get(job.round_number)
        if room is None:
            return  # The last job of a round that has just been dropped.
        before = room.jobs.get(job.id)
        if before is not None and before.status is JobStatus.QUEUED:
            queue = self._queues[job.served_by]
            if queue[0] is before:
                queue.popleft()
            else:
                queue.remove(before)
        if job.status is JobStatus.QUEUED:
            self._queues.setdefault(job.served_by, deque()).append(job)
        room.jobs[job.id] = job

    def _cancel(self, book: _Book, room: _Room, cancelled: list[Job]) -> None:
        """End the open jobs of a round, and with them what they have asked for."""
        for job in list(room.jobs.values()):
            if not job.status.ended:
                if job.status is JobStatus.ACTIVE:
                    cancelled.append(job)
                self._put(book, job.moved(JobStatus.CANCELLED))
                self._end_below(book, job.id, cancelled)
        if room.round.parent is not None and not room.round.ended:
            book.end(room)

    def _end_below(self, book: _Book, job_id: JobId, cancelled: list[Job]) -> None:
        """End what a job has asked for, however deep, and forget it: nobody else may ask about it."""
        for number in book.children.pop(job_id, ()):
            self._cancel(book, book.rooms[number], cancelled)
            book.remove(number)


class MemoryBlobStore:
    """Content in a dictionary: for small files."""

    def __init__(self) -> None:
        self._content: dict[str, bytes] = {}

    async def put(self, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        content = b"".join([chunk async for chunk in chunks])
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        if (digest, len(content)) != (blob.digest, blob.size_bytes):
            raise BlobMismatch(mismatch(blob, digest, len(content)))
        self._content[digest] = content

    async def get(self, blob: Blob) -> AsyncIterator[bytes]:
        content = self._content.get(blob.digest)
        if content is None:
            raise BlobMismatch(f"nothing is kept of {blob.name!r} under {blob.digest}")
        for start in range(0, len(content), CHUNK_BYTES):
            yield content[start : start + CHUNK_BYTES]

    async def clear(self) -> None:
        self._content.clear()


def mismatch(blob: Blob, digest: str, size_bytes: int) -> str:
    """The sentence for content that is not what its blob says."""
    return (
        f"what arrived of {blob.name!r} is {size_bytes} bytes with {digest}: "
        f"expected {blob.size_bytes} bytes with {blob.digest}"
    )
