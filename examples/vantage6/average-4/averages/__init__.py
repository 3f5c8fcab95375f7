"""The average of a column over all organizations, for generation 4 of vantage6."""

from vantage6.algorithm.tools.decorators import algorithm_client, data
from vantage6.algorithm.tools.exceptions import CollectResultsError, PrivacyThresholdViolation

ROWS_MIN = 10


@algorithm_client
def average(client, column):
    """Ask every organization for its sums, and divide them."""
    organizations = [organization["id"] for organization in client.organization.list()]
    task = client.task.create(
        input_={"method": "sums", "kwargs": {"column": column}},
        organizations=organizations,
        name="sums",
    )
    parts = client.wait_for_results(task_id=task["id"])
    # An organization that failed is not among the results, and nothing else says so.
    if len(parts) < len(organizations):
        raise CollectResultsError(f"{len(parts)} of {len(organizations)} organizations answered")
    n = sum(part["n"] for part in parts)
    return {"n": n, "average": sum(part["sum"] for part in parts) / n}


@data(1)
def sums(df, column):
    """The number of values here, and their sum."""
    values = df[column].dropna()
    if len(values) < ROWS_MIN:
        raise PrivacyThresholdViolation(f"fewer than {ROWS_MIN} values")
    return {"n": len(values), "sum": float(values.sum())}
