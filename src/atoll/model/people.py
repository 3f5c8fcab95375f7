"""The nouns around a run: who works with whom, at which nodes, and by which names.

Names are for people and for folders: two that differ in case alone are the same. An id is for
programs, and never used for another thing again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from atoll.model.errors import Malformed

#: Bytes of a name. What file systems allow, less what is added to it.
NAME_BYTES_MAX = 200
#: A name that may be a folder's: letters and digits of any language, and between them `` .-_``.
_NAME = re.compile(r"[^\W_](?:[\w .-]*[\w-])?")
#: A person's or an organization's: anything that can be seen, and no space around it.
_SHOWN = re.compile(r"\S(?:.*\S)?")
#: Names of seats that are nobody's.
_SEATS = frozenset({"remote", "submitter"})


def key_of(name: str) -> str:
    """What is compared instead of a name."""
    return name.casefold()


def check_name(name: str, what: str) -> str:
    """The name, if it may be that of a node, a collaboration or somebody who logs in.

    Raises:
        Malformed: it may not.
    """
    if not _NAME.fullmatch(name) or len(name.encode()) > NAME_BYTES_MAX:
        raise Malformed(
            f"the name of {what} begins with a letter or a digit, holds only letters, digits, spaces and '.', '-', "
            f"'_', ends with neither a space nor a dot, and has at most {NAME_BYTES_MAX} bytes; this one is none"
        )
    return name


def check_node_name(name: str) -> str:
    """The name, if it may be a node's: it is the name of its seat in every run.

    Raises:
        Malformed: it may not.
    """
    if key_of(name) in _SEATS:
        raise Malformed(f"a node can't be named {name!r}: runs have a seat of that name already")
    return check_name(name, "a node")


def check_shown(name: str, what: str) -> str:
    """The name, if it can be shown as that of an organization or a person.

    Raises:
        Malformed: it can't.
    """
    if not _SHOWN.fullmatch(name) or not name.isprintable() or len(name.encode()) > NAME_BYTES_MAX:
        raise Malformed(
            f"the name of {what} is one line of text without spaces around it, of at most {NAME_BYTES_MAX} bytes; "
            "this one is not"
        )
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """A hospital, a laboratory, a registry."""

    id: str
    name: str
    #: Seconds since 1970, as all times here.
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A person, of one organization."""

    id: str
    organization_id: str
    #: What is typed at a login.
    username: str
    #: What is shown.
    name: str
    #: Whether nobody is let in by this name.
    disabled: bool
    created_at: float
    #: The ids of the roles.
    roles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """A name for some scopes."""

    id: str
    #: None: a role of the hub, for people of every organization.
    organization_id: str | None
    name: str
    #: The scopes' texts.
    scopes: tuple[str, ...]
    #: When it was made; None of one that every hub has.
    created_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A person at one browser or machine, until he logs out."""

    id: str
    user_id: str
    created_at: float
    last_used_at: float
    expires_at: float
    #: Where it came from, and what said that it was.
    address: str
    agent: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonalToken:
    """What a script of a person shows."""

    id: str
    user_id: str
    name: str
    #: The scopes' texts.
    scopes: tuple[str, ...]
    created_at: float
    expires_at: float
    last_used_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A code by which somebody becomes a person of an organization."""

    id: str
    organization_id: str
    #: The ids of the roles that he will have.
    roles: tuple[str, ...]
    #: Whom it is for, in the words of who invites.
    name: str
    #: The id of who invites.
    invited_by: str
    created_at: float
    expires_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Collaboration:
    """Organizations that analyse together, and their nodes that hold the data."""

    id: str
    name: str
    #: The ids of the members.
    organizations: tuple[str, ...]
    #: The ids of the data nodes, in the order of the collaboration.
    nodes: tuple[str, ...]
    #: The id of the node that aggregates where a run names none.
    default_aggregator: str | None
    #: Runs that may be active at a time; None: as many as somebody submits.
    runs_active_max: int | None
    #: Bytes that its runs may keep; None: as many as there is room for.
    bytes_max: int | None
    #: Days that an ended run is kept; None: until somebody removes it.
    retention_days: int | None
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Some of the data nodes of a collaboration, by a name."""

    id: str
    collaboration_id: str
    name: str
    #: The ids of the nodes, in the order of the study.
    nodes: tuple[str, ...]
    created_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A data station, or one without data that only aggregates."""

    id: str
    #: The name of its seat in every run. It never changes.
    name: str
    organization_id: str
    holds_data: bool
    created_at: float
    #: None: it has not registered yet.
    registered_at: float | None
    #: Whether it was heard of within three heartbeats.
    online: bool
    last_seen_at: float | None
    #: What it said of itself when it came last.
    version: str | None
    #: Labels of its databases, never where they are.
    databases: tuple[str, ...]
    dialects: tuple[str, ...]
    runtimes: tuple[str, ...]
