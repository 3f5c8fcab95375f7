"""Who asks: a person or a node, known by a token.

An endpoint that is not open takes one of `Authenticated`, `AuthenticatedUser` and `AuthenticatedNode`
as an argument, and asks what it gets whether it may do what it wants.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated

from fastapi import Depends, Request
from fastapi.requests import HTTPConnection

from atoll.hub import codes
from atoll.hub.parts import Rooms, room
from atoll.hub.rates import Buckets
from atoll.model.errors import NotAllowed, NotLoggedIn, NotThere
from atoll.model.scopes import ROLES, Grants, Sight, Whose, common, grants, known_scopes
from atoll.stores.sql.database import Connection
from atoll.stores.sql.known import Known, KnownTokens, change

#: Tokens that are remembered. Beyond it all are forgotten, and looked up again.
_REMEMBERED_MAX = 20_000
#: Seconds after which a change by another process is noticed.
_LOOK_SECONDS = 1.0
#: Seconds between two notes of when a personal token was used.
_USED_SECONDS = 3_600.0


class Kind(Enum):
    """What asks."""

    USER = "user"
    NODE = "node"


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """Somebody who is known, and what he may."""

    kind: Kind
    #: Of the person or node.
    id: str
    #: The username, or the node's name, which is its seat in every run.
    name: str
    organization_id: str
    #: The collaborations that its organization is a member of.
    collaborations: frozenset[str] = frozenset()
    #: The organizations that are members of these, and its own.
    peers: frozenset[str] = frozenset()
    #: What it may. Nothing for a node, whose protocol says what it may.
    grants: Grants = field(default_factory=dict)
    #: The login or the personal token that it is known by.
    login_id: str | None = None
    token_id: str | None = None

    def sight(self, resource: str, operation: str) -> Sight:
        """What it may do this to: what lists are filtered by."""
        return Sight(
            reach=self.grants.get(f"{resource}:{operation}"),
            user=self.id,
            organization=self.organization_id,
            collaborations=self.collaborations,
            peers=self.peers,
        )

    def allows(self, resource: str, operation: str, whose: Whose) -> bool:
        """Whether it may do this to a thing."""
        return self.sight(resource, operation).covers(whose)

    def require_some(self, resource: str, operation: str) -> Sight:
        """What it may do this to, which must be something.

        Raises:
            NotAllowed: it may do this to nothing.
        """
        sight = self.sight(resource, operation)
        if sight.reach is None:
            raise NotAllowed(
                f"{self.name} has no scope {resource}:{operation}; who gives out roles can give one"
            )
        return sight

    def require(self, resource: str, operation: str, whose: Whose, what: str) -> None:
        """Refuse what it may not do to a thing.

        Args:
            resource: the kind of thing.
            operation: what is to be done to it.
            whose: whom it belongs to.
            what: how it is called in a refusal.

        Raises:
            NotAllowed: it may not do this at all, or not to this thing, which it sees.
            NotThere: it may not even know that the thing is there.
        """
        sight = self.require_some(resource, operation)
        if sight.covers(whose):
            return
        if operation != "view" and self.allows(resource, "view", whose):
            assert sight.reach is not None
            raise NotAllowed(
                f"{self.name} may not {operation} {what}: {resource}:{operation} reaches {sight.reach.word} here"
            )
        raise NotThere(f"there is no {what}")


class Authenticator:
    """Finds who is known by a token, and remembers it until anything about people changes.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        parts = rooms.parts
        self._database = parts.database
        self._now = parts.now
        self._tokens = KnownTokens(parts.database)
        self._remembered: dict[str, tuple[Principal, float]] = {}
        #: The number of changes that what is remembered is as new as, and when that was seen.
        self._changes = -1
        self._looked_at = float("-inf")
        #: Counts what this process has changed itself.
        self._forgotten = 0
        settings = parts.settings
        self._people = Buckets(settings.person_rate, 2 * settings.person_rate, parts.now, "one person")
        self._nodes = Buckets(settings.node_rate, 2 * settings.node_rate, parts.now, "one node")
        #: Those that are not known, by address.
        self.strangers = Buckets(settings.address_rate, 3 * settings.address_rate, parts.now, "one address")

    @asynccontextmanager
    async def changing(self) -> AsyncIterator[Connection]:
        """A transaction that changes what somebody is known by, or may."""
        try:
            async with self._database.writing() as connection:
                # First, as its lock lets one after the other: else the last two administrators could
                # each remove the other.
                await change(connection)
                yield connection
        finally:
            self.forget()

    def forget(self) -> None:
        """Look everybody up again."""
        self._forgotten += 1
        self._remembered.clear()
        self._looked_at = float("-inf")

    async def find(self, token: str) -> Principal:
        """Who is known by a token, and asks for something.

        Raises:
            NotLoggedIn: nobody, or not any more.
            TooMany: he asks too often.
        """
        principal = await self.known(token)
        (self._nodes if principal.kind is Kind.NODE else self._people).take(principal.id)
        return principal

    async def known(self, token: str) -> Principal:
        """Who is known by a token now: what an answer that goes on for long asks again and again.

        Raises:
            NotLoggedIn: nobody, or not any more.
        """
        now = self._now()
        if not 0 <= now - self._looked_at < _LOOK_SECONDS:
            await self._look(now)
        digest = codes.digest(token)
        remembered = self._remembered.get(digest)
        if remembered is None:
            remembered = await self._found(token, digest, now)
        principal, expires_at = remembered
        if now >= expires_at:
            raise NotLoggedIn("the token has expired: log in again, or make a new one")
        return principal

    async def _look(self, now: float) -> None:
        changes = await self._tokens.changes()
        if changes != self._changes:
            self._remembered.clear()
            self._changes = changes
        self._looked_at = now

    async def _found(self, token: str, digest: str, now: float) -> tuple[Principal, float]:
        forgotten = self._forgotten
        known = None
        match token.partition("_")[0]:
            case codes.ACCESS:
                known = await self._tokens.by_access(digest)
            case codes.PERSONAL:
                known = await self._tokens.by_personal(digest)
        if known is None:
            raise NotLoggedIn("nobody is known by this token: log in again, or make a new one")
        if known.token_id is not None and now - (known.token_used_at or 0) > _USED_SECONDS:
            await self._tokens.used(known.token_id, now)
        found = _principal(known), known.expires_at
        if forgotten == self._forgotten:
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            self._remembered[digest] = found
        return found


def _principal(known: Known) -> Principal:
    if known.is_node:
        may: Grants = {}
    else:
        scopes = [scope for role in known.role_ids for scope in ROLES.get(role, ())]
        may = grants([*scopes, *known_scopes(known.made_scopes)])
        if known.token_scopes is not None:
            may = common(may, grants(known_scopes(known.token_scopes)))
    return Principal(
        kind=Kind.NODE if known.is_node else Kind.USER,
        id=known.id,
        name=known.name,
        organization_id=known.organization_id,
        collaborations=known.collaborations,
        peers=known.peers,
        grants=may,
        login_id=known.login_id,
        token_id=known.token_id,
    )


def address_of(request: HTTPConnection) -> str:
    """The address that a request came from."""
    # A Unix socket's client has none.
    return request.client.host if request.client else "local"


def token_of(request: HTTPConnection) -> str:
    """What who asks shows.

    Raises:
        NotLoggedIn: he shows nothing.
    """
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token:
        raise NotLoggedIn("this needs a login: send the header 'Authorization: Bearer TOKEN'")
    return token


async def _authenticated(request: HTTPConnection) -> Principal:
    authenticator = room(request, Authenticator)
    try:
        principal = await authenticator.find(token_of(request))
    except NotLoggedIn:
        authenticator.strangers.take(address_of(request))
        raise
    request.scope["atoll.principal"] = principal
    return principal


async def _user(request: Request) -> Principal:
    principal = await _authenticated(request)
    if principal.kind is not Kind.USER:
        raise NotAllowed(f"{principal.name} is a node; this is for people")
    return principal


async def node_of(request: HTTPConnection) -> Principal:
    """The node that asks.

    Raises:
        NotLoggedIn: nobody is known by what is shown.
        NotAllowed: it is a person.
    """
    principal = await _authenticated(request)
    if principal.kind is not Kind.NODE:
        raise NotAllowed(f"{principal.name} is a person; this is for nodes")
    return principal


async def _stranger(request: Request) -> None:
    room(request, Authenticator).strangers.take(address_of(request))


#: A person or a node.
Authenticated = Annotated[Principal, Depends(_authenticated)]
#: A person.
AuthenticatedUser = Annotated[Principal, Depends(_user)]
#: A node.
AuthenticatedNode = Annotated[Principal, Depends(node_of)]
#: Anybody; counted by his address.
Anybody = Annotated[None, Depends(_stranger)]
