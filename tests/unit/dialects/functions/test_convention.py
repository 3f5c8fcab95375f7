"""A call is passed on untouched, with what the site adds; an answer is passed on unread."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import pytest
from tests.federation import make_ticket

from atoll.dialects.functions.body import call_body
from atoll.dialects.functions.container import pack
from atoll.dialects.functions.convention import Convention
from atoll.dialects.functions.door import Door
from atoll.engine import ports
from atoll.engine.gate import Gate
from atoll.engine.ports import Database, Folder
from atoll.engine.running import Reply, Style
from atoll.model.errors import AlgorithmFailed, InputMissing, ReplyInvalid, UnsafeName
from atoll.model.work import Content, JobId, Message, MessageId, Role, Seat, Ticket
from atoll.runtimes.held import MemoryFile
from atoll_algorithm import _body as theirs

CONVENTION = Convention(target="/computation/mean.py")
ALPHA = Seat("alpha")
CSV = Database(label="default", type="csv", uri="/site/alpha.csv", options={"sep": ";"})


@dataclass
class Desk:
    """What a convention may know of a site. Nothing else may be touched."""

    databases: Mapping[str, Database] = field(default_factory=lambda: {"default": CSV})
    seed: int | None = 7
    seat: Seat = ALPHA
    token: str = "secret"
    address: tuple[str, int] | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Any] | None = None
    cache: dict[str, bytes] = field(default_factory=dict)
    outputs: dict[int, bytes] = field(default_factory=dict)

    def inside(self, folder: Folder) -> str:
        """No folder is used."""
        raise AssertionError(folder)

    def write(self, folder: Folder, name: str, content: bytes) -> None:
        """No file is written."""
        raise AssertionError(name)

    def read(self, folder: Folder, name: str) -> bytes | None:
        """No file is read."""
        raise AssertionError(name)

    def keep(self, name: str, source: str) -> int:
        """No file is kept."""
        raise AssertionError(name)


def _ticket(body: Content = b"", **changes: Any) -> Ticket:
    message = Message(id=MessageId("m"), sender=Seat("submitter"), readers=(ALPHA,), body=body)
    ticket = make_ticket(ALPHA, role=Role.AGGREGATOR, inbox=(message,), readers=(ALPHA,))
    return _changed(ticket, sites=(ALPHA, Seat("beta")), **changes)


def _changed(ticket: Ticket, *, session: str | None = None, **changes: Any) -> Ticket:
    return replace(ticket, job=replace(ticket.job, session=session), **changes)


def _compose(
    body: Content, desk: Desk | None = None, **changes: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The head of a call, and what the journal is told."""
    request = CONVENTION.compose(_ticket(body, **changes), [body], desk or Desk())
    assert request.told is not None
    assert body is request.body
    return json.loads(json.dumps(request.head, default=str)), json.loads(request.told)


def test_every_function_is_started_alike() -> None:
    convention: ports.Convention = CONVENTION

    command = ("python", "-m", "atoll_algorithm", "/computation/mean.py")
    assert (Style.TALK, command) == convention.launch(_ticket())
    assert {} == convention.targets(ALPHA)


def test_a_call_is_passed_on_with_what_the_site_adds() -> None:
    head, told = _compose(call_body("mean", {"column": "age"}))

    assert {
        "do": "call",
        "seat": "alpha",
        "sites": ["alpha", "beta"],
        "seed": 7,
        "databases": [{"label": "default", "uri": "/site/alpha.csv", "type": "csv", "options": {"sep": ";"}}],
        "resume": None,
    } == head
    assert {"function": "mean", "args": {"column": "age"}, "databases": None} == told


def test_databases_keep_the_order_of_the_site_and_their_options_become_json() -> None:
    since = Database(label="z", type="sql", uri="sqlite:///a.db", options={"since": dt.date(2024, 2, 29)})

    head, _ = _compose(
        call_body("mean", {}, ["default"]), Desk(databases={"z": since, "default": CSV}, seed=None)
    )

    assert ["z", "default"] == [database["label"] for database in head["databases"]]
    assert {"since": "2024-02-29"} == head["databases"][0]["options"]
    assert head["seed"] is None


def test_a_paused_function_is_known_by_who_paused_it() -> None:
    head, _ = _compose(call_body("mean", {}), session="alpha/mean/1", parent=JobId("run.0.0"))

    assert "run.0.0/alpha/mean/1" == head["resume"]


def test_tables_in_memory_travel_beside_the_head() -> None:
    table = object()
    desk = Desk(databases={"mine": Database(label="mine", type="other", table=table), "default": CSV})
    body = call_body("mean", {})

    request = CONVENTION.compose(_ticket(body), [body], desk)

    assert {"mine": table} == request.tables


def test_what_a_journal_is_told_of_a_large_call_is_its_size() -> None:
    body = call_body("mean", {"weights": [0.5] * 100_000})

    assert {"bytes": len(body)} == _compose(body)[1]
    assert {"bytes": len(body)} == _compose(MemoryFile.of(body))[1]


@pytest.mark.parametrize("held", [False, True])
def test_large_arrays_are_told_by_their_shape(held: bool) -> None:
    call = {"function": "mean", "args": {"weights": np.zeros(100_000)}, "databases": ["default"]}
    body = theirs.join(theirs.pack(call))

    _, told = _compose(MemoryFile.of(body) if held else body)

    assert {"dtype": "<f8", "shape": [100_000]} == told["args"]["weights"]
    with pytest.raises(InputMissing):
        _compose(body, Desk(databases={}))


@pytest.mark.parametrize(("databases", "there"), [({"default": CSV}, "it has default"), ({}, "it has none")])
def test_a_database_that_the_site_does_not_offer_is_missed_before_the_call(
    databases: dict[str, Database], there: str
) -> None:
    with pytest.raises(
        InputMissing, match=rf"mean asks for the database 'labs', which alpha doesn't offer: {there}"
    ):
        _compose(call_body("mean", {}, ["labs"]), Desk(databases=databases))


def test_what_is_no_call_is_refused_before_anything_is_called() -> None:
    with pytest.raises(ReplyInvalid, match="no container"):
        _compose(b"{}")


# --- Answers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("output", [pack([1]), MemoryFile.of(pack([1]))])
def test_what_was_returned_is_passed_on_unread(output: Content) -> None:
    answer = CONVENTION.parse(_ticket(), Reply(output=output, head={"say": "returned"}), Desk())

    assert output is answer.body
    assert answer.final
    assert () == answer.warnings


def _failure(reply: Reply, error: type[Exception] = AlgorithmFailed, body: Content = b"") -> str:
    with pytest.raises(error) as caught:
        CONVENTION.parse(_ticket(body), reply, Desk())
    return str(caught.value)


def test_a_function_that_failed_is_named() -> None:
    head = {"say": "failed", "type": "ValueError", "message": None, "frames": [["mean.py", 2, "mean"]]}
    reply = Reply(output=b"", head=head, log_tail="ValueError: patient 4711")

    assert _failure(reply, body=call_body("mean", {})).startswith(
        "mean failed with ValueError, at mean.py:2 in mean."
    )
    assert _failure(reply).startswith("the function failed with ValueError")
    assert "4711" not in _failure(reply)


def test_a_ticket_without_an_inbox_names_no_function() -> None:
    ticket = _changed(_ticket(), inbox=())

    with pytest.raises(AlgorithmFailed, match="the function failed: Stop: too few rows"):
        CONVENTION.parse(
            ticket,
            Reply(output=b"", head={"say": "failed", "type": "Stop", "message": "too few rows"}),
            Desk(),
        )


@pytest.mark.parametrize(
    ("exit_code", "how"),
    [(0, "ended before"), (3, "ended with exit status 3 before"), (-9, "ended by signal 9 before")],
)
def test_a_process_that_ended_early_points_to_its_log_and_does_not_quote_it(exit_code: int, how: str) -> None:
    failure = _failure(Reply(output=b"", exit_code=exit_code, log_tail="patient 4711"))

    assert f"python -m atoll_algorithm /computation/mean.py {how} it answered" in failure
    assert failure.endswith("What it wrote stays at alpha, in its log")
    assert "4711" not in failure


@pytest.mark.parametrize("head", [{"said": "returned"}, {"say": "call"}])
def test_an_answer_that_says_something_else_asks_about_versions(head: dict[str, str]) -> None:
    assert "Is its atoll-algorithm of the same version" in _failure(
        Reply(output=b"", head=head), ReplyInvalid
    )


def test_an_answer_that_is_no_container_is_the_answering_sites_fault() -> None:
    reply = Reply(output=b"42", head={"say": "returned"})

    assert "2 bytes are no container" in _failure(reply, ReplyInvalid)


# --- What functions don't do ------------------------------------------------------------------


def test_functions_send_and_receive_no_files() -> None:
    assert () == CONVENTION.carried(_ticket(), [], Desk())
    CONVENTION.receive(_ticket(), [], Desk())
    with pytest.raises(UnsafeName, match=r"beta sent a file, 'a\.nii': functions send what they return"):
        CONVENTION.place(_ticket(), Seat("beta"), "a.nii")


def test_every_call_has_a_door() -> None:
    nobody_asks = cast("Gate", None)

    assert isinstance(CONVENTION.door(_ticket(), [], Desk(), nobody_asks), Door)
