"""What a hub has beside runs: people, nodes, collaborations, algorithms. Each room lists and finds its kind."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import msgspec

from atoll.client.algorithms import missing, names_image
from atoll.client.core import part
from atoll.client.records import (
    Collaboration,
    Invitation,
    Node,
    Organization,
    Role,
    Study,
    Token,
    Uploaded,
    User,
)
from atoll.client.runs import Reach
from atoll.client.submitting import find_collaboration
from atoll.model.errors import NotThere

T = TypeVar("T", Organization, User, Invitation, Role, Node, Collaboration, Study, Token, Uploaded)


class Room(Generic[T]):
    """Things of one kind."""

    #: Where they are, below ``/v1``.
    path: ClassVar[str]
    #: What one of them is called.
    noun: ClassVar[str]
    kind: type[T]

    def __init__(self, reach: Reach) -> None:
        self._reach = reach

    def list(self, **query: Any) -> builtins.list[T]:
        """All that may be seen; `query` narrows it."""

        async def fetched() -> builtins.list[T]:
            found: builtins.list[T] = []
            async for page in self._reach.core.pages(self.path, **query):
                items = msgspec.json.decode(page)["items"]
                found += [msgspec.convert(item, self.kind) for item in items]
            return found

        return self._reach.background.run(fetched())

    def get(self, name: str) -> T:
        """The one with a name or id.

        Raises:
            NotThere: there is none, or not for who asks.
        """
        there = self.list()
        for one in there:
            if name in (getattr(one, "id", None), _name(one)):
                return one
        raise missing(name, self.noun, [_name(one) for one in there])

    def delete(self, id_: str) -> None:
        """Remove one, by its id."""
        self._call("DELETE", f"{self.path}/{part(id_)}")

    def _make(self, body: dict[str, Any], path: str = "") -> T:
        given = {name: value for name, value in body.items() if value is not None}
        return self._read(self._call("POST", path or self.path, given))

    def _change(self, path: str, changes: dict[str, Any], method: str = "PATCH") -> T:
        return self._read(self._call(method, path, changes))

    def _read(self, body: bytes) -> T:
        return msgspec.json.decode(body, type=self.kind)

    def _call(self, method: str, path: str, body: Any = None, **query: Any) -> bytes:
        return self._reach.background.run(self._reach.core.send(method, path, body, **query)).body

    def _repr_html_(self) -> str:
        # Late: only notebooks ask for it.
        from atoll.client.results import table

        return table([(_name(one), getattr(one, "id", "")) for one in self.list()])


class Organizations(Room[Organization]):
    """Who owns nodes and has users."""

    path, noun, kind = "/organizations", "organization", Organization

    def create(self, name: str) -> Organization:
        """Add one."""
        return self._make({"name": name})

    def rename(self, id_: str, name: str) -> Organization:
        """Give one another name."""
        return self._change(f"{self.path}/{part(id_)}", {"name": name})


class Users(Room[User]):
    """The people of the hub."""

    path, noun, kind = "/users", "user", User

    def create(
        self, username: str, password: str, *, organization: str, roles: Sequence[str] = (), name: str = ""
    ) -> User:
        """Add one with a first password."""
        body = {"username": username, "password": password, "organization": organization}
        return self._make({**body, "roles": [*roles], "name": name})

    def change(self, id_: str, **changes: Any) -> User:
        """Change ``name``, ``disabled`` or ``roles``."""
        return self._change(f"{self.path}/{part(id_)}", changes)


class Invitations(Room[Invitation]):
    """Open invitations."""

    path, noun, kind = "/invitations", "invitation", Invitation

    def create(
        self, name: str = "", *, organization: str, roles: Sequence[str] = (), days: int = 7
    ) -> Invitation:
        """Invite somebody. Its ``code`` is what to pass on, once."""
        return self._make({"name": name, "organization": organization, "roles": [*roles], "days": days})


class Roles(Room[Role]):
    """Names for scopes."""

    path, noun, kind = "/roles", "role", Role

    def create(self, name: str, scopes: Sequence[str], *, organization: str | None = None) -> Role:
        """Make one."""
        return self._make({"name": name, "scopes": [*scopes], "organization": organization})


class Nodes(Room[Node]):
    """Data stations."""

    path, noun, kind = "/nodes", "node", Node

    def create(self, name: str, *, organization: str, holds_data: bool = True) -> Node:
        """Add one. Its ``code`` is what it registers with, once."""
        return self._make({"name": name, "organization": organization, "holds_data": holds_data})

    def code(self, id_: str) -> Node:
        """A new code for one that lost its key."""
        return self._make({}, f"{self.path}/{part(id_)}/code")


class Collaborations(Room[Collaboration]):
    """Organizations that work together."""

    path, noun, kind = "/collaborations", "collaboration", Collaboration

    def create(self, name: str, *, organizations: Sequence[str] = ()) -> Collaboration:
        """Found one."""
        return self._make({"name": name, "organizations": [*organizations]})

    def change(self, id_: str, **changes: Any) -> Collaboration:
        """Change its ``name``, ``default_aggregator`` (a node's id), quotas or ``retention_days``."""
        return self._change(f"{self.path}/{part(id_)}", changes)

    def add_organization(self, id_: str, organization: str) -> None:
        """Let an organization be a member."""
        self._call("PUT", f"{self.path}/{part(id_)}/organizations/{part(organization)}")

    def remove_organization(self, id_: str, organization: str) -> None:
        """Let an organization leave."""
        self._call("DELETE", f"{self.path}/{part(id_)}/organizations/{part(organization)}")

    def add_node(self, id_: str, node: str) -> None:
        """Let a node bring its data."""
        self._call("PUT", f"{self.path}/{part(id_)}/nodes/{part(node)}")

    def remove_node(self, id_: str, node: str) -> None:
        """Let a node leave."""
        self._call("DELETE", f"{self.path}/{part(id_)}/nodes/{part(node)}")


class Studies(Room[Study]):
    """Parts of collaborations."""

    path, noun, kind = "/studies", "study", Study

    def of(self, collaboration: str) -> StudiesOf:
        """Those of a collaboration, by its name or id."""
        found = self._reach.background.run(find_collaboration(self._reach.core, collaboration))
        return StudiesOf(self._reach, found.id)

    def list(self, *, collaboration: str | None = None, **query: Any) -> builtins.list[Study]:
        """Those of a collaboration; or of all that may be seen."""
        if collaboration is not None:
            return self.of(collaboration).list(**query)
        places = Collaborations(self._reach).list()
        return [study for place in places for study in StudiesOf(self._reach, place.id).list(**query)]

    def create(self, name: str, *, collaboration: str, nodes: Sequence[str]) -> Study:
        """Make one of some of a collaboration's data nodes, by their ids."""
        return self.of(collaboration).create(name, nodes=nodes)

    def delete(self, id_: str) -> None:
        """Remove one."""
        study = self.get(id_)
        StudiesOf(self._reach, study.collaboration).delete(study.id)


class StudiesOf(Room[Study]):
    """The studies of one collaboration."""

    noun, kind = "study", Study

    def __init__(self, reach: Reach, collaboration: str) -> None:
        super().__init__(reach)
        # Each collaboration has its own.
        self.path = f"/collaborations/{part(collaboration)}/studies"  # type: ignore[misc]  # of this object

    def create(self, name: str, *, nodes: Sequence[str]) -> Study:
        """Make one of some of the collaboration's data nodes, by their ids."""
        return self._make({"name": name, "nodes": [*nodes]})


class Tokens(Room[Token]):
    """One's personal tokens."""

    path, noun, kind = "/tokens", "token", Token

    def create(self, name: str, scopes: Sequence[str], *, days: int = 90) -> Token:
        """Make one. Its ``token`` is shown here and never again."""
        return self._make({"name": name, "scopes": [*scopes], "days": days})


class Algorithms(Room[Uploaded]):
    """The algorithms of collaborations."""

    path, noun, kind = "/algorithms", "algorithm", Uploaded

    def upload(self, path: str | Path, *, collaboration: str, **more: Any) -> str:
        """Bundle what lies at a path, or what is said of an image, and bring it to a collaboration; its digest."""

        async def brought() -> str:
            place = await find_collaboration(self._reach.core, collaboration)
            found = await self._reach.finder.find(path, place.id, **more)
            return found.digest

        if not names_image(path) and not Path(path).exists():
            raise NotThere(f"{path} is not there: expected a folder, a module, a compspec.json, or an image")
        return self._reach.background.run(brought())

    def get(self, name: str) -> Uploaded:
        """The newest with a name, or one by its digest."""
        there = self.list()
        for one in there:
            if name in (one.digest, one.name):
                return one
        raise missing(name, self.noun, [one.name for one in there])

    def remove(self, digest: str, *, collaboration: str) -> None:
        """Take one from a collaboration."""
        place = self._reach.background.run(find_collaboration(self._reach.core, collaboration))
        self._call("DELETE", f"{self.path}/{part(digest)}", collaboration=place.id)


def _name(one: Any) -> str:
    return str(getattr(one, "username", None) or one.name)
