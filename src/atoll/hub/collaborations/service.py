"""Collaborations and studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from atoll.hub import codes
from atoll.hub.parts import Rooms
from atoll.hub.principal import Authenticator, Principal
from atoll.model.errors import Malformed, NotAllowed, NotThere, Taken
from atoll.model.people import Collaboration, Node, Study, check_name
from atoll.model.scopes import Whose
from atoll.stores.sql import collaborations as store
from atoll.stores.sql import people, sites
from atoll.stores.sql.database import Connection

#: Members, and data nodes. A run at so many is slow, and one at more was never tried.
_MEMBERS_MAX = 10_000
#: What each bound of a collaboration may be at most: what its column holds, and a century.
_BOUNDS = {"runs_active_max": 2**31 - 1, "bytes_max": 2**62, "retention_days": 36_500}


class CollaborationService:
    """Collaborations and their studies.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        self._database = rooms.parts.database
        self._now = rooms.parts.now
        self._authenticator = rooms.of(Authenticator)

    async def list(self, who: Principal, after: str, limit: int) -> Sequence[Collaboration]:
        """Collaborations that somebody may see, by name."""
        sight = who.require_some("collaboration", "view")
        async with self._database.reading() as connection:
            return await store.list_collaborations(connection, sight, after, limit)

    async def get(self, who: Principal, id_: str) -> Collaboration:
        """A collaboration."""
        async with self._database.reading() as connection:
            return await self._get(connection, who, id_, "view")

    async def add(self, who: Principal, name: str, organizations: Sequence[str]) -> Collaboration:
        """Found a collaboration of these organizations."""
        who.require_some("collaboration", "create")
        check_name(name, "a collaboration")
        made = Collaboration(
            id=codes.new_id("col"),
            name=name,
            organizations=tuple(dict.fromkeys(organizations)),
            nodes=(),
            default_aggregator=None,
            runs_active_max=None,
            bytes_max=None,
            retention_days=None,
            created_at=self._now(),
        )
        _check_count(made.organizations)
        async with self._authenticator.changing() as connection:
            await self._refuse_same(connection, made)
            for organization in made.organizations:
                await self._visible_organization(connection, who, organization)
            await store.add_collaboration(connection, made)
        return made

    async def change(self, who: Principal, id_: str, given: Mapping[str, Any]) -> Collaboration:
        """Change a collaboration.

        Args:
            who: who wants it.
            id_: of the collaboration.
            given: some of ``name``, ``default_aggregator`` and the names of `_BOUNDS`. What isn't there stays.
        """
        for bound, highest in _BOUNDS.items():
            _check_bound(bound, given.get(bound), highest)
        if "name" in given:
            check_name(given["name"], "a collaboration")
        async with self._database.writing() as connection:
            found = await self._get(connection, who, id_, "edit")
            changed = replace(found, **given)
            aggregator = changed.default_aggregator
            if aggregator is not None and aggregator != found.default_aggregator:
                await self._node(connection, who, found, aggregator)
            await self._refuse_same(connection, changed)
            await store.change_collaboration(connection, changed)
        return changed

    async def delete(self, who: Principal, id_: str) -> None:
        """End a collaboration without active runs. Its ended runs stay until somebody removes them."""
        async with self._authenticator.changing() as connection:
            await self._get(connection, who, id_, "delete")
            active = await store.count_active(connection, id_)
            if active:
                raise Taken(f"collaboration {id_} has {active} active runs: cancel them first, or wait")
            await store.delete_collaboration(connection, id_)

    async def add_member(self, who: Principal, id_: str, organization: str) -> Collaboration:
        """Make an organization a member."""
        async with self._authenticator.changing() as connection:
            found = await self._get(connection, who, id_, "edit")
            await self._visible_organization(connection, who, organization)
            if organization not in found.organizations:
                _check_count((*found.organizations, organization))
                await store.add_member(connection, id_, organization)
            return await self._again(connection, id_)

    async def drop_member(self, who: Principal, id_: str, organization: str) -> Collaboration:
        """Let an organization be a member no longer; its nodes go with it."""
        async with self._authenticator.changing() as connection:
            found = await self._get(connection, who, id_, "edit")
            if organization not in found.organizations:
                raise NotThere(f"organization {organization} is no member of collaboration {id_}")
            await store.drop_member(connection, found, organization)
            aggregator = found.default_aggregator
            node = await sites.get_node(connection, aggregator) if aggregator is not None else None
            if node is not None and node.organization_id == organization:
                await store.change_collaboration(connection, replace(found, default_aggregator=None))
            return await self._again(connection, id_)

    async def add_node(self, who: Principal, id_: str, node: str) -> Collaboration:
        """Make a node of a member a data node, the last in the collaboration's order."""
        async with self._database.writing() as connection:
            found = await self._get(connection, who, id_, "edit")
            there = await self._node(connection, who, found, node)
            if not there.holds_data:
                raise Taken(f"node {there.name} holds no data, so it can be no data node: it aggregates")
            if node not in found.nodes:
                _check_count((*found.nodes, node))
                await store.add_node(connection, id_, node)
            return await self._again(connection, id_)

    async def drop_node(self, who: Principal, id_: str, node: str) -> Collaboration:
        """Take a data node out of a collaboration, and out of its studies."""
        async with self._database.writing() as connection:
            found = await self._get(connection, who, id_, "edit")
            if node not in found.nodes:
                raise NotThere(f"node {node} is no data node of collaboration {id_}")
            await store.drop_node(connection, id_, node)
            return await self._again(connection, id_)

    # --- Studies --------------------------------------------------------------------------------

    async def studies(self, who: Principal, id_: str, after: str, limit: int) -> Sequence[Study]:
        """Studies of a collaboration that somebody may see, by name."""
        sight = who.require_some("study", "view")
        async with self._database.reading() as connection:
            await self._get(connection, who, id_, "view")
            return await store.list_studies(connection, id_, sight, after, limit)

    async def study(self, who: Principal, id_: str, study: str) -> Study:
        """A study."""
        async with self._database.reading() as connection:
            return await self._study(connection, who, id_, study, "view")

    async def add_study(self, who: Principal, id_: str, name: str, nodes: Sequence[str]) -> Study:
        """Make a study of some of a collaboration's data nodes."""
        who.require_some("study", "create")
        async with self._database.writing() as connection:
            found = await self._get(connection, who, id_, "view")
            whose = Whose(collaborations=frozenset({id_}))
            if not who.allows("study", "create", whose):
                raise NotAllowed(f"{who.name} may not make studies of collaboration {id_}")
            study = Study(
                id=codes.new_id("std"),
                collaboration_id=id_,
                name=check_name(name, "a study"),
                nodes=_chosen(found, nodes),
                created_at=self._now(),
            )
            await self._refuse_same_study(connection, study)
            await store.add_study(connection, study)
        return study

    async def change_study(
        self, who: Principal, id_: str, study: str, *, name: str | None, nodes: Sequence[str] | None
    ) -> Study:
        """Change a study; what is None stays."""
        async with self._database.writing() as connection:
            found = await self._study(connection, who, id_, study, "edit")
            if name is not None:
                found = replace(found, name=check_name(name, "a study"))
                await self._refuse_same_study(connection, found)
            if nodes is not None:
                collaboration = await self._again(connection, id_)
                found = replace(found, nodes=_chosen(collaboration, nodes))
            await store.change_study(connection, found)
        return found

    async def delete_study(self, who: Principal, id_: str, study: str) -> None:
        """Remove a study. Its runs stay."""
        async with self._database.writing() as connection:
            await self._study(connection, who, id_, study, "delete")
            await store.delete_study(connection, study)

    # --- What several of these ask --------------------------------------------------------------

    async def _get(self, connection: Connection, who: Principal, id_: str, operation: str) -> Collaboration:
        who.require_some("collaboration", operation)
        found = await store.get_collaboration(connection, id_)
        if found is None:
            raise NotThere(f"there is no collaboration {id_}")
        whose = Whose(organizations=frozenset(found.organizations), collaborations=frozenset({id_}))
        who.require("collaboration", operation, whose, f"collaboration {id_}")
        return found

    async def _again(self, connection: Connection, id_: str) -> Collaboration:
        found = await store.get_collaboration(connection, id_)
        assert found is not None
        return found

    async def _study(
        self, connection: Connection, who: Principal, id_: str, study: str, operation: str
    ) -> Study:
        who.require_some("study", operation)
        await self._get(connection, who, id_, "view")
        found = await store.get_study(connection, id_, study)
        if found is None:
            raise NotThere(f"there is no study {study} in collaboration {id_}")
        organizations = await store.organizations_of_study(connection, study)
        whose = Whose(organizations=organizations, collaborations=frozenset({id_}))
        who.require("study", operation, whose, f"study {study} in collaboration {id_}")
        return found

    async def _node(self, connection: Connection, who: Principal, of: Collaboration, id_: str) -> Node:
        """A node of a member."""
        node = await sites.get_node(connection, id_)
        whose = Whose(organizations=frozenset({node.organization_id} if node is not None else ()))
        if node is None or not who.allows("node", "view", whose):
            raise NotThere(f"there is no node {id_}")
        if node.organization_id not in of.organizations:
            raise Taken(
                f"node {node.name} is of no member of collaboration {of.id}: make its organization one first"
            )
        return node

    async def _visible_organization(self, connection: Connection, who: Principal, id_: str) -> None:
        found = await people.get_organization(connection, id_)
        if found is None or not who.allows("organization", "view", Whose(organizations=frozenset({id_}))):
            raise NotThere(f"there is no organization {id_}")

    async def _refuse_same(self, connection: Connection, collaboration: Collaboration) -> None:
        same = await store.same_collaboration(connection, collaboration.name)
        if same not in (None, collaboration.id):
            raise Taken(f"there is a collaboration named {collaboration.name!r} already")

    async def _refuse_same_study(self, connection: Connection, study: Study) -> None:
        same = await store.same_study(connection, study.collaboration_id, study.name)
        if same not in (None, study.id):
            raise Taken(f"there is a study named {study.name!r} in the collaboration already")


def _chosen(collaboration: Collaboration, nodes: Sequence[str]) -> tuple[str, ...]:
    """The nodes of a study, each of which is a data node of the collaboration."""
    for node in nodes:
        if node not in collaboration.nodes:
            raise Taken(f"{node} is no data node of collaboration {collaboration.id}: expected some of those")
    return tuple(dict.fromkeys(nodes))


def _check_count(ids: Sequence[str]) -> None:
    if len(ids) > _MEMBERS_MAX:
        raise Malformed(f"a collaboration has at most {_MEMBERS_MAX} members and as many data nodes")


def _check_bound(name: str, value: int | None, highest: int) -> None:
    if value is not None and not 1 <= value <= highest:
        raise Malformed(f"{name} is {value}: expected null, for no bound, or a number from 1 to {highest}")
