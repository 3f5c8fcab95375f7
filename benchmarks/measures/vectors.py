"""Long vectors from processes that stay, averaged."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from functools import partial

from benchmarks import floors
from benchmarks.command import ROOT
from benchmarks.figures import Figure, Measure
from benchmarks.workshop import Workshop, cpu_of

_PATH = ROOT / "benchmarks" / "algorithms" / "vectors.py"
_SITES, _NUMBERS, _ROUNDS = 10, 10_000_000, 7
_WORK = {
    "averages": "averaged from 10 sites",
    "training": "sent to 10 sites, changed and averaged",
}


def take(workshop: Workshop) -> Sequence[Figure]:
    floor = floors.average(_SITES, _NUMBERS)
    figures = []
    for function, what in _WORK.items():
        for runtime in ("bubblewrap", "process"):
            words = ("-c", _SITES, "--function", function, "--arg", f"size={_NUMBERS}", "--runtime", runtime)
            work = partial(workshop.simulate, _PATH, *words, "--arg", f"times={_ROUNDS}")
            runs = workshop.repeat(work, times=5, quick=2)
            followed = workshop.repeat(partial(work, tree=True), times=3, quick=1)
            figures += [
                Figure(
                    what=f"10⁷ float32, {what}, {runtime}",
                    unit="s",
                    # The first round starts the sites' processes.
                    values=[statistics.median(run.result[1:]) for run in runs],
                    target=0.25,
                    floor=floor,
                    cpu_seconds=cpu_of(runs),
                ),
                Figure(
                    what=f"memory of all processes, {what}, {runtime}",
                    unit="MB",
                    values=[run.cost.tree_bytes / 1e6 for run in followed if run.cost.tree_bytes is not None],
                    target=1200.0,
                ),
            ]
    return figures


VECTORS = Measure(
    name="vectors",
    about=(
        f"{_SITES} sites send vectors of 40 MB, each from a process of its own, and a central function averages them: "
        "the median of its rounds but the first, as it measures them itself. Memory is followed in runs of its own, "
        "over all processes, with what they share counted once."
    ),
    take=take,
)
