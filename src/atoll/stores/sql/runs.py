"""Runs in a database: what a hub that is restarted goes on from.

An event writes the rows that it changes, and what whoever follows is told of them, in one
transaction. It costs the same after ten rounds or ten thousand, at ten sites or ten thousand: no
statement here reads all rounds of a run, and only a round's first and last event all of its jobs.

Whoever changes a run locks its row first, and no other run's: on PostgreSQL two hubs can't change
the same run at a time, and none waits for another in a circle.

What is not kept: messages that nobody can read any more. What a child round has left is kept until
the job that asked for it has ended, even if that job has read it: a job whose node is lost is done
again from its beginning, and then reads it once more.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from atoll.engine.ports import Changes, ChildState, OpenState
from atoll.model.errors import NotThere, StaleEvent
from atoll.model.work import Job, JobId, Message, MessageId, Run, RunId, Seat
from atoll.stores.sql import run_statements as ask
from atoll.stores.sql.database import Connection, Database
from atoll.stores.sql.run_rows import (
    Kept,
    Made,
    blob_values,
    job_of,
    key_of,
    made_of,
    made_text,
    message_of,
    message_values,
    round_of,
    run_of,
    run_state,
)
from atoll.stores.sql.run_writing import RunBefore, Writing

#: Seconds of a lease where the hub's settings don't say otherwise: three heartbeats.
_LEASE_SECONDS = 45.0
#: Runs of which what never changes is kept in memory.
_KNOWN_MAX = 1_000


@dataclass(slots=True)
class _Known:
    """What is known of a run without asking: what never changes, and how it was found last."""

    made: Made
    row: Row[Any] | None = None
    before: RunBefore | None = None


class SqlRunStore:
    """Runs in SQLite or PostgreSQL.

    Args:
        database: where they are kept.
        now: the hub's clock, in seconds since 1970.
        lease_seconds: how long a node that claimed a job is believed to work at it.
    """

    def __init__(
        self,
        database: Database,
        *,
        now: Callable[[], float] = time.time,
        lease_seconds: float = _LEASE_SECONDS,
    ) -> None:
        self._database = database
        self._now = now
        self._lease_seconds = lease_seconds
        self._known: OrderedDict[RunId, _Known] = OrderedDict()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        async with self._database.writing():
            yield

    async def add(self, run: Run, messages: Sequence[Message]) -> None:
        self._known.pop(run.id, None)
        async with self._database.writing() as connection:
            await connection.execute(
                ask.ADD_RUN,
                {
                    "id": run.id,
                    "made": made_text(run),
                    **run_state(run),
                    "main_round": -1,
                    "created_at": self._now(),
                    "bytes": sum(
                        len(message.body) for message in messages if isinstance(message.body, bytes)
                    ),
                },
            )
            # Files of the first messages came before it.
            await connection.execute(ask.RUN_HAS_FILES, {"run": run.id})
            if messages:
                rows = [message_values(run.id, message, Kept.OPENING, -1) for message in messages]
                await connection.execute(ask.ADD_MESSAGES, rows)
            if named := [row for message in messages for row in blob_values(run.id, message)]:
                await connection.execute(ask.ADD_MESSAGE_BLOBS, named)

    async def get(self, run_id: RunId) -> Run:
        """See `RunStore.get`.

        Raises:
            NotThere: there is no such run.
        """
        async with self._database.reading() as connection:
            found = await self._find(connection, run_id)
        if found is None:
            raise NotThere(f"there is no run {run_id}")
        return found[0]

    async def open_state(self, run_id: RunId, job_id: JobId) -> OpenState:
        key = key_of(run_id, job_id)
        async with self._database.reading() as connection:
            found = await self._find(connection, run_id)
            if found is None:
                raise StaleEvent(f"job {job_id} is of a run that is gone")
            run, row = found
            both = await connection.execute(
                ask.JOB_AND_ROUND, {"run": run_id, "round": key.round_number, "place": key.position}
            )
            if both.first is None:
                raise StaleEvent(f"job {job_id} is of a round that is over")
            job_row, round_row = _Part(both.first, "job_"), _Part(both.first, "round_")
            if round_row.is_over or (round_row.parent is None and round_row.number != row.main_round):
                raise StaleEvent(f"job {job_id} is of a round that is over")
            round_ = round_of(round_row)
            siblings: Sequence[Job] = ()
            if round_.open_count == 1:
                siblings = await _jobs(connection, run_id, round_.number)
            return OpenState(run=run, round=round_, job=job_of(job_row), siblings=siblings)

    async def child(self, run_id: RunId, job_id: JobId, *, request: int) -> ChildState | None:
        async with self._database.reading() as connection:
            await self._hold(connection, run_id)
            parameters = {"run": run_id, "by": job_id, "request": request + 1}
            row = (await connection.execute(ask.CHILD_BY_REQUEST, parameters)).first
            if row is None:
                return None
            return ChildState(round=round_of(row), jobs=await _jobs(connection, run_id, row.number))

    async def child_round(self, run_id: RunId, job_id: JobId, number: int) -> ChildState | None:
        async with self._database.reading() as connection:
            await self._hold(connection, run_id)
            which = {"run": run_id, "round": number}
            row = (await connection.execute(ask.ROUND_ROW, which)).first
            if row is None or row.parent is None or row.parent != job_id or row.is_over:
                return None
            jobs = await _jobs(connection, run_id, number)
            rows = (await connection.execute(ask.LEFT_IN_ROUND, which)).rows
        left = {message.id: message for message in map(message_of, rows)}
        told = [job.outcome.message if job.outcome else None for job in jobs]
        messages = tuple(left.get(message.id) if message else None for message in told)
        return ChildState(round=round_of(row), jobs=jobs, messages=messages)

    async def forget(self, run_id: RunId, number: int) -> None:
        """Nothing yet: if the job's node is lost, the job is done again, and reads them once more."""

    async def apply(self, changes: Changes, messages: Sequence[Message] = ()) -> Sequence[Job]:
        run = changes.run
        async with self._database.writing() as connection:
            known = await self._made(connection, run.id)
            assert known is not None, f"run {run.id} was changed before it was added"
            writing = Writing(
                connection, run.id, known.made, now=self._now(), lease_seconds=self._lease_seconds
            )
            return await writing.write(changes, messages, known.before)

    async def next_job(self, node: str) -> Job | None:
        async with self._database.reading() as connection:
            row = (await connection.execute(ask.NEXT_JOB, {"node": node})).first
        return None if row is None else job_of(row)

    async def messages(self, run_id: RunId, ids: Sequence[MessageId]) -> Sequence[Message]:
        found: dict[str, Message] = {}
        async with self._database.reading() as connection:
            for some in _some_at_a_time(ids):
                answer = await connection.execute(ask.MESSAGES, {"run": run_id, "ids": some})
                found.update((row.id, message_of(row)) for row in answer.rows)
        return [found[message_id] for message_id in ids]

    async def settled(self, run_id: RunId, step: int) -> Mapping[Seat, MessageId]:
        async with self._database.reading() as connection:
            known = await self._made(connection, run_id)
            rows = (await connection.execute(ask.SETTLED, {"run": run_id, "at": step})).rows
        found = {Seat(row.seat): MessageId(row.message_id) for row in rows}
        order = known.made.sites if known is not None else ()
        first = {seat: found.pop(seat) for seat in order if seat in found}
        return first | found

    async def made(self, run_id: RunId) -> Made | None:
        """What never changes of a run; None where there is no such run."""
        async with self._database.reading() as connection:
            known = await self._made(connection, run_id)
        return None if known is None else known.made

    async def _made(self, connection: Connection, run_id: RunId) -> _Known | None:
        known = self._known.get(run_id)
        if known is not None:
            self._known.move_to_end(run_id)
            return known
        row = (await connection.execute(ask.MADE, {"run": run_id})).first
        if row is None:
            return None
        known = self._known[run_id] = _Known(made_of(row.made))
        if len(self._known) > _KNOWN_MAX:
            self._known.popitem(last=False)
        return known

    async def _find(self, connection: Connection, run_id: RunId) -> tuple[Run, Row[Any]] | None:
        """A run and its row, which is locked by whoever may change it."""
        statement = ask.GET_LOCKED if self._database.is_writing else ask.GET
        row = (await connection.execute(statement, {"run": run_id})).first
        if row is None:
            self._known.pop(run_id, None)
            return None
        known = self._known.get(run_id)
        if known is not None and known.row is not None and known.row.created_at != row.created_at:
            # Another hub has deleted the run, and somebody has chosen its id again.
            del self._known[run_id]
        known = await self._made(connection, run_id)
        assert known is not None
        if known.before is None or known.row is None or tuple(known.row) != tuple(row):
            known.row = row
            known.before = RunBefore(
                run=run_of(row, known.made),
                collaboration_id=row.collaboration_id,
                started_at=row.started_at,
            )
        return known.before.run, row

    async def _hold(self, connection: Connection, run_id: RunId) -> None:
        """Let nobody else change the run, if whoever asks may change it.

        Two that ask for the same round at a time would else both find that it isn't there.
        """
        if self._database.is_writing and self._database.is_server:
            await connection.execute(ask.LOCK, {"run": run_id})


class _Part:
    """The columns of a row whose names begin with a word, without it."""

    __slots__ = ("_prefix", "_row")

    def __init__(self, row: Row[Any], prefix: str) -> None:
        self._row = row
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, self._prefix + name)


async def _jobs(connection: Connection, run_id: RunId, number: int) -> tuple[Job, ...]:
    rows = (await connection.execute(ask.JOBS_OF_ROUND, {"run": run_id, "round": number})).rows
    return tuple(map(job_of, rows))


def _some_at_a_time(ids: Sequence[MessageId]) -> Iterator[Sequence[MessageId]]:
    for start in range(0, len(ids), ask.IDS_AT_A_TIME):
        yield ids[start : start + ask.IDS_AT_A_TIME]
