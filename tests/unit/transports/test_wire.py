"""What is said between hub and node arrives as it was, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.engine.limits import BODY_BYTES_INSIDE_MAX
from atoll.engine.ports import ChildState
from atoll.model.errors import Malformed
from atoll.model.events import JobBroke, JobLost, JobReported, RoundGivenUp, RoundRequested
from atoll.model.work import (
    Algorithm,
    Behalf,
    Blob,
    Failure,
    Job,
    JobId,
    JobStatus,
    Message,
    MessageId,
    Order,
    Outcome,
    Role,
    Round,
    RunId,
    Seat,
    Ticket,
    Work,
)
from atoll.transports import forms, wire

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "wire"

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
NUMBERS = st.integers(0, 2**40)
BLOBS = st.builds(Blob, name=st.sampled_from(["a", "b/ü.nii", "c d"]), digest=TEXTS, size_bytes=NUMBERS)
SEATS = st.lists(TEXTS, max_size=3).map(tuple)
MESSAGES = st.builds(
    Message,
    id=TEXTS,
    sender=TEXTS,
    readers=SEATS,
    body=st.binary(max_size=40),
    body_blob=st.none() | BLOBS,
    blobs=st.lists(BLOBS, max_size=2).map(tuple),
)
FAILURES = st.builds(Failure, type=TEXTS, message=TEXTS, site=st.none() | TEXTS, raised=st.none() | TEXTS)
ALGORITHMS = st.builds(Algorithm, dialect=TEXTS, digest=TEXTS, name=TEXTS)
ROUNDS = st.builds(
    Round,
    number=NUMBERS,
    step=NUMBERS,
    iteration=NUMBERS,
    role=st.sampled_from(Role),
    work=st.sampled_from(Work),
    job_count=NUMBERS,
    open_count=NUMBERS,
    parent=st.none() | TEXTS,
    asker=st.none() | TEXTS,
    depth=NUMBERS,
    origin=TEXTS,
    digest=TEXTS,
    name=TEXTS,
)
ORDERS = st.builds(Order, seat=TEXTS, inbox=SEATS, session=st.none() | TEXTS)


def jobs(outcome: st.SearchStrategy[Outcome | None]) -> st.SearchStrategy[Job]:
    """Jobs with such outcomes."""
    return st.builds(
        Job,
        id=TEXTS,
        run_id=TEXTS,
        round_number=NUMBERS,
        position=NUMBERS,
        seat=TEXTS,
        inbox=SEATS,
        ordinal=NUMBERS,
        session=st.none() | TEXTS,
        asked=NUMBERS,
        node=st.none() | TEXTS,
        attempt=NUMBERS,
        status=st.sampled_from(JobStatus),
        outcome=outcome,
        failure=st.none() | FAILURES,
    )


TICKETS = st.builds(
    Ticket,
    job=jobs(st.none()),
    algorithm=ALGORITHMS,
    step=NUMBERS,
    iteration=NUMBERS,
    role=st.sampled_from(Role),
    work=st.sampled_from(Work),
    inbox=st.lists(MESSAGES, max_size=3).map(tuple),
    readers=SEATS,
    sites=SEATS,
    parent=st.none() | TEXTS,
    origin=TEXTS,
    behalf=st.builds(Behalf, collaboration=TEXTS, study_name=TEXTS, submitter=TEXTS),
)


@st.composite
def child_states(draw: st.DrawFn) -> ChildState:
    """Child rounds, some of whose jobs have left something."""
    outcomes = draw(
        st.lists(
            st.none() | st.builds(Outcome, message=st.none() | MESSAGES, final=st.booleans()), max_size=3
        )
    )
    return ChildState(
        round=draw(ROUNDS),
        jobs=tuple(draw(jobs(st.just(outcome))) for outcome in outcomes),
        messages=tuple(outcome.message if outcome else None for outcome in outcomes),
    )


# --- What arrives -----------------------------------------------------------------------------


@given(ticket=TICKETS)
@settings(max_examples=60)
def test_a_ticket_arrives_as_it_was(ticket: Ticket) -> None:
    assert ticket == wire.decode_ticket(wire.encode_ticket(ticket))


@given(state=child_states())
@settings(max_examples=60)
def test_a_child_round_arrives_as_it_was(state: ChildState) -> None:
    assert state == wire.decode_child(wire.encode_child(state))


@given(message=st.none() | MESSAGES, final=st.booleans(), attempt=NUMBERS)
@settings(max_examples=40)
def test_a_report_of_success_arrives_with_its_claim(
    message: Message | None, final: bool, attempt: int
) -> None:
    event = JobReported(
        run_id=RunId("r"),
        job_id=JobId("j"),
        attempt=attempt,
        outcome=Outcome(message=message, final=final),
    )
    arrived = wire.decode_report(wire.encode_report(event))

    assert event == arrived
    assert attempt == arrived.attempt


@given(failure=FAILURES, attempt=NUMBERS)
@settings(max_examples=40)
def test_a_report_of_failure_arrives_with_its_claim(failure: Failure, attempt: int) -> None:
    event = JobBroke(run_id=RunId("r"), job_id=JobId("j"), attempt=attempt, failure=failure)
    arrived = wire.decode_report(wire.encode_report(event))

    assert event == arrived
    assert attempt == arrived.attempt


@given(
    orders=st.lists(ORDERS, max_size=3),
    messages=st.lists(MESSAGES, max_size=3),
    digest=TEXTS,
    attempt=NUMBERS,
)
@settings(max_examples=40)
def test_a_question_arrives_with_what_is_to_be_read(
    orders: list[Order], messages: list[Message], digest: str, attempt: int
) -> None:
    event = RoundRequested(
        run_id=RunId("r"),
        job_id=JobId("j"),
        attempt=attempt,
        number=3,
        digest=digest,
        name="mean",
        orders=tuple(orders),
    )
    arrived, brought = wire.decode_ask(wire.encode_ask(event, tuple(messages)))

    assert (event, tuple(messages), attempt) == (arrived, brought, arrived.attempt)


def test_what_is_given_up_or_lost_arrives() -> None:
    given_up = RoundGivenUp(run_id=RunId("r"), job_id=JobId("j"), attempt=2, round_number=7)
    lost = JobLost(run_id=RunId("r"), job_id=JobId("j"), attempt=2)

    arrived = wire.decode_give_up(wire.encode_give_up(given_up))
    assert (given_up, 2) == (arrived, arrived.attempt)
    assert lost == wire.decode_lost(wire.encode_lost(lost))


def test_an_event_without_a_claim_is_of_none_that_there_ever_was() -> None:
    event = JobBroke(run_id=RunId("r"), job_id=JobId("j"), failure=Failure(type="T", message="m"))

    assert 0 == wire.decode_report(wire.encode_report(event)).attempt


def test_what_a_newer_version_says_beside_is_not_seen() -> None:
    told = b'{"stale":["j"],"ended":[],"weather":{"wind":7}}'

    assert forms.Heard(stale=[JobId("j")]) == forms.heard.decode(told)


# --- What is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b'{"run":1,"job":"j","attempt":1,"outcome":{}}',
        b'{"run":"r","job":"j","attempt":"1","outcome":{}}',
        b'{"run":"r","job":"j","attempt":1}',
        b'{"run":"r","job":"j","attempt":1,"outcome":{},"failure":{"type":"T","message":"m"}}',
        b'{"run":"r","job":"j","attempt":1,"outcome":{"message":{"id":"m","sender":"s","body":"%"}}}',
        (
            b'{"run":"r","job":"j","attempt":1,"outcome":{"message":{"id":"m","sender":"s","blobs":'
            b'[{"name":"../x","digest":"d","size_bytes":1}]}}}'
        ),
        b"[" * 100_000,
    ],
)
def test_what_is_no_report_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        wire.decode_report(text)


def test_a_body_that_should_be_a_blob_is_refused() -> None:
    message = Message(id=MessageId("m"), sender=Seat("s"), readers=(), body=bytes(BODY_BYTES_INSIDE_MAX + 1))
    event = JobReported(run_id=RunId("r"), job_id=JobId("j"), attempt=1, outcome=Outcome(message=message))

    with pytest.raises(Malformed, match="expected at most 262144 inside"):
        wire.decode_report(wire.encode_report(event))


def test_a_child_round_with_messages_of_other_jobs_is_refused() -> None:
    text = b'{"round":%b,"jobs":[],"messages":[null]}'
    round_ = Round(number=1, step=0, iteration=1, role=Role.SITE, work=Work.CALL, job_count=0, open_count=0)

    with pytest.raises(Malformed, match="has 0 jobs, and 1 messages"):
        wire.decode_child(text % msgspec.json.encode(round_))


# --- The format -------------------------------------------------------------------------------


def _golden() -> dict[str, bytes]:
    blob = Blob(name="maps/t1.nii", digest=f"sha256:{'0' * 64}", size_bytes=12)
    message = Message(
        id=MessageId("run_1.0.0"),
        sender=Seat("alpha"),
        readers=(Seat("remote"),),
        body=b'{"n":1}',
        blobs=(blob,),
    )
    job = Job(
        id=JobId("run_1.1.0"),
        run_id=RunId("run_1"),
        round_number=1,
        position=0,
        seat=Seat("remote"),
        inbox=(message.id,),
        ordinal=3,
        node="hub-side",
        attempt=1,
        status=JobStatus.ACTIVE,
    )
    ticket = Ticket(
        job=job,
        algorithm=Algorithm(dialect="coinstac", digest="sha256:1", name="sum"),
        step=0,
        iteration=1,
        role=Role.AGGREGATOR,
        work=Work.CALL,
        inbox=(message,),
        readers=(Seat("alpha"),),
        sites=(Seat("alpha"),),
    )
    outcome = Outcome(message=message, final=True)
    where: dict[str, Any] = {"run_id": RunId("run_1"), "job_id": job.id, "attempt": 1}
    failure = Failure(type="AlgorithmFailed", message="exit status 1", raised="ValueError")
    asked = RoundRequested(
        **where,
        number=0,
        digest="sha256:2",
        name="mean",
        orders=(Order(seat=Seat("alpha"), inbox=(message.id,)),),
    )
    return {
        "ticket": wire.encode_ticket(ticket),
        "reported": wire.encode_report(JobReported(**where, outcome=outcome)),
        "broke": wire.encode_report(JobBroke(**where, failure=failure)),
        "ask": wire.encode_ask(asked, (message,)),
        "give-up": wire.encode_give_up(RoundGivenUp(**where, round_number=2)),
        "lost": wire.encode_lost(JobLost(**where)),
        "hello": forms.encode(
            forms.Hello(
                version="0.1.0",
                databases=["default"],
                dialects=["coinstac"],
                runtimes=["bubblewrap"],
                working=[forms.Claimed(run=RunId("run_1"), job=job.id, attempt=1, fraction=0.5, text="half")],
            )
        ),
        "signal": forms.encode(forms.Signal(cancelled=job.id)),
    }


@pytest.mark.parametrize("name", _golden())
def test_the_format_is_what_other_versions_read(name: str) -> None:
    assert (GOLDEN / f"{name}.json").read_bytes().strip() == _golden()[name]


def test_what_other_versions_wrote_is_read() -> None:
    def kept(name: str) -> bytes:
        return (GOLDEN / f"{name}.json").read_bytes()

    assert "sum" == wire.decode_ticket(kept("ticket")).algorithm.name
    assert isinstance(wire.decode_report(kept("reported")), JobReported)
    assert isinstance(wire.decode_report(kept("broke")), JobBroke)
    assert 1 == len(wire.decode_ask(kept("ask"))[1])
    assert 2 == wire.decode_give_up(kept("give-up")).round_number
    assert 1 == wire.decode_lost(kept("lost")).attempt
    assert ["default"] == forms.hello.decode(kept("hello")).databases
    assert "run_1.1.0" == forms.signal.decode(kept("signal")).cancelled
