"""Where measures work: a temporary folder, and the ways to run a simulation in it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from benchmarks.command import Cost, python

T = TypeVar("T")

#: Bytes of a result that is read.
_READ_BYTES_MAX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """A simulation that ended well."""

    cost: Cost
    #: Its ``run.json``.
    record: dict[str, Any]
    #: Its ``result.json``; None where that is too long to be read in passing.
    result: Any
    #: Bytes of its ``result.json``.
    result_bytes: int

    def rounds(self, *, first: int = 1, last: int = sys.maxsize, role: str | None = None) -> list[float]:
        """The seconds of the rounds of some iterations, in their order."""
        return [
            round_["seconds"]
            for round_ in self.record["timings"]
            if first <= round_["iteration"] <= last and role in (None, round_["role"])
        ]


@dataclass(kw_only=True)
class Workshop:
    """A place to work in, and how often things are to be run."""

    folder: Path
    quick: bool
    _count: int = field(default=0, init=False)

    def repeat(self, work: Callable[[], T], *, times: int, quick: int) -> list[T]:
        """Do something often enough, or as often as a quick look asks for."""
        return [work() for _ in range(quick if self.quick else times)]

    def simulate(self, path: Path, *options: object, warm: bool = True, tree: bool = False) -> Simulated:
        """Run ``atoll simulate`` as a user does, as a command of its own.

        Args:
            path: the algorithm.
            options: what stands behind it.
            warm: whether calls may be forked from warm parents.
            tree: whether to follow the memory of all processes.
        """
        self._count += 1
        output = self.folder / f"run-{self._count}"
        module = "atoll" if warm else "benchmarks.cold"
        cost = python("-m", module, "simulate", path, *options, "--output", output, tree=tree)
        record = json.loads((output / "run.json").read_text())
        result = output / "result.json"
        size_bytes = result.stat().st_size
        simulated = Simulated(
            cost=cost,
            record=record,
            result=json.loads(result.read_text()) if size_bytes < _READ_BYTES_MAX else None,
            result_bytes=size_bytes,
        )
        shutil.rmtree(output)
        return simulated


def seconds_of(runs: Sequence[Simulated]) -> list[float]:
    """How long whole commands took."""
    return [run.cost.seconds for run in runs]


def cpu_of(runs: Sequence[Simulated]) -> list[float]:
    """Their processor time."""
    return [run.cost.cpu_seconds for run in runs]
