"""People, collaborations and nodes in PostgreSQL: each statement is asked there once, and replicas agree."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.hub_app import Clock, HubApp, hub_app
from tests.hub_town import PASSWORD, WORLDS, Town, town
from tests.postgres import Postgres

from atoll.hub.api import create_app
from atoll.hub.people.logins import LoginService

pytestmark = [pytest.mark.needs("postgresql"), pytest.mark.timeout(120)]


def at(postgres: Postgres, folder: Path, visit: Callable[[Town], Awaitable[Any]]) -> Any:
    """Visit a town whose hub is in PostgreSQL."""

    async def whole() -> Any:
        async with hub_app(folder, postgres.make("people"), address_rate=0, login_rate=0) as hub:
            return await visit(await town(hub))

    return asyncio.run(whole())


def replica(hub: HubApp) -> HubApp:
    """Another hub over the same database, with a memory and a clock of its own."""
    return HubApp(app=create_app(hub.parts), parts=hub.parts, clock=Clock())


def test_lists_show_what_is_within_sight(postgres: Postgres, tmp_path: Path) -> None:
    async def visit(there: Town) -> None:
        paths = (
            "organizations",
            "users",
            "roles",
            "invitations",
            "collaborations",
            "nodes",
            "runs",
            "algorithms",
        )
        for path in paths:
            for person in there.people.values():
                reply = await person.caller.get(f"/v1/{path}?limit=2")
                assert 200 == reply.status, reply.body
                if reply.json["next"]:
                    assert 200 == (await person.caller.get(f"/v1/{path}?cursor={reply.json['next']}")).status
        for person in there.people.values():
            for world in WORLDS:
                ids = there.place(world, person).ids
                for path in (
                    f"collaborations/{ids['collaboration']}/studies",
                    f"nodes?collaboration={ids['collaboration']}",
                ):
                    assert (await person.caller.get(f"/v1/{path}")).status in (200, 404)

    at(postgres, tmp_path, visit)


def test_people_come_and_go(postgres: Postgres, tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        anybody = there.hub.anybody
        wrong = [
            (await anybody.post("/v1/login", {"username": "viewer", "password": "wrong"})).status
            for _ in range(5)
        ]
        refused = (await anybody.post("/v1/login", {"username": "viewer", "password": PASSWORD})).status
        there.hub.clock.move(3)
        tokens = (await anybody.post("/v1/login", {"username": "viewer", "password": PASSWORD})).json
        again = await anybody.post("/v1/login/refresh", {"refresh_token": tokens["refresh_token"]})
        replayed = await anybody.post("/v1/login/refresh", {"refresh_token": tokens["refresh_token"]})
        made = await there.founder_caller.post("/v1/tokens", {"name": "s", "scopes": []}, idempotency_key="k")
        script = (await anybody.as_(made.json["token"]).get("/v1/me")).status
        invited = await there.founder_caller.post(
            "/v1/invitations", {"organization": there.places["home"].ids["organization"], "roles": ["viewer"]}
        )
        accepted = await anybody.post(
            "/v1/invitations/accept", {"code": invited.json["code"], "username": "new", "password": PASSWORD}
        )
        changed = await there.founder_caller.patch(
            f"/v1/users/{accepted.json['user']['id']}", {"disabled": True, "roles": []}
        )
        return (
            wrong,
            refused,
            again.status,
            replayed.status,
            script,
            accepted.status,
            changed.json["disabled"],
        )

    assert ([401] * 5, 429, 200, 401, 200, 201, True) == at(postgres, tmp_path, visit)


def test_a_collaboration_and_a_node_change(postgres: Postgres, tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        caller, home, away = there.founder_caller, there.places["home"].ids, there.places["away"].ids
        path = f"/v1/collaborations/{home['collaboration']}"
        seen = [
            (await caller.put(f"{path}/organizations/{away['organization']}")).status,
            (await caller.put(f"{path}/nodes/{away['node']}")).status,
            (await caller.patch(path, {"default_aggregator": away["node"], "bytes_max": 2**40})).status,
            (await caller.patch(f"{path}/studies/{home['study']}", {"nodes": [away["node"]]})).status,
            (await caller.delete(f"{path}/organizations/{away['organization']}")).status,
            (await there.node.post("/v1/node/key")).status,
            (await caller.post(f"/v1/nodes/{home['node']}/code")).status,
            (await caller.delete(f"/v1/nodes/{home['node']}")).status,
            (await caller.delete(f"/v1/organizations/{home['organization']}")).status,
        ]
        return seen, (await there.node.post("/v1/node/key")).status

    assert ([200, 200, 200, 200, 200, 200, 200, 204, 409], 401) == at(postgres, tmp_path, visit)


def test_what_one_hub_changes_counts_at_another_within_a_second(postgres: Postgres, tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        other = replica(there.hub)
        person = there.people["viewer"]
        elsewhere = other.anybody.as_(person.caller.token)
        before = (await elsewhere.get("/v1/runs")).status
        await there.founder_caller.patch(f"/v1/users/{person.id}", {"roles": []})
        there.hub.clock.move(1.1)
        return before, (await elsewhere.get("/v1/runs")).status

    assert (200, 403) == at(postgres, tmp_path, visit)


def test_two_that_make_the_same_at_the_same_moment(postgres: Postgres, tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        other = replica(there.hub)
        second = other.anybody.as_(there.founder_caller.token)
        replies = await asyncio.gather(
            *(
                caller.post("/v1/organizations", {"name": "Same"})
                for caller in (there.founder_caller, second) * 3
            )
        )
        names = (await second.get("/v1/organizations?limit=200")).json["items"]
        return sorted(reply.status for reply in replies), [one["name"] for one in names].count("Same")

    assert ([201, 409, 409, 409, 409, 409], 1) == at(postgres, tmp_path, visit)


def test_wrong_passwords_at_the_same_moment_are_all_counted(postgres: Postgres, tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        logins = there.hub.rooms.of(LoginService)
        tries = [logins.login("viewer", "wrong", address=f"10.0.0.{n}", agent="") for n in range(20)]
        found = await asyncio.gather(*tries, return_exceptions=True)
        return sum(type(one).__name__ == "NotLoggedIn" for one in found)

    # Of several that come at once, one counts at a time: no more than five are tried.
    assert at(postgres, tmp_path, visit) <= 5


def test_a_zero_byte_is_refused_and_no_fault(
    postgres: Postgres, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def visit(there: Town) -> list[tuple[int, str]]:
        caller = there.founder_caller
        replies = [
            await caller.post("/v1/login", {"username": "lost\0key", "password": PASSWORD}),
            await caller.get("/v1/users/\0"),
            await caller.get("/v1/runs?status=%00"),
            await there.node.post("/v1/node/hello", {"version": "\0"}),
        ]
        return [(reply.status, reply.code) for reply in replies]

    assert [(422, "Malformed")] * 4 == at(postgres, tmp_path, visit)
    assert "lost" not in caplog.text
