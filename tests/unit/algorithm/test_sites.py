"""What a central function is told of its sites: answers in order, and failures as it chose."""

from __future__ import annotations

import os
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.algorithm.islands import Islands

from atoll_algorithm import (
    Failure,
    SiteFailed,
    Sites,
    Stop,
    Table,
    TooFewSites,
    central,
    log,
    partial,
    progress,
)


@partial
def total(data: Table, least: int = 0) -> float:
    if len(data) < least:
        raise Stop(f"fewer than {least} rows")
    return float(data["x"].sum())


@partial
def secret(data: Table) -> float:
    return float(data["nobody knows"].sum())


@central
def totals(sites: Sites, chosen: Any = None, **options: Any) -> list[Any]:
    parts = sites.call(total, sites=chosen, **options)
    return [parts, parts.sites, {site: [one.type, one.message] for site, one in parts.failures.items()}]


@central
def caught(sites: Sites) -> list[str]:
    try:
        sites.call(total, least=2)
    except SiteFailed as error:
        return [error.site, error.function, error.type, str(error)]
    return []


@central
def wrong(sites: Sites, how: str) -> Any:
    match how:
        case "secret":
            return sites.call(secret)
        case "argument":
            return sites.call(total, most=3)
        case "plain":
            return sites.call(len)
        case "name":
            return sites.call("totals_of")
        case "stranger":
            return sites.call(stranger)
        case "sum":
            return sites.sum(1)
        case "result":
            return {"table": os}
        case _:
            return sites.call(total, least=os)


@partial
def stranger() -> None: ...


@partial
def outer(sites: Sites) -> list[Any]:
    return [sites.here, *sites.call(total)]


@central
def nested(sites: Sites) -> list[Any]:
    progress(0.5, "half")
    progress(7)
    progress(float("nan"))
    log("asking")
    return sites.call(outer)


FUNCTIONS = [total, secret, totals, caught, wrong, outer, nested]


def islands(*lengths: int) -> Islands:
    return Islands(
        FUNCTIONS, {f"local{number}": pd.DataFrame({"x": range(size)}) for number, size in enumerate(lengths)}
    )


@given(st.permutations(range(12)))
def test_answers_are_in_the_sites_order_whatever_order_they_came_in(order: list[int]) -> None:
    here = islands(*range(12))
    here.shuffle = lambda sites: [sites[number] for number in order]

    parts, sites, _ = here.value("totals")

    assert [f"local{number}" for number in range(12)] == sites
    assert [number * (number - 1) / 2 for number in range(12)] == parts


def test_some_sites_are_asked_in_the_order_that_was_wanted() -> None:
    assert [[3.0, 1.0], ["local2", "local1"], {}] == islands(1, 2, 3).value(
        "totals", chosen=["local2", "local1"]
    )
    assert [[], [], {}] == islands(1, 2).value("totals", chosen=[])


def test_a_failed_site_fails_the_call_with_its_name() -> None:
    assert ["local0", "total", "Stop", "total failed at local0: Stop: fewer than 2 rows (and at 1 more)"] == (
        islands(1, 1, 3).value("caught")
    )
    assert ("SiteFailed", "total failed at local1: Stop: fewer than 3 rows") == (
        islands(3, 1).failure("totals", least=3)
    )


def test_failed_sites_are_dropped_where_the_author_chose_so() -> None:
    here = islands(3, 1, 4, 4)
    here.late, here.lost = {"local2"}, {"local3"}

    assert [
        [3.0],
        ["local0"],
        {
            "local1": ["Stop", "fewer than 3 rows"],
            "local2": ["Late", "the deadline went by"],
            "local3": ["Lost", "the site gave no answer"],
        },
    ] == here.value("totals", least=3, on_failure="drop", deadline=2.5, min_sites=1)
    assert 2.5 == here.said[0]["deadline"]
    failed = "local1 (Stop), local2 (Late), local3 (Lost)"
    assert (
        "TooFewSites",
        f"total: 1 of 4 sites answered, and 2 are needed. Failed: {failed}. The first: fewer than 3 rows",
    ) == here.failure("totals", least=3, on_failure="drop", min_sites=2)
    assert issubclass(TooFewSites, Exception)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"chosen": "local0"}, "sites must be a list of names, and is one text: ['local0']"),
        ({"chosen": ["here"]}, "there is no site 'here': the sites are local0, local1"),
        ({"chosen": ["local0", "local0"]}, "sites names one site twice: local0, local0"),
        ({"on_failure": "ignore"}, "on_failure must be 'raise' or 'drop'"),
        ({"min_sites": -1}, "min_sites must be a whole number"),
        ({"deadline": 0}, "deadline must be seconds, and more than none"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anyone_is_asked(
    options: dict[str, Any], sentence: str
) -> None:
    here = islands(1, 1)

    assert ("ArgumentsInvalid", sentence) == here.failure("totals", **options)
    assert [] == here.said


@pytest.mark.parametrize(
    ("how", "kind", "sentence"),
    [
        ("argument", "ArgumentsInvalid", "total takes no argument 'most': it takes least (optional)"),
        ("plain", "NotServed", "len has no decorator: put @partial above it"),
        ("name", "NotServed", "there is no function 'totals_of': there are caught, nested, outer, secret, "),
        ("stranger", "NotServed", "stranger isn't a function of this algorithm: import it in the"),
        ("sum", "Misdeclared", "sites.sum is for functions with @all_reduce; wrong isn't one"),
        ("result", "CantTravel", "result['table'] is a module: expected None, numbers, text"),
        ("bad", "CantTravel", "call['args']['least'] is a module: expected None, numbers, text"),
    ],
)
def test_a_wrong_question_is_one_clear_sentence(how: str, kind: str, sentence: str) -> None:
    here = islands(1)

    told, message = here.failure("wrong", how=how)

    assert (kind, sentence) == (told, (message or "")[: len(sentence)])
    assert [] == here.said


def test_of_other_exceptions_only_type_and_lines_of_code_leave() -> None:
    here = islands(2)

    answer, _ = here.call("secret")

    assert ["say", "type", "message", "frames"] == list(answer)
    assert ("failed", "KeyError", None) == (answer["say"], answer["type"], answer["message"])
    assert ["test_sites.py", secret.__code__.co_firstlineno + 2, "secret"] == answer["frames"][0]
    assert "nobody knows" not in repr(answer)
    assert "nobody knows" in repr(here.errors[-1][1])
    assert ("SiteFailed", "secret failed at local0: KeyError") == here.failure("wrong", how="secret")


def test_a_refusal_is_told_in_the_nodes_words() -> None:
    here = islands(1)
    here.refusal = "no more than 3 questions"

    assert ("Refused", "no more than 3 questions") == here.failure("totals")


def test_a_function_that_is_asked_may_ask_and_tell() -> None:
    here = islands(1, 3)

    assert [["local0", 0.0, 3.0], ["local1", 0.0, 3.0]] == here.value("nested")
    assert [
        {"say": "progress", "fraction": 0.5, "text": "half"},
        {"say": "progress", "fraction": 1.0, "text": ""},
        {"say": "progress", "fraction": None, "text": ""},
        {"say": "log", "text": "asking"},
    ] == here.said[:4]


def test_progress_and_log_do_nothing_where_nobody_listens() -> None:
    progress(0.5)
    log("x")

    answer, _ = islands(1).algorithm.call(islands(1).head("local0"), b"ATO1")

    assert "BodyInvalid" == answer["type"]


def test_partials_get_the_databases_that_the_central_function_was_asked_to_run_on() -> None:
    tables = {"old": pd.DataFrame({"x": [1]}), "new": pd.DataFrame({"x": [5]})}
    here = Islands(FUNCTIONS, {"alpha": tables, "beta": tables})

    assert [5.0, 5.0] == here.value("totals", labels=["new"])[0]
    assert [1.0, 1.0] == here.value("totals", labels=["new"], databases=["old"])[0]


def test_a_failure_is_a_value() -> None:
    assert Failure("Late") == Failure("Late")
    assert "Failure(type='Late', message=None)" == repr(Failure("Late"))
    assert 1 == len({Failure("Late"), Failure("Late")})
