"""How long it takes until the command says something."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks import floors
from benchmarks.command import python, run
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.workshop import Workshop

#: The packages that users import, with the milliseconds that it may take; None: it is only reported.
_MODULES = {"atoll": 100.0, "atoll_algorithm": None, "atoll.testing": None}


def take(workshop: Workshop) -> Sequence[Figure]:
    floor = floors.plain_python()
    script = Path(sys.executable).with_name("atoll")
    helps = workshop.repeat(lambda: run([script, "--help"]), times=21, quick=5)
    imports = {
        name: workshop.repeat(partial(python, "-c", f"import {name}"), times=21, quick=5) for name in _MODULES
    }
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
            *((f'`python -c "import {name}"`', _MODULES[name], costs) for name, costs in imports.items()),
        )
    ]


START = Measure(name="start", about="The command's help, and what users import.", take=take)
