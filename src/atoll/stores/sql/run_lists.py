"""What people look at: lists of runs and of what is in them, in pages, in their public forms.

A page begins after the keys of the last item of the page before, so that it costs the same however
far down it is, and nothing is left out or shown twice when something new comes in at the top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, bindparam, or_, select, text, tuple_

from atoll.model.scopes import Reach, Sight
from atoll.model.work import RunId
from atoll.stores.sql.database import Database
from atoll.stores.sql.run_rows import AnyRow
from atoll.stores.sql.run_statements import SHOWN_RUN
from atoll.stores.sql.run_tables import jobs, rounds, run_logs, runs
from atoll.stores.sql.runs import SqlRunStore
from atoll.stores.sql.shown import Form, job_form, log_form, moment, round_form, run_form

#: Open jobs that a run names when it is asked whom it waits for.
WAITED_FOR_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An item of a list."""

    #: What the list is ordered by: the next page begins after it.
    key: tuple[Any, ...]
    #: Its public form.
    form: Form


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs are listed. None: whatever they have there."""

    collaboration: str | None = None
    study: str | None = None
    status: str | None = None
    submitter: str | None = None
    #: A part of its name, in any case.
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs of a run are listed. None: whatever they have there."""

    round_number: int | None = None
    seat: str | None = None
    status: str | None = None


_SHOWN_COLUMNS = tuple(column for column in runs.c if column.name != "made")
_OF_RUN = bindparam("run", type_=runs.c.id.type)
_MOST = bindparam("most", type_=rounds.c.number.type)
_RUNS = select(*_SHOWN_COLUMNS).order_by(runs.c.created_at.desc(), runs.c.id.desc()).limit(_MOST)
_ROUNDS = select(*rounds.c).where(rounds.c.run_id == _OF_RUN).order_by(rounds.c.number).limit(_MOST)
_JOBS = (
    select(*jobs.c)
    .where(jobs.c.run_id == _OF_RUN)
    .order_by(jobs.c.round_number, jobs.c.position)
    .limit(_MOST)
)
_OPEN_JOBS = _JOBS.where(text("jobs.status IN ('queued', 'active', 'held')"))
_LOGS = select(*run_logs.c).where(run_logs.c.run_id == _OF_RUN).order_by(run_logs.c.id).limit(_MOST)


class RunLists:
    """Lists of runs, and of what is in them.

    Args:
        database: where they are kept.
        store: knows what never changes of a run.
    """

    def __init__(self, database: Database, store: SqlRunStore) -> None:
        self._database = database
        self._store = store

    async def runs(self, sight: Sight, which: RunFilter, after: Sequence[Any], most: int) -> Sequence[Listed]:
        """Runs that somebody may see, the newest first.

        Args:
            sight: how far who asks sees.
            which: those of them that are asked for.
            after: the key of the last run of the page before; empty at the beginning.
            most: how many are read.
        """
        if sight.reach is None:
            return []
        conditions = [*_within(sight), *_wanted(which)]
        if after:
            conditions.append(tuple_(runs.c.created_at, runs.c.id) < tuple_(*after))
        async with self._database.reading() as connection:
            rows = (await connection.execute(_RUNS.where(*conditions), {"most": most})).rows
            return [
                Listed(key=(row.created_at, row.id), form=form)
                for row in rows
                if (form := await self._form(row)) is not None
            ]

    async def run(self, run_id: RunId) -> Form | None:
        """One run; None where there is no such run."""
        async with self._database.reading() as connection:
            row = (await connection.execute(SHOWN_RUN, {"run": run_id})).first
            return None if row is None else await self._form(row)

    async def rounds(
        self, run_id: RunId, after: Sequence[Any], most: int, *, main_only: bool = False
    ) -> Sequence[Listed]:
        """The rounds of a run, the first first.

        Args:
            run_id: the run.
            after: the number of the last round of the page before; empty at the beginning.
            most: how many are read.
            main_only: without those that jobs have asked for.
        """
        conditions: list[ColumnElement[bool]] = []
        if after:
            conditions.append(rounds.c.number > after[0])
        if main_only:
            conditions.append(rounds.c.parent.is_(None))
        rows = await self._read(_ROUNDS.where(*conditions), run_id, most)
        return [Listed(key=(row.number,), form=round_form(row)) for row in rows]

    async def jobs(
        self, run_id: RunId, which: JobFilter, after: Sequence[Any], most: int
    ) -> Sequence[Listed]:
        """The jobs of a run, those of its first round first.

        Args:
            run_id: the run.
            which: those of them that are asked for.
            after: the numbers of the last job's round and place on the page before; empty at the beginning.
            most: how many are read.
        """
        conditions: list[ColumnElement[bool]] = []
        if which.round_number is not None:
            conditions.append(jobs.c.round_number == which.round_number)
        if which.seat is not None:
            conditions.append(jobs.c.seat == which.seat)
        if which.status is not None:
            conditions.append(jobs.c.status == which.status)
        if after:
            conditions.append(tuple_(jobs.c.round_number, jobs.c.position) > tuple_(*after))
        rows = await self._read(_JOBS.where(*conditions), run_id, most)
        return [Listed(key=(row.round_number, row.position), form=job_form(row)) for row in rows]

    async def waiting_for(self, run_id: RunId, most: int = WAITED_FOR_MAX) -> Sequence[Form]:
        """The open jobs of a run, each with `since` when it is in its state."""
        rows = await self._read(_OPEN_JOBS, run_id, most)
        return [job_form(row) | {"since": moment(_since(row))} for row in rows]

    async def logs(
        self, run_id: RunId, seat: str | None, after: Sequence[Any], most: int
    ) -> Sequence[Listed]:
        """What nodes have told of a run's jobs, the first first.

        Args:
            run_id: the run.
            seat: of this seat alone; None: of all.
            after: the number of the last line of the page before; empty at the beginning.
            most: how many are read.
        """
        conditions: list[ColumnElement[bool]] = []
        if seat is not None:
            conditions.append(run_logs.c.seat == seat)
        if after:
            conditions.append(run_logs.c.id > after[0])
        rows = await self._read(_LOGS.where(*conditions), run_id, most)
        return [Listed(key=(row.id,), form=log_form(row)) for row in rows]

    async def _form(self, row: AnyRow) -> Form | None:
        made = await self._store.made(row.id)
        return None if made is None else run_form(row, made)

    async def _read(self, statement: Any, run_id: RunId, most: int) -> Sequence[AnyRow]:
        async with self._database.reading() as connection:
            return (await connection.execute(statement, {"run": run_id, "most": most})).rows


def _since(row: AnyRow) -> float | None:
    found: float | None = {"queued": row.queued_at, "active": row.claimed_at}.get(row.status, row.ended_at)
    return found


def _within(sight: Sight) -> list[ColumnElement[bool]]:
    """The same as `Sight.covers`, asked of all runs at once."""
    if sight.reach is Reach.GLOBAL:
        return []
    assert sight.reach is not None
    parts: list[ColumnElement[bool]] = [runs.c.submitter_id == sight.user]
    if sight.reach >= Reach.ORGANIZATION:
        parts.append(runs.c.organization_id == sight.organization)
    if sight.reach >= Reach.COLLABORATION:
        parts.append(runs.c.collaboration_id.in_(sorted(sight.collaborations)))
    return [or_(*parts)]


def _wanted(which: RunFilter) -> list[ColumnElement[bool]]:
    columns = {
        runs.c.collaboration_id: which.collaboration,
        runs.c.study_id: which.study,
        runs.c.status: which.status,
        runs.c.submitter_id: which.submitter,
    }
    conditions: list[ColumnElement[bool]] = [
        column == value for column, value in columns.items() if value is not None
    ]
    if which.name is not None:
        conditions.append(runs.c.name.icontains(which.name, autoescape=True))
    return conditions
