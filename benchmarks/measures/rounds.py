"""Rounds that a central function asks for, in one process: what the engine itself costs."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks import floors, peers
from benchmarks.command import Cost, python
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.workshop import Workshop

#: How many rounds are measured with so many sites, and the milliseconds that one may take.
_ROUNDS = {10: (300, 1.5), 100: (60, 12.0), 1000: (12, 96.0)}
_FEW_SITES = 3
_MANY_ROUNDS = 10_000
#: The rounds that are compared: the first and the last hundred, and a hundred in the middle.
_WINDOWS = ((10, 110), (950, 1_050), (9_900, 10_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ran:
    """A federation in a process of its own."""

    cost: Cost
    seconds: Sequence[float]

    def milliseconds(self, first: int, last: int) -> float:
        """The median of these rounds; the first one has the number 0."""
        return 1000 * statistics.median(self.seconds[first:last])


def _run(sites: int, times: int) -> _Ran:
    cost = python("-m", "benchmarks.rounds", sites, times)
    return _Ran(cost=cost, seconds=json.loads(cost.printed))


def take(workshop: Workshop) -> Sequence[Figure]:
    figures = []
    per_site: dict[int, list[float]] = {}
    for sites, (times, target) in _ROUNDS.items():
        loop = floors.rounds_of_calls(sites)
        floor = Floor(what=loop.what, value=1000 * loop.value)
        runs = workshop.repeat(partial(_run, sites, times), times=7, quick=2)
        # The first round finds the functions and starts the sites' sessions.
        values = [run.milliseconds(1, times) for run in runs]
        per_site[sites] = [value / sites for value in values]
        figures.append(
            Figure(
                what=f"round of {sites:,} sites",
                unit="ms",
                values=values,
                target=target,
                floor=floor,
                cpu_seconds=[run.cost.cpu_seconds for run in runs],
            )
        )
        figures += _beside(workshop, sites, floor)
    few, *_, many = per_site.values()
    ratios = [value / statistics.median(few) for value in many]
    return [*figures, Figure(what="per site, 1,000 sites to 10 sites", unit="×", values=ratios, target=1.5)]


def _beside(workshop: Workshop, sites: int, floor: Floor) -> Sequence[Figure]:
    figures = []
    for mock in peers.found():
        times = mock.times.get(sites)
        if times is None:
            continue
        runs = workshop.repeat(
            partial(mock.rounds, workshop.folder, sites=sites, times=times), times=5, quick=1
        )
        figures.append(
            Figure(
                what=f"round of {sites:,} sites, {mock.name}",
                unit="ms",
                values=[1000 * statistics.median(run.seconds) for run in runs],
                floor=floor,
            )
        )
    return figures


def take_lasting(workshop: Workshop) -> Sequence[Figure]:
    few = workshop.repeat(lambda: _run(_FEW_SITES, 10), times=3, quick=1)
    runs = workshop.repeat(lambda: _run(_FEW_SITES, _MANY_ROUNDS), times=3, quick=1)
    windows = [
        Figure(
            what=f"round of {_FEW_SITES} sites, rounds {first:,}–{last:,}",
            unit="ms",
            values=[run.milliseconds(first, last) for run in runs],
        )
        for first, last in _WINDOWS
    ]
    early, *_, late = windows
    base = min(run.cost.peak_bytes for run in few)
    return [
        *windows,
        Figure(
            what="round 10,000 to round 10",
            unit="×",
            values=[after / before for before, after in zip(early.values, late.values, strict=True)],
            target=1.5,
            cpu_seconds=[run.cost.cpu_seconds for run in runs],
        ),
        Figure(
            what="memory that a round leaves",
            unit="kB",
            values=[(run.cost.peak_bytes - base) / 1000 / _MANY_ROUNDS for run in runs],
        ),
    ]


ROUNDS = Measure(
    name="rounds",
    about=(
        "A central function that asks all sites for a sum and a count, with `atoll.testing` in one process, through "
        "the real engine, hub and nodes: the median of its rounds, as it measures them itself. Beside it the same "
        "in vantage6's mocks, which have no engine."
    ),
    take=take,
)
LASTING = Measure(
    name="lasting",
    about=f"The same with {_FEW_SITES} sites: what the ten-thousandth round costs beside the first ones, and keeps.",
    take=take_lasting,
)
