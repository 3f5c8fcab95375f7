"""Means, deviations and correlations of columns over all sites: written as if there were one table."""

import numpy as np

from atoll_algorithm import Sites, Table, all_reduce


@all_reduce(kind="linear_aggregations")
def correlations(data: Table, sites: Sites, columns: list[str]) -> dict:
    """Standardise the columns by what all sites have, and correlate them. The rows stay here."""
    x = data[columns].dropna().to_numpy(float)
    n = sites.sum(len(x))
    mean = sites.sum(x.sum(axis=0)) / n
    deviation = np.sqrt(sites.sum(((x - mean) ** 2).sum(axis=0)) / (n - 1))
    z = (x - mean) / deviation
    return {
        "n": n,
        "mean": dict(zip(columns, mean.tolist(), strict=True)),
        "standard_deviation": dict(zip(columns, deviation.tolist(), strict=True)),
        "correlation": sites.sum(z.T @ z) / (n - 1),
    }
