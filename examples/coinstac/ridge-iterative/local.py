"""A site's half of iterative ridge regression.

The table is read once and stays in this process. Each answer is one vector with an entry per
predictor, never the matrix of their products: sums of squares about the means, then the
standardised rows' products with the direction that the aggregator asks about.
"""

import design
import numpy as np


class Site:
    """What a site remembers from one iteration to the next: its rows, then standardised."""

    def answer(self, message):
        given = message["input"]
        if message["state"]["iteration"] == 1:
            output = self.describe(given, message["state"]["baseDirectory"])
        else:
            output = getattr(self, given["ask"])(given)
        return {"output": output}

    def describe(self, given, folder):
        columns = [*given["predictors"], given["outcome"]]
        rows, dropped = design.complete_rows(folder, given["data"], columns, given["levels"])
        table = design.numeric(rows, columns, given["levels"])
        self.x, self.y = table.to_numpy()[:, :-1], table.to_numpy()[:, -1]
        means = table.to_numpy().mean(axis=0)
        return {
            "names": list(table.columns),
            "settings": {key: given[key] for key in ("lambda", "tolerance", "iterations_max")},
            "n": len(table),
            "dropped": dropped,
            "means": means.tolist(),
            "squares": ((table.to_numpy() - means) ** 2).sum(axis=0).tolist(),
        }

    def standardise(self, given):
        means, spreads = np.array(given["means"]), np.array(given["spreads"])
        self.x = (self.x - means[:-1]) / spreads
        self.y = self.y - means[-1]
        return {"vector": (self.x.T @ self.y).tolist()}

    def multiply(self, given):
        return {"vector": (self.x.T @ (self.x @ np.array(given["direction"]))).tolist()}

    def compare(self, given):
        residuals = self.y - self.x @ np.array(given["slopes"])
        return {"squares": float(residuals @ residuals)}
