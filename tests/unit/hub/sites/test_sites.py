"""Nodes: how one registers, stays known, and is removed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.hub_app import Caller, HubApp, Reply, hub_app
from tests.hub_town import found, town

Visit = Callable[[HubApp, Caller, dict[str, Any]], Awaitable[Any]]


def at(folder: Path, visit: Visit) -> Any:
    """Visit a hub with a node that has not registered."""

    async def whole() -> Any:
        async with hub_app(folder, address_rate=0) as hub:
            _, organization, token = await found(hub)
            founder = hub.anybody.as_(token)
            node = (await founder.post("/v1/nodes", {"name": "biscoe", "organization": organization})).json
            return await visit(hub, founder, node)

    return asyncio.run(whole())


async def register(hub: HubApp, code: str) -> Reply:
    """Register with a code."""
    return await hub.anybody.post("/v1/nodes/register", {"code": code})


async def node_token(hub: HubApp, key: str) -> Reply:
    """Ask for an access token."""
    return await hub.anybody.post("/v1/node/token", {"key": key})


async def is_known(hub: HubApp, token: str) -> bool:
    """Whether a node is known by a token: what it says then is not understood, but heard."""
    return (await hub.anybody.as_(token).post("/v1/node/hello", {})).status == 422


def test_a_node_registers_once_and_is_known_by_its_key(tmp_path: Path) -> None:
    async def visit(hub: HubApp, founder: Caller, node: dict[str, Any]) -> Any:
        registered = await register(hub, node["code"])
        token = (await node_token(hub, registered.json["key"])).json
        known = await is_known(hub, token["access_token"])
        again = (await register(hub, node["code"])).code
        shown = (await founder.get(f"/v1/nodes/{node['id']}")).json
        return token["name"], known, again, shown["registered_at"], shown["code"], shown["online"]

    assert ("biscoe", True, "NotAllowed", "2026-01-01T00:00:00.000Z", None, False) == at(tmp_path, visit)


def test_a_code_is_good_for_a_day(tmp_path: Path) -> None:
    async def visit(hub: HubApp, founder: Caller, node: dict[str, Any]) -> Any:
        hub.clock.move(86_401)
        late = (await register(hub, node["code"])).code
        login = await hub.anybody.post(
            "/v1/login", {"username": "founder", "password": "seven small islands"}
        )
        founder = founder.as_(login.json["access_token"])
        fresh = (await founder.post(f"/v1/nodes/{node['id']}/code")).json["code"]
        return late, (await register(hub, fresh)).status

    assert ("NotAllowed", 201) == at(tmp_path, visit)


def test_a_node_that_registers_anew_ends_its_old_key(tmp_path: Path) -> None:
    async def visit(hub: HubApp, founder: Caller, node: dict[str, Any]) -> Any:
        old = (await register(hub, node["code"])).json["key"]
        token = (await node_token(hub, old)).json["access_token"]
        assert await is_known(hub, token)
        code = (await founder.post(f"/v1/nodes/{node['id']}/code")).json["code"]
        still = await is_known(hub, token)
        await register(hub, code)
        return still, await is_known(hub, token), (await node_token(hub, old)).code

    assert (True, False, "NotLoggedIn") == at(tmp_path, visit)


def test_a_new_key_ends_the_old_one_when_it_is_first_used(tmp_path: Path) -> None:
    async def visit(hub: HubApp, _: Caller, node: dict[str, Any]) -> Any:
        old = (await register(hub, node["code"])).json["key"]
        token = (await node_token(hub, old)).json["access_token"]
        new = (await hub.anybody.as_(token).post("/v1/node/key")).json["key"]
        both = (await node_token(hub, old)).status
        fresh = (await node_token(hub, new)).json["access_token"]
        return both, await is_known(hub, token), await is_known(hub, fresh), (await node_token(hub, old)).code

    assert (200, False, True, "NotLoggedIn") == at(tmp_path, visit)


def test_an_old_key_ends_after_ten_minutes_though_the_new_one_got_lost(tmp_path: Path) -> None:
    async def visit(hub: HubApp, _: Caller, node: dict[str, Any]) -> Any:
        old = (await register(hub, node["code"])).json["key"]
        token = (await node_token(hub, old)).json["access_token"]
        await hub.anybody.as_(token).post("/v1/node/key")
        hub.clock.move(599)
        before = (await node_token(hub, old)).status, await is_known(hub, token)
        hub.clock.move(2)
        return *before, (await node_token(hub, old)).code, await is_known(hub, token)

    assert (200, True, "NotLoggedIn", False) == at(tmp_path, visit)


def test_a_nodes_token_ends_after_fifteen_minutes(tmp_path: Path) -> None:
    async def visit(hub: HubApp, _: Caller, node: dict[str, Any]) -> Any:
        key = (await register(hub, node["code"])).json["key"]
        token = (await node_token(hub, key)).json["access_token"]
        hub.clock.move(899)
        before = await is_known(hub, token)
        hub.clock.move(2)
        return before, await is_known(hub, token), (await node_token(hub, key)).status

    assert (True, False, 200) == at(tmp_path, visit)


def test_a_node_that_is_removed_is_not_known_from_then_on(tmp_path: Path) -> None:
    async def visit(hub: HubApp, founder: Caller, node: dict[str, Any]) -> Any:
        key = (await register(hub, node["code"])).json["key"]
        token = (await node_token(hub, key)).json["access_token"]
        before = await is_known(hub, token)
        await founder.delete(f"/v1/nodes/{node['id']}")
        return before, await is_known(hub, token), (await node_token(hub, key)).code

    assert (True, False, "NotLoggedIn") == at(tmp_path, visit)


def test_names_of_nodes_are_unique_at_a_hub_and_those_of_seats(tmp_path: Path) -> None:
    async def visit(_: HubApp, founder: Caller, node: dict[str, Any]) -> Any:
        return [
            (await founder.post("/v1/nodes", {"name": name, "organization": node["organization"]})).code
            for name in ("BISCOE", "remote", "a/b", "dream")
        ]

    assert ["Taken", "Malformed", "Malformed", ""] == at(tmp_path, visit)


def test_a_data_node_of_a_collaboration_goes_on_holding_data(tmp_path: Path) -> None:
    async def visit(_: HubApp, founder: Caller, node: dict[str, Any]) -> Any:
        sent = {"name": "islands", "organizations": [node["organization"]]}
        place = f"/v1/collaborations/{(await founder.post('/v1/collaborations', sent)).json['id']}/nodes/{node['id']}"
        await founder.put(place)
        refused = await founder.patch(f"/v1/nodes/{node['id']}", {"holds_data": False})
        await founder.delete(place)
        return refused.code, (await founder.patch(f"/v1/nodes/{node['id']}", {"holds_data": False})).json[
            "holds_data"
        ]

    assert ("Taken", False) == at(tmp_path, visit)


def test_nobody_gets_the_jobs_of_a_removed_node_by_taking_its_name(tmp_path: Path) -> None:
    async def visit() -> Any:
        async with hub_app(tmp_path, address_rate=0) as hub:
            there = await town(hub)
            home, away = there.places["home"], there.places["away"]
            wanted = {"name": home.node_name, "organization": away.ids["organization"]}
            founder = there.founder_caller
            await founder.delete(f"/v1/nodes/{home.ids['node']}")
            taken = await founder.post("/v1/nodes", wanted)
            for run in (await founder.get("/v1/runs?limit=200")).json["items"]:
                await founder.post(f"/v1/runs/{run['id']}/cancel", {})
            return taken, (await founder.post("/v1/nodes", wanted)).status

    taken, later = asyncio.run(visit())

    assert ("Taken", 201) == (taken.code, later)
    assert "a run that goes on waits for a node named 'node-home'" in taken.json["detail"]
