"""How sure is a mean over all sites? Each site draws its own rows again, thousands of times."""

import numpy as np
from numpy.random import Generator

from atoll_algorithm import Sites, Stop, Table, central, partial

ROWS_MIN = 10


@partial(kind={"n": "frequencies", "sum": "linear_aggregations", "sums": "linear_aggregations"})
def resample(data: Table, random: Generator, column: str, replicates: int) -> dict:
    """The sum of this site's values, and of as many values drawn from them, again and again."""
    values = data[column].dropna().to_numpy(float)
    if len(values) < ROWS_MIN:
        raise Stop(f"fewer than {ROWS_MIN} values")
    draws = random.choice(values, size=(replicates, len(values)))
    return {"n": len(values), "sum": float(values.sum()), "sums": draws.sum(axis=1)}


@central
def bootstrap_mean(sites: Sites, column: str, replicates: int = 2000, level: float = 0.95) -> dict:
    """The mean over all sites, its standard error, and the interval that it lies in."""
    parts = sites.call(resample, column=column, replicates=replicates)
    n = sum(part["n"] for part in parts)
    means = sum(part["sums"] for part in parts) / n
    return {
        "n": n,
        "mean": sum(part["sum"] for part in parts) / n,
        "standard_error": float(means.std(ddof=1)),
        "interval": np.quantile(means, [(1 - level) / 2, (1 + level) / 2]).tolist(),
    }
