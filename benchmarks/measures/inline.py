"""Many sites and many iterations in one process: what the engine itself costs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial

from benchmarks import computations, floors
from benchmarks.figures import Figure, Measure
from benchmarks.workshop import Simulated, Workshop, cpu_of, seconds_of


def _run(workshop: Workshop, sites: int, iterations: int) -> Simulated:
    folder = workshop.folder / f"mean-{iterations}"
    computation = computations.served(folder, iterations=iterations)
    return workshop.simulate(computation, "-c", sites, "--runtime", "inline")


def take_inline(workshop: Workshop) -> Sequence[Figure]:
    figures: list[Figure] = []
    peaks: dict[int, list[float]] = {}
    for sites, iterations in ((100, 100), (1000, 10)):
        runs = workshop.repeat(partial(_run, workshop, sites, iterations), times=5, quick=2)
        figures.append(
            Figure(
                what=f"{sites} sites × {iterations} iterations",
                unit="s",
                values=seconds_of(runs),
                target=5.0,
                floor=floors.function_calls((sites + 1) * iterations),
                cpu_seconds=cpu_of(runs),
            )
        )
        peaks[sites] = [run.cost.peak_bytes / 1e6 for run in runs]
        figures.append(Figure(what=f"peak memory of {sites} × {iterations}", unit="MB", values=peaks[sites]))
    few = workshop.repeat(lambda: _run(workshop, 10, 10), times=3, quick=2)
    base = min(run.cost.peak_bytes / 1e6 for run in few)
    growth = [1000 * (peak - base) / 990 for peak in peaks[1000]]
    return [
        *figures,
        Figure(what="growth per site, 10 to 1,000 sites × 10 iterations", unit="kB", values=growth),
    ]


def take_flat(workshop: Workshop) -> Sequence[Figure]:
    per_job: dict[int, list[float]] = {}
    figures: list[Figure] = []
    for sites, iterations in ((10, 100), (100, 100), (1000, 10)):
        runs = workshop.repeat(partial(_run, workshop, sites, iterations), times=5, quick=2)
        # The first iteration loads the computation at every site; it is no event of the engine's.
        per_job[sites] = [_per_job(run, sites, 2, iterations - 1) for run in runs]
        figures.append(
            Figure(what=f"per job, {sites} sites × {iterations}", unit="µs", values=per_job[sites])
        )
    least = min(per_job[10])
    ratios = [value / least for value in per_job[1000]]
    figures.append(Figure(what="1,000 sites to 10 sites", unit="×", values=ratios, target=1.5))
    return [*figures, *_windows(workshop)]


def _windows(workshop: Workshop) -> Sequence[Figure]:
    """A long run, at its beginning and at its end."""
    runs = workshop.repeat(lambda: _run(workshop, 10, 10_000), times=3, quick=1)
    windows: dict[str, list[float]] = {}
    for first, last in ((10, 100), (950, 1_050), (9_900, 9_999)):
        what = f"per job, 10 sites, iterations {first:,}–{last:,}"
        windows[what] = [_per_job(run, 10, first, last) for run in runs]
    early, *_, late = windows.values()
    ratios = [after / before for before, after in zip(early, late, strict=True)]
    return [
        *(Figure(what=what, unit="µs", values=values) for what, values in windows.items()),
        Figure(what="iteration 10,000 to iteration 10", unit="×", values=ratios, target=1.5),
        Figure(
            what="peak memory of 10 sites × 10,000 iterations",
            unit="MB",
            values=[run.cost.peak_bytes / 1e6 for run in runs],
            cpu_seconds=cpu_of(runs),
        ),
    ]


def _per_job(run: Simulated, sites: int, first: int, last: int) -> float:
    """Microseconds per call in the median of these iterations: the sites' and the aggregator's."""
    halves = [run.rounds(first=first, last=last, role=role) for role in ("site", "aggregator")]
    whole = [sum(pair) for pair in zip(*halves, strict=True)]
    median: float = statistics.median(whole)
    return 1e6 * median / (sites + 1)


INLINE = Measure(
    name="inline",
    about="A mean in protocol 2 with `--runtime inline`, through the real engine, hub and nodes; the whole command.",
    take=take_inline,
)
FLAT = Measure(
    name="flat",
    about="The same, per job: what the ten-thousandth iteration and the thousandth site cost beside the first ones.",
    take=take_flat,
)
