"""A site's half of iterative logistic regression.

The table is read once and stays in this process. At the slopes that the aggregator proposes,
a site answers with sums over its rows: the log-likelihood, its gradient and its curvature.
"""

import design
import numpy as np


class Site:
    """What a site remembers from one iteration to the next: its rows, then standardised."""

    def answer(self, message):
        given = message["input"]
        if message["state"]["iteration"] == 1:
            return {"output": self.describe(given, message["state"]["baseDirectory"])}
        if "means" in given:
            self.standardise(np.array(given["means"]), np.array(given["spreads"]))
        return {"output": self.likelihood(np.array(given["point"]))}

    def describe(self, given, folder):
        columns = [*given["predictors"], given["outcome"]]
        rows, dropped = design.complete_rows(folder, given["data"], columns, given["levels"])
        table = design.numeric(rows, columns, given["levels"])
        self.x, self.y = table.to_numpy()[:, :-1], table.to_numpy()[:, -1]
        means = self.x.mean(axis=0)
        return {
            "names": list(table.columns),
            "settings": {key: given[key] for key in ("lambda", "tolerance", "iterations_max")},
            "n": len(table),
            "dropped": dropped,
            "means": means.tolist(),
            "squares": ((self.x - means) ** 2).sum(axis=0).tolist(),
        }

    def standardise(self, means, spreads):
        standardised = (self.x - means) / spreads
        self.x = np.column_stack([np.ones(len(standardised)), standardised])

    def likelihood(self, point):
        score = self.x @ point
        chance = 1 / (1 + np.exp(-score))
        weights = chance * (1 - chance)
        return {
            "log_likelihood": float(self.y @ score - np.logaddexp(0, score).sum()),
            "gradient": (self.x.T @ (self.y - chance)).tolist(),
            "information": ((self.x.T * weights) @ self.x).tolist(),
        }
