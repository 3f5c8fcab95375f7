"""Logistic regression over all sites by Newton's method, until a step gains nothing."""

import numpy as np

from atoll_algorithm import Done, Parts, Stop, Table, local, remote

ROWS_MIN = 10


@local(kind="linear_aggregations")
def derivatives(
    data: Table, beta: np.ndarray | None = None, *, outcome: str, positive: str, predictors: list[str]
) -> dict:
    """The log-likelihood of a site's complete rows, and its first two derivatives."""
    rows = data[[outcome, *predictors]].dropna()
    if len(rows) < ROWS_MIN:
        raise Stop(f"fewer than {ROWS_MIN} complete rows")
    x = np.column_stack([np.ones(len(rows)), rows[predictors]])
    y = (rows[outcome] == positive).to_numpy(float)
    beta = np.zeros(x.shape[1]) if beta is None else beta
    p = 1 / (1 + np.exp(-x @ beta))
    return {
        "n": len(rows),
        "log_likelihood": float(np.log(np.where(y, p, 1 - p)).sum()),
        "score": x.T @ (y - p),
        "information": (x.T * (p * (1 - p))) @ x,
    }


@remote(derivatives, max_iterations=30)
def logistic_regression(parts: Parts, beta: np.ndarray | None, predictors: list[str]) -> np.ndarray | Done:
    """The next estimate; or, where the step to it gains nothing, the regression."""
    total = {key: sum(part[key] for part in parts) for key in parts[0]}
    beta = np.zeros_like(total["score"]) if beta is None else beta
    step = np.linalg.solve(total["information"], total["score"])
    if total["score"] @ step > 1e-16:
        return beta + step
    error = np.sqrt(np.diag(np.linalg.inv(total["information"])))
    return Done(
        {
            "n": total["n"],
            "log_likelihood": total["log_likelihood"],
            "estimate": dict(zip(["Intercept", *predictors], beta.tolist(), strict=True)),
            "standard_error": dict(zip(["Intercept", *predictors], error.tolist(), strict=True)),
        }
    )
