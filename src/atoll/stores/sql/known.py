"""Who is known by a token: what every request asks first, and what is remembered of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import bindparam, insert, select, update

from atoll.stores.sql.database import Connection, Database
from atoll.stores.sql.people_tables import (
    access_tokens,
    collaboration_organizations,
    logins,
    people_changes,
    personal_tokens,
    roles,
    user_roles,
    users,
)
from atoll.stores.sql.site_tables import node_keys, node_tokens, nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Who is known by a token, and by which."""

    #: Of the person or node.
    id: str
    is_node: bool
    #: The username, or the node's name.
    name: str
    organization_id: str
    #: When the token ends.
    expires_at: float
    #: The ids of roles that every hub has, or that people made.
    role_ids: tuple[str, ...] = ()
    #: The scopes of the roles that people made.
    made_scopes: tuple[str, ...] = ()
    #: The collaborations that the organization is a member of, and all their members.
    collaborations: frozenset[str] = frozenset()
    peers: frozenset[str] = frozenset()
    #: The login that the token is of.
    login_id: str | None = None
    #: The personal token, and its scopes.
    token_id: str | None = None
    token_scopes: tuple[str, ...] | None = None
    #: When a personal token was used last, as far as it is kept.
    token_used_at: float | None = None


_BY_ACCESS = (
    select(users.c.id, users.c.username, users.c.organization_id, access_tokens.c.expires_at, logins.c.id)
    .select_from(access_tokens.join(logins).join(users))
    .where(access_tokens.c.hash == bindparam("hash"), users.c.disabled.is_(False))
)
_BY_NODE_TOKEN = (
    select(nodes.c.id, nodes.c.name, nodes.c.organization_id, node_tokens.c.expires_at, node_keys.c.ends_at)
    .select_from(
        node_tokens.join(nodes, node_tokens.c.node_id == nodes.c.id).join(
            node_keys, node_tokens.c.key_hash == node_keys.c.hash
        )
    )
    .where(node_tokens.c.hash == bindparam("hash"))
)
_BY_PERSONAL = (
    select(
        users.c.id,
        users.c.username,
        users.c.organization_id,
        personal_tokens.c.expires_at,
        personal_tokens.c.id,
        personal_tokens.c.scopes,
        personal_tokens.c.last_used_at,
    )
    .select_from(personal_tokens.join(users))
    .where(personal_tokens.c.hash == bindparam("hash"), users.c.disabled.is_(False))
)
_ROLES = (
    select(user_roles.c.role_id, roles.c.scopes)
    .select_from(user_roles.outerjoin(roles, roles.c.id == user_roles.c.role_id))
    .where(user_roles.c.user_id == bindparam("user_id"))
)
_MINE = collaboration_organizations.alias("mine")
_SHARED = (
    select(collaboration_organizations.c.collaboration_id, collaboration_organizations.c.organization_id)
    .select_from(
        collaboration_organizations.join(
            _MINE, _MINE.c.collaboration_id == collaboration_organizations.c.collaboration_id
        )
    )
    .where(_MINE.c.organization_id == bindparam("organization_id"))
)
_CHANGES = select(people_changes.c.value)
_CHANGE = update(people_changes).values(value=people_changes.c.value + 1)
_BEGIN_CHANGES = insert(people_changes).values(id=1, value=1)
_USED = (
    update(personal_tokens)
    .where(personal_tokens.c.id == bindparam("token"))
    .values(last_used_at=bindparam("at"))
)


class KnownTokens:
    """The tokens of a hub, as far as they let somebody in.

    Args:
        database: the hub's.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def by_access(self, digest: str) -> Known | None:
        """Whose access token this is: a person's or a node's. It may have expired."""
        async with self._database.reading() as connection:
            if (row := (await connection.execute(_BY_ACCESS, {"hash": digest})).first) is not None:
                id_, name, organization, expires, login = row
                return await _person(connection, id_, name, organization, expires, login_id=login)
            if (row := (await connection.execute(_BY_NODE_TOKEN, {"hash": digest})).first) is not None:
                id_, name, organization, expires, ends = row
                shared = await _shared(connection, organization)
                return Known(
                    id=id_,
                    is_node=True,
                    name=name,
                    organization_id=organization,
                    expires_at=expires if ends is None else min(expires, ends),
                    collaborations=shared[0],
                    peers=shared[1],
                )
        return None

    async def by_personal(self, digest: str) -> Known | None:
        """Whose personal token this is. It may have expired."""
        async with self._database.reading() as connection:
            row = (await connection.execute(_BY_PERSONAL, {"hash": digest})).first
            if row is None:
                return None
            id_, name, organization, expires, token, scopes, used = row
            return await _person(
                connection,
                id_,
                name,
                organization,
                expires,
                token_id=token,
                token_scopes=msgspec.json.decode(scopes, type=tuple[str, ...]),
                token_used_at=used,
            )

    async def used(self, token_id: str, now: float) -> None:
        """Keep that a personal token was used."""
        async with self._database.writing() as connection:
            await connection.execute(_USED, {"token": token_id, "at": now})

    async def changes(self) -> int:
        """How often anything about people has changed."""
        row = (await self._database.ask(_CHANGES)).first
        return 0 if row is None else int(row[0])


async def change(connection: Connection) -> None:
    """Count a change of what somebody is known by, or may."""
    if (await connection.execute(_CHANGE)).count == 0:
        await connection.execute(_BEGIN_CHANGES)


async def _person(
    connection: Connection,
    id_: str,
    name: str,
    organization: str,
    expires: float,
    *,
    login_id: str | None = None,
    token_id: str | None = None,
    token_scopes: tuple[str, ...] | None = None,
    token_used_at: float | None = None,
) -> Known:
    held: Sequence[tuple[str, str | None]] = [
        (row[0], row[1]) for row in (await connection.execute(_ROLES, {"user_id": id_})).rows
    ]
    collaborations, peers = await _shared(connection, organization)
    return Known(
        id=id_,
        is_node=False,
        name=name,
        organization_id=organization,
        expires_at=expires,
        role_ids=tuple(role for role, _ in held),
        made_scopes=tuple(
            text for _, scopes in held if scopes for text in msgspec.json.decode(scopes, type=tuple[str, ...])
        ),
        collaborations=collaborations,
        peers=peers,
        login_id=login_id,
        token_id=token_id,
        token_scopes=token_scopes,
        token_used_at=token_used_at,
    )


async def _shared(connection: Connection, organization: str) -> tuple[frozenset[str], frozenset[str]]:
    """The collaborations of an organization, and their members with itself."""
    rows = (await connection.execute(_SHARED, {"organization_id": organization})).rows
    return frozenset(row[0] for row in rows), frozenset({organization, *(row[1] for row in rows)})
