"""A script that imports numpy and pandas, called again and again."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import computations, floors
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.workshop import Simulated, Workshop, cpu_of

_SITES = 5
_IMPORTS = "import numpy as np\nimport pandas as pd"
#: Both libraries are imported, and numpy does the work: what the target is about.
_ARRAYS = (
    """\
answer["output"] = {"sum": float(np.arange(100.0).sum()), "count": 100}
""",
    """\
outputs = doc["input"].values()
total = np.sum([output["sum"] for output in outputs])
answer["output"] = {"mean": float(total) / sum(output["count"] for output in outputs)}
""",
)
#: The first work with a table in a fresh process takes pandas several milliseconds, wherever it runs.
_TABLES = (
    """\
table = pd.DataFrame({"x": np.arange(100.0)})
answer["output"] = {"sum": float(table["x"].sum()), "count": len(table)}
""",
    """\
table = pd.DataFrame(list(doc["input"].values()))
answer["output"] = {"mean": float(np.sum(table["sum"]) / table["count"].sum())}
""",
)


def take(workshop: Workshop) -> Sequence[Figure]:
    # A site's iteration is a call of its own and its share of the aggregator's.
    calls = 1 + 1 / _SITES

    def floor_of(work: str) -> Floor:
        fork = floors.fork(_IMPORTS, work)
        return Floor(what=f"{calls:.1f} × {fork.what}", value=1000 * calls * fork.value)

    arrays = floor_of("np.arange(100.0).sum()")
    tables = floor_of('pd.DataFrame({"x": np.arange(100.0)})["x"].sum()')

    def figure(
        runtime: str, iterations: int, times: int, *, warm: bool = True, with_tables: bool = False
    ) -> Figure:
        name = f"{'tables' if with_tables else 'arrays'}-{iterations}"
        site, aggregator = _TABLES if with_tables else _ARRAYS
        remote = computations.script(f"{aggregator}{computations.until(iterations)}", imports=_IMPORTS)
        local = computations.script(site, imports=_IMPORTS)
        computation = computations.scripts(workshop.folder / name, local=local, remote=remote)
        runs = workshop.repeat(
            lambda: workshop.simulate(computation, "-c", _SITES, "--runtime", runtime, warm=warm),
            times=times,
            quick=min(times, 2),
        )
        what = f"per site and iteration, {runtime}" + (", work on tables" if with_tables else "")
        return Figure(
            what=what if warm else f"{what}, started anew",
            unit="ms",
            values=[1000 * _per_iteration(run) for run in runs],
            target=12.0 if runtime == "bubblewrap" and warm and not with_tables else None,
            floor=tables if with_tables else arrays,
            cpu_seconds=cpu_of(runs),
            cold_of=None if warm else what,
        )

    return [
        figure("bubblewrap", 40, 7),
        figure("process", 40, 3),
        figure("bubblewrap", 4, 3, warm=False),
        figure("bubblewrap", 40, 5, with_tables=True),
    ]


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
