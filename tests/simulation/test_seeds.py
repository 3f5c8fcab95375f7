"""Whole runs over simulated sites: every seed gives the same answer, and a seed repeats its run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.federation import (
    REMOTE,
    Simulated,
    Watched,
    installed,
    make_run,
    openings,
    simulate,
    write_computation,
)

from atoll.algorithms.installed import Installed
from atoll.dialects.coinstac.convention import opening_body
from atoll.engine.ports import Changes
from atoll.model.events import Event, JobClaimed
from atoll.model.work import Job, Message, MessageId, Run, RunStatus, Seat
from atoll.node.site_data import SiteData, look_at
from atoll.simulator.record import RunFolder, recording

SEEDS = range(20)

#: Sums what sites hold, with every way to remember and to send: cache, cacheDirectory, files.
SUM = """
    import json
    import os


    def place(data, kind, name):
        return os.path.join(data["state"][kind + "Directory"], name)


    def write(path, value):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            json.dump(value, file)


    def read(path):
        with open(path) as file:
            return json.load(file)


    def local(data):
        iteration = data["state"]["iteration"]
        own = read(place(data, "base", "value.json"))
        before = data["cache"].get("calls", [])
        if iteration > 1:
            assert read(place(data, "cache", "kept.json")) == iteration - 1
            assert read(place(data, "base", "model/total.json")) == data["input"]["total"]
            assert os.listdir(data["state"]["transferDirectory"]) == []
        write(place(data, "cache", "kept.json"), iteration)
        write(place(data, "transfer", "sub/part.json"), own * iteration)
        return {
            "output": {"own": own, "calls": before + [iteration]},
            "cache": {"calls": before + [iteration], "last": iteration},
        }


    def remote(data):
        iteration = data["state"]["iteration"]
        parts = {site: read(place(data, "base", site + "/sub/part.json")) for site in data["input"]}
        total = data["cache"].get("total", 0) + sum(parts.values())
        write(place(data, "transfer", "model/total.json"), total)
        calls = [site["calls"] for site in data["input"].values()]
        assert calls == [list(range(1, iteration + 1))] * len(calls)
        return {
            "output": {"total": total, "order": list(parts), "weights": list(parts.values())},
            "cache": {"total": total},
            "success": iteration == 3,
        }
"""

ALONE = """
    def local(data):
        iteration = data["state"]["iteration"]
        ends = int(data["state"]["clientId"][-1]) + 1
        seen = data["cache"].get("seen", []) + [data["input"]]
        return {
            "output": {"iteration": iteration},
            "cache": {"seen": seen},
            "success": iteration == ends,
        }


    remote = local
"""


def sites_with_files(root: Path, run: Run) -> dict[Seat, SiteData]:
    """Each site holds a power of ten, so that a sum shows who took part."""
    data = {}
    for number, site in enumerate(run.sites):
        folder = root / "data" / site
        folder.mkdir(parents=True)
        (folder / "value.json").write_text(str(10**number))
        data[site] = look_at(folder)
    return data


def summed(root: Path, seed: int | None, *, sites: int = 3, slots: int = 2) -> Simulated:
    """Three iterations over these sites."""
    run = make_run(sites)
    code = write_computation(root / "code", SUM)
    data = sites_with_files(root, run)
    return asyncio.run(simulate(root / "run", run, [installed(code)], seed=seed, slots=slots, data=data))


def claims(simulated: Simulated) -> list[Seat]:
    """In which order jobs were claimed."""
    return [job.seat for event, job, _ in simulated.heard.events if isinstance(event, JobClaimed) and job]


def answer(simulated: Simulated) -> dict[str, Any]:
    """All that a run leaves that must not depend on chance."""
    return {
        "results": simulated.results,
        "run": simulated.ended.run,
        "outputs": {
            str(path.relative_to(simulated.outputs)): path.read_bytes()
            for path in sorted(simulated.outputs.rglob("*"))
            if path.is_file()
        },
        "warnings": simulated.heard.warnings,
    }


# --- One answer -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_every_seed_gives_the_same_answer(tmp_path: Path, seed: int) -> None:
    found = answer(summed(tmp_path, seed))

    total = (1 + 2 + 3) * 111
    expected = {"total": total, "order": ["local0", "local1", "local2"], "weights": [3, 30, 300]}
    assert {"remote": expected} == found["results"], f"seed {seed}"
    assert RunStatus.DONE is found["run"].status, f"seed {seed}"
    assert (7, 6) == (found["run"].round_count, found["run"].call_round_count), f"seed {seed}"
    delivered = {f"local{number}/model/total.json": str(total).encode() for number in range(3)}
    assert delivered == found["outputs"], f"seed {seed}"
    assert [] == found["warnings"], f"seed {seed}"


@pytest.mark.parametrize("slots", [1, 3, 12])
def test_how_many_calls_run_at_a_time_makes_no_difference(tmp_path: Path, slots: int) -> None:
    """The tenth site comes after the ninth, too."""
    simulated = summed(tmp_path, 1, sites=11, slots=slots)

    order = [f"local{number}" for number in range(11)]
    assert (6 * 11111111111, order) == (
        simulated.results["remote"]["total"],
        simulated.results["remote"]["order"],
    )


@pytest.mark.parametrize("seed", [None, 0, 7])
def test_a_seed_repeats_its_run_event_for_event(tmp_path: Path, seed: int | None) -> None:
    one, other = summed(tmp_path / "one", seed), summed(tmp_path / "other", seed)

    assert one.heard.events == other.heard.events, f"seed {seed}"
    assert answer(one) == answer(other), f"seed {seed}"


@pytest.mark.parametrize("seed", [None, 0, 7])
def test_a_seed_writes_the_same_events_to_the_byte(tmp_path: Path, seed: int | None) -> None:
    """However many calls run at a time, and so whoever ends first."""
    source = "def local(data):\n    return {'output': {}, 'success': data['state']['iteration'] == 3}\n\nremote = local"
    code = write_computation(tmp_path / "code", source)
    written = []
    for slots in (1, 4):
        folder = RunFolder(tmp_path / str(slots))
        folder.path.mkdir()
        with recording(folder, Watched()) as recorder:
            run, root = make_run(11), folder.path / "work"
            asyncio.run(simulate(root, run, [installed(code)], seed=seed, slots=slots, recorder=recorder))
        written.append(folder.events.read_bytes())

    one, other = written
    assert one == other, f"seed {seed}"
    assert b'"run ended", "status": "done"' in one, f"seed {seed}"


def test_other_seeds_are_other_orders(tmp_path: Path) -> None:
    orders = {tuple(claims(summed(tmp_path / str(seed), seed))) for seed in SEEDS}

    assert 19 <= len(orders)


def test_a_run_leaves_nothing_but_its_output(tmp_path: Path) -> None:
    simulated = summed(tmp_path, 0)

    assert [] == [path for path in simulated.scratch.rglob("*") if path.is_file() or path.is_symlink()]
    assert "1" == (tmp_path / "data" / "local0" / "value.json").read_text()


def test_scripts_that_draw_numbers_draw_the_same_ones_for_a_seed(tmp_path: Path) -> None:
    source = """
        import random

        def local(data):
            return {"output": {"drawn": random.random()}}

        def remote(data):
            drawn = [site["drawn"] for site in data["input"].values()]
            return {"output": {"drawn": drawn}, "success": data["state"]["iteration"] == 2}
    """
    code = write_computation(tmp_path / "code", source)

    def drawn(name: str, seed: int) -> list[float]:
        simulated = asyncio.run(simulate(tmp_path / name, make_run(3), [installed(code)], seed=seed))
        numbers: list[float] = simulated.results["remote"]["drawn"]
        return numbers

    one, again, other = drawn("one", 5), drawn("again", 5), drawn("other", 6)

    assert one == again
    assert one != other
    assert 3 == len(set(one))


# --- Each site for itself ---------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_sites_that_work_for_themselves_end_when_each_is_done(tmp_path: Path, seed: int) -> None:
    code = write_computation(tmp_path / "code", ALONE)
    run = make_run(4, aggregated=[False])

    simulated = asyncio.run(simulate(tmp_path / "run", run, [installed(code, aggregated=False)], seed=seed))

    expected = {f"local{number}": {"iteration": number + 1} for number in range(4)}
    assert expected == simulated.results, f"seed {seed}"
    assert 4 == simulated.ended.run.round_count, f"seed {seed}"
    # What a site reads after its first call is what it said itself.
    last = [each["data"] for each in simulated.heard.requests if each["data"]["state"]["iteration"] == 4]
    assert [[{}, {"iteration": 1}, {"iteration": 2}]] == [data["cache"]["seen"] for data in last]
    assert [{"iteration": 3}] == [data["input"] for data in last]


# --- Pipelines --------------------------------------------------------------------------------

FIRST = """
    import os

    def local(data):
        output = {"mean": data["input"]["a"], "files": ["plot.txt", "tables"]}
        names = ["plot.txt", "tables/one.txt"]
        for name in names:
            path = os.path.join(data["state"]["transferDirectory"], name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(data["state"]["clientId"])
        return {"output": output, "cache": {"from": "first"}}

    def remote(data):
        for name in ("plot.txt", "tables/one.txt"):
            source = os.path.join(data["state"]["baseDirectory"], "local1", name)
            target = os.path.join(data["state"]["transferDirectory"], name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            os.rename(source, target)
        sites = data["input"].values()
        output = {"mean": sum(site["mean"] for site in sites), "files": list(sites)[0]["files"], "zero": 0}
        return {"output": output, "success": True}
"""

SECOND = """
    import os

    def local(data):
        if data["state"]["iteration"] > 1:
            return {"output": {"n": data["cache"]["n"] + data["input"]["n"]}}
        assert data["cache"] == {}
        base = data["state"]["baseDirectory"]
        texts = [open_and_read(os.path.join(base, name)) for name in ("plot.txt", "tables/one.txt")]
        n = data["input"]["mean"] + data["input"]["zero"]
        return {"output": {"n": n, "texts": texts}, "cache": {"n": n}}

    def open_and_read(path):
        with open(path) as file:
            return file.read()

    def remote(data):
        iteration = data["state"]["iteration"]
        sites = list(data["input"].values())
        output = {"n": sum(site["n"] for site in sites), "texts": sites[0].get("texts")}
        return {"output": output, "success": iteration == 2}
"""


def from_first(variable: str, *, files: bool = False) -> dict[str, Any]:
    """An input that the first step left."""
    return {"fromCache": {"step": 0, "variable": variable}, "files": files}


def pipeline(root: Path, seed: int, algorithms: Sequence[Installed], run: Run) -> Simulated:
    """Two steps; the second takes three values of the first, and its files."""
    second = [
        ("mean", from_first("mean")),
        ("zero", from_first("zero")),
        ("files", from_first("files", files=True)),
    ]
    first, opening = openings(run, {"a": 2.0})
    messages = [first, replace(opening, body=opening_body(second))]
    return asyncio.run(simulate(root / "run", run, algorithms, seed=seed, messages=messages))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_step_takes_from_the_one_before_and_starts_afresh(tmp_path: Path, seed: int) -> None:
    codes = [write_computation(tmp_path / f"code{n}", source) for n, source in enumerate((FIRST, SECOND))]
    run = make_run(2, aggregated=[True, True])

    simulated = pipeline(tmp_path, seed, [installed(code) for code in codes], run)

    assert simulated.ended.run.failure is None, f"seed {seed}"
    # The first step: 2 + 2. The second: each site says 4, then 4 + 8.
    assert {"remote": {"n": 24, "texts": None}} == simulated.results, f"seed {seed}"
    requests = [each["data"] for each in simulated.heard.requests]
    opened = [data["input"] for data in requests if "files" in data["input"]]
    assert [{"mean": 4, "zero": 0, "files": ["plot.txt", "tables"]}] * 2 == opened, f"seed {seed}"
    told = [
        data["input"]["local0"]["texts"] for data in requests if "texts" in data["input"].get("local0", {})
    ]
    assert [["local1", "local1"]] == told, f"seed {seed}"
    # Iterations are counted anew in each step.
    assert [1, 1, 1, 1, 1, 1, 2, 2, 2] == [data["state"]["iteration"] for data in requests], f"seed {seed}"


def test_a_missing_value_of_an_earlier_step_ends_the_run_with_its_name(tmp_path: Path) -> None:
    source = FIRST.replace('"zero": 0', '"one": 1')
    codes = [write_computation(tmp_path / f"code{n}", text) for n, text in enumerate((source, SECOND))]
    run = make_run(2, aggregated=[True, True])

    simulated = pipeline(tmp_path, 0, [installed(code) for code in codes], run)

    failure = simulated.ended.run.failure
    assert failure is not None
    assert "InputMissing" == failure.type
    assert "asks for 'zero' of step 0" in failure.message
    assert "(it has mean, files, one)" in failure.message


# --- Failures ---------------------------------------------------------------------------------

FAILS = """
    def local(data):
        if data["state"]["clientId"] == data["input"].get("who") and data["state"]["iteration"] == 2:
            raise ValueError("no patient is named here")
        return {"output": {"who": data["input"]["who"]}}

    def remote(data):
        if data["input"]["local0"]["who"] == "remote":
            raise ValueError("the aggregator fails")
        return {"output": data["input"]["local0"]}
"""


@pytest.mark.parametrize("who", ["local0", "local2", "remote"])
@pytest.mark.parametrize("seed", range(5))
def test_a_seat_that_fails_ends_the_run_and_is_named(tmp_path: Path, seed: int, who: str) -> None:
    code = write_computation(tmp_path / "code", FAILS)
    run = make_run(3)
    inputs = {"who": who}

    simulated = asyncio.run(simulate(tmp_path / "run", run, [installed(code)], seed=seed, inputs=inputs))

    ended = simulated.ended.run
    assert RunStatus.FAILED is ended.status, f"seed {seed}"
    assert ended.failure is not None, f"seed {seed}"
    assert (Seat(who), "AlgorithmFailed") == (ended.failure.site, ended.failure.type), f"seed {seed}"
    assert "ended with exit status 1" in ended.failure.message, f"seed {seed}"
    assert {} == simulated.results, f"seed {seed}"
    assert (Seat(who), False) in simulated.heard.finished_at, f"seed {seed}"
    assert [] == [path for path in simulated.scratch.rglob("*") if path.is_file()], f"seed {seed}"


@pytest.mark.parametrize("seed", range(5))
def test_a_stopping_rule_that_never_holds_ends_at_the_bound(tmp_path: Path, seed: int) -> None:
    source = "def local(data):\n    return {'output': {}}\n\nremote = local\n"
    code = write_computation(tmp_path / "code", source)
    run = make_run(2, iterations_max=4)

    simulated = asyncio.run(simulate(tmp_path / "run", run, [installed(code)], seed=seed))

    ended = simulated.ended.run
    assert ended.failure is not None, f"seed {seed}"
    assert ("LimitReached", None) == (ended.failure.type, ended.failure.site), f"seed {seed}"
    assert 8 == ended.call_round_count, f"seed {seed}"


class _Cut:
    """A listener with a mistake in it."""

    def changed(self, event: Event | None, job: Job | None, changes: Changes) -> None:
        """Break at the first claim."""
        if isinstance(event, JobClaimed):
            raise ZeroDivisionError("a mistake of the hub")


def test_an_agent_that_dies_ends_the_simulation_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever for a seat that is gone."""
    code = write_computation(tmp_path / "code", SUM)
    monkeypatch.setattr("tests.federation.Heard.changed", _Cut.changed)

    with pytest.raises(ZeroDivisionError, match="a mistake of the hub"):
        asyncio.run(simulate(tmp_path / "run", make_run(2), [installed(code)]))


# --- Large answers ----------------------------------------------------------------------------


def test_a_large_answer_reaches_every_site_and_the_end(tmp_path: Path) -> None:
    source = """
        def local(data):
            return {"output": {"text": "x" * 400_000}}

        def remote(data):
            return {"output": {"n": [len(site["text"]) for site in data["input"].values()], "y": "y" * 400_000},
                    "success": True}
    """
    code = write_computation(tmp_path / "code", source)

    simulated = asyncio.run(simulate(tmp_path / "run", make_run(2), [installed(code)]))

    assert [400_000, 400_000] == simulated.results["remote"]["n"]
    assert "y" * 400_000 == simulated.results["remote"]["y"]


def test_sites_may_be_opened_each_with_its_own_inputs(tmp_path: Path) -> None:
    source = """
        def local(data):
            return {"output": data["input"]}

        def remote(data):
            return {"output": data["input"], "success": True}
    """
    code = write_computation(tmp_path / "code", source)
    run = make_run(3)
    own = tuple(MessageId(f"own.{number}") for number in range(3))
    run = replace(run, steps=(replace(run.steps[0], openings=own),))
    messages = [
        Message(id=id_, sender=Seat("submitter"), readers=(), body=opening_body([("n", {"value": number})]))
        for number, id_ in enumerate(own)
    ]

    simulated = asyncio.run(simulate(tmp_path / "run", run, [installed(code)], messages=messages))

    assert {REMOTE: {f"local{number}": {"n": number} for number in range(3)}} == simulated.results
    assert json.dumps(simulated.results)
