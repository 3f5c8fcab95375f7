"""What can happen to a run. Every change of its state has one of these as its cause."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from atoll.model.work import Failure, JobId, Order, Outcome, RunId


@dataclass(frozen=True, slots=True, kw_only=True)
class JobClaimed:
    """A node took the job."""

    run_id: RunId
    job_id: JobId


@dataclass(frozen=True, slots=True, kw_only=True)
class JobReported:
    """A node says that the job is done, and what it left."""

    run_id: RunId
    job_id: JobId
    #: Which claim of the job it is of; None where a job can be claimed only once.
    attempt: int | None = field(default=None, compare=False)
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBroke:
    """A node says that the job can't be done, and why."""

    run_id: RunId
    job_id: JobId
    #: Which claim of the job it is of; None where a job can be claimed only once.
    attempt: int | None = field(default=None, compare=False)
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRequested:
    """A running job asks for a child round."""

    run_id: RunId
    job_id: JobId
    #: Which claim of the job it is of; None where a job can be claimed only once.
    attempt: int | None = field(default=None, compare=False)
    #: Which of the job's requests this is, from 0. The same request may come twice.
    number: int
    #: What is asked, without what chance decides: the same at every repetition.
    digest: str
    #: For people: the function that is called.
    name: str
    orders: tuple[Order, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundGivenUp:
    """A running job waits no longer for a child round: its open jobs end."""

    run_id: RunId
    job_id: JobId
    #: Which claim of the job it is of; None where a job can be claimed only once.
    attempt: int | None = field(default=None, compare=False)
    round_number: int


class Decision(Enum):
    """What somebody has decided about a job that can't go on, or that is waited for too long."""

    RETRY = "retry"  #: it is tried again
    DROP = "drop"  #: the run goes on without its site
    FAIL = "fail"  #: the run fails


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLost:
    """Nobody works at the job any more: its node has not been heard of for too long, or says so."""

    run_id: RunId
    job_id: JobId
    #: The claim that is lost.
    attempt: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDecided:
    """Somebody has decided about a job of a main round."""

    run_id: RunId
    job_id: JobId
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStopped:
    """The run ends before its time: it was cancelled, or has had its time."""

    run_id: RunId
    failure: Failure


#: What happens to a job.
JobEvent = JobClaimed | JobReported | JobBroke | JobLost | JobDecided | RoundRequested | RoundGivenUp
Event = JobEvent | RunStopped
