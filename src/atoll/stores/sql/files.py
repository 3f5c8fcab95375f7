"""Which files runs have, who brought them, and who may read them. Their content lies elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from atoll.model.work import RunId, RunStatus, Seat
from atoll.stores.sql.database import Connection, Database
from atoll.stores.sql.people_tables import collaborations
from atoll.stores.sql.run_rows import Kept
from atoll.stores.sql.run_tables import message_blobs, messages, run_blobs, runs


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of a run, whole or on its way."""

    size_bytes: int
    is_whole: bool
    #: The id of the node or the person that announced it.
    uploader: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a run's collaboration has used of what it may."""

    #: Whether the run is there and goes on; None: there is no such run.
    is_active: bool | None
    used_bytes: int = 0
    #: None: no bound.
    bytes_max: int | None = None


_THIS = (run_blobs.c.run_id == bindparam("run")) & (run_blobs.c.digest == bindparam("content"))
_FILE = select(run_blobs.c.size_bytes, run_blobs.c.is_whole, run_blobs.c.uploader_id).where(_THIS)
#: Says nothing where the row is there already, whoever is first. SQLite has PostgreSQL's words for it.
_ANNOUNCE = insert(run_blobs).on_conflict_do_nothing()
_WHOLE = update(run_blobs).where(_THIS, ~run_blobs.c.is_whole).values(is_whole=True)
_RUN = select(runs.c.status, runs.c.collaboration_id).where(runs.c.id == bindparam("run"))
_WEIGH = update(runs).where(runs.c.id == bindparam("run")).values(bytes=runs.c.bytes + bindparam("size"))
_BOUND = select(collaborations.c.bytes_max).where(collaborations.c.id == bindparam("id"))
_USED = select(func.coalesce(func.sum(runs.c.bytes), 0)).where(runs.c.collaboration_id == bindparam("id"))
_AHEAD = (
    select(func.coalesce(func.sum(run_blobs.c.size_bytes), 0))
    .where(run_blobs.c.uploader_id == bindparam("who"))
    .where(~select(runs.c.id).where(runs.c.id == run_blobs.c.run_id).exists())
)
_UPLOADERS = select(run_blobs.c.uploader_id).where(run_blobs.c.run_id == bindparam("run")).distinct()
_NAMED = (
    select(messages.c.readers)
    .join(
        message_blobs,
        (message_blobs.c.run_id == messages.c.run_id) & (message_blobs.c.message_id == messages.c.id),
    )
    .where(message_blobs.c.run_id == bindparam("run"), message_blobs.c.digest == bindparam("content"))
)
_OF_RESULT = (
    select(messages.c.id)
    .join(
        message_blobs,
        (message_blobs.c.run_id == messages.c.run_id) & (message_blobs.c.message_id == messages.c.id),
    )
    .where(
        message_blobs.c.run_id == bindparam("run"),
        message_blobs.c.digest == bindparam("content"),
        messages.c.kept == Kept.SETTLED.value,
    )
    .limit(1)
)
_DROP = delete(run_blobs).where(_THIS)
_DROP_OF_RUN = delete(run_blobs).where(run_blobs.c.run_id == bindparam("run"))
_LEFT = (
    select(run_blobs.c.run_id)
    .where(run_blobs.c.created_at < bindparam("before"))
    .where(~select(runs.c.id).where(runs.c.id == run_blobs.c.run_id).exists())
    .distinct()
    .limit(200)
)
_seats = msgspec.json.Decoder(list[Seat])


async def find(connection: Connection, run_id: RunId, digest: str) -> File | None:
    """A file of a run, if it was announced."""
    row = (await connection.execute(_FILE, {"run": run_id, "content": digest})).first
    if row is None:
        return None
    return File(size_bytes=row.size_bytes, is_whole=row.is_whole, uploader=row.uploader_id)


async def announce(connection: Connection, run_id: RunId, digest: str, file: File, now: float) -> None:
    """Remember that a file will come; nothing where it was announced before."""
    await connection.execute(
        _ANNOUNCE,
        {
            "run_id": run_id,
            "digest": digest,
            "size_bytes": file.size_bytes,
            "is_whole": file.is_whole,
            "uploader_id": file.uploader,
            "created_at": now,
        },
    )


async def arrived(database: Database, run_id: RunId, digest: str, size_bytes: int) -> None:
    """A file is whole: its run weighs more."""
    async with database.writing() as connection:
        # First the run, as everywhere: so two that write never wait for each other.
        await connection.execute(_RUN.with_for_update(), {"run": run_id})
        if (await connection.execute(_WHOLE, {"run": run_id, "content": digest})).count:
            await connection.execute(_WEIGH, {"run": run_id, "size": size_bytes})


async def drop(database: Database, run_id: RunId, digest: str) -> None:
    """A file that did not come as it was announced is not expected any more."""
    async with database.writing() as connection:
        await connection.execute(_DROP, {"run": run_id, "content": digest})


async def bounds(connection: Connection, run_id: RunId) -> Bounds:
    """What a run's collaboration has used, and may."""
    row = (await connection.execute(_RUN, {"run": run_id})).first
    if row is None:
        return Bounds(is_active=None)
    active = row.status == RunStatus.ACTIVE.value
    bound = (await connection.execute(_BOUND, {"id": row.collaboration_id})).first
    if bound is None or bound.bytes_max is None:
        return Bounds(is_active=active)
    used = (await connection.execute(_USED, {"id": row.collaboration_id})).rows[0][0]
    return Bounds(is_active=active, used_bytes=int(used), bytes_max=bound.bytes_max)


async def bytes_ahead(connection: Connection, uploader: str) -> int:
    """What the files weigh that somebody has announced for runs which he has not submitted."""
    return int((await connection.execute(_AHEAD, {"who": uploader})).rows[0][0])


async def uploaders(connection: Connection, run_id: RunId) -> frozenset[str]:
    """Who has announced files of a run."""
    rows = (await connection.execute(_UPLOADERS, {"run": run_id})).rows
    return frozenset(row.uploader_id for row in rows)


async def readers(database: Database, run_id: RunId, digest: str) -> frozenset[Seat]:
    """The seats that read a message which names a file."""
    async with database.reading() as connection:
        rows = (await connection.execute(_NAMED, {"run": run_id, "content": digest})).rows
    return frozenset(seat for row in rows for seat in _seats.decode(row.readers))


async def is_of_a_result(database: Database, run_id: RunId, digest: str) -> bool:
    """Whether a seat's last message in a step names a file. Others passed between the seats alone."""
    async with database.reading() as connection:
        found = await connection.execute(_OF_RESULT, {"run": run_id, "content": digest})
    return found.first is not None


async def left_behind(database: Database, before: float) -> Sequence[RunId]:
    """Runs that are not there, or no longer, and still have files that came before this time."""
    async with database.reading() as connection:
        rows = (await connection.execute(_LEFT, {"before": before})).rows
    return [RunId(row.run_id) for row in rows]


async def forget(database: Database, run_id: RunId) -> None:
    """A run has no files any more."""
    async with database.writing() as connection:
        await connection.execute(_DROP_OF_RUN, {"run": run_id})
