"""A script that imports numpy and pandas, called again and again."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import computations, floors
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.workshop import Simulated, Workshop, cpu_of

_SITES = 5
_IMPORTS = "import numpy as np\nimport pandas as pd"
_LOCAL = """\
table = pd.DataFrame({"x": np.arange(100.0)})
answer["output"] = {"sum": float(table["x"].sum()), "count": len(table)}
"""
_REMOTE = """\
table = pd.DataFrame(list(doc["input"].values()))
answer["output"] = {"mean": float(np.sum(table["sum"]) / table["count"].sum())}
"""


def take(workshop: Workshop) -> Sequence[Figure]:
    fork = floors.fork(_IMPORTS, 'pd.DataFrame({"x": np.arange(100.0)})["x"].sum()')
    # A site's iteration is a call of its own and its share of the aggregator's.
    calls = 1 + 1 / _SITES
    floor = Floor(what=f"{calls:.1f} × {fork.what}", value=1000 * calls * fork.value)

    def figure(runtime: str, iterations: int, times: int, *, warm: bool = True) -> Figure:
        name = f"pandas-{iterations}"
        remote = computations.script(f"{_REMOTE}{computations.until(iterations)}", imports=_IMPORTS)
        local = computations.script(_LOCAL, imports=_IMPORTS)
        computation = computations.scripts(workshop.folder / name, local=local, remote=remote)
        runs = workshop.repeat(
            lambda: workshop.simulate(computation, "-c", _SITES, "--runtime", runtime, warm=warm),
            times=times,
            quick=min(times, 2),
        )
        what = f"per site and iteration, {runtime}"
        return Figure(
            what=what if warm else f"{what}, started anew",
            unit="ms",
            values=[1000 * _per_iteration(run) for run in runs],
            target=12.0 if runtime == "bubblewrap" and warm else None,
            floor=floor,
            cpu_seconds=cpu_of(runs),
            cold_of=None if warm else what,
        )

    return [figure("bubblewrap", 40, 7), figure("process", 40, 3), figure("bubblewrap", 4, 3, warm=False)]


def _per_iteration(run: Simulated) -> float:
    """Seconds per site and iteration, after the first one."""
    iterations: int = run.record["iterations"]
    return sum(run.rounds(first=2)) / _SITES / (iterations - 1)


PANDAS = Measure(
    name="pandas",
    about=(
        f"Scripts that import numpy and pandas, {_SITES} sites × 40 iterations (4 where started anew): the time of all "
        "rounds after the first iteration, sites' and aggregator's, by sites and iterations."
    ),
    take=take,
)
