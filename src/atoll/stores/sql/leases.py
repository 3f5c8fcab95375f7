"""Who works at what: the leases of claimed jobs, renewed by the nodes that are heard of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, insert, select, text, update

from atoll.model.errors import StaleEvent
from atoll.model.work import JobId, RunId
from atoll.stores.sql.database import Database
from atoll.stores.sql.events import Told, tell
from atoll.stores.sql.run_rows import job_id, key_of
from atoll.stores.sql.run_tables import jobs, run_logs, runs
from atoll.stores.sql.shown import job_form, log_form

#: Rows that a sweep takes at a time.
_SWEPT_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job that a node has claimed."""

    run_id: RunId
    job_id: JobId
    attempt: int
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A sign of life of a job, and how far it says that it is."""

    run_id: RunId
    job_id: JobId
    attempt: int
    fraction: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """Something that is told of a job for people to read."""

    run_id: RunId
    job_id: JobId
    level: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Overdue:
    """A run that has had its time, and the seats that it waits for with their nodes."""

    run_id: RunId
    waited_for: tuple[tuple[str, str], ...]


#: As text: an index that is limited to some rows does for a statement that names them, not for one
#: with a parameter in their place.
_IS_ACTIVE = text("jobs.status = 'active'")
_IS_OPEN = text("jobs.status IN ('queued', 'active', 'held')")
_GOES_ON = text("runs.status = 'active'")

_THIS_JOB = (
    (jobs.c.run_id == bindparam("run"))
    & (jobs.c.round_number == bindparam("round"))
    & (jobs.c.position == bindparam("place"))
)
_ACTIVE = select(
    jobs.c.run_id,
    jobs.c.round_number,
    jobs.c.position,
    jobs.c.attempt,
    jobs.c.fraction,
    jobs.c.progress_text,
    jobs.c.node,
).where(jobs.c.node == bindparam("node"), _IS_ACTIVE)
#: What another transaction changes at this moment is not waited for: it is about to end, or claimed.
_LOCK = (
    select(jobs.c.attempt)
    .where(_THIS_JOB, _IS_ACTIVE, jobs.c.attempt == bindparam("claim"))
    .with_for_update(skip_locked=True)
)
_RENEW = (
    update(jobs)
    .where(_THIS_JOB, _IS_ACTIVE, jobs.c.attempt == bindparam("claim"))
    .values(lease_until=bindparam("until"))
)
_PROGRESS = (
    update(jobs)
    .where(_THIS_JOB, _IS_ACTIVE, jobs.c.attempt == bindparam("claim"))
    .values(fraction=bindparam("part"), progress_text=bindparam("words"))
)
_SHOWN = select(jobs, runs.c.collaboration_id).join(runs, runs.c.id == jobs.c.run_id).where(_THIS_JOB)
_GOING_ON = select(runs.c.id).where(
    runs.c.id.in_(bindparam("ids", expanding=True)), runs.c.status == "active"
)
_EXPIRED = (
    select(jobs.c.run_id, jobs.c.round_number, jobs.c.position, jobs.c.attempt, jobs.c.node)
    .where(_IS_ACTIVE, jobs.c.lease_until < bindparam("now"))
    .order_by(jobs.c.lease_until)
    .limit(_SWEPT_MAX)
)
_GRACE = update(jobs).where(_IS_ACTIVE, jobs.c.lease_until < bindparam("until"))
_OVERDUE = (
    select(runs.c.id)
    .where(_GOES_ON, runs.c.deadline_at.is_not(None), runs.c.deadline_at < bindparam("now"))
    .order_by(runs.c.deadline_at)
    .limit(_SWEPT_MAX)
)
_OPEN = (
    select(jobs.c.seat, jobs.c.node)
    .where(jobs.c.run_id == bindparam("run"), _IS_OPEN)
    .order_by(jobs.c.round_number, jobs.c.position)
    .limit(_SWEPT_MAX)
)
_LOG = insert(run_logs).returning(run_logs)


class Leases:
    """The leases of claimed jobs.

    Args:
        database: where jobs are kept.
        lease_seconds: how long a node is believed to work at a job after it was heard of.
    """

    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        self._database = database
        self._lease_seconds = lease_seconds

    async def active(self, node: str) -> Sequence[Claim]:
        """The jobs that a node has claimed and not ended."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(_ACTIVE, {"node": node})).rows
        return [
            Claim(
                run_id=RunId(row.run_id),
                job_id=job_id(row.run_id, row.round_number, row.position),
                attempt=row.attempt,
                node=row.node,
            )
            for row in rows
        ]

    async def renew(self, node: str, signs: Sequence[Sign], now: float) -> Sequence[JobId]:
        """A node has been heard of, with what it works at.

        Returns:
            The jobs of these that are not its own any more.
        """
        if not signs:
            return []
        async with self._database.reading() as connection:
            rows = (await connection.execute(_ACTIVE, {"node": node})).rows
        known = {(job_id(row.run_id, row.round_number, row.position), row.attempt): row for row in rows}
        stale = [sign.job_id for sign in signs if (sign.job_id, sign.attempt) not in known]
        alive = [sign for sign in signs if (sign.job_id, sign.attempt) in known]
        if alive:
            moved = [
                sign
                for sign in alive
                for row in (known[sign.job_id, sign.attempt],)
                if (sign.fraction, sign.text) != (row.fraction, row.progress_text or "")
            ]
            await self._write(alive, moved, now)
        return stale

    async def _write(self, alive: Sequence[Sign], moved: Sequence[Sign], now: float) -> None:
        until = now + self._lease_seconds
        async with self._database.writing() as connection:
            kept = []
            for sign in alive:
                where = _where(sign)
                if (await connection.execute(_LOCK, where)).first is not None:
                    kept.append(sign)
                    await connection.execute(_RENEW, where | {"until": until})
            told = []
            for sign in moved:
                if sign not in kept:
                    continue
                where = _where(sign)
                await connection.execute(_PROGRESS, where | {"part": sign.fraction, "words": sign.text})
                shown = await connection.execute(_SHOWN, where)
                told += [
                    Told(
                        kind="job",
                        subject_id=sign.job_id,
                        form=job_form(row),
                        run_id=sign.run_id,
                        collaboration_id=row.collaboration_id,
                    )
                    for row in shown.rows
                ]
            if told:
                await tell(connection, told, now)

    async def ended(self, run_ids: Collection[RunId]) -> Sequence[RunId]:
        """Those of some runs that go on no longer."""
        if not run_ids:
            return []
        async with self._database.reading() as connection:
            rows = (await connection.execute(_GOING_ON, {"ids": list(run_ids)})).rows
        going_on = {row.id for row in rows}
        return [run_id for run_id in run_ids if run_id not in going_on]

    async def expired(self, now: float) -> Sequence[Claim]:
        """Jobs whose nodes were not heard of for too long; some of them, where they are many."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(_EXPIRED, {"now": now})).rows
        return [
            Claim(
                run_id=RunId(row.run_id),
                job_id=job_id(row.run_id, row.round_number, row.position),
                attempt=row.attempt,
                node=row.node,
            )
            for row in rows
        ]

    async def grace(self, now: float) -> None:
        """Nobody could be heard of: the hub was away. All claimed jobs get a whole lease."""
        until = now + self._lease_seconds
        async with self._database.writing() as connection:
            await connection.execute(_GRACE.values(lease_until=until), {"until": until})

    async def overdue(self, now: float) -> Sequence[Overdue]:
        """Runs that have had their time."""
        async with self._database.reading() as connection:
            rows = (await connection.execute(_OVERDUE, {"now": now})).rows
            return [
                Overdue(
                    run_id=RunId(row.id),
                    waited_for=tuple(
                        (job.seat, job.node)
                        for job in (await connection.execute(_OPEN, {"run": row.id})).rows
                    ),
                )
                for row in rows
            ]

    async def write_down(self, node: str, lines: Sequence[Line], now: float) -> None:
        """Keep what a node tells of its jobs; what it tells of others is dropped."""
        async with self._database.writing() as connection:
            told = []
            for line in lines:
                try:
                    row = (await connection.execute(_SHOWN, _where(line))).first
                except StaleEvent:
                    continue  # There is no such job: the run may be gone.
                if row is None or row.node != node:
                    continue
                values = {
                    "run_id": line.run_id,
                    "job_id": line.job_id,
                    "seat": row.seat,
                    "at": now,
                    "level": line.level,
                    "text": line.text,
                }
                kept = (await connection.execute(_LOG, values)).first
                assert kept is not None
                told.append(
                    Told(
                        kind="log",
                        subject_id=str(kept.id),
                        form=log_form(kept),
                        run_id=line.run_id,
                        collaboration_id=row.collaboration_id,
                    )
                )
            if told:
                await tell(connection, told, now)


def _where(what: Sign | Line) -> dict[str, str | int]:
    key = key_of(what.run_id, what.job_id)
    where: dict[str, str | int] = {"run": key.run_id, "round": key.round_number, "place": key.position}
    return where | {"claim": what.attempt} if isinstance(what, Sign) else where
