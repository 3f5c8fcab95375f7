"""What a measure finds: figures, each with its target and with the floor beside it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.workshop import Workshop


@dataclass(frozen=True, slots=True, kw_only=True)
class Floor:
    """The least that the machine needs for the same, measured in the same run."""

    what: str
    #: In the unit of the figure that it stands beside.
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing that was measured, one value per run."""

    what: str
    #: s, ms, µs, MB, kB, /s, %, or × for a ratio.
    unit: str
    values: Sequence[float]
    #: The most that it may be. None: it is only reported.
    target: float | None = None
    #: Whether more is better: the target is then the least that it may be.
    is_least: bool = False
    floor: Floor | None = None
    #: Processor seconds of the whole command, one per run. Empty where that says nothing.
    cpu_seconds: Sequence[float] = ()
    #: For what was measured without warm parents: the `what` of the same with them.
    cold_of: str | None = None

    @property
    def median(self) -> float:
        """The figure that counts."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        """Whether the median is within the target; None where there is none."""
        if self.target is None:
            return None
        return self.median >= self.target if self.is_least else self.median <= self.target

    @property
    def ratio(self) -> float | None:
        """How many times the floor it is."""
        return None if self.floor is None else self.median / self.floor.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A measure, before it is taken."""

    name: str
    #: One sentence: what is run, and what counts.
    about: str
    take: Callable[[Workshop], Sequence[Figure]]
