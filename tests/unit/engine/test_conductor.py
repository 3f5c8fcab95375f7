"""A run moves on by events, as its drawings say, and in no other way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import overload

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.federation import RUN, make_run

from atoll.engine.conductor import advance, begin
from atoll.engine.ports import Changes, Following, OpenState
from atoll.model.errors import NotYours, StaleEvent
from atoll.model.events import JobBroke, JobClaimed, JobEvent, JobReported
from atoll.model.work import (
    Failure,
    Job,
    JobId,
    JobStatus,
    Message,
    MessageId,
    Order,
    Orders,
    Outcome,
    Role,
    Round,
    Run,
    RunStatus,
    Seat,
    Work,
)

#: As drawn in `atoll.model.work`.
DRAWN = {
    (JobStatus.QUEUED, JobStatus.ACTIVE),
    (JobStatus.ACTIVE, JobStatus.DONE),
    (JobStatus.ACTIVE, JobStatus.FAILED),
    (JobStatus.QUEUED, JobStatus.CANCELLED),
    (JobStatus.ACTIVE, JobStatus.CANCELLED),
}
FAILURE = Failure(type="AlgorithmFailed", message="exit status 1")


@dataclass(frozen=True)
class Laps:
    """A choreography that calls every site a number of times, and delivers once if asked to."""

    laps: int
    deliver: bool = False
    settles: bool = True

    def opening(self, run: Run, step: int) -> Orders:
        """Every site."""
        return self._orders(run, step, 1, Work.CALL)

    def following(self, run: Run, ended: Round, jobs: Sequence[Job]) -> Following:
        """Every site again, until the laps are done."""
        assert [*range(ended.job_count)] == [job.position for job in jobs]
        assert all(job.status is JobStatus.DONE and job.outcome is not None for job in jobs)
        settled = tuple((job.seat, MessageId(job.id)) for job in jobs if self.settles)
        if ended.work is Work.DELIVER:
            return Following(orders=None)
        if ended.iteration < self.laps:
            return Following(orders=self._orders(run, ended.step, ended.iteration + 1, Work.CALL))
        if self.deliver:
            orders = self._orders(run, ended.step, ended.iteration, Work.DELIVER)
            return Following(orders=orders, settled=settled)
        return Following(orders=None, settled=settled)

    def _orders(self, run: Run, step: int, iteration: int, work: Work) -> Orders:
        orders = tuple(
            Order(seat=site, inbox=(MessageId(f"{step}.{iteration}.{site}"),)) for site in run.sites
        )
        return Orders(step=step, iteration=iteration, role=Role.SITE, work=work, orders=orders)


class Unseen(Sequence[Job]):
    """The jobs of a round, when nobody has a reason to look at them."""

    def __len__(self) -> int:
        raise AssertionError("the other jobs were counted")

    @overload
    def __getitem__(self, index: int) -> Job: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Job]: ...
    def __getitem__(self, index: int | slice) -> Job | Sequence[Job]:
        raise AssertionError("another job was looked at")

    def __iter__(self) -> Iterator[Job]:
        raise AssertionError("the other jobs were gone through")


@dataclass
class Ledger:
    """Everything that ever was, written down and checked against the drawings."""

    run: Run
    rounds: dict[int, Round] = field(default_factory=dict)
    jobs: dict[JobId, Job] = field(default_factory=dict)
    settled: list[tuple[int, Seat, MessageId]] = field(default_factory=list)

    def write(self, changes: Changes) -> None:
        """Take changes in, if they are such as may be."""
        assert not self.run.status.ended
        self.run = changes.run
        for job in changes.jobs:
            before = self.jobs.get(job.id)
            if before is None:
                assert job.status is JobStatus.QUEUED
            else:
                assert (before.status, job.status) in DRAWN
                assert (before.seat, before.inbox, before.position) == (job.seat, job.inbox, job.position)
            self.jobs[job.id] = job
        if changes.cancel_open_jobs:
            self.jobs |= {job.id: replace(job, status=JobStatus.CANCELLED) for job in self.open_jobs()}
        for round_ in changes.rounds:
            if round_.number not in self.rounds:
                assert len(self.rounds) == round_.number
                assert [] == [job for job in self.open_jobs() if job.round_number != round_.number]
                assert round_.open_count == round_.job_count
            self.rounds[round_.number] = round_
        self.settled += changes.settled
        self._check()

    def open_jobs(self) -> list[Job]:
        """The jobs of which something may still be heard."""
        return [job for job in self.jobs.values() if not job.status.ended]

    def state(self, job: Job) -> OpenState:
        """What the conductor is given for an event about this job."""
        round_ = self.rounds[job.round_number]
        siblings = [other for other in self.jobs.values() if other.round_number == round_.number]
        last = round_.open_count == 1
        return OpenState(run=self.run, round=round_, job=job, siblings=siblings if last else Unseen())

    def _check(self) -> None:
        open_jobs = self.open_jobs()
        assert len(self.rounds) == self.run.round_count
        calls = [round_ for round_ in self.rounds.values() if round_.work is Work.CALL]
        assert len(calls) == self.run.call_round_count
        if self.run.status.ended:
            assert [] == open_jobs
        else:
            assert {len(self.rounds) - 1} == {job.round_number for job in open_jobs}
            assert len(open_jobs) == self.rounds[len(self.rounds) - 1].open_count


def claimed(job: Job) -> JobClaimed:
    """A node takes this job."""
    return JobClaimed(run_id=RUN, job_id=job.id)


def reported(job: Job) -> JobReported:
    """A node has done this job."""
    message = Message(id=MessageId(job.id), sender=job.seat, readers=())
    return JobReported(run_id=RUN, job_id=job.id, outcome=Outcome(message=message))


def broken(job: Job) -> JobBroke:
    """A node can't do this job."""
    return JobBroke(run_id=RUN, job_id=job.id, failure=FAILURE)


def start(run: Run, laps: Laps) -> Ledger:
    """A run that has just begun."""
    ledger = Ledger(run=run)
    ledger.write(begin(run, {"coinstac": laps}))
    return ledger


def finish(ledger: Ledger, laps: Laps, chance: Random, events_max: int = 10_000) -> int:
    """Move a run on by its jobs' events in any order, to its end; return how many there were."""
    for count in range(events_max):
        if ledger.run.status.ended:
            return count
        job = chance.choice(ledger.open_jobs())
        event: JobEvent = claimed(job) if job.status is JobStatus.QUEUED else reported(job)
        ledger.write(advance(ledger.state(job), event, {"coinstac": laps}))
    raise AssertionError("the run never ends")


order = st.randoms(use_true_random=False)


@given(
    sites=st.integers(1, 5),
    steps=st.integers(1, 3),
    laps=st.integers(1, 4),
    deliver=st.booleans(),
    chance=order,
)
def test_a_run_obeys_its_drawings_in_whatever_order_its_jobs_end(
    sites: int, steps: int, laps: int, deliver: bool, chance: Random
) -> None:
    run = make_run(sites, aggregated=[False] * steps)
    choreography = Laps(laps, deliver=deliver)
    ledger = start(run, choreography)

    events = finish(ledger, choreography, chance)

    rounds = steps * (laps + deliver)
    assert RunStatus.DONE is ledger.run.status
    assert rounds == ledger.run.round_count
    assert steps * laps == ledger.run.call_round_count
    assert 2 * rounds * sites == events
    assert {JobStatus.DONE} == {job.status for job in ledger.jobs.values()}
    assert [(step, site) for step in range(steps) for site in run.sites] == [
        (step, seat) for step, seat, _ in ledger.settled
    ]


@given(sites=st.integers(1, 6), laps=st.integers(1, 3), moment=st.integers(0, 20), chance=order)
def test_a_broken_job_ends_its_run_and_every_open_job(
    sites: int, laps: int, moment: int, chance: Random
) -> None:
    choreography = Laps(laps)
    ledger = start(make_run(sites, aggregated=[False]), choreography)
    for _ in range(moment):
        if ledger.run.status.ended:
            return
        job = chance.choice(ledger.open_jobs())
        event: JobEvent = claimed(job) if job.status is JobStatus.QUEUED else reported(job)
        ledger.write(advance(ledger.state(job), event, {"coinstac": choreography}))
    active = [job for job in ledger.open_jobs() if job.status is JobStatus.ACTIVE]
    if not active:
        return
    job = chance.choice(active)

    ledger.write(advance(ledger.state(job), broken(job), {"coinstac": choreography}))

    named = replace(FAILURE, site=job.seat)
    statuses = [other.status for other in ledger.jobs.values()]
    assert (RunStatus.FAILED, named) == (ledger.run.status, ledger.run.failure)
    assert (JobStatus.FAILED, named) == (ledger.jobs[job.id].status, ledger.jobs[job.id].failure)
    assert 1 == statuses.count(JobStatus.FAILED)
    assert set(statuses) <= {JobStatus.FAILED, JobStatus.CANCELLED, JobStatus.DONE}


@given(sites=st.integers(1, 4), laps=st.integers(1, 3), chance=order)
def test_an_event_about_what_has_ended_changes_nothing(sites: int, laps: int, chance: Random) -> None:
    choreography = Laps(laps)
    ledger = start(make_run(sites, aggregated=[False]), choreography)
    finish(ledger, choreography, chance)

    for job in ledger.jobs.values():
        for event in (claimed(job), reported(job), broken(job)):
            state = OpenState(
                run=ledger.run, round=ledger.rounds[job.round_number], job=job, siblings=Unseen()
            )
            with pytest.raises(StaleEvent, match=r"came for job run\.\d+\.\d+, which is done"):
                advance(state, event, {"coinstac": choreography})


@pytest.mark.parametrize("event", [claimed, reported, broken])
def test_an_event_about_an_open_job_of_a_run_that_has_failed_is_stale(
    event: Callable[[Job], JobEvent],
) -> None:
    ledger = start(make_run(2, aggregated=[False]), Laps(1))
    job = ledger.open_jobs()[0]
    failed = replace(ledger.run, status=RunStatus.FAILED, failure=FAILURE)

    with pytest.raises(StaleEvent):
        advance(replace(ledger.state(job), run=failed), event(job), {"coinstac": Laps(1)})


def test_a_job_is_claimed_once() -> None:
    ledger = start(make_run(2, aggregated=[False]), Laps(1))
    job = ledger.open_jobs()[0]
    ledger.write(advance(ledger.state(job), claimed(job), {"coinstac": Laps(1)}))

    with pytest.raises(StaleEvent, match=r"job run\.0\.0 was claimed before"):
        advance(ledger.state(ledger.jobs[job.id]), claimed(job), {"coinstac": Laps(1)})


@pytest.mark.parametrize("event", [reported, broken])
def test_nothing_is_heard_of_a_job_that_nobody_claimed(
    event: Callable[[Job], JobEvent],
) -> None:
    ledger = start(make_run(2, aggregated=[False]), Laps(1))
    job = ledger.open_jobs()[0]

    with pytest.raises(StaleEvent, match=r"came for job run\.0\.0, which nobody has claimed"):
        advance(ledger.state(job), event(job), {"coinstac": Laps(1)})


def test_an_event_looks_at_no_other_job_unless_it_is_the_last_report_of_a_round() -> None:
    """Ten thousand sites cost an event what ten do."""
    ledger = start(make_run(10_000, aggregated=[False]), Laps(1))
    first, second = ledger.open_jobs()[:2]

    # `Ledger.state` hides the other jobs here: looking at one of them would fail.
    claim = advance(ledger.state(first), claimed(first), {"coinstac": Laps(1)})
    active = claim.jobs[0]
    report = advance(ledger.state(active), reported(active), {"coinstac": Laps(1)})
    breaking = advance(
        ledger.state(replace(second, status=JobStatus.ACTIVE)), broken(second), {"coinstac": Laps(1)}
    )

    assert (1, 0) == (len(claim.jobs), len(claim.rounds))
    assert (1, 1) == (len(report.jobs), len(report.rounds))
    assert 9_999 == report.rounds[0].open_count
    assert (1, 0) == (len(breaking.jobs), len(breaking.rounds))


def test_changes_do_not_grow_with_the_rounds_of_a_run() -> None:
    choreography = Laps(500)
    ledger = start(make_run(2, aggregated=[False], iterations_max=500), choreography)
    sizes = set()
    while not ledger.run.status.ended:
        job = ledger.open_jobs()[0]
        event: JobEvent = claimed(job) if job.status is JobStatus.QUEUED else reported(job)
        state = OpenState(
            run=ledger.run,
            round=ledger.rounds[job.round_number],
            job=job,
            siblings=[one for one in ledger.jobs.values() if one.round_number == job.round_number],
        )
        changes = advance(state, event, {"coinstac": choreography})
        sizes.add((len(changes.jobs), len(changes.rounds)))
        # Only the newest round is looked at from here on.
        ledger.jobs = {one.id: one for one in ledger.jobs.values() if one.round_number >= job.round_number}
        ledger.run = changes.run
        ledger.jobs |= {one.id: one for one in changes.jobs}
        ledger.rounds |= {one.number: one for one in changes.rounds}

    assert {(1, 0), (1, 1), (3, 2)} == sizes


def test_a_step_that_does_not_end_within_its_bound_fails_the_run() -> None:
    choreography = Laps(4)
    ledger = start(make_run(2, aggregated=[False], iterations_max=3), choreography)

    finish(ledger, choreography, Random(0))

    assert RunStatus.FAILED is ledger.run.status
    assert ledger.run.failure == Failure(
        type="LimitReached",
        message=(
            'step0 did not end within 3 iterations: expected every site to answer with "success": true by '
            "then. Check its stopping rule, or allow more with --max-iterations"
        ),
    )
    assert 3 == ledger.run.round_count
    assert {JobStatus.DONE} == {job.status for job in ledger.jobs.values()}


def test_a_step_may_use_all_of_its_iterations() -> None:
    choreography = Laps(3)
    ledger = start(make_run(2, aggregated=[False, False], iterations_max=3), choreography)

    finish(ledger, choreography, Random(0))

    assert RunStatus.DONE is ledger.run.status


def test_where_the_aggregator_ends_a_step_the_failure_names_the_aggregator() -> None:
    class _Relay(Laps):
        def _orders(self, run: Run, step: int, iteration: int, work: Work) -> Orders:
            return replace(super()._orders(run, step, iteration, work), role=Role.AGGREGATOR)

    choreography = _Relay(2)
    ledger = start(make_run(1, iterations_max=1), choreography)

    finish(ledger, choreography, Random(0))

    assert ledger.run.failure is not None
    assert "expected its aggregator to answer" in ledger.run.failure.message


def test_a_rounds_jobs_are_numbered_in_their_order_and_carry_their_inbox() -> None:
    run = make_run(12, aggregated=[False])

    changes = begin(run, {"coinstac": Laps(1)})

    assert [f"run.0.{position}" for position in range(12)] == [job.id for job in changes.jobs]
    assert list(run.sites) == [job.seat for job in changes.jobs]
    assert [(f"0.1.{site}",) for site in run.sites] == [job.inbox for job in changes.jobs]
    assert not changes.cancel_open_jobs


def test_a_call_that_leaves_no_message_is_refused() -> None:
    """A node that reports a call without its message changes nothing."""
    run = make_run(1, aggregated=[False])
    choreographies = {"coinstac": Laps(laps=1)}
    changes = begin(run, choreographies)
    (job,) = changes.jobs
    state = OpenState(run=changes.run, round=changes.rounds[0], job=replace(job, status=JobStatus.ACTIVE))
    event = JobReported(run_id=run.id, job_id=job.id, outcome=Outcome(message=None))

    with pytest.raises(NotYours, match="has no message, which a call must leave"):
        advance(state, event, choreographies)
