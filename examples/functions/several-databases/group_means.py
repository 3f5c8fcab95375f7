"""Means of groups, where what is measured and who was measured lie in two databases."""

import pandas as pd

from atoll_algorithm import Sites, Stop, Table, central, database, partial

ROWS_MIN = 5


@partial(kind={"n": "frequencies", "sum": "linear_aggregations"})
def group_sums(
    birds: Table, measurements: Table = database("measurements"), *, by: str, column: str
) -> pd.DataFrame:
    """The number of birds in each group of this site, and the sum of what was measured."""
    rows = birds.merge(measurements, on="bird", validate="one_to_one")
    sums = rows.groupby(by)[column].agg(n="count", sum="sum")
    if (sums["n"] < ROWS_MIN).any():
        raise Stop(f"a group of fewer than {ROWS_MIN} birds")
    return sums


@central
def group_means(sites: Sites, by: str, column: str) -> dict:
    """The mean of each group over all sites."""
    parts = sites.call(group_sums, by=by, column=column)
    total = pd.concat(parts).groupby(level=0).sum()
    return (total["sum"] / total["n"]).to_dict()
