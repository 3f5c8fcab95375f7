"""Logins, tokens, invitations and one-time codes in the database, by the hash of each secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, delete, func, insert, select, text, update

from atoll.model.people import Invitation, Login, PersonalToken
from atoll.model.scopes import Sight
from atoll.stores.sql.database import Connection
from atoll.stores.sql.people import visible, within
from atoll.stores.sql.people_tables import (
    access_tokens,
    invitations,
    login_failures,
    logins,
    personal_tokens,
    refresh_tokens,
    setup_codes,
    users,
)

_TEXTS = tuple[str, ...]


def _json(texts: Sequence[str]) -> str:
    return msgspec.json.encode(texts).decode()


# --- Logins -----------------------------------------------------------------------------------

_LOGIN = (
    logins.c.id,
    logins.c.user_id,
    logins.c.created_at,
    logins.c.last_used_at,
    logins.c.expires_at,
    logins.c.address,
    logins.c.agent,
)
_ADD_LOGIN = insert(logins)
_LIST_LOGINS = (
    select(*_LOGIN)
    .where(logins.c.user_id == bindparam("user"), logins.c.expires_at > bindparam("now"))
    .order_by(logins.c.created_at.desc(), logins.c.id)
)
_USE_LOGIN = (
    update(logins)
    .where(logins.c.id == bindparam("of"))
    .values(last_used_at=bindparam("now"), expires_at=bindparam("until"))
)
_END_LOGIN = delete(logins).where(logins.c.id == bindparam("id"), logins.c.user_id == bindparam("user"))
_END_LOGINS = delete(logins).where(logins.c.user_id == bindparam("user"), logins.c.id != bindparam("kept"))
_PRUNE = (
    delete(logins).where(logins.c.expires_at <= bindparam("now")),
    delete(access_tokens).where(access_tokens.c.expires_at <= bindparam("now")),
    delete(refresh_tokens).where(refresh_tokens.c.expires_at <= bindparam("now")),
    delete(personal_tokens).where(personal_tokens.c.expires_at <= bindparam("now")),
    delete(invitations).where(invitations.c.expires_at <= bindparam("now")),
)
_ADD_ACCESS = insert(access_tokens)
_ADD_REFRESH = insert(refresh_tokens)
_GET_REFRESH = (
    select(
        refresh_tokens.c.login_id,
        refresh_tokens.c.expires_at,
        refresh_tokens.c.used_at,
        logins.c.user_id,
        users.c.disabled,
    )
    .select_from(refresh_tokens.join(logins).join(users))
    .where(refresh_tokens.c.hash == bindparam("hash"))
    .with_for_update(of=refresh_tokens)
)
_USE_REFRESH = (
    update(refresh_tokens).where(refresh_tokens.c.hash == bindparam("of")).values(used_at=bindparam("now"))
)


async def add_login(connection: Connection, login: Login) -> None:
    """Keep a new login."""
    row = {
        "id": login.id,
        "user_id": login.user_id,
        "created_at": login.created_at,
        "last_used_at": login.last_used_at,
        "expires_at": login.expires_at,
        "address": login.address,
        "agent": login.agent,
    }
    await connection.execute(_ADD_LOGIN, row)


async def list_logins(connection: Connection, user_id: str, now: float) -> list[Login]:
    """A person's logins, the newest first."""
    rows = (await connection.execute(_LIST_LOGINS, {"user": user_id, "now": now})).rows
    return [
        Login(
            id=row[0],
            user_id=row[1],
            created_at=row[2],
            last_used_at=row[3],
            expires_at=row[4],
            address=row[5],
            agent=row[6],
        )
        for row in rows
    ]


async def end_login(connection: Connection, user_id: str, id_: str) -> bool:
    """End one login of a person; whether there was one."""
    return (await connection.execute(_END_LOGIN, {"id": id_, "user": user_id})).count > 0


async def end_logins(connection: Connection, user_id: str, kept: str = "") -> None:
    """End all logins of a person but one."""
    await connection.execute(_END_LOGINS, {"user": user_id, "kept": kept})


async def add_tokens(
    connection: Connection,
    login_id: str,
    *,
    access: tuple[str, float],
    refresh: tuple[str, float],
) -> None:
    """Keep the next two tokens of a login: the hash of each, and when it ends."""
    rows = [
        {"hash": digest, "login_id": login_id, "expires_at": expires_at}
        for digest, expires_at in (access, refresh)
    ]
    await connection.execute(_ADD_ACCESS, rows[0])
    await connection.execute(_ADD_REFRESH, rows[1])


async def get_refresh(
    connection: Connection, digest: str
) -> tuple[str, float, float | None, str, bool] | None:
    """Of a refresh token: its login, its end, when it was used, whose it is, and whether he is disabled."""
    row = (await connection.execute(_GET_REFRESH, {"hash": digest})).first
    return None if row is None else (row[0], row[1], row[2], row[3], bool(row[4]))


async def use_refresh(
    connection: Connection, digest: str, login_id: str, *, now: float, until: float
) -> None:
    """Note that a refresh token was used, and that its login goes on."""
    await connection.execute(_USE_REFRESH, {"of": digest, "now": now})
    await connection.execute(_USE_LOGIN, {"of": login_id, "now": now, "until": until})


async def prune(connection: Connection, now: float) -> None:
    """Remove what has expired."""
    for statement in _PRUNE:
        await connection.execute(statement, {"now": now})


# --- Personal tokens --------------------------------------------------------------------------

_TOKEN = (
    personal_tokens.c.id,
    personal_tokens.c.user_id,
    personal_tokens.c.name,
    personal_tokens.c.scopes,
    personal_tokens.c.created_at,
    personal_tokens.c.expires_at,
    personal_tokens.c.last_used_at,
)
_ADD_TOKEN = insert(personal_tokens)
_LIST_TOKENS = (
    select(*_TOKEN)
    .where(personal_tokens.c.user_id == bindparam("user"))
    .order_by(personal_tokens.c.created_at.desc(), personal_tokens.c.id)
)
_END_TOKEN = delete(personal_tokens).where(
    personal_tokens.c.id == bindparam("id"), personal_tokens.c.user_id == bindparam("user")
)
_COUNT_TOKENS = (
    select(func.count()).select_from(personal_tokens).where(personal_tokens.c.user_id == bindparam("user"))
)


async def add_token(connection: Connection, token: PersonalToken, digest: str) -> None:
    """Keep a new personal token."""
    row = {
        "id": token.id,
        "hash": digest,
        "user_id": token.user_id,
        "name": token.name,
        "scopes": _json(token.scopes),
        "created_at": token.created_at,
        "expires_at": token.expires_at,
        "last_used_at": token.last_used_at,
    }
    await connection.execute(_ADD_TOKEN, row)


async def list_tokens(connection: Connection, user_id: str) -> list[PersonalToken]:
    """A person's personal tokens, the newest first."""
    return [
        PersonalToken(
            id=row[0],
            user_id=row[1],
            name=row[2],
            scopes=msgspec.json.decode(row[3], type=_TEXTS),
            created_at=row[4],
            expires_at=row[5],
            last_used_at=row[6],
        )
        for row in (await connection.execute(_LIST_TOKENS, {"user": user_id})).rows
    ]


async def count_tokens(connection: Connection, user_id: str) -> int:
    """How many personal tokens a person has."""
    row = (await connection.execute(_COUNT_TOKENS, {"user": user_id})).first
    return 0 if row is None else int(row[0])


async def end_token(connection: Connection, user_id: str, id_: str) -> bool:
    """End one personal token of a person; whether there was one."""
    return (await connection.execute(_END_TOKEN, {"id": id_, "user": user_id})).count > 0


# --- Invitations ------------------------------------------------------------------------------

_INVITATION = (
    invitations.c.id,
    invitations.c.organization_id,
    invitations.c.roles,
    invitations.c.name,
    invitations.c.invited_by,
    invitations.c.created_at,
    invitations.c.expires_at,
)
_ADD_INVITATION = insert(invitations)
_GET_INVITATION = select(*_INVITATION).where(invitations.c.id == bindparam("id"))
_BY_CODE = select(*_INVITATION).where(invitations.c.hash == bindparam("hash")).with_for_update()
_LIST_INVITATIONS = (
    select(*_INVITATION)
    .where(
        visible(invitations.c.organization_id, invitations.c.invited_by),
        invitations.c.id > bindparam("after"),
    )
    .where(invitations.c.expires_at > bindparam("now"))
    .order_by(invitations.c.id)
    .limit(bindparam("limit"))
)
_DELETE_INVITATION = delete(invitations).where(invitations.c.id == bindparam("id"))


def _invitation(row: Any) -> Invitation:
    return Invitation(
        id=row[0],
        organization_id=row[1],
        roles=msgspec.json.decode(row[2], type=_TEXTS),
        name=row[3],
        invited_by=row[4],
        created_at=row[5],
        expires_at=row[6],
    )


async def add_invitation(connection: Connection, invitation: Invitation, digest: str) -> None:
    """Keep a new invitation."""
    row = {
        "id": invitation.id,
        "hash": digest,
        "organization_id": invitation.organization_id,
        "roles": _json(invitation.roles),
        "name": invitation.name,
        "invited_by": invitation.invited_by,
        "created_at": invitation.created_at,
        "expires_at": invitation.expires_at,
    }
    await connection.execute(_ADD_INVITATION, row)


async def get_invitation(connection: Connection, id_: str) -> Invitation | None:
    """An invitation by its id."""
    row = (await connection.execute(_GET_INVITATION, {"id": id_})).first
    return None if row is None else _invitation(row)


async def invitation_by_code(connection: Connection, digest: str) -> Invitation | None:
    """An invitation by the hash of its code."""
    row = (await connection.execute(_BY_CODE, {"hash": digest})).first
    return None if row is None else _invitation(row)


async def list_invitations(
    connection: Connection, sight: Sight, now: float, after: str, limit: int
) -> list[Invitation]:
    """Open invitations within somebody's sight, after one."""
    parameters = {**within(sight), "now": now, "after": after, "limit": limit}
    return [_invitation(row) for row in (await connection.execute(_LIST_INVITATIONS, parameters)).rows]


async def delete_invitation(connection: Connection, id_: str) -> None:
    """Remove an invitation: it was withdrawn or accepted."""
    await connection.execute(_DELETE_INVITATION, {"id": id_})


# --- The first administrator's code -----------------------------------------------------------

_GET_SETUP = select(setup_codes.c.hash).with_for_update()
_ADD_SETUP = insert(setup_codes)
_DELETE_SETUP = delete(setup_codes)


async def get_setup(connection: Connection) -> str | None:
    """The hash of the set-up code, while there is one."""
    row = (await connection.execute(_GET_SETUP)).first
    return None if row is None else str(row[0])


async def set_setup(connection: Connection, digest: str | None, now: float) -> None:
    """Keep another set-up code, or none."""
    await connection.execute(_DELETE_SETUP)
    if digest is not None:
        await connection.execute(_ADD_SETUP, {"id": 1, "hash": digest, "created_at": now})


# --- Failed logins ----------------------------------------------------------------------------

_GET_FAILURES = (
    select(
        login_failures.c.subject, login_failures.c.failures, login_failures.c.last_at, login_failures.c.until
    )
    .where(login_failures.c.subject.in_(bindparam("subjects", expanding=True)))
    .order_by(login_failures.c.subject)
    .with_for_update()
)
#: SQLite and PostgreSQL both take it so. A row that is updated and never removed while it counts is
#: what makes tries at the same moment wait for each other: one that was put anew would be missed.
_ENSURE_FAILURES = text(
    "INSERT INTO login_failures (subject, failures, last_at, until) VALUES (:subject, 0, :now, 0) "
    "ON CONFLICT (subject) DO NOTHING"
)
_SET_FAILURES = (
    update(login_failures)
    .where(login_failures.c.subject == bindparam("of"))
    .values(failures=bindparam("count"), last_at=bindparam("at"), until=bindparam("closed"))
)
_PRUNE_FAILURES = delete(login_failures).where(login_failures.c.last_at < bindparam("before"))


async def get_failures(
    connection: Connection, subjects: Sequence[str], now: float
) -> dict[str, tuple[int, float, float]]:
    """By subject: how many, when the last was, and until when nobody is let in. Others wait for the end of this."""
    await connection.execute(
        _ENSURE_FAILURES, [{"subject": subject, "now": now} for subject in sorted(subjects)]
    )
    rows = (await connection.execute(_GET_FAILURES, {"subjects": list(subjects)})).rows
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


async def set_failures(connection: Connection, failures: dict[str, tuple[int, float, float]]) -> None:
    """Keep what is known of these subjects."""
    for subject, kept in sorted(failures.items()):
        row = {"of": subject, "count": kept[0], "at": kept[1], "closed": kept[2]}
        await connection.execute(_SET_FAILURES, row)


async def prune_failures(connection: Connection, before: float) -> None:
    """Forget subjects that were last heard of before a time."""
    await connection.execute(_PRUNE_FAILURES, {"before": before})
