"""Rounds that a central function asks for, at sites whose processes stay."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks import floors, peers
from benchmarks.command import ROOT
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.workshop import Workshop, cpu_of

_SITES = 10
_ALGORITHMS = ROOT / "benchmarks" / "algorithms"
#: What a table holds: as much as a small study.
_ROWS = 400
#: An algorithm of vantage6's fourth generation that does what `algorithms/tables.py` does.
_GENERATION_4 = """\
import time
from vantage6.algorithm.tools.decorators import algorithm_client, data

@data(1)
def moments(table, column):
    values = table[column].dropna()
    return {"n": len(values), "sum": float(values.sum())}

@algorithm_client
def rounds(client, column, times):
    sites = [organization["id"] for organization in client.organization.list()]
    asked = {"method": "moments", "kwargs": {"column": column}}
    took = []
    for _ in range(times):
        started = time.perf_counter()
        task = client.task.create(asked, organizations=sites)
        parts = client.wait_for_results(task["id"])
        mean = sum(part["sum"] for part in parts) / sum(part["n"] for part in parts)
        took.append(time.perf_counter() - started)
        assert (mean > 0, len(parts)) == (True, len(sites))
    return took
"""


def take_tables(workshop: Workshop) -> Sequence[Figure]:
    federation = _federation(workshop.folder)
    options = ("-f", federation, "--function", "rounds", "--arg", "column=mass", "--arg")
    figures = _figures(
        workshop, f"round of {_SITES} sites", (_ALGORITHMS / "tables.py", *options, "times=30")
    )
    figures = [replace(figure, target=100.0) for figure in figures]
    if peers.GENERATION_4.exists():
        table = federation.with_name("site0.csv")
        fork = floors.fork("import pandas", f"pandas.read_csv({str(table)!r})")
        floor = Floor(what=f"{_SITES} × fork, read a table, wait", value=1000 * _SITES * fork.value)
        package = workshop.folder / "algorithm" / "tables"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(_GENERATION_4)
        words = (package.parent, *options, "times=6", "--python", peers.GENERATION_4)
        anew = _figures(workshop, f"round of {_SITES} sites, vantage6 4", words)
        figures += [replace(figure, floor=floor) for figure in anew]
    return figures


def take_asked(workshop: Workshop) -> Sequence[Figure]:
    pipes = floors.pipes(_SITES)
    floor = Floor(what=f"{pipes.what} ({_SITES})", value=1000 * pipes.value)
    words = (_ALGORITHMS / "counting.py", "-c", _SITES, "--function", "rounds", "--arg", "times=200")
    sandboxed, plain = _figures(workshop, f"round of {_SITES} sites", words)
    return [replace(sandboxed, target=10 * floor.value, floor=floor), replace(plain, floor=floor)]


def _figures(workshop: Workshop, what: str, words: tuple[object, ...]) -> list[Figure]:
    """The median round, as the central function measured it, under bubblewrap and as processes."""
    path, *options = words
    figures = []
    for runtime in ("bubblewrap", "process"):
        work = partial(workshop.simulate, Path(str(path)), *options, "--runtime", runtime)
        runs = workshop.repeat(work, times=5, quick=2)
        figures.append(
            Figure(
                what=f"{what}, {runtime}",
                unit="ms",
                # The first round starts the sites' processes.
                values=[1000 * statistics.median(run.result[1:]) for run in runs],
                cpu_seconds=cpu_of(runs),
            )
        )
    return figures


def _federation(folder: Path) -> Path:
    """Sites with a table each, in a federation.yaml."""
    lines = ["sites:"]
    for site in range(_SITES):
        rows = [f"{170 + (7 * row + site) % 30},{3000 + (37 * row + site) % 900}.5" for row in range(_ROWS)]
        (folder / f"site{site}.csv").write_text("\n".join(["length,mass", *rows]) + "\n")
        lines += [f"  site{site}:", "    databases:", f"      default: {{uri: site{site}.csv, type: csv}}"]
    path = folder / "federation.yaml"
    path.write_text("\n".join(lines) + "\n")
    return path


SUBTASKS = Measure(
    name="subtasks",
    about=(
        f"A central function that asks {_SITES} sites for a sum and a count of a column, which they read with pandas: "
        "the median of its rounds but the first, as it measures them itself. Functions stay in their processes; an "
        "algorithm of vantage6 4 is forked from a warm parent for each subtask, and reads its table anew."
    ),
    take=take_tables,
)
ASKED = Measure(
    name="asked",
    about=(
        f"The same without tables: a round of {_SITES} sites whose processes stay and have nothing to do. Its target "
        "is ten times the floor."
    ),
    take=take_asked,
)
