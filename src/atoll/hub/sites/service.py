"""Nodes as people see them, and how one registers and stays known.

A node registers with a one-time code and gets a key, which never leaves its machine but to be shown
here. With the key it gets access tokens, which end within minutes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from atoll.hub import codes
from atoll.hub.parts import Rooms
from atoll.hub.principal import Authenticator, Principal
from atoll.model.errors import NotAllowed, NotLoggedIn, NotThere, Taken
from atoll.model.people import Node, check_node_name
from atoll.model.scopes import Whose
from atoll.stores.sql import people, sites
from atoll.stores.sql.database import Connection

CODE_SECONDS = 86_400.0
TOKEN_SECONDS = 15 * 60.0
#: For how long a key works beside the one that replaces it.
OLD_KEY_SECONDS = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeToken:
    """What a node shows from now on."""

    node: str
    name: str
    #: The id of the organization.
    organization: str
    access_token: str
    expires_at: float


class SiteService:
    """Nodes.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        self._database = rooms.parts.database
        self._now = rooms.parts.now
        self._authenticator = rooms.of(Authenticator)

    async def list(
        self, who: Principal, *, organization: str, collaboration: str, after: str, limit: int
    ) -> Sequence[Node]:
        """Nodes that somebody may see, by name; of an organization or a collaboration, or of all."""
        sight = who.require_some("node", "view")
        async with self._database.reading() as connection:
            return await sites.list_nodes(
                connection,
                sight,
                organization=organization,
                collaboration=collaboration,
                after=after,
                limit=limit,
            )

    async def get(self, who: Principal, id_: str) -> Node:
        """A node."""
        async with self._database.reading() as connection:
            return await self._get(connection, who, id_, "view")

    async def add(
        self, who: Principal, *, name: str, organization: str, holds_data: bool
    ) -> tuple[Node, str]:
        """A new node, and the code that it registers with, which is shown once."""
        who.require_some("node", "create")
        check_node_name(name)
        now, code = self._now(), codes.new_secret(codes.REGISTRATION)
        node = Node(
            id=codes.new_id("nod"),
            name=name,
            organization_id=organization,
            holds_data=holds_data,
            created_at=now,
            registered_at=None,
            online=False,
            last_seen_at=None,
            version=None,
            databases=(),
            dialects=(),
            runtimes=(),
        )
        whose = Whose(organizations=frozenset({organization}))
        async with self._database.writing() as connection:
            if await people.get_organization(connection, organization) is None:
                raise NotThere(f"there is no organization {organization}")
            if not who.allows("node", "create", whose):
                who.require("organization", "view", whose, f"organization {organization}")
                raise NotAllowed(f"{who.name} may not add nodes to organization {organization}")
            if await sites.same_node(connection, name) is not None:
                raise Taken(f"there is a node named {name!r} already: names of nodes are unique at a hub")
            if await sites.is_waited_for(connection, name):
                # Jobs are addressed by name: whoever had this one next would get those of who had it before.
                raise Taken(
                    f"a run that goes on waits for a node named {name!r}, which was removed: cancel the run, or take "
                    "another name"
                )
            await sites.add_node(connection, node, codes.digest(code), now + CODE_SECONDS)
        return node, code

    async def new_code(self, who: Principal, id_: str) -> tuple[Node, str]:
        """Another code for a node to register with. Its keys work until it does."""
        code = codes.new_secret(codes.REGISTRATION)
        async with self._database.writing() as connection:
            node = await self._get(connection, who, id_, "edit")
            await sites.set_code(connection, id_, codes.digest(code), self._now() + CODE_SECONDS)
        return node, code

    async def change(self, who: Principal, id_: str, *, holds_data: bool) -> Node:
        """Say whether a node has data of its own."""
        async with self._database.writing() as connection:
            node = await self._get(connection, who, id_, "edit")
            places = 0 if holds_data else await sites.count_places(connection, id_)
            if places:
                raise Taken(
                    f"node {node.name} is a data node of {places} collaborations: take it out of these first"
                )
            await sites.set_holds_data(connection, id_, holds_data=holds_data)
        return replace(node, holds_data=holds_data)

    async def delete(self, who: Principal, id_: str) -> None:
        """Remove a node. Its keys end at once; jobs that it has are lost."""
        async with self._authenticator.changing() as connection:
            await self._get(connection, who, id_, "delete")
            await sites.delete_node(connection, id_)

    # --- What nodes show ------------------------------------------------------------------------

    async def register(self, code: str) -> tuple[Node, str]:
        """Register a node: its first key, which is shown once. Keys that it had before end.

        Raises:
            NotAllowed: no node registers with this code, or not any more.
        """
        now, key = self._now(), codes.new_secret(codes.NODE_KEY)
        async with self._authenticator.changing() as connection:
            node = await sites.node_by_code(connection, codes.digest(code), now)
            if node is None:
                raise NotAllowed(
                    "no node registers with this code: a code works once and for a day; who administers the node's "
                    "organization can make another"
                )
            await sites.register(connection, node.id, codes.digest(key), now)
        return node, key

    async def token(self, key: str) -> NodeToken:
        """An access token for who shows a node's key.

        Raises:
            NotLoggedIn: no node has this key, or not any more.
        """
        now, digest, token = self._now(), codes.digest(key), codes.new_secret(codes.ACCESS)
        async with self._database.writing() as connection:
            found = await sites.by_key(connection, digest)
            if found is None or (found[1] is not None and found[1] <= now):
                raise NotLoggedIn("no node is known by this key: let the node register anew with a new code")
            node, ends_at, name, organization = found
            if ends_at is None and await sites.drop_other_keys(connection, node, digest):
                # The node has the new key for certain, so nobody needs the old one.
                async with self._authenticator.changing():
                    pass
            until = now + TOKEN_SECONDS
            await sites.add_token(
                connection, node, key_hash=digest, digest=codes.digest(token), now=now, until=until
            )
        self._authenticator.forget()
        return NodeToken(
            node=node, name=name, organization=organization, access_token=token, expires_at=until
        )

    async def new_key(self, who: Principal) -> str:
        """A node's next key. The one before works until the new one is used, and ten minutes at most."""
        now, key = self._now(), codes.new_secret(codes.NODE_KEY)
        async with self._authenticator.changing() as connection:
            await sites.add_key(connection, who.id, codes.digest(key), now=now, until=now + OLD_KEY_SECONDS)
        return key

    async def _get(self, connection: Connection, who: Principal, id_: str, operation: str) -> Node:
        who.require_some("node", operation)
        node = await sites.get_node(connection, id_)
        if node is None:
            raise NotThere(f"there is no node {id_}")
        whose = Whose(organizations=frozenset({node.organization_id}))
        who.require("node", operation, whose, f"node {id_}")
        return node
