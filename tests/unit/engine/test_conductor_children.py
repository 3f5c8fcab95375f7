"""A running job may ask for rounds of its own; whatever comes of them, the run goes on as it should."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.federation import RUN, make_run, seats

from atoll.engine import calls, limits
from atoll.engine.conductor import advance, begin
from atoll.engine.ports import Changes, ChildState, OpenState
from atoll.model.errors import LimitReached, NotYours, StaleEvent
from atoll.model.events import JobBroke, JobClaimed, JobEvent, JobReported, RoundGivenUp, RoundRequested
from atoll.model.work import (
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
    Run,
    RunStatus,
    Seat,
    Work,
)

CHOREOGRAPHIES = {"functions": calls}
LOCAL0, LOCAL1, LOCAL2 = SITES = seats(3)
FAILURE = Failure(type="AlgorithmFailed", message="exit status 1")


def central(sites: int = 3, *, steps: int = 1) -> Run:
    """A run that calls a function at its first site, once in each step."""
    run = make_run(sites, aggregated=[False] * steps, dialect="functions")
    called = tuple(replace(step, seats=run.sites[:1], role=Role.AGGREGATOR) for step in run.steps)
    return replace(run, steps=called)


def request(
    job: Job, number: int = 0, *seats_: Seat, digest: str = "sha256:asked", session: str | None = None
) -> RoundRequested:
    """A job asks these seats, or all sites."""
    orders = tuple(
        Order(seat=seat, inbox=(MessageId(f"{job.id}.ask{number}.0"),), session=session)
        for seat in seats_ or SITES
    )
    return RoundRequested(
        run_id=RUN, job_id=job.id, number=number, digest=digest, name="moments", orders=orders
    )


def given_up(job: Job, number: int) -> RoundGivenUp:
    """A job waits no longer for a round."""
    return RoundGivenUp(run_id=RUN, job_id=job.id, round_number=number)


def reported(job: Job) -> JobReported:
    """A job is done."""
    message = Message(id=MessageId(job.id), sender=job.seat, readers=())
    return JobReported(run_id=RUN, job_id=job.id, outcome=Outcome(message=message, final=True))


def broken(job: Job) -> JobBroke:
    """A job can't be done."""
    return JobBroke(run_id=RUN, job_id=job.id, failure=FAILURE)


@dataclass
class Tree:
    """Everything that ever was in a run, with what was asked for below its jobs."""

    run: Run
    rounds: dict[int, Round] = field(default_factory=dict)
    jobs: dict[JobId, Job] = field(default_factory=dict)

    @classmethod
    def begun(cls, run: Run | None = None) -> Tree:
        """A run that has just begun."""
        tree = cls(run or central())
        tree.write(begin(tree.run, CHOREOGRAPHIES))
        return tree

    def advance(self, event: JobEvent) -> Changes:
        """What an event changes, when all is known that a store would tell."""
        return advance(self.state(event), event, CHOREOGRAPHIES)

    def do(self, event: JobEvent) -> Changes:
        """Take an event in."""
        changes = self.advance(event)
        self.write(changes)
        return changes

    def claim(self, job: Job) -> Job:
        """A node takes a job."""
        self.do(JobClaimed(run_id=RUN, job_id=job.id))
        return self.jobs[job.id]

    def claimed(self, number: int, position: int = 0) -> Job:
        """A job of a round, claimed."""
        return self.claim(self.job(number, position))

    def job(self, number: int, position: int = 0) -> Job:
        """A job of a round."""
        return self.jobs[JobId(f"run.{number}.{position}")]

    def state(self, event: JobEvent) -> OpenState:
        """What a store tells about an event."""
        job = self.jobs[event.job_id]
        round_ = self.rounds[job.round_number]
        siblings = self.of_round(round_.number) if round_.open_count == 1 else ()
        return OpenState(run=self.run, round=round_, job=job, siblings=siblings, child=self._child(event))

    def _child(self, event: JobEvent) -> ChildState | None:
        match event:
            case RoundRequested(job_id=job_id, number=number):
                asked = self.asked_by(job_id)
                found = asked[number] if number < len(asked) else None
            case RoundGivenUp(job_id=job_id, round_number=number):
                found = self.rounds.get(number)
                if found is not None and found.parent != job_id:
                    return None
            case _:
                return None
        return None if found is None else ChildState(round=found, jobs=self.of_round(found.number))

    def of_round(self, number: int) -> tuple[Job, ...]:
        """The jobs of a round."""
        return tuple(job for job in self.jobs.values() if job.round_number == number)

    def asked_by(self, job_id: JobId) -> list[Round]:
        """The rounds that a job has asked for, in their order."""
        return [round_ for round_ in self.rounds.values() if round_.parent == job_id]

    def below(self, job_id: JobId) -> Iterator[Round]:
        """Every round below a job, however deep."""
        for round_ in self.asked_by(job_id):
            yield round_
            for job in self.of_round(round_.number):
                yield from self.below(job.id)

    def open_jobs(self) -> list[Job]:
        """The jobs of which something may still be heard."""
        return [job for job in self.jobs.values() if not job.status.ended]

    def write(self, changes: Changes) -> None:
        """Take changes in as a store does."""
        self.run = changes.run
        for round_ in changes.rounds:
            assert round_.number in self.rounds or round_.number == len(self.rounds)
            self.rounds[round_.number] = round_
        for job in changes.jobs:
            self.jobs[job.id] = job
        if changes.cancel_open_jobs:
            for number in list(self.rounds):
                self._cancel(number)
        if changes.cancel_round is not None:
            self._cancel(changes.cancel_round)
        if changes.cancel_below is not None:
            for round_ in list(self.below(changes.cancel_below)):
                self._cancel(round_.number)

    def _cancel(self, number: int) -> None:
        for job in self.of_round(number):
            if not job.status.ended:
                self.jobs[job.id] = job.moved(JobStatus.CANCELLED)
                for round_ in list(self.below(job.id)):
                    self._cancel(round_.number)
        self.rounds[number] = replace(self.rounds[number], open_count=0)


# --- What is asked for ------------------------------------------------------------------------


def test_a_running_job_gets_a_round_of_the_sites_that_it_names() -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)

    changes = tree.do(request(parent, 0, LOCAL2, LOCAL0, session="kept"))

    round_ = Round(
        number=1,
        step=0,
        iteration=1,
        role=Role.SITE,
        work=Work.CALL,
        job_count=2,
        open_count=2,
        parent=parent.id,
        asker=LOCAL0,
        depth=1,
        origin="/local0.0",
        digest="sha256:asked",
        name="moments",
    )
    jobs = [
        Job(
            id=JobId(f"run.1.{position}"),
            run_id=RUN,
            round_number=1,
            position=position,
            seat=seat,
            inbox=(MessageId("run.0.0.ask0.0"),),
            ordinal=2 + position,
            session="kept",
        )
        for position, seat in enumerate((LOCAL2, LOCAL0))
    ]
    assert (round_,) == changes.rounds
    assert (replace(parent, asked=1), *jobs) == changes.jobs
    assert (2, 3, RunStatus.ACTIVE) == (changes.run.round_count, changes.run.job_count, changes.run.status)
    # Main rounds alone are iterations of a step.
    assert 1 == changes.run.call_round_count
    assert (None, None, False) == (changes.cancel_round, changes.cancel_below, changes.cancel_open_jobs)


def test_a_job_that_has_asked_stays_what_it_is_when_it_moves() -> None:
    job = Job(
        id=JobId("run.0.0"),
        run_id=RUN,
        round_number=0,
        position=0,
        seat=LOCAL0,
        inbox=(),
        ordinal=7,
        session="kept",
        asked=3,
        status=JobStatus.ACTIVE,
    )

    assert replace(job, status=JobStatus.CANCELLED) == job.moved(JobStatus.CANCELLED)
    round_ = Round(
        number=4,
        step=1,
        iteration=2,
        role=Role.SITE,
        work=Work.CALL,
        job_count=3,
        open_count=3,
        parent=job.id,
        asker=LOCAL0,
        depth=1,
        origin="/local0.0",
        digest="d",
        name="n",
    )
    assert replace(round_, open_count=2) == round_.with_one_job_less()


def test_the_same_request_gets_the_same_round_and_changes_nothing() -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)
    tree.do(request(parent))
    tree.do(request(parent, 1, digest="sha256:second"))

    first, second = tree.advance(request(parent)), tree.advance(request(parent, 1, digest="sha256:second"))

    assert Changes(run=tree.run) == first == second


def test_another_request_at_the_same_place_fails_the_run_with_both() -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)
    tree.do(request(parent))
    child = tree.claimed(1)

    changes = tree.do(request(parent, 0, digest="sha256:other"))

    failure = tree.run.failure
    assert failure is not None
    assert ("NotRepeatable", LOCAL0) == (failure.type, failure.site)
    assert failure.message.startswith(
        "a call was tried again and is not deterministic: its request 0 was sha256:asked and is now sha256:other. "
    )
    assert (JobStatus.FAILED, failure) == (tree.jobs[parent.id].status, tree.jobs[parent.id].failure)
    assert RunStatus.FAILED is tree.run.status
    assert changes.cancel_open_jobs
    assert JobStatus.CANCELLED is tree.jobs[child.id].status


def test_a_request_whose_round_is_not_known_any_more_fails_the_run_too() -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)
    tree.do(request(parent))
    event = request(parent)

    changes = advance(replace(tree.state(event), child=None), event, CHOREOGRAPHIES)

    assert changes.run.failure is not None
    assert "its request 0 was another and is now sha256:asked" in changes.run.failure.message


def test_requests_come_in_their_order() -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)

    with pytest.raises(NotYours, match=r"^job run\.0\.0 made request 1 before request 0$"):
        tree.advance(request(parent, 1))


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ((), "no seat"),
        ((Seat("local3"),), "local3"),
        ((LOCAL0, Seat("remote")), "local0, remote"),
        ((LOCAL1, LOCAL1), "local1, local1"),
    ],
)
def test_only_sites_of_the_run_are_asked_and_each_once(asked: tuple[Seat, ...], told: str) -> None:
    tree = Tree.begun()
    event = replace(request(tree.claimed(0)), orders=tuple(Order(seat=seat, inbox=()) for seat in asked))

    with pytest.raises(NotYours) as refused:
        tree.advance(event)

    assert str(refused.value) == (
        f"job run.0.0 asked for a call of {told}: expected sites of this run, each once: local0, local1, local2"
    )


def test_calls_lie_only_so_deep() -> None:
    tree = Tree.begun()
    job = tree.claimed(0)
    for depth in range(1, limits.CHILD_DEPTH_MAX + 1):
        tree.do(request(job, 0, LOCAL1))
        assert depth == tree.rounds[depth].depth
        job = tree.claimed(depth)

    with pytest.raises(LimitReached) as refused:
        tree.advance(request(job))

    assert str(refused.value) == (
        "a function asked for calls that lie 9 deep: the most is 8. Does a function ask for calls of itself?"
    )
    # Who asked from where is told however deep it lies.
    assert "/local0.0/local1.0/local1.0" == tree.rounds[3].origin


def test_a_job_asks_only_so_often() -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)
    tree.jobs[parent.id] = replace(parent, asked=limits.CHILD_ROUNDS_MAX - 1)

    last = tree.advance(request(parent, limits.CHILD_ROUNDS_MAX - 1))
    tree.jobs[parent.id] = replace(parent, asked=limits.CHILD_ROUNDS_MAX)
    with pytest.raises(LimitReached, match="more than 100000 times"):
        tree.advance(request(parent, limits.CHILD_ROUNDS_MAX))

    assert 1 == len(last.rounds)


@pytest.mark.parametrize("what", [request, lambda job: given_up(job, 1)])
def test_only_a_running_job_asks(what: Callable[[Job], JobEvent]) -> None:
    tree = Tree.begun()
    job = tree.job(0)

    with pytest.raises(StaleEvent, match=r"came for job run\.0\.0, which nobody has claimed$"):
        tree.advance(what(job))
    tree.do(reported(tree.claim(job)))
    with pytest.raises(StaleEvent, match=r"came for job run\.0\.0, which is done$"):
        tree.advance(what(job))


# --- How it ends ------------------------------------------------------------------------------


def test_nothing_follows_a_child_round() -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)
    tree.do(request(parent))

    ended = [tree.do(reported(tree.claimed(1, position))) for position in (2, 0, 1)]

    assert [2, 1, 0] == [changes.rounds[0].open_count for changes in ended]
    assert [1, 1, 1] == [len(changes.rounds) for changes in ended]
    assert [()] * 3 == [changes.settled for changes in ended]
    assert RunStatus.ACTIVE is tree.run.status
    assert JobStatus.ACTIVE is tree.jobs[parent.id].status


def test_what_the_central_call_leaves_is_the_end_of_the_step() -> None:
    tree = Tree.begun(central(steps=2))
    parent = tree.claimed(0)
    tree.do(request(parent, 0, LOCAL1))
    tree.do(reported(tree.claimed(1)))

    changes = tree.do(reported(parent))
    tree.do(reported(tree.claimed(2)))

    assert ((0, LOCAL0, "run.0.0"),) == changes.settled
    assert [0, 2] == [round_.number for round_ in changes.rounds]
    assert RunStatus.DONE is tree.run.status


def test_a_child_job_that_breaks_is_told_and_the_run_goes_on() -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)
    tree.do(request(parent, 0, LOCAL1, LOCAL2))

    changes = tree.do(broken(tree.claimed(1)))
    tree.do(reported(tree.claimed(1, 1)))
    tree.do(reported(parent))

    failed = tree.job(1)
    assert (JobStatus.FAILED, replace(FAILURE, site=LOCAL1)) == (failed.status, failed.failure)
    assert (1, False) == (changes.rounds[0].open_count, changes.cancel_open_jobs)
    assert tree.rounds[1].ended
    assert (RunStatus.DONE, None) == (tree.run.status, tree.run.failure)


def test_a_central_job_that_breaks_ends_the_run_with_all_that_it_asked_for() -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)
    tree.do(request(parent))
    tree.claimed(1)

    tree.do(broken(parent))

    assert RunStatus.FAILED is tree.run.status
    assert [] == tree.open_jobs()


@pytest.mark.parametrize("ends", [reported, broken])
def test_what_a_job_asked_for_ends_with_it_however_deep(ends: Callable[[Job], JobEvent]) -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)
    tree.do(request(parent))
    middle = tree.claimed(1, 1)
    tree.do(request(middle))
    tree.do(request(middle, 1, LOCAL2))
    deep = tree.claimed(2, 2)
    tree.do(request(deep, 0, LOCAL0))

    changes = tree.do(ends(middle))

    assert middle.id == changes.cancel_below
    assert {1} == {job.round_number for job in tree.open_jobs() if job.round_number}
    assert [True, True, True] == [tree.rounds[number].ended for number in (2, 3, 4)]
    assert 2 == tree.rounds[1].open_count
    with pytest.raises(StaleEvent, match="which is cancelled"):
        tree.advance(reported(deep))


def test_a_job_that_has_asked_for_nothing_takes_nothing_with_it() -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)
    tree.do(request(parent))

    assert tree.advance(reported(tree.claimed(1))).cancel_below is None
    assert tree.advance(broken(tree.claimed(1, 1))).cancel_below is None


# --- Who waits no longer ----------------------------------------------------------------------


def test_what_is_open_in_a_round_that_is_given_up_ends_and_the_rest_stays() -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)
    tree.do(request(parent))
    tree.do(request(parent, 1, digest="sha256:second"))
    tree.do(reported(tree.claimed(1, 1)))
    deep = tree.claimed(1, 2)
    tree.do(request(deep, 0, LOCAL0))

    changes = tree.do(given_up(parent, 1))

    assert Changes(run=tree.run, cancel_round=1) == changes
    assert [JobStatus.CANCELLED, JobStatus.DONE, JobStatus.CANCELLED] == [
        job.status for job in tree.of_round(1)
    ]
    assert JobStatus.CANCELLED is tree.job(3).status
    assert {JobStatus.QUEUED} == {job.status for job in tree.of_round(2)}
    assert JobStatus.ACTIVE is tree.jobs[parent.id].status


def test_a_round_that_has_ended_is_given_up_to_no_effect() -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)
    tree.do(request(parent, 0, LOCAL1))
    tree.do(reported(tree.claimed(1)))

    assert Changes(run=tree.run) == tree.advance(given_up(parent, 1))


@pytest.mark.parametrize("number", [0, 2, 7])
def test_a_job_gives_up_only_what_it_has_asked_for(number: int) -> None:
    tree = Tree.begun()
    parent = tree.claimed(0)
    tree.do(request(parent))
    other = tree.claimed(1)
    tree.do(request(other))

    with pytest.raises(NotYours, match=rf"^job run\.0\.0 has asked for no round {number}$"):
        tree.advance(given_up(parent, number))
    event = given_up(parent, number)
    foreign = ChildState(round=tree.rounds[2], jobs=tree.of_round(2))
    with pytest.raises(NotYours):
        advance(replace(tree.state(event), child=foreign), event, CHOREOGRAPHIES)


# --- In any order -----------------------------------------------------------------------------


def _next(tree: Tree, chance: Random) -> JobEvent:
    """Something that may happen next."""
    job = chance.choice(tree.open_jobs())
    if job.status is JobStatus.QUEUED:
        return JobClaimed(run_id=RUN, job_id=job.id)
    asked = tree.asked_by(job.id)
    choices: list[JobEvent] = [reported(job), reported(job)]
    if job.round_number:
        choices.append(broken(job))
    if len(tree.rounds) < 12 and tree.rounds[job.round_number].depth < limits.CHILD_DEPTH_MAX:
        who = chance.sample(SITES, chance.randint(1, 3))
        choices += [request(job, job.asked, *who)] * 3
    if asked:
        choices.append(given_up(job, chance.choice(asked).number))
        choices.append(request(job, chance.randrange(len(asked))))
    return chance.choice(choices)


def _check(tree: Tree) -> None:
    ordinals = [job.ordinal for job in tree.jobs.values()]
    assert [*range(1, len(ordinals) + 1)] == sorted(ordinals)
    assert (len(tree.rounds), len(ordinals)) == (tree.run.round_count, tree.run.job_count)
    origins = [round_.origin for round_ in tree.rounds.values() if round_.depth]
    assert len(set(origins)) == len(origins)
    for number, round_ in tree.rounds.items():
        open_jobs = [job for job in tree.of_round(number) if not job.status.ended]
        assert len(open_jobs) == round_.open_count
        assert round_.parent is None or not (open_jobs and tree.jobs[round_.parent].status.ended)
        assert round_.depth == round_.origin.count("/")
    if tree.run.status.ended:
        assert [] == tree.open_jobs()


@given(at=st.integers(1, 3), chance=st.randoms(use_true_random=False))
def test_whatever_happens_in_whatever_order_a_run_ends_and_nothing_outlives_who_asked_for_it(
    at: int, chance: Random
) -> None:
    run = central()
    run = replace(run, steps=(replace(run.steps[0], seats=SITES[:at], role=Role.SITE),))
    tree = Tree.begun(run)
    for _ in range(2_000):
        if tree.run.status.ended:
            break
        tree.do(_next(tree, chance))
        _check(tree)

    assert (RunStatus.DONE, None) == (tree.run.status, tree.run.failure)
    assert 1 == tree.run.call_round_count
