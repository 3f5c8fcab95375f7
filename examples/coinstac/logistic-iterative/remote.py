"""The aggregator's half of iterative logistic regression: Newton's method.

The log-likelihood of all sites is the sum of theirs, and so are its gradient and its
curvature: each iteration is the very step that the pooled rows would give. It stops once the
Newton step is below `tolerance` in every standardised slope, and refuses to report what has
not converged: with a penalty of 0 that happens where the predictors separate the outcome.

Sources:
    McCullagh, Nelder (1989), Generalized Linear Models, second edition, section 2.5: the
    iteration and the standard errors.
    le Cessie, van Houwelingen (1992), Ridge estimators in logistic regression, Applied
    Statistics 41(1), 191-201: the penalty, and the variance with it.
"""

import numpy as np
from scipy.special import ndtr


class Aggregator:
    """What the aggregator remembers: the scale of the columns, and the point it is at."""

    def answer(self, message):
        sites = message["input"]
        return self.pool(sites) if message["state"]["iteration"] == 1 else self.climb(sites)

    def pool(self, sites):
        first = next(iter(sites.values()))
        for name, site in sites.items():
            if (site["names"], site["settings"]) != (first["names"], first["settings"]):
                raise ValueError(f"{name} was given other columns or other settings than the first site")
        self.names, self.settings = first["names"], first["settings"]
        self.sites = {name: {"n": site["n"], "dropped": site["dropped"]} for name, site in sites.items()}
        self.counts = np.array([site["n"] for site in sites.values()], dtype=float)

        means = np.array([site["means"] for site in sites.values()])
        self.means = self.counts @ means / self.counts.sum()
        squares = total(sites, "squares") + self.counts @ (means - self.means) ** 2
        self.spreads = np.sqrt(squares / self.counts.sum())
        if not (self.spreads > 1e-12 * np.abs(self.means)).all():
            raise ValueError("a predictor has the same value in every row of every site")

        # The columns are standardised; the penalty is on the slopes as they were, and none
        # is on the intercept.
        self.penalty = np.append(0, self.settings["lambda"] / self.spreads**2)
        self.point = np.zeros(len(self.penalty))
        self.steps = 0
        return propose(self.point, means=self.means.tolist(), spreads=self.spreads.tolist())

    def climb(self, sites):
        gradient = total(sites, "gradient") - self.penalty * self.point
        information = total(sites, "information")
        step = np.linalg.solve(information + np.diag(self.penalty), gradient)
        if np.abs(step).max() <= self.settings["tolerance"]:
            return self.report(information, float(total(sites, "log_likelihood")))
        if self.steps >= self.settings["iterations_max"]:
            raise RuntimeError(
                f"not converged after {self.steps} steps: the next one is {np.abs(step).max():.1e}, "
                f"expected at most {self.settings['tolerance']:.1e}. Do the predictors separate the outcome?"
            )
        self.steps += 1
        self.point = self.point + step
        return propose(self.point)

    def report(self, information, log_likelihood):
        inverse = np.linalg.inv(information + np.diag(self.penalty))
        # From standardised columns back to the columns as they were.
        back = np.diag(np.append(1, 1 / self.spreads))
        back[0, 1:] = -self.means / self.spreads
        estimates = back @ self.point
        errors = np.sqrt(np.diag(back @ inverse @ information @ inverse @ back.T))
        z = estimates / errors
        columns = {"estimate": estimates, "standard_error": errors, "z": z, "p": 2 * ndtr(-np.abs(z))}
        output = {
            "coefficients": {
                term: {key: float(values[i]) for key, values in columns.items()}
                for i, term in enumerate(["Intercept", *self.names[:-1]])
            },
            "fit": {
                "log_likelihood": log_likelihood,
                "n": int(self.counts.sum()),
                "lambda": self.settings["lambda"],
                "steps": self.steps,
            },
            "sites": self.sites,
        }
        return {"output": output, "success": True}


def propose(point, **details):
    return {"output": {"point": point.tolist(), **details}}


def total(sites, key):
    return np.sum([site[key] for site in sites.values()], axis=0)
