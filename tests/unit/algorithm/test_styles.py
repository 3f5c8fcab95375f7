"""Iterative and all-reduce functions: the same answer at every order, and clear ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tests.unit.algorithm.islands import Islands

from atoll_algorithm import (
    Done,
    NotConverged,
    OutOfStep,
    Parts,
    Sites,
    Stop,
    Table,
    all_reduce,
    central,
    local,
    remote,
)
from atoll_algorithm._sums import add_up

FRAMES = {
    "alpha": pd.DataFrame({"x": [1.0, 2.0, 3.0]}),
    "beta": pd.DataFrame({"x": [10.0]}),
    "gamma": pd.DataFrame({"x": [0.1, 0.2]}),
}


@local
def deviation(data: Table, centre: float = 0.0, column: str = "x") -> dict[str, float]:
    return {"sum": float((data[column] - centre).sum()), "n": float(len(data))}


@remote(deviation, max_iterations=60)
def centre_of(parts: Parts, centre: float, rate: float = 0.5) -> float | Done[float]:
    step = rate * sum(p["sum"] for p in parts) / sum(p["n"] for p in parts)
    return Done(centre) if abs(step) < 1e-12 else centre + step


@remote(deviation, max_iterations=3)
def never(parts: Parts) -> float:
    return float(len(parts))


@remote(deviation)
def forgetful(parts: Parts) -> None: ...


@local
def count(data: Table) -> int:
    return len(data)


@remote(count)
def count_all(parts: Parts, least: int) -> Any:
    return Done(max(sum(parts), least))


ITERATIVE = [centre_of, never, forgetful, count_all]
POOLED = float(pd.concat(FRAMES.values())["x"].mean())


def test_iterations_go_on_until_the_remote_half_is_done() -> None:
    here = Islands(ITERATIVE, FRAMES)

    assert pytest.approx(POOLED, abs=1e-11) == here.value("centre_of")
    assert {"deviation"} == {question["function"] for question in here.said}
    assert 30 < len(here.said) < 60


def test_arguments_go_to_the_half_that_takes_them_and_the_state_is_one() -> None:
    here = Islands(ITERATIVE, FRAMES)

    assert pytest.approx(POOLED, abs=1e-11) == here.value("centre_of", rate=1.0, centre=100.0, column="x")
    assert 2 == len(here.said)
    assert 7 == here.value("count_all", least=7)
    assert ("ArgumentsInvalid", "centre_of takes no argument 'step': it takes centre, column, rate") == (
        here.failure("centre_of", step=1)
    )
    assert ("ArgumentsInvalid", "count_all needs the argument 'least': it takes least") == (
        here.failure("count_all")
    )


def test_iterations_that_lead_nowhere_end() -> None:
    here = Islands(ITERATIVE, FRAMES)

    assert (
        NotConverged.__name__,
        "never: 3 iterations went by without Done: raise max_iterations, or loosen what it waits for",
    ) == here.failure("never")
    assert (
        "AlgorithmError",
        "forgetful returned None: expected Done(result), or what goes to the sites next",
    ) == (here.failure("forgetful"))


def test_a_remote_half_is_called_as_it_is() -> None:
    answer = centre_of(Parts([{"sum": 2.0, "n": 2.0}]), 1.0, rate=1.0)

    assert 2.0 == answer
    assert "Done(3)" == repr(Done(3))


# --- All-reduce -------------------------------------------------------------------------------


@all_reduce
def mean(data: Table, sites: Sites, column: str) -> float:
    return float(sites.sum(data[column].sum()) / sites.sum(len(data)))


@all_reduce
def descent(data: Table, sites: Sites, steps: int) -> dict[str, Any]:
    weights = np.zeros(2)
    for _ in range(steps):
        gradient = {"g": np.array([weights[0] - data["x"].mean(), 1.0]), "n": [1, len(data)]}
        met = sites.sum(gradient)
        weights = weights - met["g"] / met["n"][0]
    return {"weights": weights, "sites": len(sites), "mean": sites.mean([1, 2.0])}


@all_reduce
def alone(sites: Sites) -> str:
    return sites.here


@all_reduce
def uneven(data: Table, sites: Sites) -> int:
    met = 0
    for _ in range(len(data)):
        met = int(sites.sum(1))
    return met


@all_reduce
def fails(sites: Sites) -> Any:
    first = sites.sum(1)
    if sites.here == "beta":
        raise Stop("not here")
    return sites.sum(first)


@all_reduce
def shapes(data: Table, sites: Sites) -> Any:
    return sites.sum(np.zeros(len(data)))


@all_reduce
def texts(sites: Sites) -> Any:
    return sites.sum(sites.here)


@central
def asks_all(sites: Sites) -> Any:
    return sites.call(mean, column="x")


ALONE = (
    "alone returned something else at beta, gamma than at alpha: every site must return the same, "
    "made from what sites.sum returned"
)
MET = [mean, descent, alone, uneven, fails, shapes, texts, asks_all]


def threads() -> list[str]:
    """Those of functions. A client may be other tests', too."""
    names = [one.name for one in threading.enumerate()]
    return [name for name in names if name.startswith("atoll-") and name != "atoll-client"]


@pytest.mark.parametrize("order", [list, lambda sites: sites[::-1]])
def test_every_site_has_the_sum_and_the_result_is_one(order: Callable[[list[str]], list[str]]) -> None:
    here = Islands(MET, FRAMES)
    here.shuffle = order

    assert pytest.approx(POOLED) == here.value("mean", column="x")
    assert ["alpha/mean/1"] * 3 == [question["keep"] for question in here.said]
    assert ["mean"] * 3 == [question["function"] for question in here.said]
    result = here.value("descent", steps=5)
    assert pytest.approx([sum(frame["x"].mean() for frame in FRAMES.values()) / 3, -5]) == result["weights"]
    assert (3, [1.0, 2.0]) == (result["sites"], result["mean"])
    assert [] == threads()


@pytest.mark.parametrize(
    ("function", "kind", "sentence"),
    [
        ("alone", "OutOfStep", ALONE),
        (
            "uneven",
            "OutOfStep",
            "uneven: alpha, gamma asked for a sum where beta returned: every site must ask for the same sums",
        ),
        ("fails", "SiteFailed", "fails failed at beta: Stop: not here"),
        (
            "shapes",
            "OutOfStep",
            "shapes: alpha and beta contributed things of other shapes or keys to the sum: they must be alike",
        ),
        (
            "texts",
            "OutOfStep",
            "texts: alpha contributed a str to the sum: expected numbers, arrays, or dicts and lists of them",
        ),
        ("asks_all", "Misdeclared", "mean is all-reduce, and runs by itself: it can't be called from here"),
    ],
)
def test_sites_out_of_step_are_named_and_nothing_waits_any_more(
    function: str, kind: str, sentence: str
) -> None:
    here = Islands(MET, FRAMES)

    assert (kind, sentence) == here.failure(function)
    assert [] == threads()


def test_a_process_that_has_ended_since_is_told_of() -> None:
    here = Islands(MET, FRAMES)
    answer, _ = here.call("mean", **dict[str, Any]({"atoll.step": ["k", 3], "total": 1}))

    assert "mean isn't paused at its sum 3 here: its process has ended" == answer["message"]


def test_functions_that_wait_are_ended_with_their_algorithm() -> None:
    here = Islands(MET, FRAMES)
    assert {"atoll.sum": 6.0} == here.value("mean", **{"atoll.step": ["k", 0], "arguments": {"column": "x"}})
    assert ["atoll-mean"] == threads()

    here.algorithm.close()

    assert [] == threads()


def test_whole_numbers_are_summed_exactly_and_stay_whole() -> None:
    small = [np.array([200], "u1"), np.array([100], "u1")]
    flags = [np.array([True, True]), np.array([True, False])]

    assert 2**70 + 1 == add_up([2**70, 1], ["a", "b"], "f")
    assert ("int64", [300]) == (
        str(add_up(small, ["a", "b"], "f").dtype),
        add_up(small, ["a", "b"], "f").tolist(),
    )
    assert [2, 1] == add_up(flags, ["a", "b"], "f").tolist()
    assert np.dtype("f4") == add_up([np.zeros(1, "f4")] * 2, ["a", "b"], "f").dtype
    with pytest.raises(OutOfStep, match="doesn't fit 64 bits"):
        add_up([np.array([2**62])] * 2, ["a", "b"], "f")


def test_what_is_contributed_is_not_changed() -> None:
    one = np.ones(2)

    add_up([one, one], ["a", "b"], "f")

    assert [1.0, 1.0] == one.tolist()
