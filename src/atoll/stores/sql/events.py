"""Events: what was told, in the order in which it became true.

Each event holds the whole public form of one thing, so that a state which was read at a cursor, with
every later event applied to it, is the state as it is now.

Whoever tells something raises the one row of `event_cursor` last. Its lock is held until the
transaction is over, so that numbers come in the order of commits, and who has seen a number has seen
all before it. It lets one writer at a time come to its end, which takes as long as one commit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, bindparam, delete, insert, or_, select, update

from atoll.model.errors import EventsGone
from atoll.model.work import RunId
from atoll.stores.sql.database import Connection, Database
from atoll.stores.sql.run_rows import json_of
from atoll.stores.sql.run_tables import event_cursor, events

#: Events that are read at a time.
EVENTS_READ_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One thing that has changed."""

    #: ``run``, ``round``, ``job`` or ``log``.
    kind: str
    #: What it is about: a later event of the same kind about it replaces this one.
    subject_id: str
    #: Its public form.
    form: dict[str, Any]
    run_id: str | None = None
    collaboration_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptEvent:
    """One thing that was told."""

    cursor: int
    #: See `Told`.
    kind: str
    subject_id: str
    run_id: str | None
    collaboration_id: str | None
    #: Its public form, as JSON text.
    form: str


_RAISE = (
    update(event_cursor)
    .where(event_cursor.c.id == 1)
    .values(value=event_cursor.c.value + bindparam("count"))
    .returning(event_cursor.c.value)
)
_TELL = insert(events)
_CURSOR = select(event_cursor.c.value, event_cursor.c.gone).where(event_cursor.c.id == 1)
_AFTER = (
    select(
        events.c.cursor,
        events.c.kind,
        events.c.subject_id,
        events.c.run_id,
        events.c.collaboration_id,
        events.c.form,
    )
    .where(events.c.cursor > bindparam("after"))
    .order_by(events.c.cursor)
    .limit(bindparam("most"))
)
_AFTER_OF_RUN = _AFTER.where(events.c.run_id == bindparam("run"))
_AFTER_OF_SOME = _AFTER.where(events.c.collaboration_id.in_(bindparam("collaborations", expanding=True)))
_EARLIEST = (
    select(events.c.cursor, events.c.at)
    .where(events.c.cursor > bindparam("after"))
    .order_by(events.c.cursor)
    .limit(EVENTS_READ_MAX)
)
_DROP = delete(events).where(events.c.cursor <= bindparam("last"))
_GONE = update(event_cursor).where(event_cursor.c.id == 1).values(gone=bindparam("last"))
_DROP_OF_RUN = delete(events).where(
    and_(
        events.c.run_id == bindparam("run"), or_(events.c.kind != "run", events.c.cursor < bindparam("last"))
    )
)


async def tell(connection: Connection, told: Sequence[Told], now: float) -> int:
    """Tell what has changed in this transaction; the last thing that it does.

    Returns:
        The number of the last of these events.
    """
    answer = await connection.execute(_RAISE, {"count": len(told)})
    assert answer.first is not None, "the table event_cursor has no row: the database was not migrated"
    last: int = answer.first.value
    first = last - len(told) + 1
    if told:
        rows = [
            {
                "cursor": first + place,
                "kind": each.kind,
                "subject_id": each.subject_id,
                "run_id": each.run_id,
                "collaboration_id": each.collaboration_id,
                "at": now,
                "form": json_of(each.form),
            }
            for place, each in enumerate(told)
        ]
        await connection.execute(_TELL, rows)
    return last


async def cursor(database: Database) -> int:
    """The number of the latest event. Read it before the state that it goes with, never after."""
    row = (await database.ask(_CURSOR)).first
    assert row is not None
    return int(row.value)


async def events_after(
    database: Database,
    after: int,
    *,
    run: RunId | None = None,
    collaborations: Collection[str] | None = None,
    limit: int = EVENTS_READ_MAX,
) -> Sequence[KeptEvent]:
    """The events after a cursor, in their order.

    Args:
        database: where they are.
        after: the cursor.
        run: of this run alone.
        collaborations: of these alone; None: of all, and of what belongs to none.
        limit: the most that are read.

    Raises:
        EventsGone: some after this cursor are kept no longer; or there is no such cursor.
    """
    parameters: dict[str, Any] = {"after": after, "most": min(limit, EVENTS_READ_MAX)}
    statement = _AFTER
    if run is not None:
        statement, parameters["run"] = _AFTER_OF_RUN, run
    elif collaborations is not None:
        statement, parameters["collaborations"] = _AFTER_OF_SOME, list(collaborations)
    async with database.reading() as connection:
        rows = (await connection.execute(statement, parameters)).rows
        # After the events: what is dropped between the two looks is then missed by neither.
        kept = (await connection.execute(_CURSOR)).first
    assert kept is not None
    if after > kept.value:
        raise EventsGone(
            f"there is no event {after} yet: the latest is {kept.value}. Was the hub's database put back to an "
            "earlier state? Fetch the state anew, and go on from its cursor"
        )
    if after < kept.gone:
        raise EventsGone(
            f"the events after {after} are kept no longer: the earliest that is kept comes after {kept.gone}. "
            "Fetch the state anew, and go on from its cursor"
        )
    return [
        KeptEvent(
            cursor=row.cursor,
            kind=row.kind,
            subject_id=row.subject_id,
            run_id=row.run_id,
            collaboration_id=row.collaboration_id,
            form=row.form,
        )
        for row in rows
    ]


async def drop_events(database: Database, before: float) -> int:
    """Forget what was told before this time; how many events that were."""
    # So few at a time that nobody waits long for it.
    dropped = 0
    while some := await _drop_some(database, before):
        dropped += some
    return dropped


async def _drop_some(database: Database, before: float) -> int:
    async with database.writing() as connection:
        # First the lock that all writers take last, so that two never wait for each other.
        kept = (await connection.execute(_CURSOR.with_for_update())).first
        assert kept is not None
        earliest = (await connection.execute(_EARLIEST, {"after": kept.gone})).rows
        # Their numbers come in the order of their times, but for what clocks differ by.
        old = [row.cursor for row in earliest if row.at < before]
        if not old:
            return 0
        await connection.execute(_GONE, {"last": old[-1]})
        return (await connection.execute(_DROP, {"last": old[-1]})).count


async def drop_events_of(connection: Connection, run: str, *, but_after: int) -> None:
    """Forget what was told of a run, but that it is gone."""
    await connection.execute(_DROP_OF_RUN, {"run": run, "last": but_after})
