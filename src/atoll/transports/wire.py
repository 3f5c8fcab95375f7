"""Tickets, reports and child rounds, as JSON: what holds messages. The rules of `forms` hold.

A body travels inside as base64 as long as it is small; a larger one is a blob, and travels beside.
"""

from __future__ import annotations

from typing import Any

import msgspec

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
from atoll.transports.forms import Codec, Form

# --- What holds bodies ------------------------------------------------------------------------


class _Message(Form, frozen=True, kw_only=True):
    id: MessageId
    sender: Seat
    readers: tuple[Seat, ...] = ()
    body: bytes = b""
    body_blob: Blob | None = None
    blobs: tuple[Blob, ...] = ()


class _Outcome(Form, frozen=True, kw_only=True):
    message: _Message | None = None
    final: bool = False


class _Report(Form, frozen=True, kw_only=True):
    run: RunId
    job: JobId
    attempt: int
    #: One of the two: what it left, or why it broke.
    outcome: _Outcome | None = None
    failure: Failure | None = None


class _Lost(Form, frozen=True, kw_only=True):
    run: RunId
    job: JobId
    attempt: int


class _Ask(Form, frozen=True, kw_only=True):
    run: RunId
    job: JobId
    attempt: int
    number: int
    digest: str
    name: str = ""
    orders: tuple[Order, ...]
    messages: tuple[_Message, ...] = ()


class _GiveUp(Form, frozen=True, kw_only=True):
    run: RunId
    job: JobId
    attempt: int
    number: int


class _Job(Form, frozen=True, kw_only=True):
    id: JobId
    run: RunId
    round: int
    position: int
    seat: Seat
    inbox: tuple[MessageId, ...] = ()
    ordinal: int = 1
    session: str | None = None
    asked: int = 0
    node: str | None = None
    attempt: int = 0
    status: JobStatus = JobStatus.QUEUED
    #: Whether there is an outcome, and what its seat says with it.
    done: bool = False
    final: bool = False
    failure: Failure | None = None


class _Ticket(Form, frozen=True, kw_only=True):
    job: _Job
    algorithm: Algorithm
    step: int
    iteration: int
    role: Role
    work: Work
    inbox: tuple[_Message, ...] = ()
    readers: tuple[Seat, ...] = ()
    sites: tuple[Seat, ...] = ()
    parent: JobId | None = None
    origin: str = ""
    behalf: Behalf | None = None


class _ChildState(Form, frozen=True, kw_only=True):
    round: Round
    jobs: tuple[_Job, ...] = ()
    messages: tuple[_Message | None, ...] = ()


_encoder = msgspec.json.Encoder()
_NOBODY = Behalf()

_reports, _losses, _asks, _give_ups = Codec(_Report), Codec(_Lost), Codec(_Ask), Codec(_GiveUp)
_tickets, _child_states = Codec(_Ticket), Codec(_ChildState)


def encode_report(event: JobReported | JobBroke) -> bytes:
    """How a job ended."""
    outcome = failure = None
    if isinstance(event, JobReported):
        message = event.outcome.message
        outcome = _Outcome(message=None if message is None else _said(message), final=event.outcome.final)
    else:
        failure = event.failure
    report = _Report(
        run=event.run_id, job=event.job_id, attempt=event.attempt or 0, outcome=outcome, failure=failure
    )
    return _encoder.encode(report)


def decode_report(text: bytes) -> JobReported | JobBroke:
    """How a job ended.

    Raises:
        Malformed: the text says no such thing.
    """
    form = _reports.decode(text)
    where: dict[str, Any] = {"run_id": form.run, "job_id": form.job, "attempt": form.attempt}
    if form.outcome is not None and form.failure is None:
        message = None if form.outcome.message is None else _message(form.outcome.message)
        return JobReported(**where, outcome=Outcome(message=message, final=form.outcome.final))
    if form.failure is not None and form.outcome is None:
        return JobBroke(**where, failure=form.failure)
    raise Malformed(f"a report about job {form.job} has an outcome or a failure, and not both")


def encode_lost(event: JobLost) -> bytes:
    """A node doesn't work at a job any more."""
    return _encoder.encode(_Lost(run=event.run_id, job=event.job_id, attempt=event.attempt))


def decode_lost(text: bytes) -> JobLost:
    """A node doesn't work at a job any more.

    Raises:
        Malformed: the text says no such thing.
    """
    form = _losses.decode(text)
    return JobLost(run_id=form.run, job_id=form.job, attempt=form.attempt)


def encode_ask(event: RoundRequested, messages: tuple[Message, ...]) -> bytes:
    """A job asks for a child round."""
    form = _Ask(
        run=event.run_id,
        job=event.job_id,
        attempt=event.attempt or 0,
        number=event.number,
        digest=event.digest,
        name=event.name,
        orders=event.orders,
        messages=tuple(map(_said, messages)),
    )
    return _encoder.encode(form)


def decode_ask(text: bytes) -> tuple[RoundRequested, tuple[Message, ...]]:
    """A job asks for a child round.

    Raises:
        Malformed: the text says no such thing.
    """
    form = _asks.decode(text)
    event = RoundRequested(
        run_id=form.run,
        job_id=form.job,
        attempt=form.attempt,
        number=form.number,
        digest=form.digest,
        name=form.name,
        orders=form.orders,
    )
    return event, tuple(map(_message, form.messages))


def encode_give_up(event: RoundGivenUp) -> bytes:
    """A job waits no longer for a child round."""
    form = _GiveUp(run=event.run_id, job=event.job_id, attempt=event.attempt or 0, number=event.round_number)
    return _encoder.encode(form)


def decode_give_up(text: bytes) -> RoundGivenUp:
    """A job waits no longer for a child round.

    Raises:
        Malformed: the text says no such thing.
    """
    form = _give_ups.decode(text)
    return RoundGivenUp(run_id=form.run, job_id=form.job, attempt=form.attempt, round_number=form.number)


def encode_ticket(ticket: Ticket) -> bytes:
    """All that a node is told with a job."""
    form = _Ticket(
        job=_job_said(ticket.job),
        algorithm=ticket.algorithm,
        step=ticket.step,
        iteration=ticket.iteration,
        role=ticket.role,
        work=ticket.work,
        inbox=tuple(map(_said, ticket.inbox)),
        readers=ticket.readers,
        sites=ticket.sites,
        parent=ticket.parent,
        origin=ticket.origin,
        behalf=None if ticket.behalf == _NOBODY else ticket.behalf,
    )
    return _encoder.encode(form)


def decode_ticket(text: bytes) -> Ticket:
    """All that a node is told with a job.

    Raises:
        Malformed: the text says no such thing.
    """
    form = _tickets.decode(text)
    return Ticket(
        job=_job(form.job, None),
        algorithm=form.algorithm,
        step=form.step,
        iteration=form.iteration,
        role=form.role,
        work=form.work,
        inbox=tuple(map(_message, form.inbox)),
        readers=form.readers,
        sites=form.sites,
        parent=form.parent,
        origin=form.origin,
        behalf=form.behalf or _NOBODY,
    )


def encode_child(state: ChildState) -> bytes:
    """A child round. What its jobs left is told once, with the messages."""
    form = _ChildState(
        round=state.round,
        jobs=tuple(map(_job_said, state.jobs)),
        messages=tuple(None if message is None else _said(message) for message in state.messages),
    )
    return _encoder.encode(form)


def decode_child(text: bytes) -> ChildState:
    """A child round. The outcome of a job whose message is gone has none.

    Raises:
        Malformed: the text says no such thing.
    """
    form = _child_states.decode(text)
    messages = tuple(None if message is None else _message(message) for message in form.messages)
    left = messages or (None,) * len(form.jobs)
    if len(left) != len(form.jobs):
        raise Malformed(
            f"a child round has {len(form.jobs)} jobs, and {len(left)} messages were sent with it"
        )
    return ChildState(
        round=form.round,
        jobs=tuple(_job(job, message) for job, message in zip(form.jobs, left, strict=True)),
        messages=messages,
    )


def _said(message: Message) -> _Message:
    body = message.body
    # What is held was made a blob before: nothing else travels beside a message.
    assert isinstance(body, bytes)
    return _Message(
        id=message.id,
        sender=message.sender,
        readers=message.readers,
        body=body,
        body_blob=message.body_blob,
        blobs=message.blobs,
    )


def _message(form: _Message) -> Message:
    if len(form.body) > BODY_BYTES_INSIDE_MAX:
        raise Malformed(
            f"message {form.id} has a body of {len(form.body)} bytes: expected at most {BODY_BYTES_INSIDE_MAX} "
            "inside, and a larger one as a blob"
        )
    return Message(
        id=form.id,
        sender=form.sender,
        readers=form.readers,
        body=form.body,
        body_blob=form.body_blob,
        blobs=form.blobs,
    )


def _job_said(job: Job) -> _Job:
    return _Job(
        id=job.id,
        run=job.run_id,
        round=job.round_number,
        position=job.position,
        seat=job.seat,
        inbox=job.inbox,
        ordinal=job.ordinal,
        session=job.session,
        asked=job.asked,
        node=job.node,
        attempt=job.attempt,
        status=job.status,
        done=job.outcome is not None,
        final=job.outcome is not None and job.outcome.final,
        failure=job.failure,
    )


def _job(form: _Job, message: Message | None) -> Job:
    return Job(
        id=form.id,
        run_id=form.run,
        round_number=form.round,
        position=form.position,
        seat=form.seat,
        inbox=form.inbox,
        ordinal=form.ordinal,
        session=form.session,
        asked=form.asked,
        node=form.node,
        attempt=form.attempt,
        status=form.status,
        outcome=Outcome(message=message, final=form.final) if form.done else None,
        failure=form.failure,
    )
