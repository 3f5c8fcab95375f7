"""What an author declares is checked at once, and functions stay what they were."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Optional

import numpy as np
import pandas as pd
import pytest
from tests.unit.algorithm.islands import Islands, body_of

from atoll_algorithm import Misdeclared, Parts, Sites, Table, all_reduce, central, database, partial, remote
from atoll_algorithm.inline import Algorithm

LABS = database("labs")


@dataclass
class Options:
    """How a fit goes."""

    steps: int
    rate: float = 0.1


def by_hand(data: Table, column: str) -> float:
    return float(data[column].sum())


@partial(kind="linear_aggregations")
def total(data: Table, column: str) -> float:
    return by_hand(data, column)


@partial
def two(visits: pd.DataFrame, labs: Table = LABS, more: Table | None = None) -> list[Any]:
    return [len(visits), len(labs), more is None]


@partial
def where(place: Path) -> str:
    return str(place)


@partial
def typed(
    whole: int = 0,
    number: float = 0.0,
    pair: tuple[int, ...] = (),
    kinds: Optional[set[str]] = None,  # noqa: UP045 - as published algorithms write it
    weights: np.ndarray | None = None,
    options: Options | None = None,
    text: str = "",
) -> list[str]:
    return [repr(one) for one in (whole, number, pair, kinds, weights, options, text)]


@partial
def drawn(one: random.Random, other: np.random.Generator) -> list[float]:
    return [one.random(), float(other.random())]


@partial
def free(**named: Any) -> dict[str, Any]:
    return named


@central
def plain_and_asked(sites: Sites) -> list[Any]:
    return [sites.names, sites.here, len(sites), sites.call(total, column="x").items()]


FUNCTIONS = [total, two, where, typed, drawn, free, plain_and_asked]
TYPED = ", ".join(f"{name} (optional)" for name in typed.__annotations__ if name != "return")
FRAME = pd.DataFrame({"x": [1.0, 2.0]})


def islands(**more: Any) -> Islands:
    return Islands(FUNCTIONS, {"alpha": FRAME, "beta": FRAME.head(1)}, **more)


def test_a_decorated_function_is_called_as_it_is() -> None:
    assert 3.0 == total(FRAME, column="x")
    assert isinstance(FRAME, Table)
    assert FRAME.equals(Table({"x": [1.0, 2.0]}))


@pytest.mark.parametrize(
    ("declare", "sentence"),
    [
        (lambda: partial(kind="counts")(lambda x: x), "kind 'counts' is none of clusters, concentration"),
        (lambda: partial(kind={"n": "frequencies", "s": "sums"})(lambda x: x), "kind 'sums' is none of"),
        (lambda: partial(print), "@partial is for functions, and print is none"),
        (lambda: remote(by_hand), "takes the local half: a function with @local above it"),
        (lambda: remote(total, max_iterations=0), "max_iterations must be a whole number from 1"),
        (lambda: remote(total, on_failure="skip"), "on_failure must be 'raise' or 'drop'"),
    ],
)
def test_a_wrong_declaration_is_refused_at_once(declare: Callable[[], Any], sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        declare()


def test_functions_that_cant_be_called_by_name_are_refused_at_once() -> None:
    with pytest.raises(Misdeclared, match="takes some by position only"):

        @partial
        def positional(data: Table, /) -> None: ...

    with pytest.raises(Misdeclared, match="this one yields or awaits"):

        @partial
        async def waits() -> None: ...

    with pytest.raises(Misdeclared, match="a parameter can't be called 'deadline'"):

        @partial
        def late(deadline: float) -> None: ...

    with pytest.raises(Misdeclared, match="a parameter can't be called 'sites'"):

        @partial
        def counts(sites: int) -> None: ...


def test_databases_come_in_order_and_by_label() -> None:
    tables = {"visits": FRAME, "labs": FRAME.head(1), "old": FRAME.head(0)}
    here = Islands(FUNCTIONS, {"alpha": tables})

    assert [2, 1, False] == here.value("two")
    assert [0, 1, True] == here.value("two", labels=["old"])
    assert ("DatabaseUnusable", "two: the site has no database 'new': it has 'visits', 'labs', 'old'") == (
        here.failure("two", labels=["new"])
    )
    assert ("DatabaseUnusable", "total takes 1 database (data), and was given none") == here.failure(
        "total", labels=[], column="x"
    )


def test_what_a_function_changes_in_its_table_no_other_call_sees() -> None:
    @partial
    def spoil(data: Table) -> float:
        before = float(data["x"].sum())
        data["x"] = 0.0
        data.loc[:, "new"] = 1
        return before

    here = Islands([spoil], {"alpha": FRAME})

    assert [3.0, 3.0] == [here.value("spoil"), here.value("spoil")]
    assert ["x"] == list(FRAME.columns)


def test_arguments_are_of_the_annotated_types() -> None:
    given: dict[str, Any] = {
        "whole": 3.0,
        "number": 2,
        "pair": [1, 2],
        "kinds": ["a"],
        "weights": [1, 2.5],
        "options": {"steps": 3},
        "text": "x",
    }

    assert ["3", "2.0", "(1, 2)", "{'a'}", "array([1. , 2.5])", "Options(steps=3, rate=0.1)", "'x'"] == (
        islands().value("typed", **given)
    )
    assert ["0", "0.0", "()", "None", "None", "None", "''"] == islands().value("typed", weights=None)
    assert "Options(steps=1, rate=2.0)" == islands().value("typed", options=Options(1, 2.0))[5]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"whole": 2.5}, "typed: argument 'whole' must be a whole number, and is a number"),
        ({"whole": True}, "typed: argument 'whole' must be a whole number, and is true or false"),
        ({"number": "2"}, "typed: argument 'number' must be a number, and is text"),
        ({"pair": 3}, "typed: argument 'pair' must be a list, and is a whole number"),
        ({"text": None}, "typed: argument 'text' must be text, and is nothing"),
        ({"weights": [{}]}, "typed: argument 'weights' must be an array, and is a list"),
        (
            {"options": {"rate": 1}},
            "typed: argument 'options' must be a dict with the fields steps, rate, and is another dict",
        ),
        ({"wholes": 1}, f"typed takes no argument 'wholes': it takes {TYPED}"),
    ],
)
def test_a_wrong_argument_is_one_clear_sentence(given: dict[str, Any], sentence: str) -> None:
    assert ("ArgumentsInvalid", sentence) == islands().failure("typed", **given)


def test_missing_and_filled_arguments_are_named() -> None:
    assert ("ArgumentsInvalid", "total needs the argument 'column': it takes column") == (
        islands().failure("total")
    )
    assert ("ArgumentsInvalid", "total: 'data' is filled at the site, and no argument") == (
        islands().failure("total", column="x", data=3)
    )
    assert {"a": 1, "b": [2]} == islands().value("free", a=1, b=[2])


def test_a_function_that_is_not_there_is_named_with_those_that_are() -> None:
    assert (
        "NotServed",
        "there is no function 'totl': there are drawn, free, plain_and_asked, total, two, typed, where",
    ) == islands().failure("totl")


def test_generators_are_seeded_by_call_and_site() -> None:
    again = [islands(seed=3).value("drawn", at=site) for site in ("alpha", "beta", "alpha")]
    fresh = [islands(seed=None).value("drawn") for _ in range(2)]

    assert again[0] == again[2]
    assert 8 == len({*again[0], *again[1], *fresh[0], *fresh[1]})
    assert again[0] != islands(seed=4).value("drawn")


def test_a_table_in_memory_has_no_path() -> None:
    assert ("DatabaseUnusable", "database 'default' is a table in memory, and has no path") == (
        islands().failure("where")
    )


def test_a_central_function_knows_the_sites() -> None:
    expected = [["alpha", "beta"], "beta", 2, [("alpha", 3.0), ("beta", 1.0)]]

    assert expected == islands().value("plain_and_asked", at="beta")


def test_another_decorator_beneath_is_seen_through() -> None:
    def twice(function: Callable[..., float]) -> Callable[..., float]:
        @wraps(function)
        def call(*args: Any, **named: Any) -> float:
            return 2 * function(*args, **named)

        return call

    @partial
    @twice
    def doubled(data: Table, column: str) -> float:
        return by_hand(data, column)

    assert 6.0 == Islands([doubled], {"alpha": FRAME}).value("doubled", column="x")


def test_annotations_that_only_type_checkers_can_read_are_known_as_they_are_written() -> None:
    def plain(data: Any, more: Any = None) -> list[int]:
        return [len(data), len(more)]

    plain.__annotations__.update(data="nowhere.Thing | None", more="pandas.DataFrame | None")
    marked = partial(plain)

    assert [3, 2] == Islands([marked], {"alpha": FRAME}).value("plain", data=[1, 2, 3])


def test_parts_know_their_sites() -> None:
    parts = Parts([1, 2], sites=["alpha", "beta"])

    assert [("alpha", 1), ("beta", 2)] == parts.items()
    assert 3 == sum(parts)
    assert ["site0"] == Parts([1]).sites
    with pytest.raises(ValueError, match="1 parts of 0 sites"):
        Parts([1], sites=[])


def test_who_may_ask_is_known_before_the_call() -> None:
    @all_reduce
    def met(sites: Sites) -> int:
        return len(sites)

    algorithm = Algorithm.of([*FUNCTIONS, met])

    assert algorithm.asks(body_of("plain_and_asked"))
    assert algorithm.asks(body_of("met"))
    assert not algorithm.asks(body_of("met", **dict[str, Any]({"atoll.step": ["k", 0]})))
    assert not algorithm.asks(body_of("total"))
    assert not algorithm.asks(body_of("nothing"))
    assert not algorithm.asks(b"no body")
