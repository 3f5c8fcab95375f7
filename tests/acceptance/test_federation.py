"""Runs of every dialect in a federation of real processes, and what they leave at the sites."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.acceptance.computations import atoll
from tests.acceptance.pooling import COLUMN, ISLANDS, asked, mean_of, pooling
from tests.stage import ROOT, Federation, NodeProgram, until

from atoll.client.runs import Run, Step
from atoll.model.errors import RunFailed

GATED = ROOT / "tests" / "fixtures" / "gated"
#: Relative. Both sides do the same arithmetic in another order.
EXACTLY = 1e-12
WAIT = 60.0

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]


def map_files(node: NodeProgram, computation: str) -> None:
    """Map a site's file to a computation, as its admin does it."""
    done = atoll(
        *("node", "map", computation, "--config", node.home / "node.yaml"),
        *("--input", 'data=["penguins.csv"]', "--folder", node.home / "files"),
    )
    assert done.returncode == 0, done.stderr


def pooled(federation: Federation, folder: Path, *mapped: str) -> Path:
    """A computation, mapped to files at some sites, or at all."""
    for name in mapped or ISLANDS:
        map_files(federation.nodes[name], folder.name)
    return pooling(folder)


def left_of(run: Run, node: NodeProgram) -> list[str]:
    """The files and folders of a run in a node's workspace."""
    there = node.home / "workspace"
    return sorted(
        str(path.relative_to(there).as_posix()).replace(run.id, "RUN")
        for path in there.rglob("*")
        if run.id in str(path) and path.is_file()
    )


def test_a_function_asks_the_sites_over_either_database(either: Federation) -> None:
    either.open_gates()

    run = either.submit(GATED, function="twice", args={"column": COLUMN}).wait(WAIT)

    assert pytest.approx(mean_of(), rel=EXACTLY) == run.result
    assert {"Biscoe": run.result} == run.results
    assert {node.name for node in either.sites} == {job["seat"] for job in run.record()["jobs"]}


def test_a_computation_passes_files_through_a_node_without_data(either: Federation, tmp_path: Path) -> None:
    algorithm = pooled(either, tmp_path / "files-both-ways")

    run = either.submit(algorithm, inputs=asked()).wait(WAIT)

    assert {"mean": pytest.approx(mean_of(), rel=EXACTLY), "sites": list(ISLANDS)} == run.result
    (report,) = run.files("remote", tmp_path / "left")
    assert (report.name, report.read_text()) == ("report.txt", "all sites agree")
    assert {"Lagoon"} == {job["node"] for job in run.record()["jobs"] if job["seat"] == "remote"}


def test_a_pipeline_has_steps_of_two_dialects(either: Federation, tmp_path: Path) -> None:
    algorithm = pooled(either, tmp_path / "first-of-two")
    either.open_gates()

    run = either.client.runs.submit(
        collaboration="islands",
        steps=[
            Step(algorithm=algorithm, inputs=asked()),
            Step(algorithm=GATED, function="mean", args={"column": "flipper_length_mm"}),
        ],
    ).wait(WAIT)

    assert pytest.approx(mean_of(column="flipper_length_mm"), rel=EXACTLY) == run.result
    assert ["coinstac", "functions"] == [step["algorithm"]["dialect"] for step in run.form["steps"]]


@pytest.mark.parametrize("spin", [False, True], ids=["idle", "busy"])
def test_what_never_ends_is_ended_at_every_site_within_two_seconds(islands: Federation, spin: bool) -> None:
    run = islands.submit(GATED, function="never_ends", args={"spin": spin})
    islands.wait_at_gates()

    run.cancel("it takes too long")

    until(lambda: not any(site.is_held for site in islands.sites), "no process is left", seconds=2.0)
    with pytest.raises(RunFailed, match="keeper ended the run") as caught:
        run.wait(WAIT)
    assert caught.value.type == "Cancelled"


def test_nothing_of_a_run_is_left_but_outputs_and_logs(islands: Federation, tmp_path: Path) -> None:
    algorithm = pooled(islands, tmp_path / "leaves-little")

    run = islands.submit(algorithm, inputs=asked()).wait(WAIT)

    for node in islands.nodes.values():
        until(lambda node=node: not list((node.home / "workspace" / "runs").iterdir()), "the run is removed")  # type: ignore[misc]  # bound while it is the loop's
    for site in islands.sites:
        kept = left_of(run, site)
        assert f"outputs/RUN/{site.name}/kept.json" in kept
        assert set(kept) <= {
            f"logs/RUN/{site.name}.log",
            f"outputs/RUN/{site.name}/kept.json",
            f"outputs/RUN/{site.name}/report.txt",
        }


def test_nothing_is_left_of_a_cancelled_run(islands: Federation) -> None:
    run = islands.submit(GATED, function="mean", args={"column": COLUMN})
    islands.wait_at_gates()
    assert (islands.sites[1].home / "workspace" / "runs" / run.id).is_dir()

    run.cancel()

    for site in islands.sites:
        folder = site.home / "workspace" / "runs" / run.id
        until(lambda folder=folder: not folder.exists(), f"nothing is left at {site.name}")  # type: ignore[misc]  # bound while it is the loop's
        assert set(left_of(run, site)) <= {f"logs/RUN/{site.name}.log"}


@pytest.mark.needs("bubblewrap")
def test_a_call_sees_nothing_of_another_run_at_its_site(islands: Federation, tmp_path: Path) -> None:
    del tmp_path
    other = islands.submit(GATED, function="mean", args={"column": COLUMN})
    islands.wait_at_gates()
    mark = f"mark-{time.time_ns()}"
    islands.submit(GATED, function="leave_behind", args={"word": mark}).wait(WAIT)

    run = islands.submit(
        GATED,
        function="look_for",
        args={"words": [other.id, mark, "node.key", "node.yaml", "look_for", "gated"]},
    ).wait(WAIT)

    assert {name: ["gated"] for name in ISLANDS} == dict(run.results)
    islands.open_gates()
    assert pytest.approx(mean_of(), rel=EXACTLY) == other.wait(WAIT).result


def test_a_site_that_has_mapped_nothing_refuses_and_says_how_to_map(
    islands: Federation, tmp_path: Path
) -> None:
    algorithm = pooled(islands, tmp_path / "mapped-by-two", "Biscoe", "Dream")

    with pytest.raises(RunFailed, match="atoll node map") as caught:
        islands.submit(algorithm, inputs=asked()).wait(WAIT)

    assert ("JobRefused", "Torgersen") == (caught.value.type, caught.value.site)

    map_files(islands.nodes["Torgersen"], "mapped-by-two")
    run = islands.submit(algorithm, inputs=asked()).wait(WAIT)

    assert pytest.approx(mean_of(), rel=EXACTLY) == run.result["mean"]


def test_a_run_goes_on_without_a_site_that_refuses(islands: Federation, tmp_path: Path) -> None:
    algorithm = pooled(islands, tmp_path / "goes-on", "Biscoe", "Torgersen")

    run = islands.submit(algorithm, inputs=asked(), on_refusal="drop").wait(WAIT)

    remaining = ("Biscoe", "Torgersen")
    assert {"mean": pytest.approx(mean_of(*remaining), rel=EXACTLY), "sites": list(remaining)} == run.result
    assert ["Dream"] == run.form["dropped"]
    assert set(remaining) == set(run.results)


def test_whoever_is_asked_may_let_a_site_try_again(islands: Federation) -> None:
    dream = islands.nodes["Dream"]
    obstacle = dream.gate / "obstacle"
    obstacle.touch()
    run = islands.submit(GATED, function="fragile", args={"column": COLUMN}, on_failure="ask")
    until(lambda: any(one.status == "held" for one in run.waiting_for), "somebody is asked")

    (held,) = [one for one in run.waiting_for if one.status == "held"]
    assert held.seat == "Dream"
    assert held.failure is not None
    assert "there is something in the way" in held.failure["message"]
    obstacle.unlink()
    run.decide("Dream", "retry")

    parts = run.wait(WAIT).results
    assert list(ISLANDS) == list(parts)
    total = sum(part["sum"] for part in parts.values()) / sum(part["n"] for part in parts.values())
    assert pytest.approx(mean_of(), rel=EXACTLY) == total
