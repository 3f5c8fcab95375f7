"""What `atoll.testing` takes as a federation, and how it refuses what is none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from atoll.model.errors import SpecInvalid
from atoll.testing import RunFailed, federation
from atoll_algorithm import Sites, Stop, Table, central, partial

FRAME = pd.DataFrame({"age": range(6)})
ONE = "expected a list with an entry for each site"


@partial
def count(data: Table, least: int = 0) -> int:
    if len(data) < least:
        raise Stop("too few")
    return len(data)


@central
def total(sites: Sites, least: int = 0) -> int:
    return sum(sites.call(count, least=least))


def plain() -> int:
    return 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (FRAME, rf"one site's data \(DataFrame\): {ONE}"),
        ("rows.csv", rf"one site's data \(str\): {ONE}"),
        (Path("rows.csv"), rf"one site's data \(\w*Path\): {ONE}"),
        ([], "at least one site"),
        ([FRAME, 3], "local1: int is no data: expected a data frame, or the path of a file"),
        ({"alpha": {"age": [1, 2]}}, "alpha, age: list is no data"),
        (["nowhere.csv"], "local0: nowhere.csv is not there"),
    ],
)
def test_what_is_no_federation_is_refused(data: Any, words: str) -> None:
    with pytest.raises(SpecInvalid, match=words):
        federation(data)


def test_a_function_without_a_decorator_is_refused() -> None:
    with pytest.raises(
        SpecInvalid, match="plain can't be run over sites: expected a function with a decorator"
    ):
        federation([FRAME]).run(plain)


def test_sites_may_have_names_and_labels(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "rows.csv")
    sites = federation({"alpha": {"people": FRAME[:2]}, "beta": tmp_path / "rows.csv"})

    assert ("alpha", "beta") == sites.sites
    assert {"alpha": 2, "beta": 6} == sites.run(count)
    assert {"beta": 6} == sites.run(count, at="beta")
    assert 8 == sites.run(total)


def test_it_runs_where_an_event_loop_is_running_as_in_a_notebook() -> None:
    async def notebook() -> Any:
        return federation([FRAME, FRAME]).run(total)

    assert 12 == asyncio.run(notebook())


def test_a_run_that_fails_says_where_and_why() -> None:
    with pytest.raises(
        RunFailed, match=r"local0: total failed.*count failed at local1.*Stop: too few"
    ) as failed:
        federation([FRAME, FRAME[:2]]).run(total, least=3)

    assert "local0" == failed.value.site
