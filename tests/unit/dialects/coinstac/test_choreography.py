"""Every site, then the aggregator, then every site again; or each site for itself."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from tests.federation import REMOTE, RUN, make_run

from atoll.dialects.coinstac import choreography
from atoll.engine.conductor import advance, begin
from atoll.engine.ports import Changes, OpenState
from atoll.model.events import JobClaimed, JobReported
from atoll.model.work import (
    Job,
    JobId,
    JobStatus,
    Message,
    MessageId,
    Outcome,
    Role,
    Round,
    Run,
    RunStatus,
    Seat,
    Step,
    Work,
)

CHOREOGRAPHIES = {"coinstac": choreography}


class Opaque(bytes):
    """A body that must not be looked at: it has nothing but its place."""

    def __getitem__(self, index: object) -> bytes:  # type: ignore[override]  # Nothing may be read.
        raise AssertionError("a body was read")

    def __len__(self) -> int:
        raise AssertionError("a body was measured")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("a body was compared")

    def __hash__(self) -> int:
        raise AssertionError("a body was compared")


class Table:
    """A run's newest round, moved on by reports in any order."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rounds: list[Round] = []
        self.jobs: dict[JobId, Job] = {}
        self.settled: list[tuple[int, Seat, MessageId]] = []
        #: Of every round: its step, iteration, role, work, and its seats with their inboxes.
        self.history: list[tuple[int, int, Role, Work, dict[Seat, tuple[MessageId, ...]]]] = []
        self._take(begin(run, CHOREOGRAPHIES))

    def play(self, ends: dict[Seat, int], chance: Random) -> Table:
        """Report every job in any order; a seat is done with each step in the iteration in `ends`."""
        while not self.run.status.ended:
            job = chance.choice([job for job in self.jobs.values() if not job.status.ended])
            state = self._state(job)
            if job.status is JobStatus.QUEUED:
                self._take(advance(state, JobClaimed(run_id=RUN, job_id=job.id), CHOREOGRAPHIES))
                continue
            outcome = self._outcome(state, ends)
            self._take(
                advance(state, JobReported(run_id=RUN, job_id=job.id, outcome=outcome), CHOREOGRAPHIES)
            )
        return self

    def _state(self, job: Job) -> OpenState:
        return OpenState(run=self.run, round=self.rounds[-1], job=job, siblings=list(self.jobs.values()))

    @staticmethod
    def _outcome(state: OpenState, ends: dict[Seat, int]) -> Outcome:
        if state.round.work is Work.DELIVER:
            return Outcome(message=None)
        seat = state.job.seat
        message = Message(id=MessageId(state.job.id), sender=seat, readers=(), body=Opaque(b"{}"))
        return Outcome(message=message, final=state.round.iteration >= ends.get(seat, 10**6))

    def _take(self, changes: Changes) -> None:
        self.run = changes.run
        self.settled += changes.settled
        for round_ in changes.rounds:
            if not self.rounds or round_.number != self.rounds[-1].number:
                self.jobs = {}
                self.rounds.append(round_)
                orders = {job.seat: job.inbox for job in changes.jobs if job.round_number == round_.number}
                self.history.append((round_.step, round_.iteration, round_.role, round_.work, orders))
            self.rounds[-1] = round_
        for job in changes.jobs:
            if job.round_number == self.rounds[-1].number:
                self.jobs[job.id] = job


chances = st.randoms(use_true_random=False)


@given(
    sites=st.integers(1, 12),
    steps=st.integers(1, 3),
    last=st.integers(1, 4),
    chance=chances,
)
def test_sites_and_aggregator_take_turns_until_the_aggregator_says_success(
    sites: int, steps: int, last: int, chance: Random
) -> None:
    run = make_run(sites, aggregated=[True] * steps)

    table = Table(run).play({REMOTE: last}, chance)

    expected = []
    for step in range(steps):
        for iteration in range(1, last + 1):
            expected.append((step, iteration, Role.SITE, Work.CALL, list(run.sites)))
            expected.append((step, iteration, Role.AGGREGATOR, Work.CALL, [REMOTE]))
        expected.append((step, last, Role.SITE, Work.DELIVER, list(run.sites)))
    assert expected == [(*kind, list(orders)) for *kind, orders in table.history]
    assert RunStatus.DONE is table.run.status
    assert steps * 2 * last == table.run.call_round_count


def test_the_aggregator_reads_the_sites_in_their_given_order() -> None:
    """The tenth after the ninth: never as they arrive, and never as text is sorted."""
    run = make_run(12)

    assert sorted(run.sites) != list(run.sites)
    for seed in range(5):
        table = Table(run).play({REMOTE: 1}, Random(seed))
        (_, _, _, _, orders) = table.history[1]

        assert {REMOTE: tuple(f"run.0.{position}" for position in range(12))} == orders


def test_every_site_reads_what_the_aggregator_said_last() -> None:
    run = make_run(3)

    table = Table(run).play({REMOTE: 2}, Random(0))

    opening, _, again, _, delivery = [orders for *_, orders in table.history]
    assert dict.fromkeys(run.sites, ("opening.0.0",)) == opening
    assert dict.fromkeys(run.sites, ("run.1.0",)) == again
    assert dict.fromkeys(run.sites, ("run.3.0",)) == delivery
    assert [(0, REMOTE, "run.3.0")] == table.settled


def test_the_last_output_is_delivered_in_the_iteration_that_made_it() -> None:
    table = Table(make_run(2)).play({REMOTE: 3}, Random(0))

    assert (0, 3, Role.SITE, Work.DELIVER) == table.history[-1][:4]
    assert 7 == table.run.round_count
    assert 6 == table.run.call_round_count


def test_a_site_of_an_aggregated_step_ends_nothing() -> None:
    """Its convention passes a site's "success" over; should one come, the aggregator still decides."""
    table = Table(make_run(2)).play({Seat("local0"): 1, REMOTE: 2}, Random(0))

    assert [1, 1, 2, 2, 2] == [iteration for _, iteration, *_ in table.history]


@given(ends=st.lists(st.integers(1, 5), min_size=1, max_size=12), chance=chances)
def test_a_site_that_works_for_itself_goes_on_until_it_is_done(ends: list[int], chance: Random) -> None:
    run = make_run(len(ends), aggregated=[False])

    table = Table(run).play(dict(zip(run.sites, ends, strict=True)), chance)

    for iteration, (_, counted, role, work, orders) in enumerate(table.history, 1):
        still = [site for site, end in zip(run.sites, ends, strict=True) if end >= iteration]
        assert (iteration, Role.SITE, Work.CALL) == (counted, role, work)
        assert still == list(orders)
    assert max(ends) == len(table.history)
    assert RunStatus.DONE is table.run.status
    settled = [seat for _, seat, _ in table.settled]
    assert sorted(run.sites) == sorted(settled)
    assert len(set(settled)) == len(settled)


def test_a_site_that_works_for_itself_reads_only_what_it_said() -> None:
    run = make_run(3, aggregated=[False])

    table = Table(run).play({run.sites[0]: 1, run.sites[1]: 3, run.sites[2]: 2}, Random(1))

    first, second, third = [orders for *_, orders in table.history]
    assert dict.fromkeys(run.sites, ("opening.0.0",)) == first
    assert {run.sites[1]: ("run.0.1",), run.sites[2]: ("run.0.2",)} == second
    assert {run.sites[1]: ("run.1.0",)} == third
    assert [(0, "local0", "run.0.0"), (0, "local2", "run.1.1"), (0, "local1", "run.2.0")] == table.settled


def test_a_step_of_a_pipeline_is_opened_by_its_own_messages() -> None:
    run = make_run(2, aggregated=[False, True])
    own = Step(
        algorithm=run.steps[1].algorithm, aggregated=True, openings=(MessageId("mine"), MessageId("yours"))
    )
    run = replace(run, steps=(run.steps[0], own))

    table = Table(run).play({run.sites[0]: 1, run.sites[1]: 2, REMOTE: 1}, Random(0))

    shapes = [(step, iteration, role, work) for step, iteration, role, work, _ in table.history]
    assert [
        (0, 1, Role.SITE, Work.CALL),
        (0, 2, Role.SITE, Work.CALL),
        (1, 1, Role.SITE, Work.CALL),
        (1, 1, Role.AGGREGATOR, Work.CALL),
        (1, 1, Role.SITE, Work.DELIVER),
    ] == shapes
    assert {"local0": ("mine",), "local1": ("yours",)} == table.history[2][4]
