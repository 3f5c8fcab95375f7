"""Collaborations, their members, their data nodes and their studies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tests.hub_app import hub_app
from tests.hub_town import Town, town

Visit = Callable[[Town], Awaitable[Any]]


def at(folder: Path, visit: Visit) -> Any:
    """Visit a town."""

    async def whole() -> Any:
        async with hub_app(folder, address_rate=0) as hub:
            return await visit(await town(hub))

    return asyncio.run(whole())


def path_of(there: Town, world: str = "home") -> str:
    """Where a collaboration is."""
    return f"/v1/collaborations/{there.places[world].ids['collaboration']}"


def test_a_new_member_brings_its_nodes_and_takes_them_along(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        caller, away = there.founder_caller, there.places["away"].ids
        refused = await caller.put(f"{path_of(there)}/nodes/{away['node']}")
        await caller.put(f"{path_of(there)}/organizations/{away['organization']}")
        twice = await caller.put(f"{path_of(there)}/organizations/{away['organization']}")
        joined = await caller.put(f"{path_of(there)}/nodes/{away['node']}")
        await caller.patch(path_of(there), {"default_aggregator": away["node"]})
        left = await caller.delete(f"{path_of(there)}/organizations/{away['organization']}")
        again = await caller.delete(f"{path_of(there)}/organizations/{away['organization']}")
        return refused.code, len(twice.json["organizations"]), joined.json, left.json, again.code, there

    refused, members, joined, left, again, there = at(tmp_path, visit)

    ids = [there.places[world].ids["node"] for world in ("home", "partner", "away")]
    assert ("Taken", 3, ids, ids[:2]) == (refused, members, joined["nodes"], left["nodes"])
    assert (None, "NotThere") == (left["default_aggregator"], again)


def test_a_node_that_leaves_leaves_the_studies_too(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        caller, home = there.founder_caller, there.places["home"].ids
        nodes = [there.places[world].ids["node"] for world in ("partner", "home")]
        made = await caller.post(f"{path_of(there)}/studies", {"name": "both", "nodes": nodes})
        await caller.delete(f"{path_of(there)}/nodes/{home['node']}")
        study = await caller.get(f"{path_of(there)}/studies/{made.json['id']}")
        gone = await caller.delete(f"{path_of(there)}/nodes/{home['node']}")
        return nodes, made.json["nodes"], study.json["nodes"], gone.code

    nodes, made, left, again = at(tmp_path, visit)

    assert (nodes, nodes[:1], "NotThere") == (made, left, again)


def test_a_study_has_nodes_of_its_collaboration_only(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        caller, study = there.founder_caller, there.places["home"].ids["study"]
        foreign = {"nodes": [there.places["away"].ids["node"]]}
        return [
            (await caller.post(f"{path_of(there)}/studies", {"name": "x", **foreign})).code,
            (await caller.patch(f"{path_of(there)}/studies/{study}", foreign)).code,
            (await caller.post(f"{path_of(there)}/studies", {"name": "STUDY-home", "nodes": []})).code,
            (await caller.patch(f"{path_of(there)}/studies/{study}", {"name": "study-partner"})).code,
            (await caller.patch(f"{path_of(there)}/studies/{study}", {"nodes": []})).json["nodes"],
            (await caller.get(f"{path_of(there, 'away')}/studies/{study}")).code,
            (await caller.delete(f"{path_of(there)}/studies/{study}")).status,
        ]

    assert ["Taken", "Taken", "Taken", "Taken", [], "NotThere", 204] == at(tmp_path, visit)


def test_what_a_change_does_not_name_stays_and_null_takes_a_bound_away(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        caller, home = there.founder_caller, there.places["home"].ids
        bounds = {"runs_active_max": 3, "bytes_max": 10**12, "retention_days": 30}
        await caller.patch(path_of(there), {**bounds, "default_aggregator": home["node"]})
        changed = await caller.patch(path_of(there), {"name": "Isles", "bytes_max": None})
        return changed.json, (await caller.get(path_of(there))).json

    changed, kept = at(tmp_path, visit)

    assert changed == kept
    assert ("Isles", 3, None, 30) == (
        kept["name"],
        kept["runs_active_max"],
        kept["bytes_max"],
        kept["retention_days"],
    )
    assert kept["default_aggregator"] == kept["nodes"][0]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"runs_active_max": 0}, "Malformed"),
        ({"bytes_max": -1}, "Malformed"),
        ({"retention_days": 10**6}, "Malformed"),
        ({"name": "a/b"}, "Malformed"),
        ({"name": "elsewhere"}, "Taken"),
        ({"default_aggregator": "nod_none"}, "NotThere"),
        ({"quota": 1}, "Malformed"),
    ],
)
def test_a_change_that_can_not_be_is_refused(tmp_path: Path, sent: Any, code: str) -> None:
    async def visit(there: Town) -> str:
        return (await there.founder_caller.patch(path_of(there), sent)).code

    assert code == at(tmp_path, visit)


def test_a_collaboration_with_active_runs_stays(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        caller = there.founder_caller
        refused = await caller.delete(path_of(there))
        runs = (await caller.get("/v1/runs?limit=200")).json["items"]
        for run in runs:
            await caller.post(f"/v1/runs/{run['id']}/cancel", {})
        done = await caller.delete(path_of(there))
        return refused.code, done.status, (await caller.get(path_of(there))).code

    assert ("Taken", 204, "NotThere") == at(tmp_path, visit)


def test_a_node_without_data_is_no_data_node(tmp_path: Path) -> None:
    async def visit(there: Town) -> Any:
        caller, home = there.founder_caller, there.places["home"].ids
        sent = {"name": "lagoon", "organization": home["organization"], "holds_data": False}
        node = (await caller.post("/v1/nodes", sent)).json["id"]
        refused = (await caller.put(f"{path_of(there)}/nodes/{node}")).code
        aggregates = (await caller.patch(path_of(there), {"default_aggregator": node})).status
        await caller.delete(f"/v1/nodes/{node}")
        return refused, aggregates, (await caller.get(path_of(there))).json["default_aggregator"]

    assert ("Taken", 200, None) == at(tmp_path, visit)
