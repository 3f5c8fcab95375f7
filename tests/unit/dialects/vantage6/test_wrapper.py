"""The real wrappers of both generations read what a call is given, and leave what it is asked for."""

from __future__ import annotations

import json
import sqlite3
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tests import environments
from tests.unit.dialects.vantage6.world import FolderDesk, Wrapped, sparql, ticket_of

from atoll.dialects.vantage6.body import Action, opening_body_4, opening_body_5
from atoll.dialects.vantage6.built_in import PACKAGE_OF_PREPARER
from atoll.dialects.vantage6.convention import Convention
from atoll.dialects.vantage6.manifest import read_manifest
from atoll.engine.ports import Database, Folder
from atoll.model.errors import AlgorithmFailed, ReplyInvalid

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]

FOUR = Convention(generation=4, package="v6-average-py")
FIVE = Convention(generation=5, package="v6_average")
#: A package's name may be one that no statement could import.
SOURCES = {
    "v6-average-py/__init__.py": """
        import os, signal, sys
        from vantage6.algorithm.tools.decorators import data, metadata
        from vantage6.algorithm.tools.exceptions import PrivacyThresholdViolation
        from vantage6.algorithm.tools.util import get_env_var, info

        @data(5)
        def read(*tables):
            info("Smith is 34")
            return [[list(table.columns), table.to_numpy().tolist()] for table in tables]

        @data(2)
        def both(first, second):
            return [list(first.columns), list(second.columns)]

        def folder(label):
            return sorted(os.listdir(os.environ[f"{label.upper()}_DATABASE_URI"]))

        @metadata
        def about(metadata):
            with open(metadata.temporary_directory / "x", "w") as file:
                file.write("x")
            return [metadata.task_id, metadata.node_id, metadata.organization_id, metadata.collaboration_id]

        def environment():
            return dict(os.environ)

        def minimum():
            return get_env_var("AVERAGE_MINIMUM", as_type="int")

        def echo(*args, **kwargs):
            return [args, kwargs]

        def violate(name):
            raise PrivacyThresholdViolation(f"only {name} is left")

        def leave(status):
            sys.exit(status)

        def die():
            os.kill(os.getpid(), signal.SIGKILL)

        def numbers():
            return [float("nan"), float("-inf")]

        def object_():
            return object()
    """,
    "v6_average/__init__.py": """
        import os
        import pandas as pd
        import pyarrow as pa
        from vantage6.algorithm.decorator import (
            central, data_extraction, dataframe, dataframes, federated, metadata, preprocessing,
        )

        @data_extraction
        def connect(connection_details):
            return pd.DataFrame({key: [str(value)] for key, value in connection_details.items()})

        @data_extraction
        def arrow(connection_details, size):
            return pa.table({"größe": list(range(size)), "when": pa.array([0] * size, pa.timestamp("us"))})

        @data_extraction
        def no_table(connection_details):
            return {"Smith": 34}

        @preprocessing
        def double(df, column):
            df[column] = df[column] * 2
            return df

        @federated
        @dataframe(2, "multiple")
        def read(first, second, several, scale=1):
            return [[list(first.columns), list(second.columns), sorted(several)], scale * len(first)]

        @federated
        @dataframes
        def total(tables, column):
            return int(sum(table[column].sum() for table in tables.values()))

        @federated
        def environment():
            return dict(os.environ)

        @central
        @metadata
        def about(metadata):
            return [metadata.task_id, metadata.action, metadata.token.count("."), str(metadata.temporary_directory)]

        def plain():
            return 1
    """,
}


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The algorithms' folder."""
    folder = tmp_path_factory.mktemp("code")
    for name, text in SOURCES.items():
        (folder / name).parent.mkdir()
        (folder / name).write_text(textwrap.dedent(text))
    return folder


@pytest.fixture(scope="module")
def four(code: Path) -> Iterator[Wrapped]:
    """An interpreter with generation 4."""
    wrapped = Wrapped(environments.python_of("vantage6-4"), code)
    yield wrapped
    wrapped.close()


@pytest.fixture(scope="module")
def five(code: Path) -> Iterator[Wrapped]:
    """An interpreter with generation 5."""
    wrapped = Wrapped(environments.python_of("vantage6-5"), code)
    yield wrapped
    wrapped.close()


@pytest.fixture(scope="module")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Database]]:
    """A database of each type that needs no server of its own; each with a column of its own."""
    folder = tmp_path_factory.mktemp("data")
    frames = {
        name: pd.DataFrame({name: [1, 2], "b": [3.5, 4.5]}) for name in ("csv", "parquet", "sql", "sparql")
    }
    frames["csv"].to_csv(folder / "a.csv", index=False)
    frames["parquet"].to_parquet(folder / "a.parquet")
    with pd.ExcelWriter(folder / "a.xlsx") as book:
        pd.DataFrame({"other": [0]}).to_excel(book, sheet_name="first", index=False)
        pd.DataFrame({"excel": [1, 2]}).to_excel(book, sheet_name="second", index=False)
    connection = sqlite3.connect(folder / "a.db")
    frames["sql"].to_sql("t", connection, index=False)
    connection.close()
    (folder / "d").mkdir()
    (folder / "d" / "x.nii").touch()
    with sparql(frames["sparql"].to_csv(index=False)) as address:
        made = [
            Database(label="größe", type="csv", uri=str(folder / "a.csv")),
            Database(label="p", type="parquet", uri=str(folder / "a.parquet")),
            Database(label="e", type="excel", uri=str(folder / "a.xlsx"), options={"sheet_name": "second"}),
            Database(label="s", type="sql", uri=str(folder / "a.db"), options={"query": "SELECT * FROM t"}),
            Database(
                label="triples", type="sparql", uri=address, options={"query": "SELECT * WHERE {?s ?p ?o}"}
            ),
            Database(label="pictures", type="folder", uri=str(folder / "d")),
        ]
        yield {one.label: one for one in made}


@pytest.fixture
def desk(tmp_path: Path, databases: dict[str, Database]) -> FolderDesk:
    """A desk of a site that has them all."""
    return FolderDesk(tmp_path, databases=databases)


# --- Generation 4 -----------------------------------------------------------------------------


@pytest.mark.needs("vantage6-4")
def test_every_type_of_database_is_read_last_one_first(four: Wrapped, desk: FolderDesk) -> None:
    labels = ["größe", "p", "e", "s", "triples"]

    tables = four.value(FOUR, opening_body_4("read", databases=labels), desk)

    columns = [["csv", "b"], ["parquet", "b"], ["excel"], ["sql", "b"], ["sparql", "b"]]
    assert columns[::-1] == [head for head, _ in tables]
    assert [[1, 2]] * 5 == [[row[0] for row in rows] for _, rows in tables]


@pytest.mark.needs("vantage6-4")
def test_what_a_request_says_of_a_database_goes_before_what_the_site_says(
    four: Wrapped, desk: FolderDesk
) -> None:
    asked: list[dict[str, Any]] = [
        {
            "label": "p",
            "preprocessing": [
                {"function": "filter_range", "parameters": {"column": "b", "min_": 4, "max_": 9}}
            ],
        },
        {"label": "s", "query": "SELECT b AS c FROM t"},
    ]

    assert [["c"], ["parquet", "b"]] == four.value(FOUR, opening_body_4("both", databases=asked), desk)


@pytest.mark.needs("vantage6-4")
def test_a_folder_is_where_its_variable_says(four: Wrapped, desk: FolderDesk) -> None:
    body = opening_body_4("folder", ["pictures"], databases=["pictures"])

    assert ["x.nii"] == four.value(FOUR, body, desk)


@pytest.mark.needs("vantage6-4")
def test_a_call_knows_who_it_is_and_has_a_folder_of_its_own(four: Wrapped, desk: FolderDesk) -> None:
    assert [3, 1, 1, 1] == four.value(FOUR, opening_body_4("about"), desk)
    assert b"x" == desk.read(Folder.TEMPORARY, "x")


@pytest.mark.needs("vantage6-4")
def test_every_variable_arrives_as_it_was_set(four: Wrapped, desk: FolderDesk) -> None:
    values = ["ABCDEFGH", "MFRGG!!!", "SKYLAKEX", "größe", "a\nb", "", "22222222", "=", "!"]
    site = {f"word_{number}": value for number, value in enumerate(values)}
    desk.environment = {**site, "AVERAGE_MINIMUM": "3", "OPENBLAS_CORETYPE": "SKYLAKEX", "TZ": "UTC"}
    inherited = {"HOME": "ABCDEFGH", "LANG": "C.UTF-8"}
    convention = Convention(generation=4, package="v6-average-py", inherited=inherited)

    seen = four.value(convention, opening_body_4("environment"), desk)

    assert {**desk.environment, "HOME": "ABCDEFGH"} == {
        name: seen[name] for name in (*desk.environment, "HOME")
    }
    assert 3 == four.value(convention, opening_body_4("minimum"), desk)


@pytest.mark.needs("vantage6-4")
def test_arguments_arrive_and_results_leave_as_they_are(four: Wrapped, desk: FolderDesk) -> None:
    body = opening_body_4("echo", ["é", 1.5, None], {"x": {"y": [True]}})

    assert [["é", 1.5, None], {"x": {"y": [True]}}] == four.value(FOUR, body, desk)
    assert b"[NaN, -Infinity]" == four.run(FOUR, opening_body_4("numbers"), desk).body


@pytest.mark.needs("vantage6-4")
@pytest.mark.parametrize(
    ("method", "args", "sentence"),
    [
        (
            "violate",
            ["Smith"],
            "violate failed with PrivacyThresholdViolation (v6-average-py/__init__.py:35 in violate);",
        ),
        ("leave", [3], "leave ended with exit status 3; what it wrote is in this site's log"),
        ("die", [], "die was ended by the signal SIGKILL; what it wrote is in this site's log"),
        (
            "both",
            [],
            "both ended with exit status 1: it takes 2 tables and was given 1; what it wrote is in this site's log",
        ),
        ("object_", [], "object_ returned what can't be written as a result (TypeError); the traceback is"),
        ("absent", [], "v6-average-py has no function named absent; the traceback is in this site's log"),
    ],
)
def test_a_failure_is_told_by_its_type_and_place(
    four: Wrapped, desk: FolderDesk, method: str, args: list[Any], sentence: str
) -> None:
    with pytest.raises(AlgorithmFailed) as failed:
        four.run(FOUR, opening_body_4(method, args), desk)

    assert str(failed.value).startswith(sentence)
    assert "Smith" not in str(failed.value)


@pytest.mark.needs("vantage6-4")
def test_a_call_that_leaves_without_a_result_is_told_so(four: Wrapped, desk: FolderDesk) -> None:
    with pytest.raises(ReplyInvalid, match=r"^leave ended without an error and left no output"):
        four.run(FOUR, opening_body_4("leave", [0]), desk)


@pytest.mark.needs("vantage6-4")
def test_the_command_of_generation_4_runs_as_it_is(four: Wrapped, desk: FolderDesk) -> None:
    request = FOUR.compose(ticket_of(), [opening_body_4("echo")], desk)

    reply = four.cold(FOUR, request)

    # What a wrapper prints belongs into the log.
    assert (b"", True) == (reply.output, reply.log_tail.startswith("info > wrapper for v6-average-py\n"))
    assert b"[[], {}]" == FOUR.parse(ticket_of(), reply, desk).body


# --- Generation 5 -----------------------------------------------------------------------------


def columns(answer: Any) -> list[str]:
    """The names that a data step told of."""
    return [column["name"] for column in answer["columns"]]


@pytest.mark.needs("vantage6-5")
def test_every_type_of_database_becomes_a_dataframe(five: Wrapped, desk: FolderDesk) -> None:
    labels = {"größe": ["csv", "b"], "p": ["parquet", "b"], "e": ["excel"], "s": ["sql", "b"]}
    labels["triples"] = ["sparql", "b"]

    for step, (label, names) in enumerate(labels.items()):
        answer = five.value(FIVE, opening_body_5(Action.DATA_EXTRACTION, database=label), desk, step=step)
        assert (label, 1, names) == (answer["dataframe"], answer["version"], columns(answer))

    body = opening_body_5(
        Action.FEDERATED_COMPUTE, "read", {"scale": 2}, dataframes=["s", "größe", ["p", "e"]]
    )
    assert [[["sql", "b"], ["csv", "b"], ["e", "p"]], 4] == five.value(FIVE, body, desk, step=9)


@pytest.mark.needs("vantage6-5")
def test_an_extraction_of_the_algorithms_own_is_told_of_its_database(five: Wrapped, desk: FolderDesk) -> None:
    options = {"env": {"password": "ABCDEFGH", "user": "me"}}
    desk.databases = {"a": Database(label="a", type="other", uri="jdbc:x", options=options)}

    answer = five.value(FIVE, opening_body_5(Action.DATA_EXTRACTION, "connect"), desk)

    assert ["uri", "type", "USER", "PASSWORD"] == sorted(columns(answer), key=len)
    kept = pd.read_parquet(desk.path(Folder.WORKBENCH, "a.parquet"))
    assert {"uri": "jdbc:x", "type": "other", "USER": "me", "PASSWORD": "ABCDEFGH"} == kept.iloc[0].to_dict()


@pytest.mark.needs("vantage6-5")
def test_dataframes_are_prepared_version_by_version(five: Wrapped, desk: FolderDesk) -> None:
    extract = opening_body_5(Action.DATA_EXTRACTION, "arrow", {"size": 4}, dataframe="größe")
    double = opening_body_5(Action.PREPROCESSING, "double", {"column": "größe"})
    select = opening_body_5(
        Action.PREPROCESSING,
        "select_rows",
        {"query": "größe > 2"},
        package=PACKAGE_OF_PREPARER["select_rows"],
    )
    total = opening_body_5(Action.FEDERATED_COMPUTE, "total", {"column": "größe"})

    told = [
        five.value(FIVE, body, desk, step=step) for step, body in enumerate((extract, double, select, total))
    ]

    assert [{"name": "größe", "dtype": "int64"}, {"name": "when", "dtype": "timestamp[us]"}] == told[0][
        "columns"
    ]
    assert [1, 2, 3] == [one["version"] for one in told[:3]]
    assert 4 + 6 == told[3]
    state = pd.read_parquet(desk.path(Folder.WORKBENCH, "session_state.parquet"))
    assert ["action", "file", "timestamp", "message", "dataframe"] == list(state.columns)
    assert ["data_extraction", "preprocessing", "preprocessing"] == list(state["action"])
    assert {"größe.parquet"} == set(state["file"])


@pytest.mark.needs("vantage6-5")
def test_only_a_central_function_has_a_token(five: Wrapped, desk: FolderDesk) -> None:
    about = five.value(FIVE, opening_body_5(Action.CENTRAL_COMPUTE, "about"), desk)
    seen = five.value(FIVE, opening_body_5(Action.FEDERATED_COMPUTE, "environment"), desk)

    assert ["3", "central_compute", 2, desk.inside(Folder.WORKBENCH)] == about
    assert "CONTAINER_TOKEN" not in seen
    assert ("http://127.0.0.1", "8080", "") == (seen["HOST"], seen["PORT"], seen["API_PATH"])


@pytest.mark.needs("vantage6-5")
@pytest.mark.parametrize(
    ("action", "method", "sentence"),
    [
        (Action.FEDERATED_COMPUTE, "about", "about failed with SessionActionMismatchError"),
        (
            Action.FEDERATED_COMPUTE,
            "plain",
            "plain ended with exit status 1: it has none of vantage6's decorators;",
        ),
        (Action.DATA_EXTRACTION, "no_table", "no_table failed with DataTypeError"),
        (
            Action.FEDERATED_COMPUTE,
            "read",
            "read ended with exit status 1: it takes 3 tables and was given 1;",
        ),
        (Action.FEDERATED_COMPUTE, "absent", "v6_average has no function named absent;"),
    ],
)
def test_a_failure_of_generation_5_is_told_by_its_type(
    five: Wrapped, desk: FolderDesk, action: Action, method: str, sentence: str
) -> None:
    with pytest.raises(AlgorithmFailed) as failed:
        five.run(FIVE, opening_body_5(action, method), desk)

    assert str(failed.value).startswith(sentence)


@pytest.mark.needs("vantage6-5")
def test_the_command_of_generation_5_runs_as_it_is(five: Wrapped, desk: FolderDesk) -> None:
    body = opening_body_5(Action.DATA_EXTRACTION, database="größe")
    request = FIVE.compose(ticket_of(), [body], desk)

    reply = five.cold(FIVE, request)

    assert isinstance(answer := FIVE.parse(ticket_of(), reply, desk).body, bytes)
    assert ["csv", "b"] == columns(json.loads(answer))


@pytest.mark.needs("vantage6-5")
def test_what_comes_with_generation_5_is_where_it_is_said_to_be() -> None:
    (installed,) = environments.python_of("vantage6-5").parent.parent.glob("lib/*/site-packages")
    for package in {"vantage6.algorithm.data_extraction", *PACKAGE_OF_PREPARER.values()}:
        stem = installed / package.replace(".", "/")
        path = stem / "__init__.py" if stem.is_dir() else stem.with_suffix(".py")
        found = read_manifest(package, {str(path.relative_to(installed)): path.read_text()})

        assert 5 == found.generation
        named = {name for name, where in PACKAGE_OF_PREPARER.items() if where == package}
        assert named <= {function.name for function in found.functions}
