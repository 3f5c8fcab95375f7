"""How long it takes until the command says something."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import floors
from benchmarks.command import python, run
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.workshop import Workshop


def take(workshop: Workshop) -> Sequence[Figure]:
    floor = floors.plain_python()
    script = Path(sys.executable).with_name("atoll")
    helps = workshop.repeat(lambda: run([script, "--help"]), times=21, quick=5)
    imports = workshop.repeat(lambda: python("-c", "import atoll"), times=21, quick=5)
    return [
        Figure(
            what=what,
            unit="ms",
            values=[1000 * cost.seconds for cost in costs],
            target=target,
            floor=Floor(what=floor.what, value=1000 * floor.value),
            cpu_seconds=[cost.cpu_seconds for cost in costs],
        )
        for what, target, costs in (
            ("`atoll --help`", 150.0, helps),
            ('`python -c "import atoll"`', 100.0, imports),
        )
    ]


START = Measure(name="start", about="The command's help, and the package's import.", take=take)
