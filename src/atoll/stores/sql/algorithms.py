"""Algorithms in a database: what is known of each, and who has it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, and_, bindparam, delete, false, func, insert, or_, select

from atoll.model.scopes import Reach, Sight
from atoll.stores.sql.algorithm_tables import algorithm_places, algorithms
from atoll.stores.sql.database import Connection
from atoll.stores.sql.run_tables import jobs, runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An algorithm at one collaboration."""

    digest: str
    dialect: str
    name: str
    #: JSON.
    manifest: str
    size_bytes: int
    collaboration: str
    uploader: str
    organization: str
    created_at: float


_COLUMNS = (
    algorithms.c.digest,
    algorithms.c.dialect,
    algorithms.c.name,
    algorithms.c.manifest,
    algorithms.c.size_bytes,
    algorithm_places.c.collaboration_id,
    algorithm_places.c.uploader_id,
    algorithm_places.c.organization_id,
    algorithm_places.c.created_at,
)
_KEPT = select(*_COLUMNS).join(algorithm_places, algorithm_places.c.digest == algorithms.c.digest)
_KNOWN = select(algorithms.c.digest).where(algorithms.c.digest == bindparam("digest"))
_PLACE = _KEPT.where(
    algorithms.c.digest == bindparam("digest"), algorithm_places.c.collaboration_id == bindparam("place")
)
_PLACES = _KEPT.where(algorithms.c.digest == bindparam("digest")).order_by(algorithm_places.c.created_at)
_BYTES = (
    select(func.coalesce(func.sum(algorithms.c.size_bytes), 0))
    .join(algorithm_places, algorithm_places.c.digest == algorithms.c.digest)
    .where(algorithm_places.c.collaboration_id == bindparam("place"))
)
_ADD = insert(algorithms)
_ADD_PLACE = insert(algorithm_places)
_REMOVE_PLACE = delete(algorithm_places).where(
    algorithm_places.c.digest == bindparam("digest"),
    algorithm_places.c.collaboration_id == bindparam("place"),
)
_REMOVE = delete(algorithms).where(
    algorithms.c.digest == bindparam("digest"),
    ~select(algorithm_places.c.digest).where(algorithm_places.c.digest == algorithms.c.digest).exists(),
)
# Few jobs of a node are open at a time, so that looking into what was made of their runs costs little.
# A submitter says what he likes in a run: only what the run's own collaboration has is had by it.
_USED_AT = (
    select(runs.c.id)
    .join(jobs, jobs.c.run_id == runs.c.id)
    .join(algorithm_places, algorithm_places.c.collaboration_id == runs.c.collaboration_id)
    .where(
        algorithm_places.c.digest == bindparam("digest"),
        jobs.c.node == bindparam("node"),
        jobs.c.status.in_(("queued", "active", "held")),
        runs.c.made.contains(bindparam("digest")),
    )
    .limit(1)
)
_USED_IN = (
    select(runs.c.id)
    .where(
        runs.c.collaboration_id == bindparam("place"),
        runs.c.status == "active",
        runs.c.made.contains(bindparam("digest")),
    )
    .limit(1)
)


async def is_known(connection: Connection, digest: str) -> bool:
    """Whether any collaboration has an algorithm."""
    return (await connection.execute(_KNOWN, {"digest": digest})).first is not None


async def at(connection: Connection, digest: str, collaboration: str) -> Kept | None:
    """An algorithm at a collaboration; None where it doesn't have it."""
    row = (await connection.execute(_PLACE, {"digest": digest, "place": collaboration})).first
    return None if row is None else _kept(row)


async def places(connection: Connection, digest: str) -> list[Kept]:
    """An algorithm at every collaboration that has it."""
    return [_kept(row) for row in (await connection.execute(_PLACES, {"digest": digest})).rows]


async def listed(
    connection: Connection,
    sight: Sight,
    *,
    collaboration: str | None,
    after: tuple[Any, ...],
    limit: int,
) -> list[Kept]:
    """Algorithms that somebody may see, newest first.

    Args:
        connection: to the database.
        sight: what he may see.
        collaboration: only those of one.
        after: time, digest and collaboration of the last that was seen; empty at the beginning.
        limit: how many at most.
    """
    query = _seen(_KEPT, sight)
    if collaboration is not None:
        query = query.where(algorithm_places.c.collaboration_id == collaboration)
    keys = (algorithm_places.c.created_at, algorithms.c.digest, algorithm_places.c.collaboration_id)
    if after:
        time, digest, place = after
        query = query.where(
            or_(
                keys[0] < time,
                and_(keys[0] == time, keys[1] < digest),
                and_(keys[0] == time, keys[1] == digest, keys[2] < place),
            )
        )
    query = query.order_by(*(key.desc() for key in keys)).limit(limit)
    return [_kept(row) for row in (await connection.execute(query)).rows]


async def weight(connection: Connection, collaboration: str) -> int:
    """How many bytes the algorithms of a collaboration have."""
    return int((await connection.execute(_BYTES, {"place": collaboration})).rows[0][0])


async def add(connection: Connection, kept: Kept) -> None:
    """Let a collaboration have an algorithm. Whoever has it already keeps it as it is."""
    if not await is_known(connection, kept.digest):
        await connection.execute(
            _ADD,
            {
                "digest": kept.digest,
                "dialect": kept.dialect,
                "name": kept.name,
                "manifest": kept.manifest,
                "size_bytes": kept.size_bytes,
                "created_at": kept.created_at,
            },
        )
    if await at(connection, kept.digest, kept.collaboration) is None:
        await connection.execute(
            _ADD_PLACE,
            {
                "digest": kept.digest,
                "collaboration_id": kept.collaboration,
                "uploader_id": kept.uploader,
                "organization_id": kept.organization,
                "created_at": kept.created_at,
            },
        )


async def remove(connection: Connection, digest: str, collaboration: str) -> bool:
    """Take an algorithm from a collaboration; whether nobody has it any more."""
    await connection.execute(_REMOVE_PLACE, {"digest": digest, "place": collaboration})
    await connection.execute(_REMOVE, {"digest": digest})
    return not await is_known(connection, digest)


async def used_at(connection: Connection, node: str, digest: str) -> bool:
    """Whether a node has to do with an algorithm of a collaboration: it has an open job of a run there that uses it."""
    return (await connection.execute(_USED_AT, {"node": node, "digest": digest})).first is not None


async def used_in(connection: Connection, collaboration: str, digest: str) -> bool:
    """Whether a run of a collaboration that goes on uses an algorithm."""
    return (await connection.execute(_USED_IN, {"place": collaboration, "digest": digest})).first is not None


def _kept(row: Any) -> Kept:
    digest, dialect, name, manifest, size_bytes, place, uploader, organization, created_at = row
    return Kept(
        digest=digest,
        dialect=dialect,
        name=name,
        manifest=manifest,
        size_bytes=size_bytes,
        collaboration=place,
        uploader=uploader,
        organization=organization,
        created_at=created_at,
    )


def _seen(query: Select[Any], sight: Sight) -> Select[Any]:
    """Only what somebody may see: the same rule as `Sight.covers`."""
    place = algorithm_places.c
    if sight.reach is Reach.GLOBAL:
        return query
    if sight.reach is None:
        return query.where(false())
    mine = [place.uploader_id == sight.user]
    if sight.reach >= Reach.ORGANIZATION:
        mine.append(place.organization_id == sight.organization)
    if sight.reach >= Reach.COLLABORATION:
        mine.append(place.collaboration_id.in_(sorted(sight.collaborations)))
    return query.where(or_(*mine))
