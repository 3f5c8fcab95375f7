"""The aggregator's half of iterative ridge regression: conjugate gradients.

Solves (X'X + penalty) b = X'y without ever seeing X'X. Each iteration it asks all sites for
X'X times one direction; their sum is a row of the answer. In exact arithmetic as many
iterations as there are predictors suffice; it stops once the residual of the equation is
below `tolerance` times its start, and refuses to report what has not converged.

Source:
    Hestenes, Stiefel (1952), Methods of conjugate gradients for solving linear systems,
    Journal of Research of the National Bureau of Standards 49(6), 409-436.
"""

import numpy as np


class Aggregator:
    """What the aggregator remembers: the scale of the columns, and where the search stands."""

    def answer(self, message):
        sites = message["input"]
        step = self.pool if message["state"]["iteration"] == 1 else self.next
        return step(sites)

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
        self.squares = total(sites, "squares") + self.counts @ (means - self.means) ** 2
        self.spreads = np.sqrt(self.squares[:-1])
        if not (self.spreads > 1e-12 * np.sqrt(self.counts.sum()) * np.abs(self.means[:-1])).all():
            raise ValueError("a predictor has the same value in every row of every site")

        self.next = self.begin
        return ask("standardise", means=self.means.tolist(), spreads=self.spreads.tolist())

    def begin(self, sites):
        self.slopes = np.zeros(len(self.spreads))
        self.residual = total(sites, "vector")
        self.direction = self.residual
        self.start = np.linalg.norm(self.residual)
        self.steps = 0
        self.next = self.advance
        return ask("multiply", direction=self.direction.tolist())

    def advance(self, sites):
        # The columns were divided by their spread; the penalty is on the slopes as they were.
        product = total(sites, "vector") + self.settings["lambda"] / self.spreads**2 * self.direction
        before = self.residual @ self.residual
        length = before / (self.direction @ product)
        self.slopes = self.slopes + length * self.direction
        self.residual = self.residual - length * product
        self.steps += 1

        if np.linalg.norm(self.residual) <= self.settings["tolerance"] * self.start:
            self.next = self.report
            return ask("compare", slopes=self.slopes.tolist())
        if self.steps >= self.settings["iterations_max"]:
            raise RuntimeError(
                f"not converged after {self.steps} steps: the residual is "
                f"{np.linalg.norm(self.residual) / self.start:.1e} of its start, expected "
                f"at most {self.settings['tolerance']:.1e}"
            )
        self.direction = self.residual + self.residual @ self.residual / before * self.direction
        return ask("multiply", direction=self.direction.tolist())

    def report(self, sites):
        slopes = self.slopes / self.spreads
        coefficients = {"Intercept": float(self.means[-1] - self.means[:-1] @ slopes)}
        coefficients.update({name: float(slopes[i]) for i, name in enumerate(self.names[:-1])})
        output = {
            "coefficients": coefficients,
            "fit": {
                "r_squared": float(1 - total(sites, "squares") / self.squares[-1]),
                "n": int(self.counts.sum()),
                "lambda": self.settings["lambda"],
                "steps": self.steps,
            },
            "sites": self.sites,
        }
        return {"output": output, "success": True}


def ask(what, **details):
    return {"output": {"ask": what, **details}}


def total(sites, key):
    return np.sum([site[key] for site in sites.values()], axis=0)
