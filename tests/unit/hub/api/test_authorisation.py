"""Every endpoint × everybody × what is his own, his organization's, a partner's and a stranger's.

Endpoints are read from the API's own description, and what is expected from the table of permissions.
An endpoint that nobody has classified here fails. Each request is made for real, within a transaction
that is undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from tests.hub_app import Caller, HubApp, Reply, hub_app
from tests.hub_town import PASSWORD, WORLDS, Person, Place, Town, run_body, token_of, town
from tests.sockets import Heard, speak

from atoll.hub import codes
from atoll.hub.api import ROUTERS
from atoll.hub.described import _DESCRIBED
from atoll.hub.peers.routes import SOCKETS
from atoll.hub.people.logins import LoginService
from atoll.hub.principal import Authenticator
from atoll.model.scopes import ROLES, Whose

#: As JSON has it: 32 bytes.
KEY = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="
#: What belongs to organizations alone, and not to a collaboration.
_OF_ORGANIZATIONS = ("organization", "user", "role", "node")
#: What a request that isn't allowed is answered with.
_REFUSED = ("NotLoggedIn", "NotAllowed", "NotThere")


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One endpoint of the API."""

    method: str
    path: str
    access: str

    @property
    def name(self) -> str:
        """How it is called in this test."""
        return f"{self.method} {self.path}"


ENDPOINTS = [
    Endpoint(
        method=method,
        path=route.path,  # type: ignore[attr-defined]  # all of them are routes of FastAPI
        access=_DESCRIBED[route.openapi_extra["x-atoll-endpoint"]].access,  # type: ignore[attr-defined]  # as above
    )
    for router in ROUTERS
    for route in router.routes
    for method in sorted(route.methods)  # type: ignore[attr-defined]  # as above
]

Body = Callable[[Place], Any]
#: What is sent to endpoints that take a body. One without is sent nothing.
BODIES: Mapping[str, Body] = {
    "POST /setup": lambda _: {
        "code": "ats_no",
        "organization": "O",
        "username": "mallory",
        "password": PASSWORD,
    },
    "POST /invitations/accept": lambda _: {"code": "ati_no", "username": "mallory", "password": PASSWORD},
    "POST /login": lambda _: {"username": "nobody", "password": PASSWORD},
    "POST /login/refresh": lambda _: {"refresh_token": "atr_no"},
    "POST /me/password": lambda _: {"current": PASSWORD, "new": "another long password"},
    "POST /tokens": lambda _: {"name": "script", "scopes": ["organization:view:organization"]},
    "POST /organizations": lambda _: {"name": "New"},
    "PATCH /organizations/{organization}": lambda _: {"name": "Renamed"},
    "POST /users": lambda place: {
        "organization": place.ids["organization"],
        "username": "new",
        "password": PASSWORD,
    },
    "PATCH /users/{user}": lambda _: {"name": "Renamed"},
    "POST /roles": lambda place: {"organization": place.ids["organization"], "name": "new", "scopes": []},
    "PATCH /roles/{role}": lambda _: {"name": "renamed"},
    "POST /invitations": lambda place: {"organization": place.ids["organization"]},
    "POST /collaborations": lambda _: {"name": "new"},
    "PATCH /collaborations/{collaboration}": lambda _: {"runs_active_max": 7},
    "POST /collaborations/{collaboration}/studies": lambda place: {
        "name": "new",
        "nodes": [place.ids["node"]],
    },
    "PATCH /collaborations/{collaboration}/studies/{study}": lambda _: {"name": "renamed"},
    "POST /nodes": lambda place: {"name": "new", "organization": place.ids["organization"]},
    "POST /nodes/register": lambda _: {"code": "atg_no"},
    "PATCH /nodes/{node}": lambda _: {"holds_data": True},
    "POST /node/token": lambda _: {"key": "atn_no"},
    "PUT /algorithms/{digest}": lambda _: b"no bundle",
    "POST /runs": lambda place: run_body(place.ids["collaboration"]),
    "POST /runs/{run}/cancel": lambda _: {},
    "POST /runs/{run}/jobs/{job}/decide": lambda _: {"decision": "fail"},
    "POST /runs/{run}/uploads": lambda place: {"digest": place.ids["digest"], "size": 1},
    "PATCH /runs/{run}/uploads/{digest}": lambda _: b"x",
    **dict.fromkeys(
        (
            "POST /node/hello",
            "POST /node/heartbeat",
            "POST /node/claim",
            "POST /node/report",
            "POST /node/lost",
            "POST /node/ask",
            "POST /node/give_up",
            "POST /node/release",
            "POST /node/logs",
        ),
        lambda _: {},
    ),
}
#: Endpoints whose method may bring a body, and that take none.
WITHOUT_BODY = {
    "POST /logout",
    "PUT /collaborations/{collaboration}/organizations/{organization}",
    "PUT /collaborations/{collaboration}/nodes/{node}",
    "POST /nodes/{node}/code",
    "POST /node/key",
}
#: What is added to a path: waiting ends at once, an algorithm is meant at one collaboration.
QUERIES: Mapping[str, Body] = {
    "GET /runs/{run}/wait": lambda _: "seconds=0",
    "PUT /algorithms/{digest}": lambda place: f"collaboration={place.ids['collaboration']}",
    "DELETE /algorithms/{digest}": lambda place: f"collaboration={place.ids['collaboration']}",
}
#: Endpoints that are about one thing, and for which a list's sight or the body says which.
CREATED: Mapping[str, Callable[[Place, Person], Whose]] = {
    "POST /organizations": lambda _, __: Whose(),
    "POST /collaborations": lambda _, __: Whose(),
    "POST /users": lambda place, _: Whose(organizations=frozenset({place.ids["organization"]})),
    "POST /roles": lambda place, _: Whose(organizations=frozenset({place.ids["organization"]})),
    "POST /invitations": lambda place, _: Whose(organizations=frozenset({place.ids["organization"]})),
    "POST /nodes": lambda place, _: Whose(organizations=frozenset({place.ids["organization"]})),
    "POST /collaborations/{collaboration}/studies": lambda place, _: Whose(
        collaborations=frozenset({place.ids["collaboration"]})
    ),
    "POST /runs": lambda place, _: Whose(collaborations=frozenset({place.ids["collaboration"]})),
    "PUT /algorithms/{digest}": lambda place, person: Whose(
        organizations=frozenset({person.principal.organization_id})
        if place.ids["collaboration"] in person.principal.collaborations
        else frozenset(),
        collaborations=frozenset({place.ids["collaboration"]}),
    ),
}
#: Those that answer what is within one's sight, and refuse only who may see nothing at all.
FILTERED = {
    *("GET /organizations", "GET /users", "GET /roles", "GET /invitations", "GET /collaborations"),
    *("GET /nodes", "GET /algorithms", "GET /runs", "GET /events", "HEAD /algorithms/{digest}"),
}


class _UndoneError(Exception):
    """Ends a transaction that is to leave nothing."""


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A town that all tests here visit, and leave as it was."""
    with ExitStack() as kept, asyncio.Runner() as runner:
        opened = hub_app(
            tmp_path_factory.mktemp("hub"), person_rate=0, node_rate=0, address_rate=0, login_rate=0
        )
        hub = runner.run(opened.__aenter__())
        kept.callback(lambda: asyncio.run(opened.__aexit__(None, None, None)))
        yield runner.run(town(hub))


async def ask(there: Town, endpoint: Endpoint, place: Place, caller: Caller) -> Reply:
    """Make one request, and undo what it did."""
    hub = there.hub
    path = "/v1" + endpoint.path
    for parameter, value in place.ids.items():
        path = path.replace("{" + parameter + "}", value)
    assert "{" not in path, f"{endpoint.name} has a parameter that the town has nothing for"
    if endpoint.name in QUERIES:
        path += f"?{QUERIES[endpoint.name](place)}"
    body = BODIES[endpoint.name](place) if endpoint.name in BODIES else None
    reply = None
    with suppress(_UndoneError):
        async with hub.parts.database.writing():
            reply = await caller.ask(endpoint.method, path, body)
            raise _UndoneError
    forget(hub)
    assert reply is not None
    assert reply.status < 500, f"{endpoint.name}: {reply.body!r}"
    return reply


def forget(hub: HubApp) -> None:
    """Forget what was remembered of what has been undone."""
    hub.rooms.of(Authenticator).forget()
    hub.parts.runs._known.clear()


def whose(endpoint: Endpoint, world: str, there: Town, person: Person) -> Whose:
    """Whom the thing belongs to that an endpoint is about."""
    place = there.place(world, person)
    if endpoint.name in CREATED:
        return CREATED[endpoint.name](place, person)
    resource = endpoint.access.partition(":")[0]
    organizations = frozenset({place.ids["organization"]})
    collaborations = frozenset({place.ids["collaboration"]})
    if resource in _OF_ORGANIZATIONS:
        own = resource == "user" and world == "own"
        return Whose(user=person.id if own else None, organizations=organizations)
    if resource == "collaboration" and world != "away":
        organizations = frozenset(there.places[one].ids["organization"] for one in ("home", "partner"))
    made = world == "own" and resource in {"run", "result", "log", "event", "algorithm"}
    return Whose(user=person.id if made else None, organizations=organizations, collaborations=collaborations)


def check_right(endpoint: Endpoint, world: str, there: Town, person: Person, reply: Reply) -> None:
    """Compare an answer with what the table of permissions says."""
    resource, _, operation = endpoint.access.partition(":")
    sight = person.principal.sight(resource, operation)
    what = f"{person.role}, {world}: {reply.status} {reply.code}"
    if sight.reach is None:
        assert reply.status == 403, what
        return
    if endpoint.name in FILTERED:
        assert reply.code not in ("NotLoggedIn", "NotAllowed"), what
        return
    thing = whose(endpoint, world, there, person)
    if sight.covers(thing):
        assert reply.code not in _REFUSED, what
        assert reply.status not in (401, 404), what
    else:
        assert reply.code in ("NotAllowed", "NotThere"), what
        seen = person.principal.allows(resource, "view", thing)
        by_id = "{" in endpoint.path and endpoint.name not in CREATED
        if by_id and not seen and resource != "role":
            assert reply.code == "NotThere", what


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
def test_who_has_a_role_may_what_its_scopes_say(endpoint: Endpoint, there: Town) -> None:
    async def visit() -> None:
        for person in there.people.values():
            for world in WORLDS:
                reply = await ask(there, endpoint, there.place(world, person), person.caller)
                if endpoint.access == "node":
                    assert "NotAllowed" == reply.code
                elif ":" in endpoint.access:
                    check_right(endpoint, world, there, person, reply)
                elif endpoint.access == "known":
                    assert "NotLoggedIn" != reply.code
                elif endpoint.access != "open":
                    assert reply.code not in ("NotLoggedIn", "NotAllowed"), reply.body

    asyncio.run(visit())


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
def test_a_node_gets_what_is_for_nodes_and_nothing_else(endpoint: Endpoint, there: Town) -> None:
    async def visit() -> None:
        for world in ("home", "away"):
            reply = await ask(there, endpoint, there.places[world], there.node)
            if ":" in endpoint.access or endpoint.access in ("self", "login"):
                assert "NotAllowed" == reply.code
            elif endpoint.access != "open":
                assert reply.code not in ("NotLoggedIn", "NotAllowed"), reply.body

    asyncio.run(visit())


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
def test_a_token_that_is_none_gets_nothing(endpoint: Endpoint, there: Town) -> None:
    async def visit() -> list[str]:
        hub, person = there.hub, there.people["administrator"]
        ended = await token_of(hub, person.id)
        who = await hub.rooms.of(Authenticator).find(ended)
        await hub.rooms.of(LoginService).end(person.id, who.login_id or "")
        expired = await token_of(hub, person.id)
        anybody = hub.anybody
        found = []
        for token in ("", ended, codes.new_secret(codes.ACCESS), "atp_", person.caller.token[:-1], "x.y.z"):
            reply = await ask(there, endpoint, there.places["home"], anybody.as_(token))
            found.append(reply.code)
        hub.clock.move(901)
        try:
            reply = await ask(there, endpoint, there.places["home"], anybody.as_(expired))
        finally:
            hub.clock.move(-901)
        return [*found, reply.code]

    refusals = asyncio.run(visit())

    if endpoint.access != "open":
        assert ["NotLoggedIn"] * 7 == refusals


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda one: one.name)
def test_a_personal_token_without_scopes_may_nothing(endpoint: Endpoint, there: Town) -> None:
    async def visit() -> Reply:
        person = there.people["administrator"]
        logins = there.hub.rooms.of(LoginService)
        token, secret = await logins.make_token(person.principal, "bare", [], 1)
        reply = await ask(there, endpoint, there.places["home"], there.hub.anybody.as_(secret))
        await logins.end_token(person.id, token.id)
        return reply

    reply = asyncio.run(visit())

    if ":" in endpoint.access or endpoint.access in ("login", "node"):
        assert "NotAllowed" == reply.code


@pytest.mark.parametrize("path", SOCKETS)
def test_only_nodes_speak_over_websockets(path: str, there: Town) -> None:
    async def visit() -> list[Heard]:
        place = there.places["home"]
        where = f"/v1{path}".replace("{run}", place.ids["run"])
        anybody = there.hub.anybody
        strangers = [anybody, anybody.as_("ata_no"), anybody.as_(codes.new_secret(codes.ACCESS))]
        people = [person.caller for person in there.people.values()]
        return [await speak(caller, where, {}) for caller in (*strangers, *people)]

    heard = asyncio.run(visit())

    assert {(1008, "NotLoggedIn")} == {(each.closed, each.code) for each in heard[:3]}
    assert {(1008, "NotAllowed")} == {(each.closed, each.code) for each in heard[3:]}


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("world", WORLDS)
def test_a_node_speaks_over_websockets_for_its_own_jobs_alone(path: str, world: str, there: Town) -> None:
    async def visit() -> list[Heard]:
        ids = there.place(world, there.people["researcher"]).ids
        first = {
            "ports": [{"number": 1}],
            "to": ids["job"],
            "port": 1,
            "stream": "x",
            "key": KEY,
            "attempt": 1,
        }
        where = f"/v1{path}".replace("{run}", ids["run"])
        jobs = (ids["job"], f"{ids['run']}.9.9", "no job")
        return [await speak(there.node, where, {**first, "job": job}) for job in jobs]

    heard = asyncio.run(visit())

    assert {1008} == {each.closed for each in heard}
    # Of its own world the job is the node's, which hasn't claimed it.
    assert {"StaleEvent", "NotYours"} >= {each.code for each in heard}


def test_every_endpoint_is_classified() -> None:
    names = {endpoint.name for endpoint in ENDPOINTS}
    with_body = {name for name in names if name.split()[0] in ("POST", "PUT", "PATCH")}

    assert with_body == {*BODIES, *WITHOUT_BODY}
    assert {*QUERIES, *CREATED, *FILTERED} <= names
    one_thing = {
        endpoint.name for endpoint in ENDPOINTS if ":" in endpoint.access and "{" not in endpoint.path
    }
    assert one_thing <= {*CREATED, *FILTERED}


def test_lists_show_what_is_within_sight_and_nothing_else(there: Town) -> None:
    lists = {
        "organizations": "organization",
        "users": "user",
        "roles": "role",
        "invitations": "invitation",
        "collaborations": "collaboration",
        "nodes": "node",
        "runs": "run",
    }

    async def visit() -> None:
        for path, parameter in lists.items():
            endpoint = next(one for one in ENDPOINTS if one.name == f"GET /{path}")
            for person in there.people.values():
                reply = await person.caller.get(f"/v1/{path}?limit=200")
                shown = {item["id"] for item in reply.json["items"]}
                sight = person.principal.sight(*endpoint.access.split(":"))
                for world in WORLDS:
                    id_ = there.place(world, person).ids[parameter]
                    assert (id_ in shown) is sight.covers(whose(endpoint, world, there, person)), (
                        f"{path}: {person.role}, {world}"
                    )

    asyncio.run(visit())


def test_every_role_that_a_hub_has_is_tried(there: Town) -> None:
    assert set(ROLES) == set(there.people)
