"""A sum and a count from every site, asked for again and again."""

from __future__ import annotations

import time

from atoll_algorithm import Sites, central, partial


@partial
def count(number: int) -> dict[str, int]:
    """One number, and how many numbers that is."""
    return {"sum": number, "count": 1}


@central
def rounds(sites: Sites, times: int) -> list[float]:
    """How many seconds each round took, with the mean that is made from it."""
    took = []
    for number in range(times):
        started = time.perf_counter()
        parts = sites.call(count, number=number)
        mean = sum(part["sum"] for part in parts) / sum(part["count"] for part in parts)
        took.append(time.perf_counter() - started)
        assert (mean, len(parts)) == (number, len(sites))
    return took
