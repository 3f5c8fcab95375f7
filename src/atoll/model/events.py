"""What can happen to a run. Every change of its state has one of these as its cause."""

from __future__ import annotations

from dataclasses import dataclass

from atoll.model.work import Failure, JobId, Outcome, RunId


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


Event = JobClaimed | JobReported | JobBroke
