"""A station does its hub's jobs under its own rules, and loses nothing when it ends."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.stations import LAGOON, SITES, Federation, federation

from atoll.dialects.functions.body import plain
from atoll.hub.runs.service import Runs
from atoll.model.errors import NotLoggedIn, RuntimeUnavailable, SpecInvalid
from atoll.model.work import RunId
from atoll.node.data_maps import DataMap, write_maps
from atoll.node.offer import Offer, Source
from atoll.node.settings import Log, Policies

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
SUM = """\
from atoll_algorithm import central, partial


@partial
def count(data: "pandas.DataFrame") -> int:
    return len(data)


@central
def total(sites) -> int:
    return sum(result for result in sites.call(count))
"""
COUNT = """\
import pathlib

from atoll_algorithm import partial


@partial
def count(data: pathlib.Path) -> int:
    return len(data.read_text().splitlines()) - 1
"""
FAILS = """\
from atoll_algorithm import partial


@partial
def fail() -> int:
    raise ValueError("Jane Doe")
"""


def run(work: Coroutine[Any, Any, None]) -> None:
    """Play a scene; it never takes long."""

    async def soon() -> None:
        async with asyncio.timeout(15):
            await work

    asyncio.run(soon())


def offer_of(root: Path, rows: int) -> Offer:
    """A database with so many rows."""
    path = root / f"rows{rows}.csv"
    path.write_text("n\n" + "".join(f"{n}\n" for n in range(rows)))
    return Offer(databases={"patients": Source(type="csv", path=path)})


def code(root: Path, source: str) -> Path:
    """An algorithm of one module."""
    folder = root / "code"
    folder.mkdir(exist_ok=True)
    (folder / "algorithm.py").write_text(source)
    return folder


def with_rows(root: Path) -> dict[str, dict[str, Any]]:
    """Settings of sites with one, two and three rows."""
    return {name: {"offer": offer_of(root, number)} for number, name in enumerate(SITES, 1)}


async def started(place: Federation, *names: str) -> None:
    """Start some nodes, or all."""
    await asyncio.gather(*(place.nodes[name].start() for name in names or (*SITES, LAGOON)))


def test_a_function_is_run_at_every_site_and_nothing_of_the_run_stays(tmp_path: Path) -> None:
    async def scene() -> None:
        async with federation(tmp_path, with_rows(tmp_path)) as place:
            await started(place, *SITES)
            run_id = await place.submit(await place.asked(code(tmp_path, COUNT)))
            results = await place.results(run_id)

            assert {site: plain(body) for site, body in results.items()} == dict(
                zip(SITES, (1, 2, 3), strict=True)
            )
            while any(any((tmp_path / site / "runs").iterdir()) for site in SITES):
                await asyncio.sleep(0)
            assert (tmp_path / "Biscoe" / "algorithms").is_dir()

    run(scene())


def test_a_site_that_does_not_allow_an_algorithm_says_so(tmp_path: Path) -> None:
    async def scene() -> None:
        rules = {**with_rows(tmp_path), "Dream": {"policies": Policies()}}
        async with federation(tmp_path, rules) as place:
            await started(place, *SITES)
            ended = await place.ended(await place.submit(await place.asked(code(tmp_path, COUNT))))

            assert ended.failure is not None
            assert (ended.failure.type, ended.failure.site) == ("JobRefused", "Dream")
            assert "only those that it lists by digest" in ended.failure.message

    run(scene())


@pytest.mark.parametrize("sends", [False, True])
def test_what_an_algorithm_printed_leaves_the_site_only_where_it_may(tmp_path: Path, *, sends: bool) -> None:
    async def scene() -> None:
        async with federation(tmp_path, log=Log(send=sends)) as place:
            await started(place, "Dream")
            ended = await place.ended(
                await place.submit(await place.asked(code(tmp_path, FAILS)), sites=("Dream",))
            )
            assert ended.failure is not None
            assert ended.failure.raised == "ValueError"
            assert "Jane" not in ended.failure.message
            assert "Jane" in next((tmp_path / "Dream/logs").rglob("Dream.log")).read_text()

    run(scene())


def test_a_node_that_is_told_to_end_finishes_what_it_has_begun(tmp_path: Path) -> None:
    async def scene() -> None:
        async with federation(tmp_path, with_rows(tmp_path)) as place:
            await started(place, *SITES)
            run_id = await place.submit(await place.asked(code(tmp_path, COUNT)))
            await asyncio.gather(*(place.nodes[name].end() for name in SITES))
            await started(place, *SITES)

            assert len(await place.results(run_id)) == 3

    run(scene())


WAITS = """\
import pathlib

from atoll_algorithm import partial


@partial
def wait(data: pathlib.Path) -> int:
    return int(data.read_text())
"""


def waiting(root: Path) -> Path:
    """A pipe, as a database: who reads it waits until somebody writes."""
    path = root / "pipe"
    os.mkfifo(path)
    return path


async def opened(path: Path) -> int:
    """Wait until an algorithm reads a pipe; where it is written."""
    while True:
        try:
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            await asyncio.sleep(0)


@pytest.mark.parametrize("how", ["end", "kill"])
def test_what_a_node_has_not_finished_is_done_after_its_next_start(tmp_path: Path, how: str) -> None:
    async def scene() -> None:
        pipe = waiting(tmp_path)
        offer = Offer(databases={"data": Source(type="other", path=pipe)})
        async with federation(tmp_path, runtime="process", offer=offer, drain_seconds=0.01) as place:
            dream = place.nodes["Dream"]
            await dream.start()
            run_id = await place.submit(await place.asked(code(tmp_path, WAITS)), sites=("Dream",))
            first = await opened(pipe)
            await getattr(dream, how)()
            os.close(first)
            await dream.start()
            second = await opened(pipe)
            os.write(second, b"7")
            os.close(second)

            assert plain((await place.results(run_id))["Dream"]) == 7

    run(scene())


def test_a_cancelled_run_ends_its_processes_and_leaves_nothing(tmp_path: Path) -> None:
    async def scene() -> None:
        pipe = waiting(tmp_path)
        offer = Offer(databases={"data": Source(type="other", path=pipe)})
        async with federation(tmp_path, runtime="process", offer=offer) as place:
            await place.nodes["Dream"].start()
            run_id = await place.submit(await place.asked(code(tmp_path, WAITS)), sites=("Dream",))
            writer = await opened(pipe)
            await place.islands.rooms.of(Runs).cancel(place.islands.ada, run_id, "")
            while any((tmp_path / "Dream" / "runs").iterdir()):
                await asyncio.sleep(0)
            with pytest.raises(BrokenPipeError):
                os.write(writer, b"7")  # nobody reads any more
            os.close(writer)

    run(scene())


async def iterations(place: Federation, run_id: RunId, count: int) -> None:
    """Wait until a run has called its sites so often."""
    while (await place.islands.app.parts.runs.get(run_id)).call_round_count < count:
        await asyncio.sleep(0)


def test_a_computation_goes_on_where_a_killed_node_stood(tmp_path: Path) -> None:
    async def scene() -> None:
        async with federation(tmp_path, runtime="process") as place:
            await started(place)
            asked = await place.asked(EXAMPLES / "coinstac/sum", inputs={"start": {"value": 1}})
            run_id = await place.submit(asked)
            await iterations(place, run_id, 4)
            await place.nodes["Dream"].kill()
            await place.nodes["Dream"].start()
            await place.nodes[LAGOON].kill()
            await place.nodes[LAGOON].start()

            assert json.loads((await place.results(run_id))["remote"]) == {"sum": 5}

    run(scene())


LOCAL = """\
import json, pathlib, sys

document = json.loads(sys.stdin.read())
folder = pathlib.Path(document["state"]["baseDirectory"])
numbers = [int((folder / name).read_text()) for name in document["input"]["data"]]
print(json.dumps({"output": {"sum": document["input"]["factor"] * sum(numbers)}}))
"""
REMOTE = """\
import json, sys

given = json.loads(sys.stdin.read())["input"]
print(json.dumps({"output": {"sum": sum(each["sum"] for each in given.values())}, "success": True}))
"""


def computation(root: Path) -> Path:
    """A computation that takes a factor from the run's owner, and files from each site."""
    folder = root / "computation"
    folder.mkdir()
    (folder / "local.py").write_text(LOCAL)
    (folder / "remote.py").write_text(REMOTE)
    command = {"type": "docker", "dockerImage": "sum"}
    spec = {
        "meta": {"name": "Sum of files", "id": "sum-of-files", "version": "v1"},
        "computation": {
            **command,
            "command": ["python", "/computation/local.py"],
            "remote": {**command, "command": ["python", "/computation/remote.py"]},
            "input": {
                "factor": {"type": "number", "source": "owner", "label": "Factor"},
                "data": {"type": "files", "source": "member", "label": "Files"},
            },
            "output": {"sum": {"type": "number", "label": "Sum"}},
            "display": {"type": "table"},
        },
    }
    (folder / "compspec.json").write_text(json.dumps(spec))
    return folder


def test_a_computation_is_given_what_each_site_has_mapped(tmp_path: Path) -> None:
    async def scene() -> None:
        async with federation(tmp_path, runtime="process") as place:
            await started(place)
            asked = await place.asked(computation(tmp_path), inputs={"factor": {"value": 10}})
            for number, name in enumerate(SITES, 1):
                files = tmp_path / f"files-{name}"
                files.mkdir()
                (files / f"{name}.txt").write_text(str(number))
                mapped = DataMap(computation="Sum of files", inputs={"data": [f"{name}.txt"]}, folder=files)
                write_maps(place.nodes[name].settings.data_maps, [mapped])
            results = await place.results(await place.submit(asked))

            assert json.loads(results["remote"]) == {"sum": 60}

    run(scene())


def test_a_site_that_has_not_mapped_its_data_is_told_how(tmp_path: Path) -> None:
    async def scene() -> None:
        async with federation(tmp_path, runtime="process") as place:
            await started(place)
            asked = await place.asked(computation(tmp_path), inputs={"factor": {"value": 10}})
            ended = await place.ended(await place.submit(asked))

            assert ended.failure is not None
            assert ended.failure.type == "JobRefused"
            assert "atoll node map 'Sum of files' --input data=VALUE" in ended.failure.message

    run(scene())


def test_a_node_does_not_start_where_its_runtime_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.runtimes.bubblewrap.probe", lambda: "bubblewrap is not installed")

    async def scene() -> None:
        async with federation(tmp_path, runtime="bubblewrap") as place:
            with pytest.raises(RuntimeUnavailable, match="less isolation than its settings name"):
                await place.nodes["Dream"].start()

    run(scene())


def test_two_nodes_do_not_share_a_workspace(tmp_path: Path) -> None:
    async def scene() -> None:
        async with federation(tmp_path, workspace=tmp_path / "one") as place:
            await place.nodes["Dream"].start()
            with pytest.raises(SpecInvalid, match="another node works in"):
                await place.nodes["Biscoe"].start()

    run(scene())


def test_a_node_whose_key_is_over_ends_with_a_sentence(tmp_path: Path) -> None:
    async def scene() -> None:
        async with federation(tmp_path) as place:
            dream = place.nodes["Dream"]
            dream.name = "Nobody"
            with pytest.raises(NotLoggedIn):
                await dream.start()

    run(scene())
