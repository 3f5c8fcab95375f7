"""A call's variables are those that vantage6's nodes set, and its wrapper's decoder gives each back."""

from __future__ import annotations

import base64
import binascii
import json
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import environments

from atoll.dialects.vantage6 import environment
from atoll.engine.ports import Database
from atoll.model.errors import InputMissing


def decoded(value: str) -> str:
    """What a wrapper makes of a variable."""
    try:
        return base64.b32decode(value.replace("!", "=").encode()).decode()
    except binascii.Error:
        return value


def opened(variables: dict[str, str]) -> dict[str, str]:
    """Variables as an algorithm sees them in the end."""
    return {name: decoded(value) for name, value in variables.items()}


def variables_4(**changes: Any) -> dict[str, str]:
    """The variables of a call of generation 4."""
    plain: dict[str, Any] = {
        "folder": "/mnt/data/task-000000007",
        "temporary": "/tmp",
        "address": ("127.0.0.1", 8080),
        "databases": {},
        "requested": [],
        "site": {},
    }
    return environment.generation_4(**{**plain, **changes})


def variables_5(**changes: Any) -> dict[str, str]:
    """The variables of a call of generation 5."""
    plain: dict[str, Any] = {
        "folder": "/app/vantage6/task",
        "workbench": "/app/vantage6/task/session",
        "address": ("127.0.0.1", 7654),
        "facts": {"ALGORITHM_METHOD": "partial", "FUNCTION_ACTION": "federated_compute"},
        "site": {},
    }
    return environment.generation_5(**{**plain, **changes})


# --- The code ---------------------------------------------------------------------------------


def test_values_are_base32_with_exclamation_marks_for_equals_signs() -> None:
    assert "MFRGG!!!" == environment.encode("abc")


@pytest.mark.parametrize(
    ("value", "survives"),
    [
        ("", True),
        ("C.UTF-8", True),
        ("/home/somebody", True),
        ("abcdefgh", True),
        ("ABCDEFG", True),
        ("ABCDEFGH", False),
        ("SKYLAKEX", False),
        ("MFRGG!!!", False),
        ("MFRGG===", False),
        ("22222222", False),
        ("ÄBCDEFGH", True),
    ],
)
def test_what_a_decoder_would_change_is_known(value: str, survives: bool) -> None:
    assert survives == environment.survives(value)


def test_only_what_a_decoder_would_change_of_the_inherited_environment_is_guarded() -> None:
    inherited = {"HOME": "ABCDEFGH", "LANG": "C.UTF-8", "PATH": "/usr/bin", "OPENBLAS_CORETYPE": "SKYLAKEX"}

    guarded = environment.guarded(inherited)

    assert {"HOME", "OPENBLAS_CORETYPE"} == set(guarded)
    assert inherited == opened({**inherited, **guarded})


_DECODE = """
import json, os, sys
from vantage6.algorithm.tools.util import get_env_var
print("ready", flush=True)
for line in sys.stdin:
    os.environ["VALUE"] = json.loads(line)
    try:
        print(json.dumps(get_env_var("VALUE")), flush=True)
    except UnicodeDecodeError:
        print("null", flush=True)
"""
Decoder = Callable[[str], str | None]


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.needs(name)) for name in ("vantage6-4", "vantage6-5")],
)
def real(request: pytest.FixtureRequest) -> Iterator[Decoder]:
    """The real decoder of a generation; None where it ends in an error."""
    command = [str(environments.python_of(request.param)), "-c", _DECODE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        into, out = process.stdin, process.stdout
        assert "ready\n" == out.readline()

        def decode(value: str) -> str | None:
            into.write(json.dumps(value) + "\n")
            into.flush()
            answer: str | None = json.loads(out.readline())
            return answer

        yield decode
        into.close()


@given(value=st.text(st.characters(exclude_categories=["Cs"])))
def test_the_real_decoder_gives_back_what_was_encoded(real: Decoder, value: str) -> None:
    assert value == real(environment.encode(value))


@given(value=st.text("ABCDEFGHUZ234567!=abc1./", max_size=17).filter(lambda value: "\0" not in value))
def test_the_real_decoder_changes_what_does_not_survive_and_nothing_else(real: Decoder, value: str) -> None:
    assert environment.survives(value) == (value == real(value))


# --- Generation 4 -----------------------------------------------------------------------------

DATABASES = {
    "default": Database(label="default", type="csv", uri="/data/a.csv", options={"query": None}),
    "größe": Database(
        label="größe",
        type="sql",
        uri="postgresql://host/base",
        options={"query": "SELECT 1", "env": {"user": "me", "Port": 5432}},
    ),
}


def test_a_call_of_generation_4_has_exactly_these_variables() -> None:
    requested = [
        {"label": "größe", "query": "SELECT 2"},
        {
            "label": "default",
            "sheet_name": "A",
            "preprocessing": [{"function": "f", "parameters": {}}],
            "query": None,
        },
    ]

    variables = variables_4(databases=DATABASES, requested=requested, site={"Minimum": "3"})

    assert {
        "INPUT_FILE": "/mnt/data/task-000000007/input",
        "OUTPUT_FILE": "/mnt/data/task-000000007/output",
        "TOKEN_FILE": "/mnt/data/task-000000007/token",
        "TEMPORARY_FOLDER": "/tmp",
        "HOST": "http://127.0.0.1",
        "PORT": "8080",
        "API_PATH": "",
        "USER_REQUESTED_DATABASE_LABELS": "größe,default",
        "DB_LABELS": "default,größe",
        "DEFAULT_DATABASE_URI": "/data/a.csv",
        "DEFAULT_DATABASE_TYPE": "csv",
        "DEFAULT_SHEET_NAME": "A",
        "DEFAULT_PREPROCESSING": '[{"function": "f", "parameters": {}}]',
        "GRÖSSE_DATABASE_URI": "postgresql://host/base",
        "GRÖSSE_DATABASE_TYPE": "sql",
        "GRÖSSE_DB_PARAM_USER": "me",
        "GRÖSSE_DB_PARAM_PORT": "5432",
        "GRÖSSE_QUERY": "SELECT 2",
        "Minimum": "3",
    } == opened(variables)
    assert variables == {name: environment.encode(value) for name, value in opened(variables).items()}


@pytest.mark.parametrize(
    ("type_", "uri", "told"),
    [
        ("sql", "/data/a.db", "sqlite:////data/a.db"),
        ("sql", "/data/a.sqlite", "/data/a.sqlite"),
        ("sql", "postgresql://host/base", "postgresql://host/base"),
        ("csv", "/data/a.db", "/data/a.db"),
    ],
)
def test_a_file_that_is_an_sql_database_is_told_as_readers_take_it(type_: str, uri: str, told: str) -> None:
    database = Database(label="a", type=type_, uri=uri)

    assert told == opened(variables_4(databases={"a": database}))["A_DATABASE_URI"]
    assert told == opened(variables_5(database=database))["DATABASE_URI"]


def test_what_a_reader_needs_may_be_set_at_the_site() -> None:
    variables = opened(variables_4(databases=DATABASES, requested=[{"label": "größe"}]))

    assert "SELECT 1" == variables["GRÖSSE_QUERY"]


def test_nothing_is_told_of_readers_for_databases_that_were_not_asked_for() -> None:
    assert "GRÖSSE_QUERY" not in variables_4(databases=DATABASES, requested=[{"label": "default"}])


def test_a_site_goes_before_all_else_but_never_names_the_package() -> None:
    variables = opened(variables_4(site={"HOST": "http://elsewhere", "PKG_NAME": "other", "number": 3}))

    assert ("http://elsewhere", "3") == (variables["HOST"], variables["number"])
    assert "PKG_NAME" not in variables


def test_without_an_address_there_is_no_door() -> None:
    assert not {"HOST", "PORT", "API_PATH"} & set(variables_4(address=None))


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (("a", "A"), "this site's databases 'a' and 'A' are the same to a vantage6 algorithm"),
        (("a,b",), "this site's database 'a,b' can't be told to a vantage6 algorithm"),
        (("a=b",), "the variable 'A=B_DATABASE_URI' can't be set for the algorithm: expected a name"),
        (("a\0",), r"the variable 'A\x00_DATABASE_URI' can't be set"),
    ],
)
def test_labels_that_no_variable_can_have_are_refused(labels: tuple[str, ...], sentence: str) -> None:
    databases = {label: Database(label=label, type="csv", uri="x") for label in labels}

    with pytest.raises(InputMissing) as refused:
        variables_4(databases=databases)

    assert str(refused.value).startswith(sentence)


@pytest.mark.parametrize("site", [{"A": "\ud800"}, {"\ud800": "a"}, {"": "a"}])
def test_what_no_decoder_could_read_is_refused(site: dict[str, str]) -> None:
    with pytest.raises(InputMissing, match="can't be set for the algorithm"):
        variables_4(site=site)


# --- What is read before a wrapper decodes ----------------------------------------------------


def test_what_is_read_early_is_plain_unless_the_decoder_would_change_it() -> None:
    site = {
        "OMP_NUM_THREADS": "2",
        "LANG": "C.UTF-8",
        "LD_LIBRARY_PATH": "/opt/lib",
        "OPENBLAS_CORETYPE": "SKYLAKEX",
        "TZ": "\0",
        "PATHOLOGY": "2",
    }

    variables = variables_4(site=site)

    assert ("2", "C.UTF-8", "/opt/lib") == tuple(map(variables.get, list(site)[:3]))
    for name in list(site)[3:]:
        assert environment.encode(site[name]) == variables[name]


# --- Generation 5 -----------------------------------------------------------------------------


def test_a_computation_of_generation_5_has_exactly_these_variables() -> None:
    variables = variables_5(dataframes=[("a",), ("b", "c")], token="eyJ.x.y")

    assert {
        "INPUT_FILE": "/app/vantage6/task/input",
        "OUTPUT_FILE": "/app/vantage6/task/output",
        "SESSION_FOLDER": "/app/vantage6/task/session",
        "SESSION_FILE": "/app/vantage6/task/session/session_state.parquet",
        "HOST": "http://127.0.0.1",
        "PORT": "7654",
        "API_PATH": "",
        "ALGORITHM_METHOD": "partial",
        "FUNCTION_ACTION": "federated_compute",
        "USER_REQUESTED_DATAFRAMES": "a;b,c",
        "CONTAINER_TOKEN": "eyJ.x.y",
    } == opened(variables)
    assert "eyJ.x.y" == variables["CONTAINER_TOKEN"]
    assert environment.encode("a;b,c") == variables["USER_REQUESTED_DATAFRAMES"]


def test_an_extraction_is_told_of_its_database_and_of_no_dataframes() -> None:
    database = Database(
        label="a", type="sql", uri="sqlite:///a", options={"env": {"password": "ABCDEFGH", "user": "me"}}
    )

    variables = variables_5(database=database)

    assert ("sqlite:///a", "sql") == (decoded(variables["DATABASE_URI"]), decoded(variables["DATABASE_TYPE"]))
    assert "USER_REQUESTED_DATAFRAMES" not in variables
    # Plain, as vantage6 has secrets; but one that the decoder would change is given back by it.
    assert "me" == variables["DB_PARAM_USER"]
    assert environment.encode("ABCDEFGH") == variables["DB_PARAM_PASSWORD"]


def test_a_site_sets_only_what_is_not_set_already() -> None:
    variables = opened(variables_5(site={"HOST": "http://elsewhere", "port": "1", "Minimum": "3"}, token="t"))

    assert "http://127.0.0.1" == variables["HOST"]
    assert "port" not in variables
    assert "3" == variables["Minimum"]
