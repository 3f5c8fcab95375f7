"""A real federation: a hub, nodes and a client, each a process of its own, over loopback and SQLite."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks import computations, floors
from benchmarks.command import ROOT
from benchmarks.federation import floors as federation_floors
from benchmarks.federation.stage import Federation, federation
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.workshop import Workshop

_COUNTING = ROOT / "benchmarks" / "algorithms" / "counting.py"
_ROUNDS = 51
_ITERATIONS = 51
#: Runs and rounds that come before what counts: processes start, and what is asked often is prepared.
_WARM = 10


def take_submit(workshop: Workshop) -> Sequence[Figure]:
    commits = federation_floors.commits(workshop.folder)
    floor = Floor(what=f"3 × {commits.what}", value=3 * 1000 * commits.value)
    times = 50 if workshop.quick else 300
    with federation(workshop.folder, sites=3) as here:
        took = [submit(here) for _ in range(_WARM + times)][_WARM:]
    took.sort()
    late = took[len(took) * 99 // 100]
    return [
        Figure(what="submit to result, median", unit="ms", values=took, target=40.0, floor=floor),
        Figure(what="submit to result, 99th percentile", unit="ms", values=[late], target=150.0),
    ]


def submit(here: Federation) -> float:
    started = time.perf_counter()
    run = here.run(_COUNTING, function="count", args={"number": 7}, at=here.sites[0])
    found = run.results[here.sites[0]]
    milliseconds = 1000 * (time.perf_counter() - started)
    assert found == {"sum": 7, "count": 1}
    return milliseconds


def take_fanout(workshop: Workshop) -> Sequence[Figure]:
    return [*_rounds(workshop), *_iterations(workshop)]


def _rounds(workshop: Workshop) -> Sequence[Figure]:
    """Rounds of a central function, as it measures them itself."""
    figures = []
    for sites, target in ((3, None), (10, 80.0)):
        pipes = floors.pipes(sites)
        with federation(workshop.folder / f"rounds-{sites}", sites=sites) as here:

            def ask(here: Federation = here) -> list[float]:
                found: Any = here.run(_COUNTING, function="rounds", args={"times": _ROUNDS}).result
                return [1000 * seconds for seconds in found[_WARM:]]

            ask()
            took = [seconds for run in workshop.repeat(ask, times=5, quick=2) for seconds in run]
        floor = Floor(what=f"{pipes.what} ({sites})", value=1000 * pipes.value)
        figures.append(
            Figure(
                what=f"subtask round over {sites} nodes", unit="ms", values=took, target=target, floor=floor
            )
        )
    return figures


def _iterations(workshop: Workshop) -> Sequence[Figure]:
    """Iterations of COINSTAC computations, by the times that the hub has kept."""
    folder = workshop.folder / "iterations"
    count = computations.script('answer["output"] = {"sum": 1, "count": 1}')
    mean = computations.script(f'answer["output"] = {{"mean": 1}}\n{computations.until(_ITERATIONS)}')
    figures = []
    with federation(folder, sites=3) as here:
        for what, target, computation in (
            ("processes that stay", 60.0, computations.served(folder / "served", iterations=_ITERATIONS)),
            ("scripts", None, computations.scripts(folder / "scripts", local=count, remote=mean)),
        ):

            def work(here: Federation = here, computation: Path = computation) -> list[float]:
                return _iteration_times(here, computation)

            took = [seconds for run in workshop.repeat(work, times=3, quick=1) for seconds in run]
            figures.append(
                Figure(what=f"COINSTAC iteration over 3 nodes, {what}", unit="ms", values=took, target=target)
            )
    return figures


def _iteration_times(here: Federation, computation: Path) -> list[float]:
    """How many milliseconds iterations took: from the opening of one to that of the next."""
    run = here.run(computation)
    opened: dict[int, float] = {}
    for round_ in here.rounds(run.id):
        at = datetime.fromisoformat(round_["opened_at"]).timestamp()
        opened[round_["iteration"]] = min(at, opened.get(round_["iteration"], at))
    starts = [opened[number] for number in sorted(opened)]
    assert len(starts) == _ITERATIONS
    between = [1000 * (after - before) for before, after in pairwise(starts)]
    return between[_WARM:]


SUBMIT = Measure(
    name="submit",
    about=(
        "A function with nothing to do, at one of three nodes: from the client's call until its result is there. "
        "The client, the hub and the nodes are processes of their own; the algorithm is sandboxed."
    ),
    take=take_submit,
)
FANOUT = Measure(
    name="fanout",
    about=(
        "Rounds that a central function asks of all nodes, as it measures them itself; iterations of COINSTAC "
        "computations, by the hub's clock. Hub and nodes are processes of their own on this machine."
    ),
    take=take_fanout,
)
