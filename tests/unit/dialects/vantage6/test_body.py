"""What a call is asked travels as it was written, and only an algorithm's own functions are called."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.dialects.vantage6 import body
from atoll.dialects.vantage6.body import Action, Call, opening_body_4, opening_body_5
from atoll.dialects.vantage6.built_in import PACKAGE_OF_PREPARER, READERS, default_extraction
from atoll.engine.ports import Database
from atoll.model.errors import InputMissing, SpecInvalid

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


def test_a_function_of_generation_4_is_asked_for_with_its_whole_input() -> None:
    call = body.read(
        opening_body_4("partial", [1], {"column": "age"}, databases=["a", {"label": "b", "query": "q"}])
    )

    assert (4, "partial") == (call.generation, call.method)
    assert {"method": "partial", "args": [1], "kwargs": {"column": "age"}} == json.loads(call.arguments)
    assert ({"label": "a"}, {"label": "b", "query": "q"}) == call.databases


def test_without_databases_each_site_takes_its_own() -> None:
    assert body.read(opening_body_4("partial")).databases is None
    assert () == body.read(opening_body_4("partial", databases=[])).databases


def test_a_function_of_generation_5_is_asked_for_with_arguments_by_name() -> None:
    written = opening_body_5(Action.FEDERATED_COMPUTE, "partial", {"x": 1}, dataframes=["a", ["b", "c"]])

    assert Call(
        generation=5,
        method="partial",
        arguments=b'{"x": 1}',
        action=Action.FEDERATED_COMPUTE,
        dataframes=(("a",), ("b", "c")),
    ) == body.read(written)


def test_a_data_step_says_what_it_reads_and_what_it_makes() -> None:
    written = opening_body_5(
        Action.PREPROCESSING,
        "select_rows",
        {"query": "age > 3"},
        dataframes=["a"],
        dataframe="old",
        package="vantage6.algorithm.preprocessing.filtering",
    )

    call = body.read(written)
    assert ((("a",),), "old") == (call.dataframes, call.dataframe)
    assert PACKAGE_OF_PREPARER["select_rows"] == call.package


def test_data_can_be_read_without_a_function_and_nothing_else_can() -> None:
    call = body.read(opening_body_5(Action.DATA_EXTRACTION, database="b", dataframe="c"))

    assert ("", "b", "c") == (call.method, call.database, call.dataframe)
    with pytest.raises(SpecInvalid, match=r"^a call for central_compute names no function"):
        opening_body_5(Action.CENTRAL_COMPUTE)


@pytest.mark.parametrize(
    "call",
    [
        {"generation": 4, "action": None, "package": "os"},
        {"generation": 4, "action": None, "package": READERS},
        {"generation": 5, "action": "federated_compute", "package": READERS},
        {"generation": 5, "action": "data_extraction", "package": "subprocess"},
        {"generation": 5, "action": "data_extraction", "package": f"{READERS}.mock"},
    ],
)
def test_nobody_calls_another_modules_functions_in_an_algorithms_name(call: dict[str, Any]) -> None:
    forged = json.dumps({"method": "system", **call}).encode() + b'\n{"method": "system"}'

    with pytest.raises(SpecInvalid, match=r"^a function of \S+ can't be called"):
        body.read(forged)


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "session_state", "a/b", "a\\b", "a,b", "a;b", "a\0"]
)
def test_a_name_that_is_a_path_or_two_names_is_no_dataframes(name: str) -> None:
    with pytest.raises(SpecInvalid, match=r"^a dataframe can't be named"):
        opening_body_5(Action.DATA_EXTRACTION, dataframe=name)
    with pytest.raises(SpecInvalid, match=r"^a dataframe can't be named"):
        opening_body_5(Action.FEDERATED_COMPUTE, "f", dataframes=[["a", name]])


@pytest.mark.parametrize("asked", [{}, {"label": 3}, {"query": "q"}])
def test_a_database_is_asked_for_by_its_label(asked: dict[str, Any]) -> None:
    with pytest.raises(SpecInvalid, match=r"^a database is asked for as \{"):
        opening_body_4("f", databases=[asked])


@pytest.mark.parametrize(
    "forged",
    [b"", b"{", b"[]", b"{}", b'{"generation": 4}', b'{"generation": 5, "method": "f", "action": "x"}'],
)
def test_what_is_no_call_is_told_so(forged: bytes) -> None:
    with pytest.raises(InputMissing, match=r"^the message that asks for this call is not one"):
        body.read(forged)


@given(JSON)
def test_whatever_the_arguments_are_they_arrive_as_they_were_written(value: Any) -> None:
    call = body.read(opening_body_4("f", [value], {"k": value}))
    pretty = replace(
        call, arguments=json.dumps(json.loads(call.arguments), indent=1, ensure_ascii=False).encode()
    )

    assert pretty == body.read(pretty.written())
    assert [value] == json.loads(call.arguments)["args"]
    for told in (call.told(), pretty.told()):
        assert b"\n" not in told
        assert value == json.loads(told)["input"]["kwargs"]["k"]


def test_the_record_says_what_was_asked_for() -> None:
    told = json.loads(body.read(opening_body_5(Action.FEDERATED_COMPUTE, "f", dataframes=["a"])).told())

    assert {
        "generation": 5,
        "method": "f",
        "action": "federated_compute",
        "dataframes": [["a"]],
        "input": {},
    } == told


# --- What comes with generation 5 -------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "options", "method", "arguments"),
    [
        ("csv", {"query": "q"}, "read_csv", {}),
        ("CSV", {}, "read_csv", {}),
        ("parquet", {}, "read_parquet", {}),
        ("excel", {}, "read_excel", {}),
        ("excel", {"sheet_name": "A", "query": "q"}, "read_excel", {"sheet_name": "A"}),
        ("sql", {"query": "q"}, "read_sql_database", {"query": "q"}),
        ("sparql", {"query": "q", "env": {"a": 1}}, "read_sparql_database", {"query": "q"}),
    ],
)
def test_each_type_of_database_has_its_reader(
    type_: str, options: dict[str, Any], method: str, arguments: dict[str, Any]
) -> None:
    database = Database(label="a", type=type_, options=options)

    assert (READERS, method, arguments) == default_extraction(database)


@pytest.mark.parametrize(
    ("type_", "options", "sentence"),
    [
        ("folder", {}, "no reader comes with vantage6 for database 'a' of type 'folder'"),
        ("sql", {}, "database 'a' of type 'sql' is read with a query, and none is given"),
        ("sparql", {"query": None}, "database 'a' of type 'sparql' is read with a query"),
    ],
)
def test_what_has_no_reader_is_told_so(type_: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputMissing) as missing:
        default_extraction(Database(label="a", type=type_, options=options))

    assert str(missing.value).startswith(sentence)
