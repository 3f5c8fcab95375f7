"""Tasks that a function of vantage6 asks for, at nodes that run it in containers."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import floors, peers
from benchmarks.command import CommandFailed
from benchmarks.federation.stage import Federation, federation
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.sessions import WITH_PANDAS
from benchmarks.workshop import Workshop

_TAG = "atoll-bench-tasks"
_SITES = 3
_TIMES = 30
#: Rounds that come before what counts.
_WARM = 5
_ALGORITHM = """\
import time
from vantage6.algorithm.tools.decorators import algorithm_client, data

def nothing(number):
    return {"n": number}

@data(1)
def moments(table, column):
    values = table[column].dropna()
    return {"n": len(values), "sum": float(values.sum())}

@algorithm_client
def rounds(client, method, kwargs, sites, times):
    organizations = [organization["id"] for organization in client.organization.list()]
    # Not the first: this function itself is at work there.
    asked = {1: organizations[1:2]}.get(sites, organizations)
    took = []
    for _ in range(times):
        started = time.perf_counter()
        task = client.task.create({"method": method, "kwargs": kwargs}, organizations=asked)
        parts = client.wait_for_results(task["id"])
        took.append(time.perf_counter() - started)
        assert len(parts) == len(asked)
    return took
"""
_DOCKERFILE = f"""\
FROM {WITH_PANDAS}
COPY tasks /app/tasks
ENV PKG_NAME=tasks PYTHONPATH=/app
CMD ["python", "-c", "from vantage6.algorithm.tools.wrap import wrap_algorithm; wrap_algorithm()"]
"""


def take(workshop: Workshop) -> Sequence[Figure]:
    image = workshop.folder / "image"
    (image / "tasks").mkdir(parents=True)
    (image / "tasks" / "__init__.py").write_text(_ALGORITHM)
    (image / "Dockerfile").write_text(_DOCKERFILE)
    fork = floors.fork("import numpy, pandas", "pass")
    floor = Floor(what=fork.what, value=1000 * fork.value)
    _docker("build", "--quiet", "--tag", _TAG, str(image))
    try:
        settings = {
            "runtime": "docker",
            "containers": {"pull": "never"},
            "environments": {},  # those of the demo are for code that runs without an image
            "policies": {"algorithms": [_TAG]},
        }
        with federation(workshop.folder / "docker", sites=_SITES, settings=settings) as here:
            figures = _figures(workshop, here, f"docker:{_TAG}", "docker", floor)
    finally:
        _docker("image", "rm", "--force", _TAG)
    if peers.GENERATION_4.exists():
        (image / "Dockerfile").unlink()
        with federation(workshop.folder / "bubblewrap", sites=_SITES) as here:
            figures += _figures(workshop, here, image, "bubblewrap", floor)
    return figures


def _figures(
    workshop: Workshop, here: Federation, algorithm: Path | str, runtime: str, floor: Floor
) -> list[Figure]:
    def ask(method: str, sites: int, times: int, **kwargs: object) -> list[float]:
        args = {"method": method, "kwargs": kwargs, "sites": sites, "times": times}
        found: Any = here.run(algorithm, function="rounds", args=args).result
        return [1000 * seconds for seconds in found]

    def figure(what: str, values: list[float]) -> Figure:
        return Figure(what=f"{what}, {runtime}", unit="ms", values=values, floor=floor)

    firsts = workshop.repeat(lambda: ask("nothing", 1, 1, number=1)[0], times=5, quick=2)
    later = _later(workshop, lambda: ask("nothing", 1, _TIMES, number=1))
    tables = _later(workshop, lambda: ask("moments", 1, _TIMES, column="body_mass_g"))
    all_sites = _later(workshop, lambda: ask("nothing", _SITES, _TIMES, number=1))
    return [
        Figure(what=f"first task of a run at one node, {runtime}", unit="ms", values=firsts),
        figure("later task at one node", later),
        figure("later task at one node that reads a table", tables),
        figure(f"later task at {_SITES} nodes", all_sites),
    ]


def _later(workshop: Workshop, ask: Any) -> list[float]:
    return [took for run in workshop.repeat(ask, times=5, quick=1) for took in run[_WARM:]]


def _docker(*words: str) -> None:
    done = subprocess.run(["docker", *words], stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise CommandFailed(f"docker {' '.join(words)}: {done.stderr.decode(errors='replace')[-300:]}")


TASKS = Measure(
    name="tasks",
    about=(
        f"A central function of vantage6 4 asks for tasks at one other node and at all {_SITES}, and measures itself "
        "how long each takes, from asking until the results are there. The first starts a container at the node; "
        "later ones are forked in the container that is there. Hub, nodes and client are processes of their own."
    ),
    take=take,
)
