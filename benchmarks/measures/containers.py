"""Algorithms in images, run by Docker: what a container costs, and what a call in one."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks import computations, floors
from benchmarks.command import ROOT, python
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.sessions import BARE, WITH_PANDAS
from benchmarks.workshop import Simulated, Workshop, seconds_of

_SITES = 5
_ITERATIONS = 40
_ARRAYS = 'answer["output"] = {"sum": float(np.arange(100.0).sum()), "count": 100}\n'
_TRIVIAL = 'answer["output"] = {"sum": 1, "count": 1}\n'
#: What boxes are started with, by the kind of box.
_PROGRAMS = {
    "docker": ("docker",),
    "podman": ("podman",),
    "bubblewrap": ("bwrap", "mksquashfs", "unsquashfs"),
}
_MEAN = """\
outputs = doc["input"].values()
answer["output"] = {"mean": sum(output["sum"] for output in outputs) / len(outputs)}
"""


def take(workshop: Workshop) -> Sequence[Figure]:
    with ExitStack() as images:
        example = made_image(images, ROOT / "examples" / "coinstac" / "sum", BARE)
        words = ("-c", 10, "-i", _inputs(workshop))
        whole = workshop.repeat(lambda: workshop.simulate(Path(example), *words), times=5, quick=2)
        figures = [Figure(what="sum, 10 sites, docker", unit="s", values=seconds_of(whole), target=6.0)]
        for what, imports, site, base, target in (
            ("trivial", "", _TRIVIAL, BARE, 25.0),
            ("numpy and pandas", "import numpy as np\nimport pandas as pd", _ARRAYS, WITH_PANDAS, 40.0),
        ):
            computation = computations.scripts(
                workshop.folder / f"docker-{what.partition(' ')[0]}",
                local=computations.script(site, imports=imports),
                remote=computations.script(f"{_MEAN}{computations.until(_ITERATIONS)}", imports=imports),
            )
            image = made_image(images, computation, base)
            figures += [
                _per_iteration(workshop, f"{words}, docker, {what}", image, sites, target)
                for words, sites in (("per site and iteration", _SITES), ("iteration of one site", 1))
            ]
    return [*figures, *_sessions(workshop)]


def made_image(images: ExitStack, folder: Path, base: str) -> str:
    """An image of what lies in a folder, for as long as the stack is there."""
    tag = f"atoll-bench-{folder.name}".lower()
    python("-m", "atoll", "image", "build", folder, "--base", base, "--tag", tag)
    removed = ["docker", "image", "rm", "--force", tag]
    images.callback(partial(subprocess.run, removed, capture_output=True, check=False))
    return f"docker:{tag}"


def _inputs(workshop: Workshop) -> Path:
    path = workshop.folder / "inputspec.json"
    path.write_text('{"start": {"value": 1}}')
    return path


def _per_iteration(workshop: Workshop, what: str, image: str, sites: int, target: float) -> Figure:
    # The processor time of containers is not that of the command: it isn't told.
    words = ("-c", sites, "-i", _inputs(workshop))
    runs = workshop.repeat(lambda: workshop.simulate(Path(image), *words), times=5, quick=2)
    values = [1000 * _seconds_per_iteration(run, sites) for run in runs]
    return Figure(what=what, unit="ms", values=values, target=target)


def _seconds_per_iteration(run: Simulated, sites: int) -> float:
    iterations: int = run.record["iterations"]
    return sum(run.rounds(first=2)) / sites / (iterations - 1)


def _sessions(workshop: Workshop) -> Sequence[Figure]:
    """Sessions in boxes of each kind that this machine has the programs for."""
    trivial = 1000 * floors.fork("", "pass").value
    pandas = 1000 * floors.fork("import numpy, pandas", "pass").value
    figures = []
    for runtime, programs in _PROGRAMS.items():
        if not all(map(shutil.which, programs)):
            continue
        found = json.loads(python("-m", "benchmarks.sessions", runtime, 5 if workshop.quick else 12).printed)
        plain = statistics.median(found["plain"])
        what = (
            f"`{programs[0]} run` with the same flags" if runtime != "bubblewrap" else "`bwrap` and `python3`"
        )
        figures.append(
            Figure(
                what=f"from nothing to a first answer, {runtime}",
                unit="s",
                values=found["first"],
                target=1.3 * plain if runtime == "docker" else None,
                floor=Floor(what=what, value=plain),
            )
        )
        for key, described, floor in (("calls", "", trivial), ("calls_pandas", ", numpy and pandas", pandas)):
            if found[key]:
                figures.append(
                    Figure(
                        what=f"a later call, {runtime}{described}",
                        unit="ms",
                        values=[1000 * seconds for seconds in found[key]],
                        floor=Floor(what="fork, exit, wait", value=floor),
                    )
                )
    return figures


CONTAINERS = Measure(
    name="containers",
    about=(
        f"Images under Docker: the guide's example at 10 sites, the whole command; scripts at {_SITES} sites and at "
        f"one, × {_ITERATIONS} iterations: all rounds after the first iteration by sites and iterations. Then "
        "sessions, under Docker, under Podman, and of an image's file under bubblewrap: from nothing to a first answer "
        "and the box's removal, in turns with the engine's own command; and a call of a session that is there."
    ),
    take=take,
)
