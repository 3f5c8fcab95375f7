"""Nodes in the database: whose they are, how they register, and what they are known by."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Text, bindparam, delete, exists, func, insert, or_, select, update

from atoll.model.people import Node, key_of
from atoll.model.scopes import Sight
from atoll.stores.sql.database import Connection
from atoll.stores.sql.people import visible, within
from atoll.stores.sql.people_tables import collaborations
from atoll.stores.sql.run_rows import json_of
from atoll.stores.sql.run_tables import runs
from atoll.stores.sql.site_tables import collaboration_nodes, node_keys, node_tokens, nodes

_TEXTS = tuple[str, ...]
_NODE = (
    nodes.c.id,
    nodes.c.name,
    nodes.c.organization_id,
    nodes.c.holds_data,
    nodes.c.created_at,
    nodes.c.registered_at,
    nodes.c.online,
    nodes.c.last_seen_at,
    nodes.c.version,
    nodes.c.databases,
    nodes.c.dialects,
    nodes.c.runtimes,
)
_ADD = insert(nodes)
_GET = select(*_NODE).where(nodes.c.id == bindparam("id"))
_GET_SOME = select(*_NODE).where(nodes.c.id.in_(bindparam("ids", expanding=True)))
_NAMED = select(nodes.c.id).where(nodes.c.name_key == bindparam("key"))
_BY_CODE = (
    select(*_NODE)
    .where(nodes.c.code_hash == bindparam("hash"), nodes.c.code_expires_at > bindparam("now"))
    .with_for_update()
)
_LIST = (
    select(*_NODE)
    .where(
        visible(nodes.c.organization_id),
        or_(bindparam("of", type_=Text) == "", nodes.c.organization_id == bindparam("of", type_=Text)),
        or_(
            bindparam("within", type_=Text) == "",
            exists().where(
                collaboration_nodes.c.node_id == nodes.c.id,
                collaboration_nodes.c.collaboration_id == bindparam("within", type_=Text),
            ),
        ),
        nodes.c.name_key > bindparam("after"),
    )
    .order_by(nodes.c.name_key)
    .limit(bindparam("limit"))
)
# What was made of a run is text, and names stand in it as JSON has them.
_WAITED_FOR = (
    select(runs.c.id).where(runs.c.status == "active", runs.c.made.contains(bindparam("named"))).limit(1)
)
_SET_CODE = (
    update(nodes)
    .where(nodes.c.id == bindparam("of"))
    .values(code_hash=bindparam("new_hash"), code_expires_at=bindparam("new_until"))
)
_HOLDS = update(nodes).where(nodes.c.id == bindparam("of")).values(holds_data=bindparam("new_holds"))
_REGISTERED = (
    update(nodes)
    .where(nodes.c.id == bindparam("of"))
    .values(code_hash=None, code_expires_at=None, registered_at=bindparam("at"))
)
_DELETE = delete(nodes).where(nodes.c.id == bindparam("id"))
_NO_AGGREGATOR = (
    update(collaborations)
    .where(collaborations.c.default_aggregator == bindparam("node"))
    .values(default_aggregator=None)
)
_COUNT_PLACES = (
    select(func.count())
    .select_from(collaboration_nodes)
    .where(collaboration_nodes.c.node_id == bindparam("id"))
)
_ADD_KEY = insert(node_keys)
_DROP_KEYS = delete(node_keys).where(node_keys.c.node_id == bindparam("node"))
_END_KEYS = (
    update(node_keys)
    .where(
        node_keys.c.node_id == bindparam("node"),
        or_(node_keys.c.ends_at.is_(None), node_keys.c.ends_at > bindparam("at")),
    )
    .values(ends_at=bindparam("at"))
)
_DROP_OTHER_KEYS = delete(node_keys).where(
    node_keys.c.node_id == bindparam("node"), node_keys.c.hash != bindparam("kept")
)
_BY_KEY = (
    select(node_keys.c.node_id, node_keys.c.ends_at, nodes.c.name, nodes.c.organization_id)
    .select_from(node_keys.join(nodes))
    .where(node_keys.c.hash == bindparam("hash"))
    .with_for_update(of=node_keys)
)
_ADD_TOKEN = insert(node_tokens)
_PRUNE_TOKENS = delete(node_tokens).where(
    node_tokens.c.node_id == bindparam("node"), node_tokens.c.expires_at <= bindparam("now")
)


@lru_cache(maxsize=10_000)  # What a node says of itself, it says again and again.
def _texts(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=_TEXTS)


def _node(row: Any) -> Node:
    return Node(
        id=row[0],
        name=row[1],
        organization_id=row[2],
        holds_data=bool(row[3]),
        created_at=row[4],
        registered_at=row[5],
        online=bool(row[6]),
        last_seen_at=row[7],
        version=row[8],
        databases=_texts(row[9]),
        dialects=_texts(row[10]),
        runtimes=_texts(row[11]),
    )


async def add_node(connection: Connection, node: Node, code_hash: str, until: float) -> None:
    """Keep a new node, and the hash of the code that it registers with."""
    row = {
        "id": node.id,
        "name": node.name,
        "name_key": key_of(node.name),
        "organization_id": node.organization_id,
        "holds_data": node.holds_data,
        "created_at": node.created_at,
        "code_hash": code_hash,
        "code_expires_at": until,
    }
    await connection.execute(_ADD, row)


async def get_node(connection: Connection, id_: str) -> Node | None:
    """A node by its id."""
    row = (await connection.execute(_GET, {"id": id_})).first
    return None if row is None else _node(row)


async def get_nodes(connection: Connection, ids: Sequence[str]) -> dict[str, Node]:
    """Nodes by their ids; those that are not there are left out."""
    if not ids:
        return {}
    found = [_node(row) for row in (await connection.execute(_GET_SOME, {"ids": list(ids)})).rows]
    return {node.id: node for node in found}


async def same_node(connection: Connection, name: str) -> str | None:
    """The id of the node with this name."""
    row = (await connection.execute(_NAMED, {"key": key_of(name)})).first
    return None if row is None else str(row[0])


async def is_waited_for(connection: Connection, name: str) -> bool:
    """Whether a run that goes on names a node; it may have been removed since."""
    return (await connection.execute(_WAITED_FOR, {"named": json_of(name)})).first is not None


async def node_by_code(connection: Connection, digest: str, now: float) -> Node | None:
    """The node that registers with the code of this hash."""
    row = (await connection.execute(_BY_CODE, {"hash": digest, "now": now})).first
    return None if row is None else _node(row)


async def list_nodes(
    connection: Connection, sight: Sight, *, organization: str, collaboration: str, after: str, limit: int
) -> Sequence[Node]:
    """Nodes within somebody's sight, by name, after one; of an organization or collaboration, or of all."""
    parameters = {
        **within(sight),
        "of": organization,
        "within": collaboration,
        "after": after,
        "limit": limit,
    }
    return [_node(row) for row in (await connection.execute(_LIST, parameters)).rows]


async def set_code(connection: Connection, id_: str, code_hash: str, until: float) -> None:
    """Let a node register with another code."""
    await connection.execute(_SET_CODE, {"of": id_, "new_hash": code_hash, "new_until": until})


async def set_holds_data(connection: Connection, id_: str, *, holds_data: bool) -> None:
    """Say whether a node has data of its own."""
    await connection.execute(_HOLDS, {"of": id_, "new_holds": holds_data})


async def count_places(connection: Connection, id_: str) -> int:
    """How many collaborations a node is a data node of."""
    row = (await connection.execute(_COUNT_PLACES, {"id": id_})).first
    return 0 if row is None else int(row[0])


async def delete_node(connection: Connection, id_: str) -> None:
    """Remove a node, with its keys, from every collaboration."""
    await connection.execute(_NO_AGGREGATOR, {"node": id_})
    await connection.execute(_DELETE, {"id": id_})


async def register(connection: Connection, id_: str, key_hash: str, now: float) -> None:
    """Note that a node has registered: its code is used, and this key is its only one."""
    await connection.execute(_REGISTERED, {"of": id_, "at": now})
    await connection.execute(_DROP_KEYS, {"node": id_})
    await connection.execute(_ADD_KEY, {"hash": key_hash, "node_id": id_, "created_at": now, "ends_at": None})


async def add_key(connection: Connection, id_: str, key_hash: str, *, now: float, until: float) -> None:
    """Keep a node's next key; those before end at a time."""
    await connection.execute(_END_KEYS, {"node": id_, "at": until})
    await connection.execute(_ADD_KEY, {"hash": key_hash, "node_id": id_, "created_at": now, "ends_at": None})


async def by_key(connection: Connection, digest: str) -> tuple[str, float | None, str, str] | None:
    """Of a key: its node's id, its end, the node's name and organization."""
    row = (await connection.execute(_BY_KEY, {"hash": digest})).first
    return None if row is None else (row[0], row[1], row[2], row[3])


async def drop_other_keys(connection: Connection, id_: str, kept: str) -> bool:
    """Remove all keys of a node but one, with their tokens; whether there were any."""
    return (await connection.execute(_DROP_OTHER_KEYS, {"node": id_, "kept": kept})).count > 0


async def add_token(
    connection: Connection, id_: str, *, key_hash: str, digest: str, now: float, until: float
) -> None:
    """Keep a node's next access token, and forget those that have ended."""
    await connection.execute(_PRUNE_TOKENS, {"node": id_, "now": now})
    row = {"hash": digest, "node_id": id_, "key_hash": key_hash, "expires_at": until}
    await connection.execute(_ADD_TOKEN, row)
