"""Processes that stay, each in a sandbox of its own."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks import computations, floors
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.workshop import Workshop, cpu_of

_SITES = 10
_ITERATIONS = 201


def take(workshop: Workshop) -> Sequence[Figure]:
    computation = computations.served(workshop.folder / "served", iterations=_ITERATIONS)
    pipes = floors.pipes(_SITES)
    floor = Floor(what=f"{pipes.what} ({_SITES})", value=1000 * pipes.value)
    runs = workshop.repeat(
        lambda: workshop.simulate(computation, "-c", _SITES, "--runtime", "bubblewrap"), times=7, quick=2
    )
    sites = [run.rounds(first=2, last=_ITERATIONS, role="site")[:-1] for run in runs]
    whole = [run.rounds(first=2, last=_ITERATIONS) for run in runs]
    return [
        Figure(
            what=f"round of {_SITES} sites",
            unit="ms",
            values=[1000 * statistics.median(seconds) for seconds in sites],
            target=10 * floor.value,
            floor=floor,
            cpu_seconds=cpu_of(runs),
        ),
        Figure(
            what="iteration: the sites' round and the aggregator's",
            unit="ms",
            values=[1000 * sum(seconds) / (_ITERATIONS - 1) for seconds in whole],
            floor=floor,
        ),
    ]


SERVED = Measure(
    name="served",
    about=(
        f"A mean in protocol 2 over {_SITES} sites under bubblewrap, whose processes stay: the median round of "
        f"{_ITERATIONS} iterations. Its target is ten times the floor."
    ),
    take=take,
)
