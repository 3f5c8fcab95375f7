"""Axes of a plot: where its ticks lie, what they say, and where a value falls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A range of values on a line of pixels, widened to round ticks."""

    ticks: tuple[float, ...]
    #: The pixel of the first tick and that of the last.
    start: float
    stop: float

    def at(self, value: float) -> float:
        """The pixel of a value."""
        low, high = self.ticks[0], self.ticks[-1]
        # Halves, so that a range as wide as floats allow does not overflow.
        share = (value / 2 - low / 2) / (high / 2 - low / 2)
        return self.start + share * (self.stop - self.start)

    def labels(self) -> tuple[str, ...]:
        """What the ticks say: only as many digits as tell them apart."""
        step = self.ticks[1] - self.ticks[0]
        largest = max(abs(tick) for tick in self.ticks)
        if largest >= 1e6 or step < 1e-5:
            return tuple(
                f"{tick:.6g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
                for tick in self.ticks
            )
        decimals = max(0, -math.floor(math.log10(step) + 1e-9))
        return tuple(f"{tick:.{decimals}f}" for tick in self.ticks)


def fit(values: Sequence[float], *, start: float, stop: float, ticks_max: int) -> Scale:
    """A scale that holds all values, with at most about so many ticks at 1, 2 or 5 times a power of ten."""
    low, high = min(values), max(values)
    if not math.isfinite(high - low) or max(abs(low), abs(high)) > 1e300:
        return Scale(ticks=(low, high) if low < high else (low - abs(low) / 2, high), start=start, stop=stop)
    if high - low <= max(abs(low), abs(high)) * 1e-12:
        margin = abs(low) / 2 or 1.0
        low, high = low - margin, high + margin
    raw = (high - low) / max(1, ticks_max - 1)
    if raw < 1e-300:
        return Scale(ticks=(low, high), start=start, stop=stop)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(times * power for times in (1, 2, 5, 10) if times * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    ticks = tuple(float(f"{number * step:.12g}") for number in range(first, max(last, first + 1) + 1))
    return Scale(ticks=ticks, start=start, stop=stop)
