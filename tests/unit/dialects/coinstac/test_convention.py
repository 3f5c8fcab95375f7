"""A script is called with exactly the document that COINSTAC would hand it, and its answer is understood."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.federation import LOCAL0, REMOTE, Heard, make_ticket

from atoll.dialects.coinstac.convention import Convention, opening_body
from atoll.engine.ports import Database, Folder, Place
from atoll.engine.running import Reply, Request, Style, whole
from atoll.hub.hub import Hub
from atoll.model.errors import AlgorithmFailed, InputMissing, JobRefused, ReplyInvalid
from atoll.model.work import Content, Message, MessageId, Role, Seat, Ticket, Work
from atoll.node.gateway.gate import JobGate
from atoll.node.shift import Shift
from atoll.runtimes.held import MemoryFile
from atoll.simulator.link import LocalLink, SeededDice, Turnstile
from atoll.stores.memory import MemoryBlobStore, MemoryRunStore

CALL = Convention(
    style=Style.CALL, site_command=("python", "local.py"), aggregator_command=("python", "remote.py")
)
SERVE = Convention(
    style=Style.SERVE, site_command=("python", "entry.py"), aggregator_command=("python", "entry.py")
)
ALONE = Convention(style=Style.CALL, site_command=("python", "local.py"))

LOCAL_STATE = (
    b'"state":{"baseDirectory":"/input/local0/simulatorRun","outputDirectory":"/output/local0/simulatorRun",'
    b'"cacheDirectory":"/tmp","transferDirectory":"/transfer/local0/simulatorRun","clientId":"local0",'
    b'"iteration":%d}'
)


@dataclass
class PaperDesk:
    """A seat's memory, with the folders that an isolated algorithm sees."""

    seat: Seat = LOCAL0
    cache: dict[str, bytes] = field(default_factory=dict)
    outputs: dict[int, bytes] = field(default_factory=dict)
    token: str = ""
    seed: int | None = None
    address: tuple[str, int] | None = None
    databases: Mapping[str, Database] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Any] | None = None

    def write(self, folder: Folder, name: str, content: bytes) -> None:
        """A computation finds no file that wasn't sent."""
        raise NotImplementedError

    def read(self, folder: Folder, name: str) -> bytes | None:
        """Files are sent as files, and not read."""
        raise NotImplementedError

    def keep(self, name: str, source: str) -> int:
        """A computation has no dataframes."""
        raise NotImplementedError

    def inside(self, folder: Folder) -> str:
        """The paths of COINSTAC's containers."""
        return {**CALL.targets(self.seat), Folder.TEMPORARY: "/tmp"}[folder]


def from_sites(*bodies: Content) -> tuple[Message, ...]:
    """What the sites sent to the aggregator."""
    return tuple(
        Message(id=MessageId(f"run.0.{number}"), sender=Seat(f"local{number}"), readers=(REMOTE,), body=body)
        for number, body in enumerate(bodies)
    )


def composed(convention: Convention, ticket: Ticket, bodies: Sequence[Content], desk: PaperDesk) -> bytes:
    """The document that a script is called with; all that a call is given."""
    request = convention.compose(ticket, bodies, desk)
    assert request == Request(body=request.body)
    return whole(request.body)


def replied(**answer: Any) -> Reply:
    """A script's answer."""
    return Reply(output=json.dumps(answer).encode())


# --- The request ------------------------------------------------------------------------------


def test_a_sites_first_request_holds_its_inputs_no_cache_and_its_state() -> None:
    opening = opening_body([("start", {"value": 1.0}), ("nul", {"value": None})])

    request = composed(CALL, make_ticket(), [opening], PaperDesk())

    assert b'{"input":{"start":1,"nul":null},"cache":{},' + LOCAL_STATE % 1 + b"}" == request


def test_a_sites_later_request_holds_what_the_aggregator_said_as_it_was_said() -> None:
    desk = PaperDesk(cache={"k1": b"[1]", "d": b'{"it2":1}', "a": b'"\\u00e9"'})

    request = composed(CALL, make_ticket(iteration=3), [b'{"x":2,"10":1,"2":0}'], desk)

    cache = b'"cache":{"k1":[1],"d":{"it2":1},"a":"\\u00e9"}'
    assert b'{"input":{"x":2,"10":1,"2":0},' + cache + b"," + LOCAL_STATE % 3 + b"}" == request


def test_the_aggregator_gets_what_each_site_said_in_the_order_of_the_sites() -> None:
    bodies = [b'{"n":%d}' % number for number in range(12)]
    ticket = make_ticket(REMOTE, role=Role.AGGREGATOR, iteration=2, inbox=from_sites(*bodies))

    request = composed(CALL, ticket, bodies, PaperDesk(seat=REMOTE))

    document = json.loads(request)
    assert [f"local{number}" for number in range(12)] == list(document["input"])
    assert [{"n": number} for number in range(12)] == list(document["input"].values())
    assert ["input", "cache", "state"] == list(document)
    assert {
        "baseDirectory": "/input/remote/simulatorRun",
        "outputDirectory": "/output/remote/simulatorRun",
        "cacheDirectory": "/tmp",
        "transferDirectory": "/transfer/remote/simulatorRun",
        "clientId": "remote",
        "iteration": 2,
    } == document["state"]


def test_the_aggregator_is_not_told_of_sites_that_said_nothing() -> None:
    """JavaScript's falsy values are nothing; empty lists and objects, and words, are something."""
    said: list[Any] = [None, False, 0, 0.0, -0.0, "", {}, [], "0", " ", True, 1e-9]
    bodies = [
        CALL.parse(make_ticket(), replied(output=value), PaperDesk(seat=Seat(f"local{number}"))).body
        for number, value in enumerate(said)
    ]
    ticket = make_ticket(REMOTE, role=Role.AGGREGATOR, inbox=from_sites(*bodies))

    heard = json.loads(composed(CALL, ticket, bodies, PaperDesk(seat=REMOTE)))["input"]

    assert {f"local{number}": said[number] for number in range(6, 12)} == heard


def test_a_missing_output_is_nothing() -> None:
    body = CALL.parse(make_ticket(), replied(cache={}), PaperDesk()).body
    ticket = make_ticket(REMOTE, role=Role.AGGREGATOR, inbox=from_sites(body))

    assert b"null" == body
    assert b'{"input":{},"cache"' == composed(CALL, ticket, [body], PaperDesk(seat=REMOTE))[:19]


def test_a_function_is_called_with_the_same_document_in_an_envelope_that_names_its_side() -> None:
    opening = opening_body([("a", {"value": 1})])
    aggregator = make_ticket(REMOTE, role=Role.AGGREGATOR)

    at_site = composed(SERVE, make_ticket(), [opening], PaperDesk())
    at_aggregator = composed(SERVE, aggregator, [], PaperDesk(seat=REMOTE))

    assert b'{"mode":"local","data":{"input":{"a":1},"cache":{},' + LOCAL_STATE % 1 + b"}}" == at_site
    assert at_aggregator.startswith(b'{"mode":"remote","data":{"input":{},"cache":{},"state":')


@given(
    st.dictionaries(
        st.text(), st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5), max_size=5
    )
)
def test_whatever_its_inputs_are_named_a_site_gets_them(inputs: dict[str, Any]) -> None:
    body = opening_body([(name, {"value": value}) for name, value in inputs.items()])

    document = json.loads(composed(CALL, make_ticket(), [body], PaperDesk()))

    assert list(inputs.items()) == list(document["input"].items())


def test_an_input_that_json_has_no_word_for_is_refused_with_its_path() -> None:
    with pytest.raises(ReplyInvalid, match=r"^the input\.inputs\[0\]\[1\]\.value is NaN"):
        opening_body([("x", {"value": float("nan")})])


@pytest.mark.parametrize(
    ("role", "command"), [(Role.SITE, ("python", "local.py")), (Role.AGGREGATOR, ("python", "remote.py"))]
)
def test_each_side_has_its_command(role: Role, command: tuple[str, ...]) -> None:
    assert (Style.CALL, command) == CALL.launch(make_ticket(role=role))


# --- The answer -------------------------------------------------------------------------------


def test_a_cache_is_merged_and_its_keys_never_vanish() -> None:
    desk = PaperDesk()

    CALL.parse(make_ticket(), replied(cache={"b": [1.0], "d": {"it1": 1}}), desk)
    CALL.parse(make_ticket(iteration=2), replied(cache={"a": None, "d": {"it2": 1}}), desk)
    CALL.parse(make_ticket(iteration=3), replied(cache={}), desk)
    CALL.parse(make_ticket(iteration=4), replied(output=1), desk)

    # Merged at the top only, and in the order in which the keys came first.
    assert [("b", b"[1]"), ("d", b'{"it2":1}'), ("a", b"null")] == list(desk.cache.items())


def test_no_cache_is_no_reason_for_a_warning() -> None:
    desk = PaperDesk(cache={"a": b"1"})

    answer = CALL.parse(make_ticket(), replied(output=1, cache=None), desk)

    assert () == answer.warnings
    assert {"a": b"1"} == desk.cache


@pytest.mark.parametrize("cache", [[], [1], "x", 0, False, True])
def test_a_cache_that_is_no_object_is_left_out_with_a_warning(cache: Any) -> None:
    desk = PaperDesk(cache={"a": b"1"})

    answer = CALL.parse(make_ticket(), replied(output=1, cache=cache), desk)

    assert ("answered with a cache that is not an object; it was left out",) == answer.warnings
    assert {"a": b"1"} == desk.cache


@pytest.mark.parametrize(
    ("success", "final"),
    [
        (True, True),
        (1, True),
        ("false", True),
        ([], True),
        ({}, True),
        (False, False),
        (None, False),
        (0, False),
        (0.0, False),
        ("", False),
    ],
)
def test_the_aggregator_ends_the_step_where_javascript_takes_its_success_as_true(
    success: Any, final: bool
) -> None:
    ticket = make_ticket(REMOTE, role=Role.AGGREGATOR)

    answer = CALL.parse(ticket, replied(output={}, success=success), PaperDesk(seat=REMOTE))

    assert (final, ()) == (answer.final, answer.warnings)


def test_an_answer_without_success_ends_nothing() -> None:
    assert not CALL.parse(make_ticket(REMOTE, role=Role.AGGREGATOR), replied(output=1), PaperDesk()).final


def test_a_sites_success_is_passed_over_where_the_aggregator_decides() -> None:
    desk = PaperDesk()

    answer = CALL.parse(make_ticket(), replied(output={"a": 1}, success=True), desk)

    assert (b'{"a":1}', False) == (answer.body, answer.final)
    assert ['answered with "success" at a site'] == [text.partition(",")[0] for text in answer.warnings]
    assert answer.warnings[0].endswith("it was passed over, and the output went on to the aggregator")
    assert {} == desk.outputs


def test_an_image_that_starts_by_itself_has_an_aggregator_without_a_command() -> None:
    image = Convention(style=Style.SERVE, site_command=(), aggregated=True)

    answer = image.parse(make_ticket(), Reply(output=b'{"output": {}, "success": true}'), PaperDesk())

    assert not answer.final
    with pytest.raises(AlgorithmFailed, match=r"^What the image starts ended with exit status 3"):
        image.parse(make_ticket(), Reply(output=b"", exit_code=3), PaperDesk())


def test_a_site_that_works_for_itself_ends_its_step_and_keeps_its_output() -> None:
    desk = PaperDesk()

    going_on = ALONE.parse(make_ticket(step=1), replied(output={"a": 1}), desk)
    kept_between = dict(desk.outputs)
    done = ALONE.parse(make_ticket(step=1, iteration=2), replied(output={"a": 2.0}, success=True), desk)

    assert (False, True) == (going_on.final, done.final)
    assert {} == kept_between
    assert {1: b'{"a":2}'} == desk.outputs


def test_other_keys_of_an_answer_mean_nothing() -> None:
    desk = PaperDesk()

    answer = CALL.parse(make_ticket(), replied(output=1, state={"iteration": 9}, error="no"), desk)

    assert (b"1", False, ()) == (answer.body, answer.final, answer.warnings)


def test_what_was_printed_beside_an_answer_is_a_warning() -> None:
    reply = Reply(output=b'Loading\n{"output":{"x":1.0},"cache":3}')

    answer = CALL.parse(make_ticket(), reply, PaperDesk())

    assert b'{"x":1}' == answer.body
    assert "printed more than its answer on standard output ('Loading')" in answer.warnings[0]
    assert "answered with a cache that is not an object; it was left out" == answer.warnings[1]


def test_what_a_function_returned_is_its_answer() -> None:
    answer = SERVE.parse(make_ticket(), replied(output={"x": 1.0}, cache={"k": 1}), PaperDesk())

    assert (b'{"x":1}', ()) == (answer.body, answer.warnings)


@pytest.mark.parametrize(
    ("returned", "kind"), [(b"null", "NoneType"), (b"[]", "list"), (b"5", "int"), (b'"x"', "str")]
)
def test_a_function_that_returns_no_dictionary_is_told_so(returned: bytes, kind: str) -> None:
    with pytest.raises(ReplyInvalid) as refused:
        SERVE.parse(make_ticket(), Reply(output=returned), PaperDesk())

    assert str(refused.value) == (
        f'the function returned {kind}: expected a dictionary, such as {{"output": {{}}}}'
    )


@pytest.mark.parametrize("returned", [b"", b"{", b'{"output": "\xff"}'])
def test_a_function_whose_answer_is_no_json_is_told_so(returned: bytes) -> None:
    with pytest.raises(ReplyInvalid, match=r"^the answer is not JSON: "):
        SERVE.parse(make_ticket(), Reply(output=returned), PaperDesk())


@pytest.mark.parametrize(
    ("convention", "role", "code", "log", "sentence"),
    [
        (
            CALL,
            Role.SITE,
            1,
            "Traceback\nValueError: no\n",
            "python local.py ended with exit status 1. The end of its standard error:\nTraceback\nValueError: no",
        ),
        (
            CALL,
            Role.AGGREGATOR,
            -9,
            " \n",
            "python remote.py ended with signal 9. It wrote nothing to standard error",
        ),
        (
            SERVE,
            Role.SITE,
            3,
            "",
            "python entry.py ended with exit status 3. It wrote nothing to standard error",
        ),
    ],
)
def test_a_script_that_fails_is_named_with_how_it_ended_and_what_it_said(
    convention: Convention, role: Role, code: int, log: str, sentence: str
) -> None:
    desk = PaperDesk()
    reply = Reply(output=b'{"output":1,"cache":{"a":1}}', exit_code=code, log_tail=log)

    with pytest.raises(AlgorithmFailed) as failed:
        convention.parse(make_ticket(role=role), reply, desk)

    assert sentence == str(failed.value)
    assert {} == desk.cache


def test_what_is_held_in_memory_is_read_as_what_travels_inside_a_message() -> None:
    held = MemoryFile.of(b'{"n":1}')
    ticket = make_ticket(REMOTE, role=Role.AGGREGATOR, inbox=from_sites(held))

    heard = json.loads(composed(CALL, ticket, [held], PaperDesk(seat=REMOTE)))["input"]
    desk = PaperDesk()
    CALL.receive(make_ticket(work=Work.DELIVER), [held], desk)
    answer = SERVE.parse(make_ticket(), Reply(output=MemoryFile.of(b'{"output": 1}')), desk)

    assert {"local0": {"n": 1}} == heard
    assert {0: b'{"n":1}'} == desk.outputs
    assert b"1" == answer.body


def test_a_computation_asks_for_nothing_while_it_runs(tmp_path: Path) -> None:
    ticket = make_ticket()
    hub = Hub(MemoryRunStore(), MemoryBlobStore(), {})
    link = LocalLink(hub, LOCAL0, Turnstile(SeededDice(0)))
    gate = JobGate(link, ticket, Shift(asyncio.Semaphore(), lambda: None), Heard(), tmp_path / "log")

    assert CALL.door(ticket, [], PaperDesk(), gate) is None


# --- What earlier steps left ------------------------------------------------------------------


def reference(variable: str, step: int = 0, *, files: bool = False) -> dict[str, Any]:
    """An input that comes from an earlier step."""
    return {"fromCache": {"step": step, "variable": variable}, "files": files}


@pytest.mark.parametrize("value", [None, False, 0, "", [], {}, 1.5, "x", [1, {"a": None}], {"10": 1, "2": 0}])
def test_an_earlier_steps_output_is_an_input_whatever_it_is(value: Any) -> None:
    desk = PaperDesk()
    SERVE.receive(make_ticket(work=Work.DELIVER), [json.dumps({"kept": value, "other": 1}).encode()], desk)
    opening = opening_body([("a", {"value": 1}), ("b", reference("kept")), ("c", {"value": 2})])

    request = composed(CALL, make_ticket(step=1), [opening], desk)

    assert [("a", 1), ("b", value), ("c", 2)] == list(json.loads(request)["input"].items())


def test_each_step_is_asked_for_what_it_left_itself() -> None:
    desk = PaperDesk(outputs={0: b'{"x":"zero"}', 1: b'{"x":"one"}'})
    opening = opening_body([("a", reference("x", 1)), ("b", reference("x", 0))])

    request = composed(CALL, make_ticket(step=2), [opening], desk)

    assert {"a": "one", "b": "zero"} == json.loads(request)["input"]


@pytest.mark.parametrize(
    ("outputs", "there"),
    [
        ({0: b'{"a":1,"b":2}'}, "a, b"),
        ({0: b"{}"}, "nothing"),
        ({0: b"[1]"}, "nothing"),
        ({0: b"null"}, "nothing"),
        ({1: b'{"x":1}'}, "nothing"),
    ],
)
def test_what_an_earlier_step_did_not_leave_is_missed_by_name(outputs: dict[int, bytes], there: str) -> None:
    opening = opening_body([("a", reference("x"))])

    with pytest.raises(InputMissing) as missing:
        composed(CALL, make_ticket(step=1), [opening], PaperDesk(outputs=outputs))

    assert str(missing.value) == (
        "fromCache asks for 'x' of step 0, whose output has no such variable "
        f"(it has {there}). Check the names in inputspec-pipeline.json"
    )


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (["a.csv", "sub/b.csv"], ["a.csv", "sub/b.csv"]),
        ("a.csv", ["a.csv"]),
        (["/output/local0/simulatorRun/a.csv", "/elsewhere/b.csv"], ["a.csv", "/elsewhere/b.csv"]),
        ([1, None, "a.csv", ["b"]], ["a.csv"]),
        ({"a": 1}, []),
        (None, []),
        ("", []),
        # A folder, with a slash at its end; and the output folder itself.
        (["sub/", "./sub/b.csv", "/output/local0/simulatorRun/sub/"], ["sub", "sub/b.csv", "sub"]),
        ("/output/local0/simulatorRun", [""]),
        ("/output/local0/simulatorRun/", [""]),
        # A name that leads out is left to who reads the folder, and refused there.
        (["../a.csv", "/output/local0/simulatorRun/../b.csv"], ["../a.csv", "/output/local0/b.csv"]),
        # Covariates as a preprocessing step gives them: files are the first cells of the rows.
        ([[[["file", "age"], ["a.nii", 20], ["b.nii", 30], []]], ["age"], ["number"]], ["a.nii", "b.nii"]),
        ([[], ["a.csv"]], []),
    ],
)
def test_files_that_an_earlier_step_names_are_carried(value: Any, names: list[str]) -> None:
    desk = PaperDesk(outputs={0: json.dumps({"out": value}).encode()})
    opening = opening_body(
        [("a", {"value": "x"}), ("b", reference("out", files=True)), ("c", reference("out"))]
    )

    assert names == CALL.carried(make_ticket(step=1), [opening], desk)


def test_nothing_is_carried_but_for_a_steps_first_call_at_a_site() -> None:
    later = make_ticket(step=1, iteration=2)
    aggregator = make_ticket(REMOTE, step=1, role=Role.AGGREGATOR)

    assert () == CALL.carried(later, [b"{}"], PaperDesk())
    assert () == CALL.carried(aggregator, [b"{}"], PaperDesk())


# --- Files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("role", "work", "place"),
    [
        (Role.AGGREGATOR, Work.CALL, Place(folder=Folder.BASE, name="local1/sub/f")),
        (Role.SITE, Work.CALL, Place(folder=Folder.BASE, name="sub/f")),
        (Role.SITE, Work.DELIVER, Place(folder=Folder.OUTPUT, name="sub/f")),
    ],
)
def test_a_received_file_has_its_place(role: Role, work: Work, place: Place) -> None:
    assert place == CALL.place(make_ticket(role=role, work=work), Seat("local1"), "sub/f")


# --- What a site gives itself -----------------------------------------------------------------


def opened_with(
    entries: list[tuple[str, dict[str, Any]]], inputs: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The input of a first call at a site with this data map."""
    ticket = make_ticket()
    request = CALL.compose(ticket, [opening_body(entries)], PaperDesk(inputs=inputs))
    found: dict[str, Any] = json.loads(whole(request.body))["input"]
    return found


def test_an_input_that_is_the_sites_comes_from_its_data_map() -> None:
    entries: list[tuple[str, dict[str, Any]]] = [("lambda", {"value": 1}), ("covariates", {"site": True})]
    found = opened_with(entries, {"covariates": ["age.csv"], "other": 2, "lambda": 3})

    assert {"lambda": 1, "covariates": ["age.csv"]} == found


def test_a_data_maps_value_is_read_as_javascript_would() -> None:
    assert {"a": 1} == opened_with([("a", {"site": True})], {"a": 1.0})


def test_what_a_data_map_leaves_out_has_the_value_that_stands_beside() -> None:
    assert {"a": 7} == opened_with([("a", {"site": True, "value": 7})], None)


def test_a_site_that_has_not_mapped_an_input_is_told_how() -> None:
    with pytest.raises(JobRefused) as missing:
        opened_with([("covariates", {"site": True})], {"other": 1})

    assert str(missing.value) == (
        "'step0' takes 'covariates' from each site, and local0 has not mapped it. At that node: atoll node map step0 "
        "--input covariates=VALUE, with the value as JSON"
    )
