"""The whole life of a run, as one pure function.

Rule 1: every change of a run's state is decided in this file.
Rule 2: this file does no I/O, reads no clock, and knows no dialect by name.

Theory of operation. A run is a chain of steps, a step a chain of rounds. When the last open
job of a round reports, the step's choreography says which round follows, or that the step
has ended; then the next step opens, or the run is done. A job that breaks ends its run, unless
the run may go on without the job's site, or somebody is to be asked about it first.

A running job may ask for a child round. When that ends, its messages go to the job that asked,
and nothing follows; a job that breaks in it is told to that job, and the run goes on. A job
that ends takes with it what it asked for and is still open.

`advance` returns what changed, never a new whole run: an event costs the same after ten
rounds or ten thousand. Only a round's last report looks at the round's other jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from atoll.engine.limits import ATTEMPTS_MAX, CHILD_DEPTH_MAX, CHILD_ROUNDS_MAX
from atoll.engine.ports import Changes, Choreography, Following, OpenState
from atoll.model.errors import (
    Cancelled,
    JobRefused,
    LimitReached,
    NodeLost,
    NotEnoughSites,
    NotRepeatable,
    NotYours,
    StaleEvent,
)
from atoll.model.events import (
    Decision,
    JobBroke,
    JobClaimed,
    JobDecided,
    JobEvent,
    JobLost,
    JobReported,
    RoundGivenUp,
    RoundRequested,
    RunStopped,
)
from atoll.model.work import (
    Failure,
    Job,
    JobId,
    JobStatus,
    Loss,
    MessageId,
    Order,
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


def advance(state: OpenState, event: JobEvent, choreographies: Choreographies) -> Changes:
    """What one event about a job changes.

    Raises:
        StaleEvent: the job, or its run, has ended already; or it was claimed before; or nobody
            has claimed the job that is reported, or somebody has claimed it since.
        NotYours: the report is not one that a node may make of this job, or it asks for what the
            run doesn't have; or what is decided can't be done with this job.
        LimitReached: a child round would be one too many, or too deep.
    """
    job = state.job
    if job.status.ended or state.run.status.ended:
        raise StaleEvent(f"{type(event).__name__} came for job {job.id}, which is {job.status.value}")
    match event:
        case JobClaimed():
            if job.status is not JobStatus.QUEUED:
                raise StaleEvent(f"job {job.id} was claimed before")
            return Changes(run=state.run, jobs=(job.moved(JobStatus.ACTIVE),))
        case JobDecided(decision=decision):
            return _without_children(_decided(state, decision, choreographies), job)
        case _:
            _check_claim(job, event)
    match event:
        case JobReported(outcome=outcome):
            if outcome.message is None and state.round.work is Work.CALL:
                raise NotYours(f"the report about job {job.id} has no message, which a call must leave")
            changes = _reported(state, job.moved(JobStatus.DONE, outcome), choreographies)
            return _without_children(changes, job)
        case JobBroke(failure=failure):
            return _without_children(_broke(state, replace(failure, site=job.seat), choreographies), job)
        case JobLost():
            return _lost(state, choreographies)
        case RoundRequested():
            return _requested(state, event)
        case RoundGivenUp():
            return _given_up(state, event)
        case _:
            assert_never(event)


def stop(run: Run, event: RunStopped) -> Changes:
    """End a run before its time.

    Raises:
        StaleEvent: it has ended already.
    """
    if run.status.ended:
        raise StaleEvent(f"run {run.id} is {run.status.value} and can't be ended again")
    return _failed(run, event.failure)


def _check_claim(job: Job, event: JobReported | JobBroke | JobLost | RoundRequested | RoundGivenUp) -> None:
    if job.status is not JobStatus.ACTIVE:
        raise StaleEvent(f"{type(event).__name__} came for job {job.id}, which nobody has claimed")
    if event.attempt is not None and event.attempt != job.attempt:
        raise StaleEvent(
            f"{type(event).__name__} came for claim {event.attempt} of job {job.id}, and it was claimed "
            f"{job.attempt} times"
        )


def _reported(state: OpenState, done: Job, choreographies: Choreographies) -> Changes:
    return _left(state, state.run, done, choreographies)


def _left(state: OpenState, run: Run, ended: Job, choreographies: Choreographies) -> Changes:
    """A job of a round has ended, and its run goes on. What follows its round's last one?"""
    round_ = state.round.with_one_job_less()
    if round_.open_count or round_.parent is not None:
        return Changes(run=run, rounds=(round_,), jobs=(ended,))
    jobs = [ended if job.id == ended.id else job for job in state.siblings]
    done = [job for job in jobs if job.status is JobStatus.DONE]
    choreography = _choreography(run, round_.step, choreographies)
    after = _after(run, round_, choreography.following(run, round_, done), choreographies)
    return replace(after, rounds=(round_, *after.rounds), jobs=(ended, *after.jobs))


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
    count = len(orders.orders)
    if not count:
        name = run.steps[orders.step].algorithm.name
        message = f"no site is left that {name} should call: the run went on without {', '.join(run.dropped)}"
        return replace(_failed(run, Failure(type=NotEnoughSites.__name__, message=message)), settled=settled)
    round_ = Round(
        number=run.round_count,
        step=orders.step,
        iteration=orders.iteration,
        role=orders.role,
        work=orders.work,
        job_count=count,
        open_count=count,
    )
    jobs = _jobs(run, round_, orders.orders)
    called = run.call_round_count + (orders.work is Work.CALL)
    run = replace(
        run, round_count=run.round_count + 1, call_round_count=called, job_count=run.job_count + count
    )
    return Changes(run=run, rounds=(round_,), jobs=jobs, settled=settled)


def _jobs(run: Run, round_: Round, orders: tuple[Order, ...]) -> tuple[Job, ...]:
    return tuple(
        Job(
            id=JobId(f"{run.id}.{round_.number}.{position}"),
            run_id=run.id,
            round_number=round_.number,
            position=position,
            seat=order.seat,
            inbox=order.inbox,
            ordinal=run.job_count + position + 1,
            session=order.session,
            node=_elsewhere(run, order.seat),
        )
        for position, order in enumerate(orders)
    )


def _elsewhere(run: Run, seat: Seat) -> str | None:
    """The name of the node that serves a seat, where it isn't the seat's own."""
    return run.aggregator_node if seat == run.aggregator else None


def _requested(state: OpenState, event: RoundRequested) -> Changes:
    """A child round; or nothing new, where the job asks again for one that it has got."""
    job, run = state.job, state.run
    if event.number < job.asked:
        return _requested_again(state, event)
    if event.number > job.asked:
        raise NotYours(f"job {job.id} made request {event.number} before request {job.asked}")
    seats = [order.seat for order in event.orders]
    if not seats or not set(seats) <= set(run.sites) or len(set(seats)) != len(seats):
        raise NotYours(
            f"job {job.id} asked for a call of {', '.join(seats) or 'no seat'}: expected sites of this "
            f"run, each once: {', '.join(run.sites)}"
        )
    if state.round.depth == CHILD_DEPTH_MAX:
        raise LimitReached(
            f"a function asked for calls that lie {CHILD_DEPTH_MAX + 1} deep: the most is {CHILD_DEPTH_MAX}. "
            "Does a function ask for calls of itself?"
        )
    if event.number == CHILD_ROUNDS_MAX:
        raise LimitReached(
            f"a function asked for its sites more than {CHILD_ROUNDS_MAX} times, the most that one call "
            "may. Check its stopping rule"
        )
    round_ = Round(
        number=run.round_count,
        step=state.round.step,
        iteration=event.number + 1,
        role=Role.SITE,
        work=Work.CALL,
        job_count=len(seats),
        open_count=len(seats),
        parent=job.id,
        asker=job.seat,
        depth=state.round.depth + 1,
        origin=f"{state.round.origin}/{job.seat}.{event.number}",
        digest=event.digest,
        name=event.name,
    )
    jobs = _jobs(run, round_, event.orders)
    run = replace(run, round_count=run.round_count + 1, job_count=run.job_count + len(jobs))
    return Changes(run=run, rounds=(round_,), jobs=(replace(job, asked=event.number + 1), *jobs))


def _requested_again(state: OpenState, event: RoundRequested) -> Changes:
    earlier = state.child
    if earlier is not None and earlier.round.digest == event.digest:
        return Changes(run=state.run)
    failure = Failure(
        type=NotRepeatable.__name__,
        message=(
            f"a call was tried again and is not deterministic: its request {event.number} was "
            f"{earlier.round.digest if earlier else 'another'} and is now {event.digest}. Expected the same "
            "requests in the same order; draw random numbers from the generator that the call is given"
        ),
        site=state.job.seat,
    )
    job = state.job.moved(JobStatus.FAILED, failure=failure)
    return replace(_failed(state.run, failure), jobs=(job,))


def _given_up(state: OpenState, event: RoundGivenUp) -> Changes:
    """End what is still open in a child round. What was asked for below ends with its jobs."""
    child = state.child
    if child is None or child.round.parent != state.job.id:
        raise NotYours(f"job {state.job.id} has asked for no round {event.round_number}")
    if child.round.ended:
        return Changes(run=state.run)
    return Changes(run=state.run, cancel_round=child.round.number)


def _without_children(changes: Changes, ended: Job) -> Changes:
    return replace(changes, cancel_below=ended.id) if ended.asked else changes


def _broke(state: OpenState, failure: Failure, choreographies: Choreographies) -> Changes:
    """What it means that a job can't be done."""
    job, run = state.job.moved(JobStatus.FAILED, failure=failure), state.run
    if state.round.parent is not None:
        return Changes(run=run, rounds=(state.round.with_one_job_less(),), jobs=(job,))
    loss = run.on_refusal if failure.type == JobRefused.__name__ else run.on_failure
    # Nobody combines in the aggregator's place.
    if state.round.role is Role.AGGREGATOR or loss is Loss.FAIL:
        return replace(_failed(run, failure), jobs=(job,))
    if loss is Loss.ASK:
        return Changes(run=run, jobs=(state.job.moved(JobStatus.HELD, failure=failure),))
    return _dropped(state, job, choreographies)


def _dropped(state: OpenState, job: Job, choreographies: Choreographies) -> Changes:
    """Go on without a job's site, if enough are left."""
    run = replace(state.run, dropped=(*state.run.dropped, job.seat))
    if len(run.present) >= run.sites_needed:
        return _left(state, run, job, choreographies)
    because = f": {job.failure.message}" if job.failure else ""
    left = f"without {job.seat} there are {len(run.present)} sites left"
    message = f"{left}, and the run needs {run.sites_needed}{because}"
    failure = Failure(type=NotEnoughSites.__name__, message=message, site=job.seat)
    return replace(_failed(run, failure), jobs=(job,))


def _lost(state: OpenState, choreographies: Choreographies) -> Changes:
    """Let a job be claimed again, unless it has taken its node down too often."""
    job = state.job
    if job.attempt < ATTEMPTS_MAX:
        return Changes(run=state.run, jobs=(job.moved(JobStatus.QUEUED),))
    message = (
        f"the node {job.served_by} was lost {job.attempt} times while it did this job. Does the algorithm take "
        "the machine down? Its log is at the site"
    )
    failure = Failure(type=NodeLost.__name__, message=message, site=job.seat)
    return _without_children(_broke(state, failure, choreographies), job)


def _decided(state: OpenState, decision: Decision, choreographies: Choreographies) -> Changes:
    """Do with a job what somebody has decided."""
    job, run = state.job, state.run
    if state.round.parent is not None:
        raise NotYours(f"job {job.id} was asked for by another: only that can give it up")
    failure = job.failure or Failure(
        type=Cancelled.__name__, message=f"somebody decided not to wait for {job.seat}", site=job.seat
    )
    match decision:
        case Decision.RETRY:
            again = () if job.status is JobStatus.QUEUED else (job.moved(JobStatus.QUEUED),)
            return Changes(run=run, jobs=again)
        case Decision.FAIL:
            return replace(_failed(run, failure), jobs=(job.moved(JobStatus.FAILED, failure=failure),))
        case Decision.DROP:
            if state.round.role is Role.AGGREGATOR:
                raise NotYours(f"{job.seat} combines what the sites send: the run can't go on without it")
            return _dropped(state, job.moved(JobStatus.FAILED, failure=failure), choreographies)
        case _:
            assert_never(decision)


def _failed(run: Run, failure: Failure) -> Changes:
    """End the run, and all that is open in it."""
    return Changes(run=replace(run, status=RunStatus.FAILED, failure=failure), cancel_open_jobs=True)


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
