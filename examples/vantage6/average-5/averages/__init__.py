"""The average of a column over all organizations, for generation 5 of vantage6."""

import pandas as pd
from vantage6.algorithm.decorator.action import central, data_extraction, federated, preprocessing
from vantage6.algorithm.decorator.algorithm_client import algorithm_client
from vantage6.algorithm.decorator.data import dataframe
from vantage6.algorithm.tools.exceptions import CollectResultsError, PrivacyThresholdViolation

ROWS_MIN = 10


@data_extraction
def read(connection_details):
    """Make a dataframe of a database. It stays at its node."""
    return pd.read_csv(connection_details["uri"])


@preprocessing
def complete(df, column):
    """Leave rows out that have no value in a column."""
    return df.dropna(subset=[column])


@central
@algorithm_client
def average(client, column):
    """Ask every organization for its sums, and divide them."""
    organizations = [organization["id"] for organization in client.organization.list()]
    task = client.task.create(
        method="sums", arguments={"column": column}, organizations=organizations, name="sums"
    )
    parts = client.wait_for_results(task_id=task["id"])
    # An organization that failed is not among the results, and nothing else says so.
    if len(parts) < len(organizations):
        raise CollectResultsError(f"{len(parts)} of {len(organizations)} organizations answered")
    n = sum(part["n"] for part in parts)
    return {"n": n, "average": sum(part["sum"] for part in parts) / n}


@federated
@dataframe(1)
def sums(df, column):
    """The number of values here, and their sum."""
    values = df[column].dropna()
    if len(values) < ROWS_MIN:
        raise PrivacyThresholdViolation(f"fewer than {ROWS_MIN} values")
    return {"n": len(values), "sum": float(values.sum())}
