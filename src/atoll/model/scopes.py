"""Who may do what: the one table of permissions, and the rule that decides by it.

A *scope* is one permission: an operation on a kind of thing, and how far it reaches. A *role* is a
name for some scopes. What a person may is what his roles hold together; what a personal token may is
the part of that which the token names. A wider reach includes every narrower one::

    own < organization < collaboration < global

Documentation, the description of the API and the test of every endpoint are made from `RIGHTS`. A
node has no scopes: what it may is fixed by the protocol of nodes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from atoll.model.errors import Malformed


class Reach(IntEnum):
    """How far a permission reaches."""

    OWN = 1  #: what the person made, and the person
    ORGANIZATION = 2  #: what is his organization's, or what it takes part in
    COLLABORATION = 3  #: what belongs to a collaboration of his organization, or to a member of one
    GLOBAL = 4  #: everything at this hub

    @property
    def word(self) -> str:
        """Its name in a scope's text."""
        return self.name.lower()


_OWN, _ORGANIZATION, _COLLABORATION, _GLOBAL = Reach
_WORDS = {reach.word: reach for reach in Reach}


@dataclass(frozen=True, slots=True, kw_only=True)
class Right:
    """One row of the table: what may be done to a kind of thing, and how far that can be given."""

    #: A kind of thing.
    resource: str
    #: What is done to it.
    operation: str
    #: The reaches that it can be given with, the narrowest first.
    reaches: tuple[Reach, ...]
    #: What it allows, as words after "may".
    allows: str

    @property
    def name(self) -> str:
        """Its resource and operation, as the API's description has them."""
        return f"{self.resource}:{self.operation}"


def _right(name: str, reaches: tuple[Reach, ...], allows: str) -> Right:
    resource, _, operation = name.partition(":")
    return Right(resource=resource, operation=operation, reaches=reaches, allows=allows)


_SHARED = (_ORGANIZATION, _COLLABORATION, _GLOBAL)
_ALL = (_OWN, *_SHARED)

#: Everything that can be allowed.
RIGHTS: tuple[Right, ...] = (
    _right("organization:view", _SHARED, "see organizations"),
    _right("organization:edit", _SHARED, "rename organizations"),
    _right("organization:create", (_GLOBAL,), "add organizations"),
    _right("organization:delete", (_GLOBAL,), "remove organizations that nothing depends on"),
    _right("user:view", _ALL, "see people, their roles and open invitations"),
    _right("user:edit", _ALL, "rename and disable people, change their roles and end their logins"),
    _right("user:create", _SHARED, "add and invite people"),
    _right("user:delete", _ALL, "remove people and withdraw invitations"),
    _right("role:view", _SHARED, "see the roles of an organization; those of the hub are seen by everybody"),
    _right("role:edit", _SHARED, "change roles; those of the hub only with global reach"),
    _right("role:create", _SHARED, "make roles; those of the hub only with global reach"),
    _right("role:delete", _SHARED, "remove roles; those of the hub only with global reach"),
    _right("collaboration:view", _SHARED, "see collaborations, their members and their nodes"),
    _right("collaboration:edit", (_COLLABORATION, _GLOBAL), "change collaborations: members, nodes, quotas"),
    _right("collaboration:create", (_GLOBAL,), "found collaborations"),
    _right("collaboration:delete", (_COLLABORATION, _GLOBAL), "end collaborations"),
    _right("study:view", _SHARED, "see studies"),
    _right("study:edit", _SHARED, "change studies"),
    _right("study:create", (_COLLABORATION, _GLOBAL), "make studies"),
    _right("study:delete", _SHARED, "remove studies"),
    _right("node:view", _SHARED, "see nodes, and whether they are online"),
    _right("node:edit", _SHARED, "let nodes register anew, and say whether they hold data"),
    _right("node:create", _SHARED, "add nodes"),
    _right("node:delete", _SHARED, "remove nodes; their keys end at once"),
    _right("run:view", _ALL, "see runs, their rounds, jobs and records, and who is waited for"),
    _right("run:create", (_COLLABORATION, _GLOBAL), "submit runs"),
    _right("run:send", _ALL, "cancel runs, and decide about jobs that broke"),
    _right("run:delete", _ALL, "remove runs that have ended, with their results"),
    _right("result:view", _ALL, "fetch results and their files"),
    _right("log:view", _ALL, "read what sites let out of their logs"),
    _right("event:receive", _ALL, "hear of changes as they happen"),
    _right("algorithm:view", _ALL, "see algorithms and fetch their bundles"),
    _right("algorithm:create", (_ORGANIZATION, _GLOBAL), "upload algorithms"),
    _right("algorithm:delete", _ALL, "remove algorithms that no run uses"),
)
_BY_NAME = {right.name: right for right in RIGHTS}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Scope:
    """One permission. Its text is ``resource:operation:reach``."""

    #: A kind of thing.
    resource: str
    #: What is done to it.
    operation: str
    #: How far.
    reach: Reach

    def __str__(self) -> str:
        return f"{self.resource}:{self.operation}:{self.reach.word}"


def parse(text: str) -> Scope:
    """The scope that a text names.

    Raises:
        Malformed: there is no such scope.
    """
    name, _, word = text.rpartition(":")
    right = _BY_NAME.get(name)
    if right is None:
        raise Malformed(
            f"there is no scope {text!r}: expected resource:operation:reach, as GET /v1/scopes lists"
        )
    reach = _WORDS.get(word)
    if reach not in right.reaches or reach is None:
        known = ", ".join(reach.word for reach in right.reaches)
        raise Malformed(f"there is no scope {text!r}: {name} reaches one of {known}")
    return Scope(resource=right.resource, operation=right.operation, reach=reach)


def known_scopes(texts: Iterable[str]) -> list[Scope]:
    """The scopes that these texts name, without those that another version of Atoll knew."""
    found = []
    for text in texts:
        try:
            found.append(parse(text))
        except Malformed:
            continue
    return found


#: What somebody may: the widest reach by ``resource:operation``.
Grants = Mapping[str, Reach]


def grants(scopes: Iterable[Scope]) -> dict[str, Reach]:
    """What these scopes allow together."""
    widest: dict[str, Reach] = {}
    for scope in scopes:
        name = f"{scope.resource}:{scope.operation}"
        widest[name] = max(scope.reach, widest.get(name, scope.reach))
    return widest


def common(one: Grants, other: Grants) -> dict[str, Reach]:
    """What both allow: what is left to a token of somebody whose roles have changed since."""
    return {name: min(reach, other[name]) for name, reach in one.items() if name in other}


def missing(mine: Grants, given: Iterable[Scope]) -> list[Scope]:
    """Those scopes that somebody can't give away, since he doesn't have them himself."""
    return [scope for scope in given if mine.get(f"{scope.resource}:{scope.operation}", 0) < scope.reach]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whose:
    """Whom a thing belongs to. What isn't named can't bring it into anybody's reach."""

    #: The person who made it, or who it is.
    user: str | None = None
    #: The organizations that it belongs to, or that take part in it.
    organizations: frozenset[str] = frozenset()
    #: The collaborations that it belongs to. None: it belongs to its organizations alone, and is
    #: within reach of who shares a collaboration with one of them.
    collaborations: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What one permission of one person covers. Lists are filtered by it."""

    #: How far it reaches; None: nowhere.
    reach: Reach | None
    #: Himself.
    user: str
    #: His organization.
    organization: str
    #: The collaborations that his organization is a member of.
    collaborations: frozenset[str]
    #: The organizations that are members of these, and his own.
    peers: frozenset[str]

    def covers(self, whose: Whose) -> bool:
        """Whether a thing is within it."""
        if self.reach is None:
            return False
        if self.reach is Reach.GLOBAL or (whose.user is not None and whose.user == self.user):
            return True
        if self.reach >= Reach.ORGANIZATION and self.organization in whose.organizations:
            return True
        if self.reach < Reach.COLLABORATION:
            return False
        if whose.collaborations is None:
            return not self.peers.isdisjoint(whose.organizations)
        return not self.collaborations.isdisjoint(whose.collaborations)


# --- The roles that a hub begins with -----------------------------------------------------------


def _up_to(reach: Reach, *names: str) -> tuple[Scope, ...]:
    """These rights, each as far as it can be given and not beyond a reach."""
    rights = [_BY_NAME[name] for name in names]
    return tuple(
        Scope(
            resource=right.resource,
            operation=right.operation,
            reach=max(one for one in right.reaches if one <= reach),
        )
        for right in rights
    )


_VIEWS = tuple(right.name for right in RIGHTS if right.operation in {"view", "receive"})
#: What a viewer doesn't see: he follows runs, and doesn't get what they yield.
_YIELD = ("result:view", "log:view")
_OF_AN_ORGANIZATION = (
    *(
        "organization:edit",
        "user:edit",
        "user:create",
        "user:delete",
        "role:edit",
        "role:create",
        "role:delete",
    ),
    *(
        "node:edit",
        "node:create",
        "node:delete",
        "run:send",
        "run:delete",
        "algorithm:create",
        "algorithm:delete",
    ),
    "study:edit",
)
_OF_A_COLLABORATION = (
    *("collaboration:edit", "collaboration:delete", "study:edit", "study:create", "study:delete"),
    *("run:create", "run:send", "run:delete", "algorithm:create", "algorithm:delete"),
)

#: Roles that every hub has, by their id. They can't be changed; others can be made beside them.
ROLES: Mapping[str, tuple[Scope, ...]] = {
    "administrator": _up_to(Reach.GLOBAL, *_BY_NAME),
    "organization-administrator": (
        *_up_to(Reach.COLLABORATION, *_VIEWS, "run:create"),
        *_up_to(Reach.ORGANIZATION, *_OF_AN_ORGANIZATION),
    ),
    "collaboration-administrator": _up_to(Reach.COLLABORATION, *_VIEWS, *_OF_A_COLLABORATION),
    "researcher": (
        *_up_to(Reach.COLLABORATION, *_VIEWS, "run:create", "algorithm:create"),
        *_up_to(Reach.OWN, "run:send", "run:delete", "algorithm:delete", "user:edit"),
    ),
    "viewer": (
        *_up_to(Reach.COLLABORATION, *(name for name in _VIEWS if name not in _YIELD)),
        *_up_to(Reach.OWN, "user:edit"),
    ),
}
