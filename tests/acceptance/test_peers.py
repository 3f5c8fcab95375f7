"""A vantage6 algorithm whose sites talk to each other, with vantage6's own client, in sandboxes without a network."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests import environments
from tests.acceptance.computations import atoll
from tests.stations import SITES, federation

from atoll.hub.runs.looking import Looking
from atoll.node.environment import Environment
from atoll.node.settings import Policies

FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "v6-talk"
SENT_BYTES = 2_000_000

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(120),
    pytest.mark.needs("bubblewrap"),
    pytest.mark.needs("vantage6-4"),
]


def check(results: list[dict[str, Any]], sites: int) -> None:
    """Everybody has received from everybody else, and found himself."""
    for number, result in enumerate(results, 1):
        others = {str(other): SENT_BYTES for other in range(1, sites + 1) if other != number}
        assert others == result["received"]
        assert ["thanks"] * (sites - 1) == result["thanks"]
        assert {"exchange"} == {each["label"] for each in result["found"]}
        own = {"ip": "127.0.0.1", "port": 8888, "label": "exchange"}
        assert [{**own, "organization_id": number, "task_id": 2, "parent_id": 1}] == result["own"]


def simulate(folder: Path, function: str, tmp_path: Path) -> dict[str, Any]:
    """The document of a simulation."""
    python = str(environments.python_of("vantage6-4"))
    done = atoll(
        *("simulate", str(folder), "--function", function, "--python", python, "--runtime", "bubblewrap"),
        *("--json", "--output", str(tmp_path / "run")),
        cwd=tmp_path,
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_simulated_sites_talk_where_the_federation_says_so(tmp_path: Path) -> None:
    document = simulate(FIXTURE, "central", tmp_path)

    assert [] == document["warnings"]
    check(document["result"], 3)


def test_simulated_sites_do_not_talk_where_it_does_not(tmp_path: Path) -> None:
    folder = tmp_path / "v6-talk"
    shutil.copytree(FIXTURE, folder)
    (folder / "federation.yaml").write_text("sites: {alpha: {}}\n")

    document = simulate(folder, "look", tmp_path)

    assert {"found": []} == document["result"]
    assert any("let no algorithm talk to other sites" in warning for warning in document["warnings"])


def settings(**policies: Any) -> dict[str, Any]:
    """Those of a node that runs algorithms of vantage6 in a sandbox."""
    python = environments.python_of("vantage6-4")
    return {
        "runtime": "bubblewrap",
        "environments": (Environment(name="vantage6-4", python=python),),
        "policies": Policies(bundles="allow", **policies),
        "slots": 2,
    }


def test_stations_talk_through_their_hub_and_the_result_is_the_same(tmp_path: Path) -> None:
    async def scene() -> list[dict[str, Any]]:
        async with asyncio.timeout(100), federation(tmp_path, **settings(peers="allow")) as place:
            await asyncio.gather(*(place.nodes[name].start() for name in SITES))
            asked = await place.asked(FIXTURE, function="central")
            (body,) = (await place.results(await place.submit(asked))).values()
            results: list[dict[str, Any]] = json.loads(body)
            return results

    check(asyncio.run(scene()), 3)


def test_a_station_that_refuses_is_found_by_nobody_and_says_why(tmp_path: Path) -> None:
    async def scene() -> tuple[dict[str, Any], list[str]]:
        allowing = settings(peers="listed", peers_for=("v6_talk", "look"))
        refusing = {"Dream": settings()}
        async with asyncio.timeout(100), federation(tmp_path, refusing, **allowing) as place:
            await asyncio.gather(*(place.nodes[name].start() for name in SITES))
            run_id = await place.submit(await place.asked(FIXTURE, function="look", at="all"))
            results = {site: json.loads(body) for site, body in (await place.results(run_id)).items()}
            looking = place.islands.rooms.of(Looking)
            while not (told := await looking.logs(place.islands.ada, run_id, None, (), 100)):
                await asyncio.sleep(0)
            return results, [str(line) for line in told]

    results, told = asyncio.run(scene())

    dream = SITES.index("Dream") + 1
    assert {"found": []} == results["Dream"]
    for site in ("Biscoe", "Torgersen"):
        assert dream not in {each["organization_id"] for each in results[site]["found"]}
        assert SITES.index(site) + 1 in {each["organization_id"] for each in results[site]["found"]}
    assert any("this site lets no algorithm talk to other sites" in line for line in told)
