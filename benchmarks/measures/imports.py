"""A computation that imports for seconds before it works for a moment."""

from __future__ import annotations

import json
import statistics
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path

from benchmarks import computations
from benchmarks.command import python
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.workshop import Simulated, Workshop, cpu_of, seconds_of

_SITES = 5
#: Burns processor time rather than sleeping, as a real import does.
_SLOW_LIBRARY = """\
import time
_until = time.process_time() + 3.0
while time.process_time() < _until:
    pass

def work(sites):
    return sum(number * number for number in range(200_000 * sites))
"""
_POOLED = f"""\
import json, time
started = time.perf_counter()
import slowlib
imported = time.perf_counter()
for _ in range(2):
    slowlib.work({_SITES})
print(json.dumps([imported - started, time.perf_counter() - imported]))
"""


def take(workshop: Workshop) -> Sequence[Figure]:
    interpreter = _interpreter(workshop.folder / "venv")
    local = computations.script('answer["output"]["work"] = slowlib.work(1)', imports="import slowlib")
    remote = computations.script(computations.until(2), imports="import slowlib")
    computation = computations.scripts(workshop.folder / "imports", local=local, remote=remote)
    options = ("-c", _SITES, "--python", interpreter, "--runtime", "bubblewrap")

    def both() -> tuple[list[float], Simulated]:
        # In turns, so that a machine that slows down slows down both.
        pooled: list[float] = json.loads(python("-c", _POOLED, interpreter=interpreter).printed)
        return pooled, workshop.simulate(computation, *options)

    pooled, warm = zip(*workshop.repeat(both, times=5, quick=2), strict=True)
    one_import, work = (statistics.median(column) for column in zip(*pooled, strict=True))
    cold = workshop.repeat(lambda: workshop.simulate(computation, *options, warm=False), times=2, quick=1)
    what = f"{_SITES} sites × 2 iterations, 3 s of imports"
    floor = Floor(what="pooled work + one import", value=work + one_import)
    return [
        Figure(
            what=what,
            unit="s",
            values=seconds_of(warm),
            target=work + 1.3 * one_import,
            floor=floor,
            cpu_seconds=cpu_of(warm),
        ),
        Figure(
            what=f"{what}, started anew",
            unit="s",
            values=seconds_of(cold),
            floor=floor,
            cpu_seconds=cpu_of(cold),
            cold_of=what,
        ),
    ]


def _interpreter(folder: Path) -> Path:
    """A virtual environment with a library that takes its time."""
    venv.create(folder, symlinks=True)
    libraries = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))
    (libraries / "slowlib.py").write_text(_SLOW_LIBRARY)
    return folder / "bin" / "python"


IMPORTS = Measure(
    name="imports",
    about=(
        "A computation whose scripts import a library that takes 3 s, the whole command with a cold warm parent. "
        "Its target is the pooled work and 1.3 times the one import, both measured beside it."
    ),
    take=take,
)
