"""Plain functions, from nothing to a result."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.command import ROOT, python
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.workshop import Workshop, cpu_of, seconds_of

_EXAMPLES = ROOT / "examples" / "functions"
_FEDERATION = _EXAMPLES / "islands" / "federation.yaml"
_MEAN = ("-f", _FEDERATION, "--function", "mean", "--arg", "column=body_mass_g")
_COUNTING = ROOT / "benchmarks" / "algorithms" / "counting.py"
_SITES, _ROUNDS = 2, 3
_SMALLEST = ("-c", _SITES, "--function", "rounds", "--arg", f"times={_ROUNDS}")
#: Seconds that a whole command may take; None: it is only reported.
_TARGETS = {"inline": 0.5, "bubblewrap": 1.0, "process": None}


def take(workshop: Workshop) -> Sequence[Figure]:
    smallest = f"{_SITES} sites × {_ROUNDS} rounds without libraries"
    plain, pandas = (_start(workshop, code) for code in ("pass", "import pandas"))
    return [
        *_commands(workshop, "mean over 3 sites", _EXAMPLES / "mean", _MEAN, pandas),
        *_commands(workshop, smallest, _COUNTING, _SMALLEST, plain),
        *_beside(workshop, smallest, plain),
    ]


def _commands(
    workshop: Workshop, what: str, path: Path, options: Sequence[object], floor: Floor
) -> Sequence[Figure]:
    figures = []
    for runtime, target in _TARGETS.items():
        work = partial(workshop.simulate, path, *options, "--runtime", runtime)
        work()  # What it imports may not have been compiled yet.
        runs = workshop.repeat(work, times=11, quick=3)
        figures.append(
            Figure(
                what=f"{what}, {runtime}",
                unit="s",
                values=seconds_of(runs),
                target=target,
                floor=floor,
                cpu_seconds=cpu_of(runs),
            )
        )
    return figures


def _beside(workshop: Workshop, what: str, floor: Floor) -> Sequence[Figure]:
    figures = []
    for mock in peers.found():
        runs = workshop.repeat(
            partial(mock.rounds, workshop.folder, sites=_SITES, times=_ROUNDS), times=5, quick=2
        )
        figures.append(
            Figure(
                what=f"{what}, {mock.name}",
                unit="s",
                values=[run.cost.seconds for run in runs],
                floor=floor,
                cpu_seconds=[run.cost.cpu_seconds for run in runs],
            )
        )
    return figures


def _start(workshop: Workshop, code: str) -> Floor:
    """Start Python, run a line, and end it."""
    costs = workshop.repeat(lambda: python("-c", code), times=9, quick=3)
    return Floor(what=f'`python -c "{code}"`', value=statistics.median(cost.seconds for cost in costs))


FUNCTIONS = Measure(
    name="functions",
    about=(
        "`atoll simulate examples/functions/mean --function mean`, which reads its tables with pandas, and functions "
        "that import nothing: the whole command, with nothing running before. Beside them the same functions in "
        "vantage6's mocks."
    ),
    take=take,
)
