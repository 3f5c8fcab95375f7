"""The tables of people: organizations, roles, collaborations, and what somebody shows to be known.

No secret stands in any of them: passwords are argon2 hashes, tokens and one-time codes sha256 ones.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text, UniqueConstraint

from atoll.stores.sql.base import Json, Time, cascading, metadata

organizations = Table(
    "organizations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    # What is compared: no two names differ in case alone.
    Column("name_key", Text, nullable=False, unique=True),
    Column("created_at", Time, nullable=False),
)

users = Table(
    "users",
    metadata,
    Column("id", Text, primary_key=True),
    Column("organization_id", Text, cascading("organizations.id"), nullable=False, index=True),
    # What is typed at a login.
    Column("username", Text, nullable=False),
    Column("username_key", Text, nullable=False, unique=True),
    # What is shown.
    Column("name", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("disabled", Boolean, nullable=False),
    Column("created_at", Time, nullable=False),
)

#: Roles that people made. Those that every hub has stand in `model.scopes`, and their id is their name.
roles = Table(
    "roles",
    metadata,
    Column("id", Text, primary_key=True),
    # None: a role of the hub, for all organizations.
    Column("organization_id", Text, cascading("organizations.id")),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    # A list of scopes' texts.
    Column("scopes", Json, nullable=False),
    Column("created_at", Time, nullable=False),
    UniqueConstraint("organization_id", "name_key"),
)

#: A role's id may be the name of one that every hub has, so this refers to no table.
user_roles = Table(
    "user_roles",
    metadata,
    Column("user_id", Text, cascading("users.id"), primary_key=True),
    Column("role_id", Text, primary_key=True, index=True),
)

#: Somebody at one browser or machine, from his password to his logging out.
logins = Table(
    "logins",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_id", Text, cascading("users.id"), nullable=False, index=True),
    Column("created_at", Time, nullable=False),
    Column("last_used_at", Time, nullable=False),
    Column("expires_at", Time, nullable=False, index=True),
    # Where it came from, for the person himself to recognise.
    Column("address", Text, nullable=False),
    Column("agent", Text, nullable=False),
)

#: Each may be used once. One that is used again was stolen, from the person or by him.
refresh_tokens = Table(
    "refresh_tokens",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("login_id", Text, cascading("logins.id"), nullable=False, index=True),
    Column("expires_at", Time, nullable=False),
    Column("used_at", Time),
)

#: Of people's logins. They end within minutes.
access_tokens = Table(
    "access_tokens",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("login_id", Text, cascading("logins.id"), nullable=False, index=True),
    Column("expires_at", Time, nullable=False, index=True),
)

personal_tokens = Table(
    "personal_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("user_id", Text, cascading("users.id"), nullable=False, index=True),
    Column("name", Text, nullable=False),
    Column("scopes", Json, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time, nullable=False),
    Column("last_used_at", Time),
)

invitations = Table(
    "invitations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hash", Text, nullable=False, unique=True),
    Column("organization_id", Text, cascading("organizations.id"), nullable=False, index=True),
    # A list of roles' ids.
    Column("roles", Json, nullable=False),
    # Whom it is for, in the words of who invites.
    Column("name", Text, nullable=False),
    Column("invited_by", Text, nullable=False),
    Column("created_at", Time, nullable=False),
    Column("expires_at", Time, nullable=False),
)

#: At most one row: what the first administrator shows to become it. It goes when it was used.
setup_codes = Table(
    "setup_codes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False),
    Column("created_at", Time, nullable=False),
)

#: One row: a number that grows with every change of what somebody is known by, or may.
people_changes = Table(
    "people_changes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
)

#: Failed logins, by name and by address. A login that succeeds removes that of the name.
login_failures = Table(
    "login_failures",
    metadata,
    # ``name:…`` or ``address:…``.
    Column("subject", Text, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("last_at", Time, nullable=False),
    # Until when nobody is let in.
    Column("until", Time, nullable=False),
    Index("ix_login_failures_last_at", "last_at"),
)

collaborations = Table(
    "collaborations",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False, unique=True),
    # The node that aggregates where a run names none.
    Column("default_aggregator", Text),
    # None: no bound of its own.
    Column("runs_active_max", Integer),
    Column("bytes_max", BigInteger),
    # Days that an ended run is kept. None: until somebody removes it.
    Column("retention_days", Integer),
    Column("created_at", Time, nullable=False),
)

collaboration_organizations = Table(
    "collaboration_organizations",
    metadata,
    Column("collaboration_id", Text, cascading("collaborations.id"), primary_key=True),
    Column("organization_id", Text, cascading("organizations.id"), primary_key=True, index=True),
)

studies = Table(
    "studies",
    metadata,
    Column("id", Text, primary_key=True),
    Column("collaboration_id", Text, cascading("collaborations.id"), nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    Column("created_at", Time, nullable=False),
    UniqueConstraint("collaboration_id", "name_key"),
)
