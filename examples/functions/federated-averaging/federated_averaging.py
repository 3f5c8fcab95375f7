"""Federated averaging: each site trains the model for a few steps, and the models are averaged."""

from dataclasses import asdict, dataclass, replace

import numpy as np

from atoll_algorithm import Sites, Table, central, partial, progress


@dataclass(frozen=True)
class Model:
    """Softmax regression on features that are brought to one scale."""

    center: np.ndarray
    scale: np.ndarray
    weights: np.ndarray


@partial(kind={"n": "frequencies", "sum": "linear_aggregations", "squares": "linear_aggregations"})
def moments(data: Table, features: list[str], target: str) -> dict:
    """What the scale of the features is made from."""
    x = data[[*features, target]].dropna()[features].to_numpy(float)
    return {"n": len(x), "sum": x.sum(axis=0), "squares": (x**2).sum(axis=0)}


@partial(kind={"n": "frequencies", "weights": "parameters"})
def train(
    data: Table,
    model: Model,
    features: list[str],
    target: str,
    classes: list[str],
    steps: int,
    rate: float,
) -> dict:
    """The weights after some steps of gradient descent on this site's rows."""
    rows = data[[*features, target]].dropna()
    x = np.column_stack([np.ones(len(rows)), (rows[features].to_numpy(float) - model.center) / model.scale])
    y = rows[target].to_numpy()[:, None] == np.array(classes)
    weights = model.weights
    for _ in range(steps):
        odds = np.exp(x @ weights)
        weights = weights + rate * x.T @ (y - odds / odds.sum(axis=1, keepdims=True)) / len(rows)
    return {"n": len(rows), "weights": weights}


@central
def federated_averaging(
    sites: Sites,
    features: list[str],
    target: str,
    classes: list[str],
    rounds: int = 50,
    steps: int = 5,
    rate: float = 0.5,
) -> dict:
    """A model that tells the classes apart, trained where the rows are."""
    asked = {"features": features, "target": target}
    parts = sites.call(moments, **asked)
    n = sum(part["n"] for part in parts)
    center = sum(part["sum"] for part in parts) / n
    scale = np.sqrt(sum(part["squares"] for part in parts) / n - center**2)
    model = Model(center, scale, np.zeros((len(features) + 1, len(classes))))
    for number in range(1, rounds + 1):
        parts = sites.call(train, model=model, classes=classes, steps=steps, rate=rate, **asked)
        model = replace(model, weights=sum(part["n"] / n * part["weights"] for part in parts))
        progress(number / rounds, f"round {number} of {rounds}")
    return asdict(model)
