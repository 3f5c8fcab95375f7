"""A call is laid out as vantage6 lays it out, and what it left is understood and kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from tests.federation import LOCAL0, seats
from tests.unit.dialects.vantage6.test_environment import opened
from tests.unit.dialects.vantage6.world import FolderDesk, PaperGate, ticket_of

from atoll.dialects.vantage6.body import Action, opening_body_4, opening_body_5
from atoll.dialects.vantage6.convention import Convention
from atoll.dialects.vantage6.rest import Door
from atoll.dialects.vantage6.wrapping import WRAPPER
from atoll.engine.ports import Database, Folder, Place
from atoll.engine.running import Reply, Style
from atoll.model.errors import AlgorithmFailed, InputMissing, ReplyInvalid
from atoll.model.work import Role, Seat, Work

FOUR = Convention(generation=4, package="v6_average")
FIVE = Convention(generation=5, package="v6_average")
IN_R = Convention(generation=5, command=("Rscript", "/computation/run.R"))
TICKET = ticket_of()
CSV = Database(label="default", type="csv", uri="/data/a.csv")
SQL = Database(label="registry", type="sql", uri="sqlite:///b", options={"query": "SELECT 1"})
DONE = Reply(output=b"")


@pytest.fixture
def desk(tmp_path: Path) -> FolderDesk:
    """A desk at a site with two databases."""
    return FolderDesk(tmp_path, databases={"default": CSV, "registry": SQL})


def made(step: int, name: str) -> dict[int, bytes]:
    """What a desk remembers of a dataframe."""
    return {step: json.dumps({"dataframe": name, "version": 1, "columns": []}).encode()}


def claims(text: str) -> dict[str, Any]:
    """What a token says."""
    said: dict[str, Any] = jwt.decode(text, options={"verify_signature": False})["sub"]
    return said


# --- How it is started ------------------------------------------------------------------------


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("convention", [FOUR, FIVE])
def test_a_call_is_a_process_of_its_own_whatever_its_role(convention: Convention, role: Role) -> None:
    style, command = convention.launch(replace(TICKET, role=role))

    assert (Style.CALL, WRAPPER[:2]) == (style, command[:2])
    assert WRAPPER[2] in command[2]
    # Only data steps have columns, and only generation 5 has data steps.
    assert (convention is FIVE) == ("columns" in command[2])


@pytest.mark.parametrize(
    "command", [("Rscript", "/computation/run.R"), ("python", "-c", "print(1)"), ("x", "-c")]
)
def test_what_starts_no_wrapper_is_started_as_it_is(command: tuple[str, ...]) -> None:
    for generation in (4, 5):
        assert (Style.CALL, command) == Convention(generation=generation, command=command).launch(TICKET)


def test_there_are_two_generations() -> None:
    with pytest.raises(ValueError, match=r"^there is no generation 3 of vantage6$"):
        Convention(generation=3)


def test_the_folders_are_where_containers_have_them() -> None:
    assert {Folder.JOB: "/mnt/data"} == FOUR.targets(LOCAL0)
    assert {
        Folder.JOB: "/app/vantage6/task",
        Folder.WORKBENCH: "/app/vantage6/task/session",
    } == FIVE.targets(LOCAL0)


def test_no_files_travel(desk: FolderDesk) -> None:
    assert Place(folder=Folder.BASE, name="local1/x") == FOUR.place(TICKET, Seat("local1"), "x")
    assert () == FOUR.carried(TICKET, [b""], desk)
    FOUR.receive(replace(TICKET, work=Work.DELIVER), [b""], desk)
    assert {} == desk.outputs


# --- Generation 4 -----------------------------------------------------------------------------


def test_a_call_of_generation_4_has_its_input_its_token_and_all_databases(desk: FolderDesk) -> None:
    desk.targets = FOUR.targets(LOCAL0)
    body = opening_body_4("partial", kwargs={"x": 1}, databases=["registry", {"label": "default"}])

    request = FOUR.compose(TICKET, [body], desk)

    variables = opened({**request.environment})
    folder = "/mnt/data/task-000000007"
    assert [f"{folder}/input", f"{folder}/output", f"{folder}/token"] == [
        variables[f"{name}_FILE"] for name in ("INPUT", "OUTPUT", "TOKEN")
    ]
    assert ("registry,default", "default,registry") == (
        variables["USER_REQUESTED_DATABASE_LABELS"],
        variables["DB_LABELS"],
    )
    assert ("v6_average", "SELECT 1") == (request.environment["PKG_NAME"], variables["REGISTRY_QUERY"])
    written = desk.read(Folder.JOB, "task-000000007/input")
    assert {"method": "partial", "args": [], "kwargs": {"x": 1}} == json.loads(written or b"")
    shown = claims((desk.read(Folder.JOB, "task-000000007/token") or b"").decode())
    assert ("v6-average", [{"label": "registry"}, {"label": "default"}]) == (
        shown["image"],
        shown["databases"],
    )


def test_where_nothing_isolates_the_files_are_where_they_lie(desk: FolderDesk) -> None:
    variables = opened({**FOUR.compose(TICKET, [opening_body_4("f")], desk).environment})

    assert Path(variables["INPUT_FILE"]).exists()
    assert Path(variables["TOKEN_FILE"]).read_text().count(".") == 2
    assert desk.inside(Folder.TEMPORARY) == variables["TEMPORARY_FOLDER"]


def test_a_call_that_names_no_database_gets_the_sites_first(desk: FolderDesk) -> None:
    request = FOUR.compose(TICKET, [opening_body_4("f")], desk)

    assert "default" == opened({**request.environment})["USER_REQUESTED_DATABASE_LABELS"]


def test_a_site_without_databases_can_be_called(tmp_path: Path) -> None:
    request = FOUR.compose(TICKET, [opening_body_4("f")], FolderDesk(tmp_path))

    assert "" == opened({**request.environment})["USER_REQUESTED_DATABASE_LABELS"]


def test_a_database_that_the_site_does_not_have_is_missed_by_name(desk: FolderDesk) -> None:
    with pytest.raises(InputMissing) as missing:
        FOUR.compose(TICKET, [opening_body_4("f", databases=["other"])], desk)

    assert "this site has no database 'other': it offers 'default', 'registry'" == str(missing.value)


def test_the_record_of_a_call_holds_no_secret(desk: FolderDesk) -> None:
    request = FOUR.compose(TICKET, [opening_body_4("f", [1])], desk)

    token = (desk.read(Folder.JOB, "task-000000007/token") or b"").decode()
    told = (request.told or b"").decode()
    assert {"method": "f", "args": [1], "kwargs": {}} == json.loads(told)["input"]
    assert desk.token not in told
    assert token not in told
    assert b"" == request.body


def test_what_is_inherited_is_guarded_from_the_decoder(desk: FolderDesk) -> None:
    convention = replace(FOUR, inherited={"OPENBLAS_CORETYPE": "SKYLAKEX", "LANG": "C.UTF-8"})

    request = convention.compose(TICKET, [opening_body_4("f")], desk)

    assert "SKYLAKEX" == opened({**request.environment})["OPENBLAS_CORETYPE"]
    assert "LANG" not in request.environment


def test_an_algorithm_in_another_language_has_no_package(desk: FolderDesk) -> None:
    convention = Convention(generation=4, command=("Rscript", "/computation/run.R"))

    assert "PKG_NAME" not in convention.compose(TICKET, [opening_body_4("f")], desk).environment


def test_the_other_generation_is_not_called(desk: FolderDesk) -> None:
    with pytest.raises(
        InputMissing, match=r"^generation 4 of vantage6 was asked for, and the algorithm is of"
    ):
        FIVE.compose(TICKET, [opening_body_4("f")], desk)


# --- Generation 5 -----------------------------------------------------------------------------


def test_a_federated_function_of_generation_5_gets_dataframes_and_no_token(desk: FolderDesk) -> None:
    desk.targets = FIVE.targets(LOCAL0)
    desk.outputs = made(0, "a") | made(1, "b")
    body = opening_body_5(Action.FEDERATED_COMPUTE, "partial", {"x": 1}, dataframes=["b", ["a", "b"]])

    request = FIVE.compose(TICKET, [body], desk)

    variables = opened({**request.environment})
    assert ("/app/vantage6/task/input", "/app/vantage6/task/session") == (
        variables["INPUT_FILE"],
        variables["SESSION_FOLDER"],
    )
    assert ("partial", "federated_compute", "b;a,b") == (
        variables["ALGORITHM_METHOD"],
        variables["FUNCTION_ACTION"],
        variables["USER_REQUESTED_DATAFRAMES"],
    )
    assert ("3", "1", "1", "1") == tuple(
        variables[f"{name}_ID"] for name in ("TASK", "NODE", "ORGANIZATION", "COLLABORATION")
    )
    assert not {"CONTAINER_TOKEN", "DATABASE_URI", "TOKEN_FILE", "DB_LABELS"} & set(variables)
    assert b'{"x": 1}' == desk.read(Folder.JOB, "input")
    assert None is FIVE.door(TICKET, [body], desk, PaperGate())


def test_a_central_function_has_a_token_that_says_which_dataframes_it_has(desk: FolderDesk) -> None:
    desk.outputs = made(0, "a") | made(1, "b")
    body = opening_body_5(Action.CENTRAL_COMPUTE, "central", dataframes=["b", ["a", "b"]])
    ticket = ticket_of(seats(3)[2])

    request = FIVE.compose(ticket, [body], desk)

    shown = claims(request.environment["CONTAINER_TOKEN"])
    b, a = (
        {"label": name, "type": "dataframe", "dataframe_id": number} for name, number in (("b", 2), ("a", 1))
    )
    assert [[b], [a, b]] == shown["databases"]
    assert (3, 1) == (shown["organization_id"], shown["session_id"])
    assert isinstance(FIVE.door(ticket, [body], desk, PaperGate()), Door)


def test_every_function_of_generation_4_has_a_door(desk: FolderDesk) -> None:
    body = opening_body_4("partial", databases=["registry"])

    assert isinstance(FOUR.door(TICKET, [body], desk, PaperGate()), Door)


@pytest.mark.parametrize(("outputs", "named"), [({}, ""), (made(0, "a") | made(1, "b"), "a")])
def test_a_call_that_names_no_dataframe_gets_the_sites_first(
    desk: FolderDesk, outputs: dict[int, bytes], named: str
) -> None:
    # A step of another dialect leaves other things.
    desk.outputs = {7: b"[1]", 8: b'{"dataframe": "x"}', **outputs}

    request = FIVE.compose(TICKET, [opening_body_5(Action.FEDERATED_COMPUTE, "f")], desk)

    assert named == opened({**request.environment})["USER_REQUESTED_DATAFRAMES"]


def test_a_dataframe_that_the_site_does_not_have_is_missed_by_name(desk: FolderDesk) -> None:
    body = opening_body_5(Action.CENTRAL_COMPUTE, "f", dataframes=["x"])

    with pytest.raises(InputMissing, match=r"^this site has no dataframe 'x': it has none\. Extract it"):
        FIVE.compose(TICKET, [body], desk)
    desk.outputs = made(0, "a") | made(1, "b")
    with pytest.raises(InputMissing, match="it has 'a', 'b'"):
        FIVE.compose(TICKET, [body], desk)
    assert isinstance(FIVE.door(TICKET, [body], desk, PaperGate()), Door)


def test_an_extraction_gets_its_database(desk: FolderDesk) -> None:
    body = opening_body_5(Action.DATA_EXTRACTION, "extract", {"year": 3}, database="registry", dataframe="r")

    request = FIVE.compose(TICKET, [body], desk)

    variables = opened({**request.environment})
    assert ("sqlite:///b", "sql", "v6_average") == (
        variables["DATABASE_URI"],
        variables["DATABASE_TYPE"],
        variables["PKG_NAME"],
    )
    assert b'{"year": 3}' == desk.read(Folder.JOB, "input")


@pytest.mark.parametrize(
    ("arguments", "given"), [({}, {"query": "SELECT 1"}), ({"query": "SELECT 2"}, {"query": "SELECT 2"})]
)
def test_where_no_function_is_named_the_reader_for_the_type_extracts(
    desk: FolderDesk, arguments: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    body = opening_body_5(Action.DATA_EXTRACTION, "", arguments, database="registry")

    request = FIVE.compose(TICKET, [body], desk)

    assert ("vantage6.algorithm.data_extraction", "read_sql_database") == (
        request.environment["PKG_NAME"],
        opened({**request.environment})["ALGORITHM_METHOD"],
    )
    assert given == json.loads(desk.read(Folder.JOB, "input") or b"")
    assert "registry" == json.loads(request.told or b"")["dataframe"]


def test_the_first_database_is_extracted_where_none_is_named(desk: FolderDesk, tmp_path: Path) -> None:
    body = opening_body_5(Action.DATA_EXTRACTION)

    assert b'"dataframe": "default"' in (FIVE.compose(TICKET, [body], desk).told or b"")
    with pytest.raises(InputMissing, match=r"^this site has no database: it offers none$"):
        FIVE.compose(TICKET, [body], FolderDesk(tmp_path))


def test_a_preparation_works_on_a_dataframe_and_keeps_its_name(desk: FolderDesk) -> None:
    desk.outputs = made(0, "a")
    body = opening_body_5(Action.PREPROCESSING, "select_rows")

    request = FIVE.compose(TICKET, [body], desk)

    assert "a" == opened({**request.environment})["USER_REQUESTED_DATAFRAMES"]
    assert "a" == json.loads(request.told or b"")["dataframe"]
    other = opening_body_5(Action.PREPROCESSING, "select_rows", dataframe="b")
    assert "b" == json.loads(FIVE.compose(TICKET, [other], desk).told or b"")["dataframe"]


@pytest.mark.parametrize("dataframes", [None, [], [[]]])
def test_a_preparation_of_nothing_is_told_so(desk: FolderDesk, dataframes: list[list[str]] | None) -> None:
    body = opening_body_5(Action.PREPROCESSING, "select_rows", dataframes=dataframes)

    with pytest.raises(InputMissing, match=r"^select_rows prepares a dataframe, and this site has none$"):
        FIVE.compose(TICKET, [body], desk)


# --- What it left -----------------------------------------------------------------------------


def composed(
    desk: FolderDesk, convention: Convention = FOUR, body: bytes = opening_body_4("partial")
) -> None:
    """Let a call begin."""
    convention.compose(TICKET, [body], desk)


@pytest.mark.parametrize("output", [b'{"x": 1}', b"null", b"[NaN, 1e400]", b' "\xc3\xa9"\n'])
def test_the_output_is_passed_on_as_it_was_written(desk: FolderDesk, output: bytes) -> None:
    composed(desk)
    desk.write(Folder.JOB, "task-000000007/output", output)

    answer = FOUR.parse(TICKET, DONE, desk)

    assert (output, True, ()) == (answer.body, answer.final, answer.warnings)
    assert {} == desk.cache


def test_a_computation_of_generation_5_leaves_its_output_beside_its_input(desk: FolderDesk) -> None:
    composed(desk, FIVE, opening_body_5(Action.FEDERATED_COMPUTE, "f"))
    desk.write(Folder.JOB, "output", b"3")

    assert b"3" == FIVE.parse(TICKET, DONE, desk).body


@pytest.mark.parametrize("left", [None, b""])
def test_an_output_that_is_not_there_is_missed(desk: FolderDesk, left: bytes | None) -> None:
    composed(desk)
    if left is not None:
        desk.write(Folder.JOB, "task-000000007/output", left)

    with pytest.raises(
        ReplyInvalid, match=r"^partial ended without an error and left no output: expected JSON"
    ):
        FOUR.parse(TICKET, DONE, desk)


@pytest.mark.parametrize("left", [b"Smith", b"{'Smith': 1}", b'"\xff Smith"', b"[" * 100_000, b"PAR1"])
def test_an_output_that_is_no_json_is_told_of_without_a_word_of_it(desk: FolderDesk, left: bytes) -> None:
    composed(desk)
    desk.write(Folder.JOB, "task-000000007/output", left)

    with pytest.raises(ReplyInvalid, match=r"^partial left output that is not JSON \(\w+\)") as refused:
        FOUR.parse(TICKET, DONE, desk)
    assert "Smith" not in str(refused.value)


def test_a_call_that_failed_is_told_of_by_type_and_place(desk: FolderDesk) -> None:
    composed(desk)
    desk.write(Folder.JOB, "task-000000007/output", b"1")
    place = '  File "/computation/v6_average/__init__.py", line 3, in g\n'
    log = f"Traceback (most recent call last):\n{place}KeyError: 3\n"

    with pytest.raises(AlgorithmFailed) as failed:
        FOUR.parse(TICKET, Reply(output=b"error > 3", exit_code=1, log_tail=log), desk)

    assert str(failed.value) == (
        "partial failed with KeyError (v6_average/__init__.py:3 in g); the traceback is in this site's log"
    )


# --- Dataframes -------------------------------------------------------------------------------

EXTRACT = opening_body_5(Action.DATA_EXTRACTION, "extract", dataframe="d")
COLUMNS = [{"name": "age", "dtype": "int64"}]


def test_a_table_stays_at_the_site_and_its_columns_are_told(desk: FolderDesk) -> None:
    for version in (1, 2):
        FIVE.compose(ticket_of(step=4), [EXTRACT], desk)
        desk.write(Folder.JOB, "output", b"table %d" % version)
        desk.write(Folder.JOB, "columns", json.dumps(COLUMNS).encode())

        answer = FIVE.parse(ticket_of(step=4), DONE, desk)

        told = {"dataframe": "d", "version": version, "columns": COLUMNS}
        assert isinstance(answer.body, bytes)
        assert told == json.loads(answer.body)
        assert answer.final
        assert () == answer.warnings
        assert b"table %d" % version == desk.read(Folder.WORKBENCH, "d.parquet")
    assert [4] == list(desk.outputs)
    later = opening_body_5(Action.FEDERATED_COMPUTE, "f", dataframes=["d"])
    assert "d" == opened({**FIVE.compose(TICKET, [later], desk).environment})["USER_REQUESTED_DATAFRAMES"]


@pytest.mark.parametrize(
    "columns",
    [
        None,
        b"",
        b"{",
        b"[" * 100_000,
        b"{}",
        b"[1]",
        b'[{"name": "a"}]',
        b'[{"name": "a", "dtype": 1}]',
        b'[{"name": "a", "dtype": "b", "values": "1 2 3"}]',
    ],
)
def test_an_output_that_is_no_table_is_unexpected(desk: FolderDesk, columns: bytes | None) -> None:
    composed(desk, FIVE, EXTRACT)
    desk.write(Folder.JOB, "output", b"PAR1 a table PAR1")
    if columns is not None:
        desk.write(Folder.JOB, "columns", columns)

    with pytest.raises(
        ReplyInvalid, match=r"^extract left unexpected output: expected a table in the format"
    ):
        FIVE.parse(TICKET, DONE, desk)
    assert {} == desk.outputs


def test_columns_without_a_table_are_unexpected(desk: FolderDesk) -> None:
    composed(desk, FIVE, EXTRACT)
    desk.write(Folder.JOB, "columns", json.dumps(COLUMNS).encode())

    with pytest.raises(ReplyInvalid, match=r"^extract left unexpected output"):
        FIVE.parse(TICKET, DONE, desk)
    assert {} == desk.outputs


def test_a_table_in_another_language_is_known_by_its_format(desk: FolderDesk) -> None:
    composed(desk, IN_R, EXTRACT)
    desk.write(Folder.JOB, "output", b"PAR1 a table PAR1")

    answer = IN_R.parse(TICKET, DONE, desk)

    assert b'{"dataframe": "d", "version": 1, "columns": null}' == answer.body
    assert ("left a table whose columns only its own language can tell",) == answer.warnings


@pytest.mark.parametrize("left", [None, b"PAR1PAR1", b"a,b\n1,2\n", b"PAR1 a table", b"a table PAR1"])
def test_what_is_no_table_in_another_language_is_unexpected_too(desk: FolderDesk, left: bytes | None) -> None:
    composed(desk, IN_R, EXTRACT)
    if left is not None:
        desk.write(Folder.JOB, "output", left)

    with pytest.raises(ReplyInvalid, match=r"^extract left unexpected output"):
        IN_R.parse(TICKET, DONE, desk)
