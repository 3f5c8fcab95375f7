"""A running call is answered what its client reads, and refused what is not its own."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.federation import seats
from tests.unit.dialects.vantage6.world import PaperGate, ticket_of

from atoll.dialects.vantage6 import body
from atoll.dialects.vantage6.body import Action, Call
from atoll.dialects.vantage6.rest import Door
from atoll.engine.running import HttpRequest, HttpResponse
from atoll.model.errors import LimitReached, StaleEvent
from atoll.model.work import Failure, Seat

TOKEN = "eyJ.own.token"
CLAIMED_4 = [{"label": "default"}]
CLAIMED_5 = [[{"label": "a", "type": "dataframe", "dataframe_id": 1}]]
FAILED = Failure(type="AlgorithmFailed", message="f failed with KeyError", site=Seat("local1"))


def door_4(gate: PaperGate, **changes: Any) -> Door:
    """A door of a call of generation 4 that was asked for no database by name."""
    call = Call(generation=4, method="central", arguments=b"{}", **changes)
    return Door(gate, call=call, token=TOKEN, databases=CLAIMED_4)


def door_5(gate: PaperGate) -> Door:
    """A door of a central call of generation 5."""
    call = Call(
        generation=5,
        method="central",
        arguments=b"{}",
        action=Action.CENTRAL_COMPUTE,
        dataframes=(("a",),),
    )
    return Door(gate, call=call, token=TOKEN, databases=CLAIMED_5)


async def said(
    door: Door, path: str, document: Any = None, *, method: str = "", token: str = TOKEN, **query: Any
) -> HttpResponse:
    """What is answered to a request."""
    content = document if isinstance(document, bytes) else json.dumps(document).encode()
    response = await door.respond(
        HttpRequest(
            method=method or ("GET" if document is None else "POST"),
            path=path,
            query={name: str(value) for name, value in query.items()},
            token=token,
            body=b"" if document is None else content,
        )
    )
    if response.later is not None:
        return HttpResponse(status=response.status, body=await response.later(), lost=response.lost)
    return response


async def answered(door: Door, path: str, document: Any = None, **query: Any) -> Any:
    """What a client reads; it must be no error."""
    response = await said(door, path, document, **query)
    assert response.status < 300, response.body
    return json.loads(response.body)


def inputs(document: Any) -> str:
    """What a client sends for an organization."""
    return base64.b64encode(json.dumps(document).encode()).decode()


def task_4(*organizations: int, **changes: Any) -> dict[str, Any]:
    """What the client of generation 4 sends to make a task."""
    text = inputs({"method": "partial", "kwargs": {"x": 1}})
    return {
        "name": "subtask",
        "image": "v6-average",
        "collaboration_id": 1,
        "description": "a task",
        "organizations": [{"id": number, "input": text} for number in organizations],
        "databases": CLAIMED_4,
        **changes,
    }


def task_5(*organizations: int, **changes: Any) -> dict[str, Any]:
    """What the client of generation 5 sends to make a task."""
    return {
        "name": "subtask",
        "image": "v6-average",
        "collaboration_id": 1,
        "description": "a task",
        "organizations": [{"id": number, "arguments": inputs({"x": 1})} for number in organizations],
        "databases": CLAIMED_5,
        "session_id": 1,
        "method": "partial",
        "action": "federated_compute",
        **changes,
    }


DOORS: Mapping[int, tuple[Callable[[PaperGate], Door], Callable[..., dict[str, Any]]]] = {
    4: (door_4, task_4),
    5: (door_5, task_5),
}
both = pytest.mark.parametrize(("make_door", "make_task"), DOORS.values(), ids=["4", "5"])


# --- Who asks ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shown", "sentence"),
    [
        ("", "spoke to its node with no token"),
        ("eyJ.x.y", "spoke to its node with another token than its own"),
    ],
)
def test_only_the_calls_own_token_opens(shown: str, sentence: str) -> None:
    async def scenario() -> None:
        gate = PaperGate()

        response = await said(door_4(gate), "/version", token=shown)

        assert (401, {"msg": sentence}) == (response.status, json.loads(response.body))
        assert [sentence] == gate.refusals

    asyncio.run(scenario())


def test_a_vantage6_algorithm_has_no_line_to_its_node() -> None:
    async def scenario() -> None:
        assert [] == [frame async for frame in door_4(PaperGate()).answers({}, b"")]

    asyncio.run(scenario())


# --- What there is ----------------------------------------------------------------------------


@pytest.mark.parametrize(("generation", "version"), [(4, "4.15.2"), (5, "5.0.3")])
def test_what_a_client_asks_of_a_server(generation: int, version: str) -> None:
    async def scenario() -> None:
        door = DOORS[generation][0](PaperGate())

        assert {"version": version} == await answered(door, "/version")
        assert {"blob_store_enabled": False} == await answered(door, "/blobstream/status")
        assert {"addresses": []} == await answered(door, "/vpn/algorithm/addresses", only_children=1)
        assert (1, False) == tuple(map((await answered(door, "/collaboration/1")).get, ("id", "encrypted")))
        assert [] == (await answered(door, "/study", collaboration_id=1))["data"]

    asyncio.run(scenario())


def test_organizations_are_the_sites_in_their_order() -> None:
    async def scenario() -> None:
        gate = PaperGate(ticket_of(sites=seats(12)))
        door = door_4(gate)

        listed = await answered(door, "/organization", collaboration_id=1, page=1)

        assert [(n + 1, f"local{n}") for n in range(12)] == [
            (one["id"], one["name"]) for one in listed["data"]
        ]
        assert "next" not in listed["links"]
        one = await answered(door, "/organization/11")
        assert ("local10", "") == (one["name"], one["public_key"])
        assert [] == gate.refusals

    asyncio.run(scenario())


@settings(max_examples=30)
@given(count=st.integers(1, 30), size=st.integers(1, 12))
def test_whoever_follows_the_links_sees_every_item_once(count: int, size: int) -> None:
    async def scenario() -> None:
        door = door_4(PaperGate(ticket_of(sites=seats(count))))
        seen: list[int] = []
        page = 0
        links = {"next": "the first"}
        while links.get("next"):
            page += 1
            answer = await answered(door, "/organization", page=page, per_page=size, name="x")
            seen += [one["id"] for one in answer["data"]]
            links = answer["links"]

        assert list(range(1, count + 1)) == seen
        assert f"/organization?page={page}&per_page={size}&name=x" == links["last"] == links["self"]
        assert ("prev" in links) == (page > 1)

    asyncio.run(scenario())


@pytest.mark.parametrize(("page", "size"), [("0", "0"), ("x", "-3"), ("1", "1000"), ("²", "9" * 30)])
def test_a_page_that_is_none_is_the_first(page: str, size: str) -> None:
    async def scenario() -> None:
        listed = await answered(door_4(PaperGate()), "/organization", page=page, per_page=size)

        assert 1 == listed["data"][0]["id"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("path", "query", "sentence"),
    [
        (
            "/organization",
            {"collaboration_id": 2},
            "asked for the organizations of collaboration 2, which is not",
        ),
        ("/organization", {"study_id": 1}, "asked for the organizations of a study, and a run has none"),
        ("/organization/0", {}, "asked for organization 0, which is not in its collaboration"),
        ("/organization/4", {}, "asked for organization 4, which is not in its collaboration"),
        ("/organization/x", {}, "asked for organization x, which is not in its collaboration"),
        ("/collaboration/2", {}, "asked for collaboration 2, which is not its own"),
        ("/study/1", {}, "asked for a study, and a run has none"),
        ("/task/1", {}, "asked for task 1, which is not one of its own"),
        ("/task/4", {}, "asked for task 4, which is not one of its own"),
        ("/task/4/status", {}, "asked for task 4, which is not one of its own"),
        ("/task/4/outcomes", {}, "asked for task 4, which is not one of its own"),
        ("/task/x", {}, "asked for task x, which is not one of its own"),
        ("/result", {"task_id": 1}, "asked for task 1, which is not one of its own"),
        ("/run", {"task_id": 9}, "asked for task 9, which is not one of its own"),
        ("/run/1", {}, "asked for run 1, which is not one of its own tasks'"),
        ("/result/1", {}, "asked for result 1, which is not one of its own tasks'"),
    ],
)
def test_what_belongs_to_others_is_as_if_it_were_not_there(
    path: str, query: dict[str, Any], sentence: str
) -> None:
    async def scenario() -> None:
        gate = PaperGate()

        response = await said(door_4(gate), path, **query)

        assert 404 == response.status
        assert json.loads(response.body)["msg"].startswith(sentence)
        assert [json.loads(response.body)["msg"]] == gate.refusals

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/token/user", 404),
        ("POST", "/blobstream", 405),
        ("DELETE", "/task/4", 405),
        ("PATCH", "/run/1", 405),
        ("GET", "/blobstream/1", 405),
        ("GET", "/task/3/log", 405),
    ],
)
def test_what_there_is_not_is_no_offence(method: str, path: str, status: int) -> None:
    async def scenario() -> None:
        gate = PaperGate()

        assert status == (await said(door_4(gate), path, method=method)).status
        assert [] == gate.refusals

    asyncio.run(scenario())


# --- Tasks ------------------------------------------------------------------------------------


@both
def test_a_task_is_a_child_round_of_the_same_call(
    make_door: Callable[[PaperGate], Door], make_task: Callable[..., dict[str, Any]]
) -> None:
    async def scenario() -> None:
        gate = PaperGate()
        door = make_door(gate)

        response = await said(door, "/task", make_task(3, 1))

        task = json.loads(response.body)
        assert 201 == response.status
        assert (4, "subtask", "a task", "v6-average") == tuple(
            map(task.get, ("id", "name", "description", "image"))
        )
        assert (3, 1) == (task["parent"]["id"], task["init_org"]["id"])
        name, calls = gate.asked[0]
        assert ("partial", ["local2", "local0"]) == (name, [seat for seat, _ in calls])
        # The same object for both, so that it is sent once.
        assert calls[0][1] is calls[1][1]
        assert task == await answered(door, "/task/4")
        assert [task] == (await answered(door, "/task", parent_id=3))["data"]
        assert [] == gate.refusals

    asyncio.run(scenario())


def test_a_task_of_generation_4_is_called_with_the_input_that_was_sent() -> None:
    async def scenario() -> None:
        gate = PaperGate()
        text = b'{"method": "other", "args": [NaN],\n "master": true}'
        broken = base64.encodebytes(text * 1).decode()
        task = task_4(1, 2)
        task["organizations"][1]["input"] = broken

        await answered(door_4(gate), "/task", task)

        first, second = (body.read(content) for _, content in gate.asked[0][1])
        assert ("partial", "other", text) == (first.method, second.method, second.arguments)
        assert "partial" == gate.asked[0][0]

    asyncio.run(scenario())


def test_a_task_gets_the_data_of_its_parent() -> None:
    async def scenario() -> None:
        four, five = PaperGate(), PaperGate()
        asked = ({"label": "b", "query": "q"},)
        named = [{"label": "other"}]

        await answered(door_4(four), "/task", task_4(1))
        await answered(door_4(four, databases=asked), "/task", task_4(1, databases=None))
        await answered(door_4(four), "/task", task_4(1, databases=named))
        await answered(door_5(five), "/task", task_5(1))
        await answered(
            door_5(five), "/task", task_5(1, databases=[[{"label": "c"}, {"label": "d"}], {"label": "e"}])
        )

        calls = [body.read(calls[0][1]) for _, calls in (*four.asked, *five.asked)]
        assert [None, asked, tuple(named)] == [call.databases for call in calls[:3]]
        assert [(("a",),), (("c", "d"), ("e",))] == [call.dataframes for call in calls[3:]]
        assert [Action.FEDERATED_COMPUTE] * 2 == [call.action for call in calls[3:]]

    asyncio.run(scenario())


def test_what_a_client_of_generation_5_leaves_out_is_as_it_must_be() -> None:
    async def scenario() -> None:
        gate = PaperGate()
        task = task_5(1)
        task["organizations"][0]["arguments"] = inputs(None)
        for name in ("action", "session_id", "databases", "collaboration_id", "name", "description"):
            del task[name]

        told = await answered(door_5(gate), "/task", task)

        assert ("subtask", "", "partial", 1) == (
            told["name"],
            told["description"],
            told["method"],
            told["session"]["id"],
        )
        assert b"null" == body.read(gate.asked[0][1][0][1]).arguments

    asyncio.run(scenario())


MALFORMED: list[tuple[int, Any, str]] = [
    (4, b"{", "its request is not JSON"),
    (4, b"\xff\xfe", "its request is not JSON"),
    (4, b"[" * 100_000, "its request is not JSON"),
    (4, [], "its request is no JSON object"),
    (4, task_4(), "it names no organizations"),
    (4, task_4(organizations={"id": 1}), "it names no organizations"),
    (4, task_4(organizations=[1]), "an organization in it has no number"),
    (4, task_4(organizations=[{"id": True, "input": ""}]), "an organization in it has no number"),
    (4, task_4(organizations=[{"id": "1", "input": ""}]), "an organization in it has no number"),
    (4, task_4(organizations=[{"id": 1}]), "an organization in it has no input: expected JSON in base64"),
    (
        4,
        task_4(organizations=[{"id": 1, "input": "$x$"}]),
        "the input for an organization is not JSON in base64",
    ),
    (
        4,
        task_4(organizations=[{"id": 1, "input": "e30"}]),
        "the input for an organization is not JSON in base64",
    ),
    (
        4,
        task_4(organizations=[{"id": 1, "input": "ew=="}]),
        "the input for an organization is not JSON in base64",
    ),
    (
        4,
        task_4(organizations=[{"id": 1, "input": "/w=="}]),
        "the input for an organization is not JSON in base64",
    ),
    (4, task_4(organizations=[{"id": 1, "input": "e30="}]), "the input for an organization names no method"),
    (4, task_4(organizations=[{"id": 1, "input": "W10="}]), "the input for an organization names no method"),
    (4, task_4(1, databases={"label": "a"}), "its databases are no list"),
    (4, task_4(1, databases=["a"]), "a database is asked for as 'a'"),
    (5, task_5(organizations=[{"id": 1}]), "an organization in it has no arguments: expected JSON in base64"),
    (
        5,
        task_5(organizations=[{"id": 1, "arguments": "W10="}]),
        "the arguments for an organization are no JSON",
    ),
    (5, task_5(1, method=""), "it names no method"),
    (5, task_5(1, method=3), "it names no method"),
    (5, task_5(1, databases="a"), "its databases are no list"),
    (5, task_5(1, databases=[["a"]]), "its databases are not written as"),
    (5, task_5(1, databases=[[{"label": "a/b"}]]), "a dataframe can't be named 'a/b'"),
    (5, task_5(1, databases=[[{"label": 3}]]), "a dataframe can't be named 3"),
]
FORBIDDEN: list[tuple[int, Any, str]] = [
    (4, task_4(1, image="other"), "asked for a task of the image 'other': it may use 'v6-average' alone"),
    (4, task_4(1, image="v6-average:latest"), "asked for a task of the image 'v6-average:latest'"),
    (4, {**task_4(1), "image": None}, "asked for a task of the image 'None'"),
    (4, task_4(1, collaboration_id=2), "asked for a task in collaboration 2, which is not its own"),
    (4, task_4(1, collaboration_id=True), "asked for a task in collaboration True, which is not its own"),
    (4, task_4(1, study_id=1), "asked for a task with a study_id, and a run has none"),
    (4, task_4(1, store_id=1), "asked for a task with a store_id, and a run has none"),
    (4, task_4(1, 4), "asked for a task at organization 4, which is not in its collaboration"),
    (4, task_4(0), "asked for a task at organization 0, which is not in its collaboration"),
    (
        5,
        task_5(1, action="central_compute"),
        "asked for a task with the action 'central_compute': functions may",
    ),
    (5, task_5(1, action="data_extraction"), "asked for a task with the action 'data_extraction'"),
    (5, task_5(1, action=None), "asked for a task with the action 'None'"),
    (5, task_5(1, session_id=2), "asked for a task in session 2, which is not its own"),
    (5, task_5(1, session_id=True), "asked for a task in session True, which is not its own"),
]


@pytest.mark.parametrize(
    ("generation", "document", "status", "sentence"),
    [
        *((g, d, 400, f"asked for a task that can't be made: {s}") for g, d, s in MALFORMED),
        *((g, d, 403, s) for g, d, s in FORBIDDEN),
    ],
)
def test_a_task_that_may_not_be_made_is_refused_and_recorded(
    generation: int, document: Any, status: int, sentence: str
) -> None:
    async def scenario() -> None:
        gate = PaperGate()

        response = await said(DOORS[generation][0](gate), "/task", document)

        told = json.loads(response.body)["msg"]
        assert (status, True) == (response.status, told.startswith(sentence))
        assert ([told], []) == (gate.refusals, gate.asked)

    asyncio.run(scenario())


def test_a_long_refusal_is_cut() -> None:
    async def scenario() -> None:
        gate = PaperGate()

        await said(door_4(gate), "/task", task_4(1, databases=["a" * 10_000]))

        assert 300 == len(gate.refusals[0])

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("fault", "status"), [(LimitReached("too deep"), 403), (StaleEvent("the job has ended"), 409)]
)
def test_what_the_platform_refuses_is_told_in_its_words(
    fault: LimitReached | StaleEvent, status: int
) -> None:
    async def scenario() -> None:
        gate = PaperGate(fault=fault)

        response = await said(door_4(gate), "/task", task_4(1))

        assert (status, {"msg": str(fault)}) == (response.status, json.loads(response.body))
        assert [str(fault)] == gate.refusals

    asyncio.run(scenario())


def test_a_task_whose_answer_was_lost_is_told_of_again_and_no_other() -> None:
    async def scenario() -> None:
        gate = PaperGate()
        door = door_4(gate)

        first = await said(door, "/task", task_4(1))
        second = await said(door, "/task", task_4(1))  # The same words, asked for twice.
        for response in (first, second):
            assert response.lost is not None
            response.lost()
        again = [await said(door, "/task", task_4(1)) for _ in range(3)]
        other = await said(door, "/task", task_4(2))

        assert [4, 5, 4, 5, 6, 7] == [
            json.loads(response.body)["id"] for response in (first, second, *again, other)
        ]
        assert 4 == len(gate.asked)

    asyncio.run(scenario())


def test_a_call_sees_its_own_task_and_not_who_else_has_it() -> None:
    async def scenario() -> None:
        for generation, word in ((4, "active"), (5, "awaiting")):
            door = DOORS[generation][0](PaperGate())

            own = await answered(door, "/task/3")

            assert (3, "v6-average", None, word) == (own["id"], own["name"], own["parent"], own["status"])
            assert {"status": word} == await answered(door, "/task/3/status")

    asyncio.run(scenario())


# --- Waiting ----------------------------------------------------------------------------------


@both
def test_whoever_asks_after_a_task_hears_when_it_has_ended(
    make_door: Callable[[PaperGate], Door], make_task: Callable[..., dict[str, Any]]
) -> None:
    async def scenario() -> None:
        gate = PaperGate()
        door = make_door(gate)
        await answered(door, "/task", make_task(1, 2))
        asking = asyncio.create_task(answered(door, "/task/4/status"))
        await asyncio.sleep(0)
        assert not asking.done()

        gate.end(3, b"1", b"2")

        assert {"status": "completed"} == await asking
        assert "completed" == (await answered(door, "/task/4"))["status"]

    asyncio.run(scenario())


@pytest.mark.parametrize(("generation", "word"), [(4, "active"), (5, "awaiting")])
def test_a_task_is_over_only_when_its_last_run_is(generation: int, word: str) -> None:
    """Some algorithms would else work with half of the results."""

    async def scenario() -> None:
        gate = PaperGate()
        make_door, make_task = DOORS[generation]
        door = make_door(gate)
        await answered(door, "/task", make_task(1, 2))
        gate.end(3, FAILED, None)
        assert word == (await answered(door, "/task/4"))["status"]

        gate.end(3, FAILED, b"1")

        assert {"status": "failed"} == await answered(door, "/task/4/status")

    asyncio.run(scenario())


def test_each_time_a_task_is_asked_after_the_question_is_held_longer() -> None:
    async def scenario() -> None:
        gate = PaperGate()
        door = door_4(gate)
        for number in (1, 2):
            await answered(door, "/task", task_4(number))
            gate.end(2 + number, b"1")

        for task in (4, 4, 4, 5):
            await answered(door, f"/task/{task}/status")

        assert [20.0, 40.0, 80.0, 20.0] == gate.waits

    asyncio.run(scenario())


# --- Results ----------------------------------------------------------------------------------


def decoded(answer: Any) -> list[Any]:
    """What a client makes of results; None for those that it leaves out."""
    return [one["result"] and json.loads(base64.b64decode(one["result"])) for one in answer["data"]]


@both
def test_results_are_the_algorithms_bytes_and_failures_are_null(
    make_door: Callable[[PaperGate], Door], make_task: Callable[..., dict[str, Any]]
) -> None:
    async def scenario() -> None:
        gate = PaperGate()
        door = make_door(gate)
        await answered(door, "/task", make_task(1, 2, 3))
        gate.end(3, b'{"n": 1}', FAILED, None)

        listed = await answered(door, "/result", task_id=4, page=1)

        assert [{"n": 1}, None, None] == decoded(listed)
        assert [(8, 4, 8), (9, 4, 9), (10, 4, 10)] == [
            (one["id"], one["task"]["id"], one["run"]["id"]) for one in listed["data"]
        ]
        assert not any(one["blob_storage_used"] for one in listed["data"])
        assert listed["data"][0] == await answered(door, "/result/8")
        gate.end(3, b'{"n": 1}', FAILED, b"2")
        assert [{"n": 1}, None, 2] == decoded(await answered(door, "/result"))

    asyncio.run(scenario())


@both
def test_runs_say_how_they_are_and_why_they_failed(
    make_door: Callable[[PaperGate], Door], make_task: Callable[..., dict[str, Any]]
) -> None:
    async def scenario() -> None:
        gate = PaperGate()
        door = make_door(gate)
        limit = Failure(type="LimitReached", message="it took too long")
        await answered(door, "/task", make_task(1, 2, 3, 3))
        assert ["pending"] * 4 == [one["status"] for one in (await answered(door, "/run", task_id=4))["data"]]
        gate.end(3, b"1", FAILED, None, limit)

        listed = (await answered(door, "/run", task_id=4))["data"]

        assert [
            ("completed", "local0", None),
            ("crashed", "local1", "f failed with KeyError"),
            ("active", "local2", None),
            ("failed", "local2", "it took too long"),
        ] == [(one["status"], one["node"]["name"], one["log"]) for one in listed]
        assert [1, 2, 3, 3] == [one["organization"]["id"] for one in listed]
        assert listed[1] == await answered(door, "/run/9")
        await answered(door, "/task", make_task(1))
        assert 5 == (await answered(door, "/run/12"))["task"]["id"]
        assert [] == gate.read

    asyncio.run(scenario())


def test_the_whole_truth_is_told_organization_by_organization() -> None:
    async def scenario() -> None:
        gate = PaperGate()
        door = door_4(gate)
        await answered(door, "/task", task_4(1, 2, 3))
        gate.end(3, b'{"n": [1]}', FAILED, None)

        told = (await answered(door, "/task/4/outcomes"))["data"]

        failure = {"type": "AlgorithmFailed", "message": "f failed with KeyError", "site": "local1"}
        assert [
            ("local0", 1, 8, "done", {"n": [1]}, None),
            ("local1", 2, 9, "failed", None, failure),
            ("local2", 3, 10, "active", None, None),
        ] == [
            tuple(one[name] for name in ("site", "organization_id", "run_id", "status", "result", "failure"))
            for one in told
        ]

    asyncio.run(scenario())


def test_pages_of_results_are_read_once_from_the_platform() -> None:
    async def scenario() -> None:
        gate = PaperGate(ticket_of(sites=seats(250)), answer=lambda seat, _: json.dumps(seat).encode())
        door = door_4(gate)
        await answered(door, "/task", task_4(*range(1, 251)))
        await answered(door, "/task", task_4(*range(1, 11)))

        pages = [await answered(door, "/result", task_id=4, page=number) for number in (1, 2, 3)]

        assert [100, 100, 50] == [len(page["data"]) for page in pages]
        assert list(seats(250)) == [one for page in pages for one in decoded(page)]
        assert [3] == gate.read
        whole = [await answered(door, "/result", page=number) for number in (1, 2, 3)]
        assert [100, 100, 60] == [len(page["data"]) for page in whole]
        assert [3, 3, 4] == gate.read
        # Runs hold no results: what was read for them is not taken for results.
        assert None is (await answered(door, "/run", task_id=4, page=1))["data"][0].get("result")
        assert ["local0"] == decoded(await answered(door, "/result", task_id=4, per_page=1))

    asyncio.run(scenario())


def test_a_page_of_results_that_are_still_coming_is_read_anew() -> None:
    async def scenario() -> None:
        gate = PaperGate()
        door = door_4(gate)
        await answered(door, "/task", task_4(1, 2))
        gate.end(3, b"1", None)
        assert [1] == decoded(await answered(door, "/result", task_id=4, per_page=1))

        gate.end(3, b"1", b"2")

        assert [2] == decoded(await answered(door, "/result", task_id=4, per_page=1, page=2))

    asyncio.run(scenario())
