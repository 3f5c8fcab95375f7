"""What a hub tells about people, nodes and collaborations, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """Who owns nodes and has users."""

    id: str
    name: str
    created_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person."""

    id: str
    #: Its id.
    organization: str
    username: str
    name: str = ""
    disabled: bool = False
    #: Ids of roles.
    roles: tuple[str, ...] = ()
    created_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """An invitation to become a person of an organization."""

    id: str
    #: Its id.
    organization: str
    #: Ids of roles.
    roles: tuple[str, ...] = ()
    #: Whom it is for.
    name: str = ""
    #: The id of who invites.
    invited_by: str = ""
    created_at: str | None = None
    expires_at: str | None = None
    #: What to pass on, only where it was just made. A notebook would keep what it shows.
    code: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A name for some scopes."""

    id: str
    name: str
    #: Its id; None: a role of the hub.
    organization: str | None = None
    scopes: tuple[str, ...] = ()
    created_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A data station."""

    id: str
    #: The name of its seat in every run.
    name: str
    #: Its id.
    organization: str
    holds_data: bool = True
    online: bool = False
    last_seen_at: str | None = None
    version: str | None = None
    #: Labels.
    databases: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    created_at: str | None = None
    registered_at: str | None = None
    #: What it registers with, only where it was just made. A notebook would keep what it shows.
    code: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaboration:
    """Organizations that work together."""

    id: str
    name: str
    #: Ids of its members.
    organizations: tuple[str, ...] = ()
    #: Ids of its data nodes, in its order.
    nodes: tuple[str, ...] = ()
    default_aggregator: str | None = None
    runs_active_max: int | None = None
    bytes_max: int | None = None
    retention_days: int | None = None
    created_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A part of a collaboration."""

    id: str
    #: Its id.
    collaboration: str
    name: str
    #: Ids of its nodes, in its order.
    nodes: tuple[str, ...] = ()
    created_at: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A personal token."""

    id: str
    name: str
    scopes: tuple[str, ...] = ()
    created_at: str | None = None
    expires_at: str | None = None
    last_used_at: str | None = None
    #: The secret, only where it was just made.
    token: str | None = None

    def __repr__(self) -> str:
        """Without the secret, which a notebook would keep."""
        return f"Token(id={self.id!r}, name={self.name!r}, expires_at={self.expires_at!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """An algorithm at a collaboration."""

    #: Of its bundle.
    digest: str
    dialect: str
    name: str
    size_bytes: int
    #: Its id.
    collaboration: str
    uploader: str = ""
    organization: str = ""
    created_at: str | None = None
    #: What its bundle says of it.
    manifest: dict[str, Any]
    #: ``bundle``, or ``image``: then its code is in the image that the manifest names.
    kind: str = "bundle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Me:
    """Who is logged in."""

    id: str
    username: str
    name: str
    organization: Organization
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    collaborations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A job that a run waits for."""

    id: str
    seat: str
    node: str
    #: ``queued``, ``active`` or ``held``: then it waits for somebody's decision.
    status: str
    #: Whether the node was heard of lately.
    online: bool = False
    since: str | None = None
    fraction: float | None = None
    text: str | None = None
    failure: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line that a site has let out of its logs."""

    seat: str
    at: str
    level: str
    text: str
    job: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that changed: the whole public form of one thing."""

    #: What to go on from.
    cursor: int | None
    #: ``run``, ``round``, ``job`` or ``log``.
    kind: str
    form: dict[str, Any]
