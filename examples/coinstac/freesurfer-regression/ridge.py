"""Ridge regression from moments: what a site sends, how parts are pooled, how they are solved.

The rows of a table are summarised by their number, their means, and the sums of squares and
products *about those means*. Such summaries of parts pool into the summary of the whole
without looking at a row again, and without subtracting large numbers from each other.

Sources:
    Chan, Golub, LeVeque (1983), Algorithms for computing the sample variance,
    The American Statistician 37(3), 242-247: pooling.
    Hoerl, Kennard (1970), Ridge regression, Technometrics 12(1), 55-67: estimate and variance.
    Hastie, Tibshirani, Friedman (2009), The Elements of Statistical Learning, section 3.4.1:
    effective degrees of freedom, and an intercept that is not penalised.
"""

import numpy as np
from scipy.special import stdtr


def moments(table):
    """Summarise a matrix of rows."""
    means = table.mean(axis=0)
    centred = table - means
    return {"n": len(table), "means": means.tolist(), "products": (centred.T @ centred).tolist()}


def pool(parts):
    """Summarise all rows from the summaries of parts."""
    counts = np.array([part["n"] for part in parts], dtype=float)
    means = np.array([part["means"] for part in parts], dtype=float)
    mean = counts @ means / counts.sum()
    shifts = means - mean
    within = np.sum([part["products"] for part in parts], axis=0)
    return {"n": int(counts.sum()), "means": mean, "products": within + (shifts.T * counts) @ shifts}


def fit(total, names, penalty):
    """Regress the last column on the others (Hoerl, Kennard 1970).

    Minimises the sum of squared residuals plus `penalty` times the sum of squared slopes. The
    intercept is not penalised. With a penalty of 0 this is ordinary least squares with its
    exact t tests. With any other, slopes are biased by design: the standard errors tell their
    spread only, and the p values are approximate.
    """
    if penalty < 0:
        raise ValueError(f"lambda is {penalty}, expected 0 or more")
    n, means, products = total["n"], np.asarray(total["means"]), np.asarray(total["products"])
    scale = np.sqrt(np.diag(products)[:-1])
    if not (scale > 1e-12 * np.sqrt(n) * np.abs(means[:-1])).all():
        raise ValueError("a predictor has the same value in every row of every site")

    # In units of each column's own spread, the matrix is one of correlations.
    correlations = products[:-1, :-1] / np.outer(scale, scale)
    penalised = correlations + np.diag(penalty / scale**2)
    if np.linalg.cond(penalised) > 1e12:
        raise ValueError("the predictors are collinear over all sites: leave one out, or penalise")
    inverse = np.linalg.inv(penalised)
    slopes = np.linalg.solve(penalised, products[:-1, -1] / scale) / scale

    total_squares = products[-1, -1]
    residual_squares = total_squares - 2 * slopes @ products[:-1, -1] + slopes @ products[:-1, :-1] @ slopes
    freedom = n - 1 - np.trace(inverse @ correlations)
    variance = residual_squares / freedom
    covariance = variance * (inverse @ correlations @ inverse) / np.outer(scale, scale)

    estimates = np.append(means[-1] - means[:-1] @ slopes, slopes)
    errors = np.sqrt(np.append(variance / n + means[:-1] @ covariance @ means[:-1], np.diag(covariance)))
    t = estimates / errors
    p = 2 * stdtr(freedom, -np.abs(t))
    columns = {"estimate": estimates, "standard_error": errors, "t": t, "p": p}
    return {
        "coefficients": {
            term: {key: float(values[i]) for key, values in columns.items()}
            for i, term in enumerate(["Intercept", *names])
        },
        "fit": {
            "r_squared": float(1 - residual_squares / total_squares),
            "residual_standard_error": float(np.sqrt(variance)),
            "degrees_of_freedom": float(freedom),
            "n": n,
            "lambda": penalty,
        },
    }
