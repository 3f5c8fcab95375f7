"""Organizations, people and roles in the database."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Boolean, ColumnElement, Text, bindparam, delete, func, insert, or_, select, update

from atoll.model.people import Organization, Role, User, key_of
from atoll.model.scopes import Reach, Sight
from atoll.stores.sql.database import Connection, Parameters
from atoll.stores.sql.people_tables import (
    collaboration_organizations,
    invitations,
    organizations,
    roles,
    user_roles,
    users,
)
from atoll.stores.sql.site_tables import nodes

_TEXTS = tuple[str, ...]


def within(sight: Sight) -> dict[str, Any]:
    """The parameters of `visible`."""
    reach = sight.reach or 0
    if reach >= Reach.COLLABORATION:
        seen = sight.peers
    else:
        seen = frozenset({sight.organization} if reach >= Reach.ORGANIZATION else ())
    return {
        "everything": reach is Reach.GLOBAL,
        "me": sight.user if reach else "",
        "organizations": sorted(seen),
    }


def visible(organization: ColumnElement[Any], owner: ColumnElement[Any] | None = None) -> ColumnElement[bool]:
    """Whether what belongs to an organization, and to a person of it, is within somebody's sight."""
    terms = [
        bindparam("everything", type_=Boolean),
        organization.in_(bindparam("organizations", expanding=True)),
    ]
    if owner is not None:
        terms.append(owner == bindparam("me"))
    return or_(*terms)


async def _count(connection: Connection, statement: Any, parameters: Parameters) -> int:
    row = (await connection.execute(statement, parameters)).first
    return 0 if row is None else int(row[0])


# --- Organizations ----------------------------------------------------------------------------

_ORGANIZATION = (organizations.c.id, organizations.c.name, organizations.c.created_at)
_ADD_ORGANIZATION = insert(organizations)
_GET_ORGANIZATION = select(*_ORGANIZATION).where(organizations.c.id == bindparam("id"))
_NAMED_ORGANIZATION = select(*_ORGANIZATION).where(organizations.c.name_key == bindparam("key"))
_LIST_ORGANIZATIONS = (
    select(*_ORGANIZATION)
    .where(visible(organizations.c.id), organizations.c.name_key > bindparam("after"))
    .order_by(organizations.c.name_key)
    .limit(bindparam("limit"))
)
_RENAME_ORGANIZATION = (
    update(organizations)
    .where(organizations.c.id == bindparam("of"))
    .values(name=bindparam("new_name"), name_key=bindparam("new_key"))
)
_DELETE_ORGANIZATION = delete(organizations).where(organizations.c.id == bindparam("id"))
_DEPENDING = (
    ("people", select(func.count()).select_from(users).where(users.c.organization_id == bindparam("id"))),
    ("nodes", select(func.count()).select_from(nodes).where(nodes.c.organization_id == bindparam("id"))),
    (
        "collaborations",
        select(func.count())
        .select_from(collaboration_organizations)
        .where(collaboration_organizations.c.organization_id == bindparam("id")),
    ),
)


def _organization(row: Any) -> Organization:
    return Organization(id=row[0], name=row[1], created_at=row[2])


async def add_organization(connection: Connection, organization: Organization) -> None:
    """Keep a new organization."""
    row = {
        "id": organization.id,
        "name": organization.name,
        "name_key": key_of(organization.name),
        "created_at": organization.created_at,
    }
    await connection.execute(_ADD_ORGANIZATION, row)


async def get_organization(connection: Connection, id_: str) -> Organization | None:
    """An organization by its id."""
    row = (await connection.execute(_GET_ORGANIZATION, {"id": id_})).first
    return None if row is None else _organization(row)


async def named_organization(connection: Connection, name: str) -> Organization | None:
    """An organization by its name."""
    row = (await connection.execute(_NAMED_ORGANIZATION, {"key": key_of(name)})).first
    return None if row is None else _organization(row)


async def list_organizations(
    connection: Connection, sight: Sight, after: str, limit: int
) -> Sequence[Organization]:
    """Organizations within somebody's sight, by name, after one."""
    parameters = {**within(sight), "after": after, "limit": limit}
    return [_organization(row) for row in (await connection.execute(_LIST_ORGANIZATIONS, parameters)).rows]


async def rename_organization(connection: Connection, id_: str, name: str) -> None:
    """Give an organization another name."""
    await connection.execute(_RENAME_ORGANIZATION, {"of": id_, "new_name": name, "new_key": key_of(name)})


async def depending(connection: Connection, id_: str) -> list[str]:
    """What stands in the way of removing an organization: "3 people", …."""
    counts = [(what, await _count(connection, statement, {"id": id_})) for what, statement in _DEPENDING]
    return [f"{count} {what}" for what, count in counts if count]


async def delete_organization(connection: Connection, id_: str) -> None:
    """Remove an organization, with its roles and invitations."""
    await connection.execute(_DELETE_ORGANIZATION, {"id": id_})


# --- People -----------------------------------------------------------------------------------

_USER = (
    users.c.id,
    users.c.organization_id,
    users.c.username,
    users.c.name,
    users.c.disabled,
    users.c.created_at,
)
_ADD_USER = insert(users)
_GET_USER = select(*_USER).where(users.c.id == bindparam("id"))
_NAMED_USER = select(*_USER, users.c.password_hash).where(users.c.username_key == bindparam("key"))
_SECRET_OF = select(users.c.password_hash).where(users.c.id == bindparam("id"))
_LIST_USERS = (
    select(*_USER)
    .where(
        visible(users.c.organization_id, users.c.id),
        or_(bindparam("of", type_=Text) == "", users.c.organization_id == bindparam("of")),
        users.c.username_key > bindparam("after"),
    )
    .order_by(users.c.username_key)
    .limit(bindparam("limit"))
)
_ROLES_OF = (
    select(user_roles.c.user_id, user_roles.c.role_id)
    .where(user_roles.c.user_id.in_(bindparam("users", expanding=True)))
    .order_by(user_roles.c.role_id)
)
_CHANGE_USER = (
    update(users)
    .where(users.c.id == bindparam("of"))
    .values(name=bindparam("new_name"), disabled=bindparam("new_disabled"))
)
_SET_PASSWORD = update(users).where(users.c.id == bindparam("of")).values(password_hash=bindparam("new_hash"))
_DELETE_USER = delete(users).where(users.c.id == bindparam("id"))
_COUNT_USERS = select(func.count()).select_from(users)
_DROP_ROLES = delete(user_roles).where(user_roles.c.user_id == bindparam("user"))
_ADD_ROLES = insert(user_roles)
_DELETE_INVITATIONS_BY = delete(invitations).where(invitations.c.invited_by == bindparam("user"))
_COUNT_HOLDERS = (
    select(func.count())
    .select_from(user_roles.join(users))
    .where(
        user_roles.c.role_id == bindparam("role"),
        or_(bindparam("also_disabled", type_=Boolean), users.c.disabled.is_(False)),
    )
)


def _user(row: Any, held: Sequence[str]) -> User:
    return User(
        id=row[0],
        organization_id=row[1],
        username=row[2],
        name=row[3],
        disabled=bool(row[4]),
        created_at=row[5],
        roles=tuple(held),
    )


async def add_user(connection: Connection, user: User, password_hash: str) -> None:
    """Keep a new person, with his roles."""
    row = {
        "id": user.id,
        "organization_id": user.organization_id,
        "username": user.username,
        "username_key": key_of(user.username),
        "name": user.name,
        "password_hash": password_hash,
        "disabled": user.disabled,
        "created_at": user.created_at,
    }
    await connection.execute(_ADD_USER, row)
    await set_roles(connection, user.id, user.roles)


async def set_roles(connection: Connection, user_id: str, role_ids: Iterable[str]) -> None:
    """Give a person these roles and no others."""
    await connection.execute(_DROP_ROLES, {"user": user_id})
    rows = [{"user_id": user_id, "role_id": role} for role in role_ids]
    if rows:
        await connection.execute(_ADD_ROLES, rows)


async def _with_roles(connection: Connection, rows: Sequence[Any]) -> list[User]:
    held: dict[str, list[str]] = {row[0]: [] for row in rows}
    if held:
        for user_id, role_id in (await connection.execute(_ROLES_OF, {"users": list(held)})).rows:
            held[user_id].append(role_id)
    return [_user(row, held[row[0]]) for row in rows]


async def get_user(connection: Connection, id_: str) -> User | None:
    """A person by his id."""
    rows = (await connection.execute(_GET_USER, {"id": id_})).rows
    return next(iter(await _with_roles(connection, rows)), None)


async def named_user(connection: Connection, username: str) -> tuple[User, str] | None:
    """A person by what he types at a login, and the hash of his password."""
    rows = (await connection.execute(_NAMED_USER, {"key": key_of(username)})).rows
    found = await _with_roles(connection, rows)
    return (found[0], rows[0][6]) if found else None


async def password_of(connection: Connection, id_: str) -> str | None:
    """The hash of a person's password."""
    row = (await connection.execute(_SECRET_OF, {"id": id_})).first
    return None if row is None else str(row[0])


async def list_users(
    connection: Connection, sight: Sight, organization: str, after: str, limit: int
) -> Sequence[User]:
    """People within somebody's sight, of one organization or of all, by username, after one."""
    parameters = {**within(sight), "of": organization, "after": after, "limit": limit}
    return await _with_roles(connection, (await connection.execute(_LIST_USERS, parameters)).rows)


async def change_user(connection: Connection, id_: str, *, name: str, disabled: bool) -> None:
    """Change what is shown of a person, and whether he is let in."""
    await connection.execute(_CHANGE_USER, {"of": id_, "new_name": name, "new_disabled": disabled})


async def set_password(connection: Connection, id_: str, password_hash: str) -> None:
    """Give a person another password."""
    await connection.execute(_SET_PASSWORD, {"of": id_, "new_hash": password_hash})


async def delete_user(connection: Connection, id_: str) -> None:
    """Remove a person, with all that he is known by, and his invitations."""
    await connection.execute(_DELETE_INVITATIONS_BY, {"user": id_})
    await connection.execute(_DELETE_USER, {"id": id_})


async def withdraw_invitations(connection: Connection, user_id: str) -> None:
    """Withdraw all that a person has invited."""
    await connection.execute(_DELETE_INVITATIONS_BY, {"user": user_id})


async def count_users(connection: Connection) -> int:
    """How many people there are."""
    return await _count(connection, _COUNT_USERS, {})


async def count_holders(connection: Connection, role_id: str, *, also_disabled: bool) -> int:
    """How many people have a role."""
    return await _count(connection, _COUNT_HOLDERS, {"role": role_id, "also_disabled": also_disabled})


# --- Roles ------------------------------------------------------------------------------------

_ROLE = (roles.c.id, roles.c.organization_id, roles.c.name, roles.c.scopes, roles.c.created_at)
_ADD_ROLE = insert(roles)
_GET_ROLES = select(*_ROLE).where(roles.c.id.in_(bindparam("ids", expanding=True)))
_LIST_ROLES = (
    select(*_ROLE, roles.c.name_key)
    .where(
        or_(visible(roles.c.organization_id), roles.c.organization_id.is_(None)),
        or_(
            roles.c.name_key > bindparam("after"),
            (roles.c.name_key == bindparam("after")) & (roles.c.id > bindparam("after_id")),
        ),
    )
    .order_by(roles.c.name_key, roles.c.id)
    .limit(bindparam("limit"))
)
_SAME_NAME = select(roles.c.id).where(
    roles.c.name_key == bindparam("key"),
    func.coalesce(roles.c.organization_id, "") == bindparam("organization"),
)
_CHANGE_ROLE = (
    update(roles)
    .where(roles.c.id == bindparam("of"))
    .values(name=bindparam("new_name"), name_key=bindparam("new_key"), scopes=bindparam("new_scopes"))
)
_DELETE_ROLE = delete(roles).where(roles.c.id == bindparam("id"))


def _role(row: Any) -> Role:
    scopes = msgspec.json.decode(row[3], type=_TEXTS)
    return Role(id=row[0], organization_id=row[1], name=row[2], scopes=scopes, created_at=row[4])


async def add_role(connection: Connection, role: Role) -> None:
    """Keep a new role."""
    row = {
        "id": role.id,
        "organization_id": role.organization_id,
        "name": role.name,
        "name_key": key_of(role.name),
        "scopes": msgspec.json.encode(role.scopes).decode(),
        "created_at": role.created_at,
    }
    await connection.execute(_ADD_ROLE, row)


async def get_roles(connection: Connection, ids: Sequence[str]) -> dict[str, Role]:
    """Roles that people made, by their ids; those that are not there are left out."""
    if not ids:
        return {}
    found = [_role(row) for row in (await connection.execute(_GET_ROLES, {"ids": list(ids)})).rows]
    return {role.id: role for role in found}


async def same_role(connection: Connection, organization_id: str | None, name: str) -> str | None:
    """The id of the role with this name, of an organization or of the hub."""
    parameters = {"key": key_of(name), "organization": organization_id or ""}
    row = (await connection.execute(_SAME_NAME, parameters)).first
    return None if row is None else str(row[0])


async def list_roles(
    connection: Connection, sight: Sight, after: tuple[str, str], limit: int
) -> Sequence[Role]:
    """Roles that people made, of the hub and within somebody's sight, by name, after one."""
    parameters = {**within(sight), "after": after[0], "after_id": after[1], "limit": limit}
    return [_role(row) for row in (await connection.execute(_LIST_ROLES, parameters)).rows]


async def change_role(connection: Connection, role: Role) -> None:
    """Keep a role as it is now."""
    parameters = {
        "of": role.id,
        "new_name": role.name,
        "new_key": key_of(role.name),
        "new_scopes": msgspec.json.encode(role.scopes).decode(),
    }
    await connection.execute(_CHANGE_ROLE, parameters)


async def delete_role(connection: Connection, id_: str) -> None:
    """Remove a role that nobody has."""
    await connection.execute(_DELETE_ROLE, {"id": id_})
