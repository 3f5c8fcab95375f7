"""What nodes say of themselves when they come, and when they were heard of last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, update

from atoll.stores.sql.database import Database
from atoll.stores.sql.run_rows import json_of
from atoll.stores.sql.site_tables import nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a node says when it comes."""

    version: str
    databases: Sequence[str]
    dialects: Sequence[str]
    runtimes: Sequence[str]


_CAME = (
    update(nodes)
    .where(nodes.c.id == bindparam("node"))
    .values(
        online=True,
        last_seen_at=bindparam("now"),
        version=bindparam("says_version"),
        databases=bindparam("says_databases"),
        dialects=bindparam("says_dialects"),
        runtimes=bindparam("says_runtimes"),
    )
)
_SEEN = update(nodes).where(nodes.c.id == bindparam("node")).values(online=True, last_seen_at=bindparam("at"))
_GONE = (
    update(nodes)
    .where(nodes.c.online, nodes.c.last_seen_at < bindparam("before"))
    .values(online=False)
    .returning(nodes.c.id)
)


async def came(database: Database, node: str, facts: Facts, now: float) -> None:
    """A node has come, or come back."""
    async with database.writing() as connection:
        await connection.execute(
            _CAME,
            {
                "node": node,
                "now": now,
                "says_version": facts.version,
                "says_databases": json_of(facts.databases),
                "says_dialects": json_of(facts.dialects),
                "says_runtimes": json_of(facts.runtimes),
            },
        )


async def seen(database: Database, last: Mapping[str, float], before: float) -> Sequence[str]:
    """Write down when nodes were heard of last, and which are there no longer.

    Args:
        database: where nodes are kept.
        last: when a node was heard of last, by its id.
        before: who was not heard of since then is gone.

    Returns:
        The ids of those that are gone.
    """
    async with database.writing() as connection:
        if last:
            # In one order, as another replica writes down its own at the same time.
            rows = [{"node": node, "at": last[node]} for node in sorted(last)]
            await connection.execute(_SEEN, rows)
        return [row.id for row in (await connection.execute(_GONE, {"before": before})).rows]
