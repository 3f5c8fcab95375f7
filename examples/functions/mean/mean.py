"""The mean of a column over all sites, which no site learns of another."""

from atoll_algorithm import Sites, Table, central, partial


@partial(kind={"n": "frequencies", "sum": "linear_aggregations"})
def moments(data: Table, column: str) -> dict:
    """The number of values at this site, and their sum."""
    values = data[column].dropna()
    return {"n": len(values), "sum": float(values.sum())}


@central
def mean(sites: Sites, column: str) -> float:
    """The mean over all sites."""
    parts = sites.call(moments, column=column)
    return sum(part["sum"] for part in parts) / sum(part["n"] for part in parts)
