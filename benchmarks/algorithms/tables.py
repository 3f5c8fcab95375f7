"""The mean of a column, asked for again and again."""

from __future__ import annotations

import time

from atoll_algorithm import Sites, Table, central, partial


@partial
def moments(data: Table, column: str) -> dict[str, float]:
    """The number of values at this site, and their sum."""
    values = data[column].dropna()
    return {"n": len(values), "sum": float(values.sum())}


@central
def rounds(sites: Sites, column: str, times: int) -> list[float]:
    """How many seconds each round took, with the mean that is made from it."""
    took = []
    for _ in range(times):
        started = time.perf_counter()
        parts = sites.call(moments, column=column)
        mean = sum(part["sum"] for part in parts) / sum(part["n"] for part in parts)
        took.append(time.perf_counter() - started)
        assert (mean > 0, len(parts)) == (True, len(sites))
    return took
