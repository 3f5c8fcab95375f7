"""Ended runs that are removed: by somebody, or because they were kept as long as was agreed."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, select

from atoll.model.errors import NotThere, StaleEvent
from atoll.model.work import RunId
from atoll.stores.sql.database import Database
from atoll.stores.sql.events import Told, drop_events_of, tell
from atoll.stores.sql.people_tables import collaborations
from atoll.stores.sql.run_tables import runs

_DAY_SECONDS = 86_400.0
#: Runs that a sweep takes at a time.
_SWEPT_MAX = 50

_LOCKED = (
    select(runs.c.status, runs.c.collaboration_id).where(runs.c.id == bindparam("run")).with_for_update()
)
_REMOVE = delete(runs).where(runs.c.id == bindparam("run"))
_KEPT_LONG = (
    select(runs.c.id)
    .join(collaborations, collaborations.c.id == runs.c.collaboration_id)
    .where(
        runs.c.status != "active",
        collaborations.c.retention_days.is_not(None),
        runs.c.ended_at < bindparam("now") - collaborations.c.retention_days * _DAY_SECONDS,
    )
    .order_by(runs.c.ended_at)
    .limit(_SWEPT_MAX)
)


async def remove_run(database: Database, run_id: RunId, now: float) -> None:
    """Remove a run that has ended, with all that is known of it. Whoever follows is told that it is gone.

    Raises:
        NotThere: there is no such run.
        StaleEvent: it goes on.
    """
    async with database.writing() as connection:
        row = (await connection.execute(_LOCKED, {"run": run_id})).first
        if row is None:
            raise NotThere(f"there is no run {run_id}")
        if row.status == "active":
            raise StaleEvent(f"run {run_id} goes on: cancel it before it is removed")
        await connection.execute(_REMOVE, {"run": run_id})
        gone = Told(
            kind="run",
            subject_id=run_id,
            form={"id": run_id, "gone": True},
            run_id=run_id,
            collaboration_id=row.collaboration_id,
        )
        last = await tell(connection, [gone], now)
        await drop_events_of(connection, run_id, but_after=last)


async def kept_long_enough(database: Database, now: float) -> Sequence[RunId]:
    """Ended runs that were kept as long as their collaborations want; some of them, where they are many."""
    async with database.reading() as connection:
        rows = (await connection.execute(_KEPT_LONG, {"now": now})).rows
    return [RunId(row.id) for row in rows]
