"""What is refused of a call of functions before anything starts, as their source says enough."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from atoll.algorithms.code import find_code
from atoll.model.errors import SpecInvalid
from atoll.simulator.arguments import Arguments
from atoll.simulator.functions import prepare
from atoll.simulator.prepared import Prepared

FUNCTIONS = """
from atoll_algorithm import Done, Sites, Table, central, database, local, partial, remote

@partial
def moments(data: Table, column: str, least: int = 1): ...

@partial
def plain(column): ...

@partial
def labelled(labs: Table = database("labs")): ...

@partial
def may(data: Table = None): ...

@central
def mean(sites: Sites, column: str): ...

@central
def any_of(sites: Sites, **arguments): ...

@local
def offset(center: float = 0.0, *, column: str): ...

@remote(offset)
def center(parts, tolerance: float): ...
"""
WITHOUT = (
    "there are only sites without data: name a federation.yaml, with the sites and their databases, with -f"
)
TAKES = "moments takes data (data), and"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    (tmp_path / "with.yaml").write_text("sites: {alpha: {}, beta: {databases: {labs: functions.py}}}")
    (tmp_path / "without.yaml").write_text("sites: {alpha: {}, beta: {}}")
    return tmp_path


def prepared(
    folder: Path, function: str, federation: str | None = "with", *, strict: bool = False, **given: Any
) -> Prepared:
    path = folder / "functions.py"
    asked = Arguments(
        path=path,
        function=function,
        args=given,
        federation=folder / f"{federation}.yaml" if federation else None,
        strict=strict,
    )
    return prepare(asked, find_code(path, None))


@pytest.mark.parametrize(
    ("function", "given", "faults"),
    [
        ("moments", {}, ["moments needs 'column': give --arg column=…"]),
        (
            "moments",
            {"colum": "age"},
            [
                "moments takes no argument 'colum': it takes column, least (optional). Did you mean column?",
                "moments needs 'column': give --arg column=…",
            ],
        ),
        (
            "moments",
            {"column": "age", "data": 3},
            ["moments: 'data' is filled at the site: leave --arg data=… out"],
        ),
        ("may", {"most": 3}, ["may takes no argument 'most': it takes none"]),
    ],
)
def test_arguments_that_no_site_takes_are_refused(
    function: str, given: dict[str, Any], faults: list[str], folder: Path
) -> None:
    with pytest.raises(SpecInvalid) as refused:
        prepared(folder, function, **given)

    assert faults == list(refused.value.faults)


@pytest.mark.parametrize(
    ("function", "federation", "fault"),
    [
        ("moments", None, f"{TAKES} {WITHOUT}"),
        ("moments", "without", f"{TAKES} no site of {{}} has a database"),
        ("labelled", None, f"labelled takes data (labs), and {WITHOUT}"),
    ],
)
def test_a_function_of_data_is_not_run_where_nobody_has_any(
    function: str, federation: str | None, fault: str, folder: Path
) -> None:
    given: dict[str, Any] = {"column": "age"} if function == "moments" else {}
    with pytest.raises(SpecInvalid) as refused:
        prepared(folder, function, federation, **given)

    assert [fault.format(folder / "without.yaml")] == list(refused.value.faults)


@pytest.mark.parametrize(
    ("function", "federation", "given"),
    [
        ("moments", "with", {"column": "age", "least": 2}),
        ("plain", None, {"column": 1}),
        ("may", None, {}),
        ("any_of", "with", {"whatever": 1}),
        # What the local half takes is the caller's to give, too.
        ("center", "with", {"column": "age"}),
    ],
)
def test_what_a_site_may_take_goes_on(
    function: str, federation: str | None, given: dict[str, Any], folder: Path
) -> None:
    assert () == prepared(folder, function, federation, **given).warnings


def test_a_function_that_asks_others_for_data_is_doubted_where_nobody_has_any(folder: Path) -> None:
    doubt = f"moments, labelled would get no data: {WITHOUT}"

    assert (doubt,) == prepared(folder, "mean", None, column="age").warnings
    with pytest.raises(SpecInvalid, match="would get no data"):
        prepared(folder, "mean", None, strict=True, column="age")
