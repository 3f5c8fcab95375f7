"""Runs, rounds, jobs and messages as rows: from the values of `model.work`, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from atoll.model.errors import StaleEvent
from atoll.model.work import (
    Blob,
    Failure,
    Job,
    JobId,
    JobStatus,
    Loss,
    Message,
    MessageId,
    Outcome,
    Role,
    Round,
    Run,
    RunId,
    RunStatus,
    Seat,
    Step,
    Work,
)
from atoll.stores.sql.run_tables import jobs, messages, rounds, runs

#: What has a table's columns as attributes: a row, or what is about to become one.
AnyRow = Any
#: The largest number of a column of type INTEGER.
_NUMBER_MAX = 2**31 - 1


class Kept(Enum):
    """Why a message is kept, and so for how long."""

    OPENING = "opening"  #: it opens a step: as long as the run
    SETTLED = "settled"  #: it is a seat's last in a step: as long as the run
    MAIN = "main"  #: it was left in a main round: until the next but one is opened
    ASKED = "asked"  #: it is what a child round was asked: until all its jobs have ended
    LEFT = "left"  #: it was left in a child round: until the job that asked for it has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What never changes of a run."""

    steps: tuple[Step, ...]
    sites: tuple[Seat, ...]
    aggregator: Seat | None
    iterations_max: int
    aggregator_node: str | None
    min_sites: int
    on_refusal: Loss
    on_failure: Loss


@dataclass(frozen=True, slots=True, kw_only=True)
class JobKey:
    """Where a job's row is."""

    run_id: RunId
    round_number: int
    position: int


_made = msgspec.json.Decoder(Made)
_seats = msgspec.json.Decoder(tuple[Seat, ...])
_ids = msgspec.json.Decoder(tuple[MessageId, ...])
_failure = msgspec.json.Decoder(Failure)
_blob = msgspec.json.Decoder(Blob)
_blobs = msgspec.json.Decoder(tuple[Blob, ...])
_text = msgspec.json.Decoder(str)

#: What makes a `Run` of a row beside `Made`.
RUN_STATE = (
    runs.c.id,
    runs.c.status,
    runs.c.dropped,
    runs.c.failure,
    runs.c.round_count,
    runs.c.call_round_count,
    runs.c.job_count,
    runs.c.main_round,
    runs.c.created_at,
    runs.c.started_at,
    runs.c.collaboration_id,
)


def json_of(value: object) -> str:
    """A value as the text of a column of type `Json`."""
    return msgspec.json.encode(value).decode()


def job_id(run_id: str, round_number: int, position: int) -> JobId:
    """The id of a job in a row."""
    return JobId(f"{run_id}.{round_number}.{position}")


def key_of(run_id: RunId, job: JobId) -> JobKey:
    """Where the row of a job of this run is.

    Raises:
        StaleEvent: no job of the run has such an id.
    """
    parts = job.rsplit(".", 2)
    if len(parts) == 3 and parts[1].isdecimal() and parts[2].isdecimal() and len(job) < 1_000:
        key = JobKey(run_id=run_id, round_number=int(parts[1]), position=int(parts[2]))
        # Only as it is written: `007` is another text for the same number.
        if job == job_id(run_id, key.round_number, key.position) and (
            max(key.round_number, key.position) <= _NUMBER_MAX
        ):
            return key
    raise StaleEvent(f"run {run_id} has no job {job}")


# --- To rows ----------------------------------------------------------------------------------


def made_text(run: Run) -> str:
    """What never changes of a run."""
    return json_of(
        Made(
            steps=run.steps,
            sites=run.sites,
            aggregator=run.aggregator,
            iterations_max=run.iterations_max,
            aggregator_node=run.aggregator_node,
            min_sites=run.min_sites,
            on_refusal=run.on_refusal,
            on_failure=run.on_failure,
        )
    )


def run_state(run: Run) -> dict[str, Any]:
    """What an event may change of a run."""
    return {
        "status": run.status.value,
        "dropped": json_of(run.dropped) if run.dropped else "[]",
        "failure": None if run.failure is None else json_of(run.failure),
        "round_count": run.round_count,
        "call_round_count": run.call_round_count,
        "job_count": run.job_count,
    }


def round_values(run_id: RunId, round_: Round, now: float) -> dict[str, Any]:
    """A round that has just been opened."""
    return {
        "run_id": run_id,
        "number": round_.number,
        "step": round_.step,
        "iteration": round_.iteration,
        "role": round_.role.value,
        "work": round_.work.value,
        "job_count": round_.job_count,
        "open_count": round_.open_count,
        "parent": round_.parent,
        "asker": round_.asker,
        "depth": round_.depth,
        "origin": round_.origin,
        "digest": round_.digest,
        # A function's name, which its author chose. PostgreSQL keeps no text with a zero byte.
        "name": round_.name.replace("\0", "\N{REPLACEMENT CHARACTER}"),
        "is_over": False,
        "opened_at": now,
        "ended_at": None,
    }


def job_values(job: Job, now: float) -> dict[str, Any]:
    """A job of a round that has just been opened."""
    return {
        "run_id": job.run_id,
        "round_number": job.round_number,
        "position": job.position,
        "seat": job.seat,
        "node": job.served_by,
        "ordinal": job.ordinal,
        "inbox": json_of(job.inbox),
        "session": None if job.session is None else json_of(job.session),
        "asked": job.asked,
        "attempt": job.attempt,
        "status": job.status.value,
        "message_id": None,
        "final": False,
        "failure": None,
        "queued_at": now,
        "claimed_at": None,
        "ended_at": None,
        "lease_until": None,
        "fraction": None,
        "progress_text": None,
    }


def message_values(run_id: RunId, message: Message, kept: Kept, round_number: int) -> dict[str, Any]:
    """A message that an event brought."""
    # What is held lies in this machine's memory. A hub gets it as a blob, through a node's link.
    assert isinstance(message.body, bytes), f"the body of message {message.id} has to be bytes or a blob"
    return {
        "run_id": run_id,
        "id": message.id,
        "kept": kept.value,
        "round_number": round_number,
        "sender": message.sender,
        "readers": json_of(message.readers),
        "body": message.body,
        "body_blob": None if message.body_blob is None else json_of(message.body_blob),
        "blobs": json_of(message.blobs) if message.blobs else "[]",
    }


def blob_values(run_id: RunId, message: Message) -> list[dict[str, Any]]:
    """The files that a message names, each once."""
    named = (*message.blobs, *(() if message.body_blob is None else (message.body_blob,)))
    digests = dict.fromkeys(blob.digest for blob in named)
    return [{"run_id": run_id, "digest": digest, "message_id": message.id} for digest in digests]


# --- From rows --------------------------------------------------------------------------------


def made_of(text: str) -> Made:
    """What never changes of a run."""
    return _made.decode(text)


def run_of(state: AnyRow, made: Made) -> Run:
    """A run, of the columns `RUN_STATE`."""
    return Run(
        id=RunId(state.id),
        steps=made.steps,
        sites=made.sites,
        aggregator=made.aggregator,
        iterations_max=made.iterations_max,
        aggregator_node=made.aggregator_node,
        min_sites=made.min_sites,
        on_refusal=made.on_refusal,
        on_failure=made.on_failure,
        dropped=_seats.decode(state.dropped),
        status=RunStatus(state.status),
        round_count=state.round_count,
        call_round_count=state.call_round_count,
        job_count=state.job_count,
        failure=failure_of(state.failure),
    )


def failure_of(text: str | None) -> Failure | None:
    """Why a run or a job failed."""
    return None if text is None else _failure.decode(text)


def round_of(row: AnyRow) -> Round:
    """A round."""
    return Round(
        number=row.number,
        step=row.step,
        iteration=row.iteration,
        role=Role(row.role),
        work=Work(row.work),
        job_count=row.job_count,
        open_count=row.open_count,
        parent=None if row.parent is None else JobId(row.parent),
        asker=None if row.asker is None else Seat(row.asker),
        depth=row.depth,
        origin=row.origin,
        digest=row.digest,
        name=row.name,
    )


def job_of(row: AnyRow) -> Job:
    """A job. Of the message that it left it has the id and the sender alone: the rest may be large."""
    seat, status = Seat(row.seat), JobStatus(row.status)
    outcome = None
    if status is JobStatus.DONE:
        left = None
        if row.message_id is not None:
            left = Message(id=MessageId(row.message_id), sender=seat, readers=())
        outcome = Outcome(message=left, final=row.final)
    return Job(
        id=job_id(row.run_id, row.round_number, row.position),
        run_id=RunId(row.run_id),
        round_number=row.round_number,
        position=row.position,
        seat=seat,
        inbox=_ids.decode(row.inbox),
        ordinal=row.ordinal,
        session=None if row.session is None else _text.decode(row.session),
        asked=row.asked,
        node=None if row.node == row.seat else row.node,
        attempt=row.attempt,
        status=status,
        outcome=outcome,
        failure=failure_of(row.failure),
    )


def message_of(row: AnyRow) -> Message:
    """A message."""
    return Message(
        id=MessageId(row.id),
        sender=Seat(row.sender),
        readers=_seats.decode(row.readers),
        body=bytes(row.body),
        body_blob=None if row.body_blob is None else _blob.decode(row.body_blob),
        blobs=_blobs.decode(row.blobs),
    )


def seats_of(text: str) -> Sequence[Seat]:
    """Seats, in a column of type `Json`."""
    return _seats.decode(text)


#: What makes a round, a job and a message.
ROUND = tuple(rounds.c)
JOB = tuple(jobs.c)
MESSAGE = (
    messages.c.id,
    messages.c.sender,
    messages.c.readers,
    messages.c.body,
    messages.c.body_blob,
    messages.c.blobs,
)
