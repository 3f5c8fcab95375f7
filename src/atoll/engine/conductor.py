"""The whole life of a run, as one pure function.

Rule 1: every change of a run's state is decided in this file.
Rule 2: this file does no I/O, reads no clock, and knows no dialect by name.

Theory of operation. A run is a chain of steps, a step a chain of rounds. When the last open
job of a round reports, the step's choreography says which round follows, or that the step
has ended; then the next step opens, or the run is done. A job that breaks ends its run.

`advance` returns what changed, never a new whole run: an event costs the same after ten
rounds or ten thousand. Only a round's last report looks at the round's other jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from atoll.engine.ports import Changes, Choreography, Following, OpenState
from atoll.model.errors import LimitReached, NotYours, StaleEvent
from atoll.model.events import Event, JobBroke, JobClaimed, JobReported
from atoll.model.work import (
    Failure,
    Job,
    JobId,
    JobStatus,
    MessageId,
    Orders,
    Role,
    Round,
    Run,
    RunStatus,
    Seat,
    Work,
)

Choreographies = Mapping[str, Choreography]


def begin(run: Run, choreographies: Choreographies) -> Changes:
    """Open the first round of a new run."""
    return _open(run, _choreography(run, 0, choreographies).opening(run, 0), settled=())


def advance(state: OpenState, event: Event, choreographies: Choreographies) -> Changes:
    """What one event changes.

    Raises:
        StaleEvent: the job, or its run, has ended already; or it was claimed before; or nobody
            has claimed the job that is reported.
        NotYours: the report is not one that a node may make of this job.
    """
    job = state.job
    if job.status.ended or state.run.status.ended:
        raise StaleEvent(f"{type(event).__name__} came for job {job.id}, which is {job.status.value}")
    match event:
        case JobClaimed():
            if job.status is not JobStatus.QUEUED:
                raise StaleEvent(f"job {job.id} was claimed before")
            return Changes(run=state.run, jobs=(job.moved(JobStatus.ACTIVE),))
        case _ if job.status is JobStatus.QUEUED:
            raise StaleEvent(f"{type(event).__name__} came for job {job.id}, which nobody has claimed")
        case JobReported(outcome=outcome):
            if outcome.message is None and state.round.work is Work.CALL:
                raise NotYours(f"the report about job {job.id} has no message, which a call must leave")
            return _reported(state, job.moved(JobStatus.DONE, outcome), choreographies)
        case JobBroke(failure=failure):
            return _broke(state, failure)
        case _:
            assert_never(event)


def _reported(state: OpenState, done: Job, choreographies: Choreographies) -> Changes:
    round_ = state.round.with_one_job_less()
    if round_.open_count:
        return Changes(run=state.run, rounds=(round_,), jobs=(done,))
    jobs = [done if job.id == done.id else job for job in state.siblings]
    choreography = _choreography(state.run, round_.step, choreographies)
    after = _after(state.run, round_, choreography.following(state.run, round_, jobs), choreographies)
    return replace(after, rounds=(round_, *after.rounds), jobs=(done, *after.jobs))


def _after(run: Run, ended: Round, following: Following, choreographies: Choreographies) -> Changes:
    settled = tuple((ended.step, seat, message) for seat, message in following.settled)
    if following.orders is not None:
        if following.orders.iteration > run.iterations_max:
            return _exhausted(run, ended, settled)
        return _open(run, following.orders, settled)
    if ended.step + 1 == len(run.steps):
        return Changes(run=replace(run, status=RunStatus.DONE), settled=settled)
    step = ended.step + 1
    return _open(run, _choreography(run, step, choreographies).opening(run, step), settled)


def _open(run: Run, orders: Orders, settled: tuple[tuple[int, Seat, MessageId], ...]) -> Changes:
    number = run.round_count
    count = len(orders.orders)
    round_ = Round(
        number=number,
        step=orders.step,
        iteration=orders.iteration,
        role=orders.role,
        work=orders.work,
        job_count=count,
        open_count=count,
    )
    jobs = tuple(
        Job(
            id=JobId(f"{run.id}.{number}.{position}"),
            run_id=run.id,
            round_number=number,
            position=position,
            seat=order.seat,
            inbox=order.inbox,
        )
        for position, order in enumerate(orders.orders)
    )
    called = run.call_round_count + (orders.work is Work.CALL)
    run = replace(run, round_count=number + 1, call_round_count=called)
    return Changes(run=run, rounds=(round_,), jobs=jobs, settled=settled)


def _broke(state: OpenState, failure: Failure) -> Changes:
    failure = replace(failure, site=state.job.seat)
    run = replace(state.run, status=RunStatus.FAILED, failure=failure)
    job = replace(state.job, status=JobStatus.FAILED, failure=failure)
    return Changes(run=run, jobs=(job,), cancel_open_jobs=True)


def _exhausted(run: Run, ended: Round, settled: tuple[tuple[int, Seat, MessageId], ...]) -> Changes:
    step = run.steps[ended.step]
    who = "its aggregator" if ended.role is Role.AGGREGATOR else "every site"
    failure = Failure(
        type=LimitReached.__name__,
        message=(
            f"{step.algorithm.name} did not end within {run.iterations_max} iterations: "
            f'expected {who} to answer with "success": true by then. '
            "Check its stopping rule, or allow more with --max-iterations"
        ),
    )
    return Changes(run=replace(run, status=RunStatus.FAILED, failure=failure), settled=settled)


def _choreography(run: Run, step: int, choreographies: Choreographies) -> Choreography:
    return choreographies[run.steps[step].algorithm.dialect]
