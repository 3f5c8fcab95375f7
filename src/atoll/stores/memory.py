"""Stores that forget when the process ends: what a simulation keeps its runs in."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace

from atoll.engine.limits import CHUNK_BYTES
from atoll.engine.ports import Changes, OpenState
from atoll.model.errors import BlobMismatch, StaleEvent
from atoll.model.work import Blob, Job, JobId, JobStatus, Message, MessageId, Round, Run, RunId, Seat


class _Book:
    """One run: its header, its latest round, its messages, and what has settled.

    Ended rounds are dropped with what only they could read: a run of ten thousand iterations
    would otherwise hold every message that it ever passed on.
    """

    def __init__(self, run: Run, messages: Sequence[Message]) -> None:
        self.run = run
        self.round: Round | None = None
        self.jobs: dict[JobId, Job] = {}
        self.messages = {message.id: message for message in messages}
        self.settled: dict[int, dict[Seat, MessageId]] = {}
        #: Written in the latest round; the next one reads them.
        self.fresh: dict[MessageId, None] = {}
        #: Written in the round before it; the latest one reads them.
        self.passing: dict[MessageId, None] = {}

    def settle(self, step: int, seat: Seat, message_id: MessageId) -> None:
        """Keep a message until the run is forgotten."""
        self.settled.setdefault(step, {})[seat] = message_id
        self.fresh.pop(message_id, None)

    def turn(self, round_: Round) -> None:
        """Open a round, and drop the one before with the messages that nobody can ask for."""
        self.round = round_
        self.jobs = {}
        for message_id in self.passing:
            del self.messages[message_id]
        self.passing, self.fresh = self.fresh, {}


class MemoryRunStore:
    """Runs in dictionaries: a claim looks at one seat's queue, an event at one job."""

    def __init__(self) -> None:
        self._books: dict[RunId, _Book] = {}
        self._queues: dict[Seat, deque[Job]] = {}

    async def add(self, run: Run, messages: Sequence[Message]) -> None:
        self._books[run.id] = _Book(run, messages)

    async def get(self, run_id: RunId) -> Run:
        return self._books[run_id].run

    async def open_state(self, run_id: RunId, job_id: JobId) -> OpenState:
        book = self._books[run_id]
        job = book.jobs.get(job_id)
        if job is None or book.round is None:
            raise StaleEvent(f"job {job_id} is of a round that is over")
        siblings = tuple(book.jobs.values()) if book.round.open_count == 1 else ()
        return OpenState(run=book.run, round=book.round, job=job, siblings=siblings)

    async def apply(self, changes: Changes, message: Message | None = None) -> None:
        book = self._books[changes.run.id]
        book.run = changes.run
        if message is not None:
            book.messages[message.id] = message
            book.fresh[message.id] = None
        for step, seat, message_id in changes.settled:
            book.settle(step, seat, message_id)
        for round_ in changes.rounds:
            if book.round is None or round_.number != book.round.number:
                book.turn(round_)
            book.round = round_
        for job in changes.jobs:
            self._put(book, job)
        if changes.cancel_open_jobs:
            for job in book.jobs.values():
                if not job.status.ended:
                    self._put(book, replace(job, status=JobStatus.CANCELLED))

    async def next_job(self, seat: Seat) -> Job | None:
        queue = self._queues.get(seat)
        return queue[0] if queue else None

    async def messages(self, run_id: RunId, ids: Sequence[MessageId]) -> Sequence[Message]:
        messages = self._books[run_id].messages
        return [messages[message_id] for message_id in ids]

    async def settled(self, run_id: RunId, step: int) -> Mapping[Seat, MessageId]:
        return dict(self._books[run_id].settled.get(step, {}))

    def _put(self, book: _Book, job: Job) -> None:
        assert book.round is not None
        if job.round_number != book.round.number:
            return  # The last job of a round that has just been dropped.
        before = book.jobs.get(job.id)
        if before is not None and before.status is JobStatus.QUEUED:
            self._queues[job.seat].remove(before)
        if job.status is JobStatus.QUEUED:
            self._queues.setdefault(job.seat, deque()).append(job)
        book.jobs[job.id] = job


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
