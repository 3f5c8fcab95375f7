"""What can happen to a run. Every change of its state has one of these as its cause."""

from __future__ import annotations

from dataclasses import dataclass

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
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class JobBroke:
    """A node says that the job can't be done, and why."""

    run_id: RunId
    job_id: JobId
    failure: Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRequested:
    """A running job asks for a child round."""

    run_id: RunId
    job_id: JobId
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
    round_number: int


Event = JobClaimed | JobReported | JobBroke | RoundRequested | RoundGivenUp
