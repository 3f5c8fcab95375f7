"""A hub with people of every role, their partners, and strangers: all made through the real services.

Three organizations: *home*, where the people with roles are; its *partner*, with which it shares the
collaboration *islands*; and *away*, which has a collaboration of its own. Each has one of every thing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from tests.hub_app import Caller, HubApp

from atoll.hub import codes
from atoll.hub.collaborations.service import CollaborationService
from atoll.hub.people.invitations import InvitationService, Newcomer
from atoll.hub.people.logins import LoginService
from atoll.hub.people.service import PeopleService
from atoll.hub.principal import Authenticator, Principal
from atoll.hub.runs.forms import NewRun, submission_of
from atoll.hub.runs.service import Runs
from atoll.hub.sites.service import SiteService
from atoll.model.scopes import ROLES
from atoll.stores.sql import algorithms
from atoll.stores.sql.algorithms import Kept

PASSWORD = "seven small islands"
#: Where a thing is, as seen from somebody at home.
WORLDS = ("own", "home", "partner", "away")

#: The algorithm of all runs here; every collaboration has it.
MEAN = f"sha256:{'0' * 64}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One of every thing, by the name of the parameter that it is in a path."""

    ids: Mapping[str, str]
    #: The name of the node.
    node_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody with one role, at home."""

    role: str
    id: str
    principal: Principal
    caller: Caller
    #: What he made himself; the rest is his organization's.
    own: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Town:
    """A hub with people."""

    hub: HubApp
    #: The first administrator, and what he shows.
    founder: Principal
    founder_caller: Caller
    #: By role.
    people: Mapping[str, Person]
    #: ``home``, ``partner`` and ``away``.
    places: Mapping[str, Place]
    #: The node of home.
    node: Caller

    def place(self, world: str, person: Person) -> Place:
        """One of every thing in one world, as seen by a person."""
        return person.own if world == "own" else self.places[world]


async def principal_of(hub: HubApp, token: str) -> Principal:
    """Who is known by a token."""
    return await hub.rooms.of(Authenticator).find(token)


async def token_of(hub: HubApp, user_id: str) -> str:
    """An access token of a new login."""
    async with hub.parts.database.writing() as connection:
        begun = await hub.rooms.of(LoginService).begin(connection, user_id, address="192.0.2.1", agent="")
    return begun.access_token


async def found(hub: HubApp) -> tuple[Principal, str, str]:
    """The first administrator, his organization's id, and an access token."""
    invitations = hub.rooms.of(InvitationService)
    code = await invitations.setup_code()
    assert code is not None
    newcomer = Newcomer(username="founder", password=PASSWORD, address="192.0.2.1", agent="")
    user, tokens = await invitations.set_up(code, "Lagoon", newcomer)
    return await principal_of(hub, tokens.access_token), user.organization_id, tokens.access_token


async def town(hub: HubApp) -> Town:
    """A hub with people of every role, their partners, and strangers."""
    founder, _, token = await found(hub)
    collaborations = hub.rooms.of(CollaborationService)
    people = hub.rooms.of(PeopleService)
    organizations = {
        world: (await people.add_organization(founder, name)).id
        for world, name in (("home", "Biscoe"), ("partner", "Dream"), ("away", "Torgersen"))
    }
    islands = await collaborations.add(founder, "islands", [organizations["home"], organizations["partner"]])
    elsewhere = await collaborations.add(founder, "elsewhere", [organizations["away"]])
    of = {"home": islands.id, "partner": islands.id, "away": elsewhere.id}
    places, keys = {}, {}
    for world, organization in organizations.items():
        places[world], keys[world] = await _settle(hub, founder, world, organization, of[world])
    persons = {}
    for role in ROLES:
        user = await people.new_user(
            organization=organizations["home"], username=role, name="", password=PASSWORD, roles=[role]
        )
        persons[role] = await _person(hub, founder, user.id, role, places["home"])
    node = await hub.rooms.of(SiteService).token(keys["home"])
    anybody = hub.anybody
    return Town(
        hub=hub,
        founder=founder,
        founder_caller=anybody.as_(token),
        people=persons,
        places=places,
        node=anybody.as_(node.access_token),
    )


async def _settle(
    hub: HubApp, founder: Principal, world: str, organization: str, collaboration: str
) -> tuple[Place, str]:
    """One of every thing for an organization; and the key of its node."""
    people, sites = hub.rooms.of(PeopleService), hub.rooms.of(SiteService)
    collaborations = hub.rooms.of(CollaborationService)
    user = await people.new_user(
        organization=organization, username=f"somebody-{world}", name="", password=PASSWORD, roles=[]
    )
    role = await people.add_role(founder, organization=organization, name="helper", scopes=[])
    node, code = await sites.add(founder, name=f"node-{world}", organization=organization, holds_data=True)
    _, key = await sites.register(code)
    await collaborations.add_node(founder, collaboration, node.id)
    study = await collaborations.add_study(founder, collaboration, f"study-{world}", [node.id])
    ids = {
        "organization": organization,
        "collaboration": collaboration,
        "user": user.id,
        "role": role.id,
        "node": node.id,
        "study": study.id,
        "login": codes.new_id("log"),
        "token": codes.new_id("tok"),
    }
    ids |= await made_by(hub, user.id, organization, collaboration, founder)
    return Place(ids=ids, node_name=node.name), key


async def _person(hub: HubApp, founder: Principal, id_: str, role: str, home: Place) -> Person:
    token = await token_of(hub, id_)
    made = await made_by(hub, id_, home.ids["organization"], home.ids["collaboration"], founder)
    return Person(
        role=role,
        id=id_,
        principal=await principal_of(hub, token),
        caller=hub.anybody.as_(token),
        own=Place(ids={**home.ids, "user": id_, **made}, node_name=home.node_name),
    )


async def made_by(
    hub: HubApp, user_id: str, organization: str, collaboration: str, founder: Principal
) -> dict[str, str]:
    """What a person makes: a run, an algorithm, an invitation. He needs no right to it here."""
    him = Principal(
        kind=founder.kind,
        id=user_id,
        name="him",
        organization_id=organization,
        collaborations=frozenset({collaboration}),
        peers=frozenset({organization}),
        grants=founder.grants,
    )
    await _bring(hub, him, collaboration, MEAN)
    run = await hub.rooms.of(Runs).submit(him, submission_of(a_run(collaboration)))
    invitation, _ = await hub.rooms.of(InvitationService).invite(
        him, organization=organization, roles=[], name="", days=7
    )
    digest = f"sha256:{codes.digest(user_id)}"
    await _bring(hub, him, collaboration, digest)
    return {"run": run, "job": f"{run}.0.0", "invitation": invitation.id, "digest": digest}


async def _bring(hub: HubApp, who: Principal, collaboration: str, digest: str) -> None:
    """A collaboration has an algorithm."""
    kept = Kept(
        digest=digest,
        dialect="functions",
        name="mean",
        manifest="{}",
        size_bytes=1,
        collaboration=collaboration,
        uploader=who.id,
        organization=who.organization_id,
        created_at=hub.clock(),
    )
    async with hub.parts.database.writing() as connection:
        if await algorithms.at(connection, digest, collaboration) is None:
            await algorithms.add(connection, kept)


def a_run(collaboration: str) -> NewRun:
    """A run of one function at all sites."""
    return msgspec.convert(run_body(collaboration), NewRun)


def run_body(collaboration: str) -> dict[str, Any]:
    """What a client sends to submit a run of one function at all sites."""
    algorithm = {"dialect": "functions", "digest": MEAN, "name": "mean"}
    return {
        "collaboration": collaboration,
        "steps": [{"algorithm": algorithm, "openings": [{"body": ""}]}],
    }
