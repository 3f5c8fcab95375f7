"""Functions over a federation in this process, as an author's tests call them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from atoll.model.errors import RunFailed, SpecInvalid
from atoll.testing import federation
from atoll_algorithm import Parts, Sites, Table, central, partial

FRAME = pd.DataFrame({"age": [31.0, 42.0, None, 55.0, 67.0]})


@dataclass
class Moments:
    """What a site tells."""

    n: int
    total: float


@partial
def moments(data: Table, column: str) -> Moments:
    values = data[column].dropna()
    return Moments(len(values), float(values.sum()))


@central
def mean(sites: Sites, column: str) -> float:
    parts: Parts = sites.call(moments, column=column)
    return float(sum(part.total for part in parts) / sum(part.n for part in parts))


@central
def types_of_failures(sites: Sites, column: str) -> list[str]:
    parts = sites.call(moments, column=column, on_failure="drop")
    return [failure.type for failure in parts.failures.values()]


@partial
def drawn(rng: np.random.Generator) -> float:
    return float(rng.random())


def test_the_mean_is_that_of_all_rows() -> None:
    sites = federation([FRAME.iloc[:2], FRAME.iloc[2:]])

    assert ("local0", "local1") == sites.sites
    assert FRAME["age"].mean() == pytest.approx(sites.run(mean, column="age"), rel=1e-12)


def test_a_dataclass_comes_back_as_one_from_each_site() -> None:
    sites = federation({"alpha": FRAME.iloc[:2], "beta": FRAME.iloc[2:]})

    assert {"alpha": Moments(2, 73.0), "beta": Moments(2, 122.0)} == sites.run(moments, column="age")


def test_it_works_where_an_event_loop_runs() -> None:
    async def notebook() -> float:
        return float(federation([FRAME]).run(mean, column="age"))

    assert FRAME["age"].mean() == pytest.approx(asyncio.run(notebook()))


def test_what_a_function_raised_is_the_cause() -> None:
    with pytest.raises(RunFailed) as caught:
        federation([FRAME]).run(moments, column="size")

    assert ("AlgorithmFailed", "local0") == (caught.value.type, caught.value.site)
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_failed_site_is_told_by_the_class_of_what_it_raised() -> None:
    assert ["KeyError", "KeyError"] == federation([FRAME, FRAME]).run(types_of_failures, column="size")


def test_a_seed_repeats_and_sites_differ() -> None:
    first, second = (federation([None, None], seed=7).run(drawn) for _ in range(2))

    assert first == second
    assert first["local0"] != first["local1"]


def test_files_and_labels_are_databases_too(tmp_path: Path) -> None:
    path = tmp_path / "ages.csv"
    FRAME.to_csv(path, index=False)

    sites = federation([path, {"first": FRAME, "second": FRAME.iloc[:1]}])

    assert {"local0": Moments(4, 195.0), "local1": Moments(4, 195.0)} == sites.run(moments, column="age")
    assert {"local1": Moments(1, 31.0)} == sites.run(moments, at="local1", databases=["second"], column="age")


@pytest.mark.parametrize(
    ("data", "words"),
    [([], "at least one site"), ([42], "int is no data"), (["nowhere.csv"], "nowhere.csv is not there")],
)
def test_what_is_no_data_is_refused(data: list[object], words: str) -> None:
    with pytest.raises(SpecInvalid, match=words):
        federation(data)


def test_a_function_without_a_decorator_is_refused() -> None:
    with pytest.raises(SpecInvalid, match="a decorator of atoll_algorithm"):
        federation([FRAME]).run(len)


def test_the_cause_of_a_failed_site_is_what_was_raised_there() -> None:
    with pytest.raises(RunFailed) as caught:
        federation([FRAME]).run(mean, column="size")

    failed_site = caught.value.__cause__
    assert failed_site is not None
    assert isinstance(failed_site.__cause__, KeyError)
