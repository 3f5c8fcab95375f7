"""What every store of runs promises of the rounds that jobs ask for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.asking import asking_run
from tests.federation import RUN, seats
from tests.run_stores import STORES, stored, wait

from atoll.engine import calls
from atoll.engine.conductor import advance, begin
from atoll.engine.ports import Changes, ChildState, OpenState, RunStore
from atoll.model.errors import StaleEvent
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
    Run,
    RunStatus,
    Seat,
)
from atoll.stores.memory import MemoryRunStore

CHOREOGRAPHIES = {"functions": calls}
LOCAL0, LOCAL1, LOCAL2 = SITES = seats(3)
FAILURE = Failure(type="AlgorithmFailed", message="no")


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    """An empty store of each kind."""
    with stored(request.param, tmp_path, request) as opened:
        yield opened


class Desk:
    """A hub's use of a store, without seats and listeners."""

    def __init__(self, store: RunStore, run: Run | None = None) -> None:
        self.store = store
        self.run = run or asking_run(SITES)
        openings = [
            Message(id=id_, sender=Seat("submitter"), readers=())
            for step in self.run.steps
            for id_ in step.openings
        ]
        wait(store.add(self.run, openings))
        wait(store.apply(begin(self.run, CHOREOGRAPHIES)))

    def do(self, event: JobEvent, *messages: Message, child: ChildState | None = None) -> list[JobId]:
        """Take an event in; the claimed jobs that were cancelled by it."""
        state: OpenState = wait(self.store.open_state(event.run_id, event.job_id))
        changes = advance(replace(state, child=child), event, CHOREOGRAPHIES)
        return [job.id for job in wait(self.store.apply(changes, messages))]

    def claim(self, seat: Seat) -> Job:
        """Take the next job of a seat."""
        job = wait(self.store.next_job(seat))
        assert job is not None
        self.do(JobClaimed(run_id=job.run_id, job_id=job.id))
        return wait(self.store.open_state(job.run_id, job.id)).job

    def ask(self, job: Job, *seats_: Seat, number: int = 0) -> int:
        """A job asks these sites, or all; the round's number."""
        message = Message(id=MessageId(f"{job.id}.ask{number}.0"), sender=job.seat, readers=(), body=b"asked")
        event = RoundRequested(
            run_id=job.run_id,
            job_id=job.id,
            number=number,
            digest=f"sha256:{number}",
            name="moments",
            orders=tuple(Order(seat=seat, inbox=(message.id,)) for seat in seats_ or SITES),
        )
        self.do(event, message)
        return wait(self.store.get(job.run_id)).round_count - 1

    def report(self, job: Job) -> list[JobId]:
        """A job is done."""
        message = said(job)
        event = JobReported(run_id=job.run_id, job_id=job.id, outcome=Outcome(message=message, final=True))
        return self.do(event, message)

    def give_up(self, job: Job, number: int) -> list[JobId]:
        """A job waits no longer for a round."""
        event = RoundGivenUp(run_id=job.run_id, job_id=job.id, round_number=number)
        return self.do(event, child=self.child_round(job, number))

    def child_round(self, job: Job, number: int) -> ChildState | None:
        """A round that a job has asked for, by its number."""
        return wait(self.store.child_round(job.run_id, job.id, number))

    def child(self, job: Job, request: int) -> ChildState | None:
        """A round that a job has asked for, by its request."""
        return wait(self.store.child(job.run_id, job.id, request=request))

    def knows(self, *ids: str) -> list[bool]:
        """Which of these messages are there."""
        found = []
        for id_ in ids:
            try:
                found.append(bool(wait(self.store.messages(self.run.id, [MessageId(id_)]))))
            except KeyError:
                found.append(False)
        return found

    def next_jobs(self) -> list[JobId | None]:
        """What each site would claim."""
        jobs = [wait(self.store.next_job(seat)) for seat in SITES]
        return [None if job is None else job.id for job in jobs]


def said(job: Job) -> Message:
    """What a job left."""
    return Message(id=MessageId(job.id), sender=job.seat, readers=(), body=job.id.encode())


# --- What was asked for -----------------------------------------------------------------------


def test_a_round_that_a_job_asks_for_is_there_with_what_was_asked(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)

    number = desk.ask(parent, LOCAL2, LOCAL1)

    assert 1 == wait(store.open_state(RUN, parent.id)).job.asked
    assert [None, "run.1.1", "run.1.0"] == desk.next_jobs()
    (asked,) = wait(store.messages(RUN, [MessageId("run.0.0.ask0.0")]))
    assert b"asked" == asked.body
    by_number, by_request = desk.child_round(parent, number), desk.child(parent, 0)
    assert by_number is not None
    assert by_request is not None
    assert by_number.round == by_request.round
    assert (parent.id, LOCAL0, 2) == (
        by_number.round.parent,
        by_number.round.asker,
        by_number.round.open_count,
    )
    assert [LOCAL2, LOCAL1] == [job.seat for job in by_number.jobs]
    assert (None, None) == by_number.messages


def test_what_nobody_has_asked_for_is_not_there(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    number = desk.ask(parent)
    child = desk.claim(LOCAL1)
    below = desk.ask(child)

    assert [None, None] == [desk.child(parent, 1), desk.child(child, 1)]
    # A main round, a round that isn't there, and those of another job.
    assert [None] * 4 == [desk.child_round(parent, each) for each in (0, below, 7, -1)]
    assert desk.child_round(child, number) is None


def test_a_job_finds_its_rounds_by_the_order_of_its_requests(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    first = desk.ask(parent, LOCAL1)
    child = desk.claim(LOCAL1)
    desk.ask(child, LOCAL2)
    second = desk.ask(parent, LOCAL2, number=1)

    found = [desk.child(parent, request) for request in (0, 1)]

    assert [first, second] == [state.round.number for state in found if state]
    assert ["sha256:0", "sha256:1"] == [state.round.digest for state in found if state]


def test_what_the_jobs_have_left_comes_in_their_order(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    number = desk.ask(parent)
    jobs = [desk.claim(seat) for seat in SITES]
    desk.report(jobs[2])
    desk.do(JobBroke(run_id=RUN, job_id=jobs[1].id, failure=FAILURE))
    half = desk.child_round(parent, number)
    desk.report(jobs[0])
    whole = desk.child_round(parent, number)

    assert half is not None
    assert whole is not None
    assert (None, None, said(jobs[2])) == half.messages
    assert (said(jobs[0]), None, said(jobs[2])) == whole.messages
    assert [JobStatus.DONE, JobStatus.FAILED, JobStatus.DONE] == [job.status for job in whole.jobs]
    assert replace(FAILURE, site=LOCAL1) == whole.jobs[1].failure
    assert [False, True] == [half.round.ended, whole.round.ended]
    assert RunStatus.ACTIVE is wait(store.get(RUN)).status


def test_the_last_job_of_a_child_round_is_given_its_siblings_as_any_other(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    desk.ask(parent)
    jobs = [desk.claim(seat) for seat in SITES]
    for job in jobs[:2]:
        desk.report(job)

    assert list(SITES) == [job.seat for job in wait(store.open_state(RUN, jobs[2].id)).siblings]
    assert 1 == len(wait(store.open_state(RUN, parent.id)).siblings)


# --- What is forgotten ------------------------------------------------------------------------


def test_what_was_asked_is_forgotten_when_all_have_answered(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    desk.ask(parent)
    jobs = [desk.claim(seat) for seat in SITES]
    for job in jobs[:2]:
        desk.report(job)
    before = desk.knows("run.0.0.ask0.0")
    desk.report(jobs[2])

    assert [True] == before
    assert [False, True] == desk.knows("run.0.0.ask0.0", "run.1.0")


def test_what_was_read_for_the_last_time_may_be_gone_but_not_that_it_was_asked(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    number = desk.ask(parent)
    jobs = [desk.claim(seat) for seat in SITES]
    for job in jobs:
        desk.report(job)

    wait(store.forget(RUN, number))
    wait(store.forget(RUN, number))

    found = desk.child(parent, 0)
    assert found is not None
    assert (number, "sha256:0", True) == (found.round.number, found.round.digest, found.round.ended)
    again = desk.child_round(parent, number)
    assert again is not None
    assert {*again.messages} <= {None, *map(said, jobs)}
    with pytest.raises(StaleEvent):
        desk.report(jobs[0])


def test_what_is_still_open_goes_on_when_the_rest_was_read(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    number = desk.ask(parent)
    jobs = [desk.claim(seat) for seat in SITES]
    desk.report(jobs[0])

    wait(store.forget(RUN, number))
    for job in jobs[1:]:
        desk.report(job)

    assert [True, True] == desk.knows("run.1.1", "run.1.2")
    found = desk.child_round(parent, number)
    assert found is not None
    assert found.round.ended
    assert (said(jobs[1]), said(jobs[2])) == found.messages[-2:]


def test_a_main_round_is_not_forgotten_so(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)

    wait(store.forget(RUN, 0))
    wait(store.forget(RUN, 7))
    desk.report(parent)

    assert {LOCAL0: MessageId(parent.id)} == wait(store.settled(RUN, 0))
    assert [True] == desk.knows(parent.id)


def test_what_a_job_asked_for_is_forgotten_with_it_and_open_jobs_end(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    desk.ask(parent)
    middle = desk.claim(LOCAL1)
    below = desk.ask(middle)
    desk.claim(LOCAL0)  # the job of the first round
    deep = desk.claim(LOCAL0)
    deepest = desk.ask(deep, LOCAL1, LOCAL2)
    active = desk.claim(LOCAL2)  # of the first round
    also = desk.claim(LOCAL2)  # of the second
    assert (1, 2) == (active.round_number, also.round_number)

    cancelled = desk.report(middle)

    assert {deep.id, also.id} == set(cancelled)
    # Neither what was queued below, nor anything of it.
    assert [None, None, None] == desk.next_jobs()
    assert [None, None] == [desk.child_round(middle, below), desk.child_round(deep, deepest)]
    assert [False, False] == desk.knows("run.1.1.ask0.0", "run.2.0.ask0.0")
    for job in (deep, also):
        with pytest.raises(StaleEvent):
            desk.report(job)
    # What lies beside it goes on.
    desk.report(active)


def test_a_step_that_ends_leaves_no_job_that_was_asked_for_in_it(store: RunStore) -> None:
    """The next step's round is opened by the very event that ends them."""
    desk = Desk(store, asking_run(SITES, steps=2))
    parent = desk.claim(LOCAL0)
    desk.ask(parent)
    active = desk.claim(LOCAL1)

    cancelled = desk.report(parent)

    assert [active.id] == cancelled
    assert ["run.2.0", None, None] == desk.next_jobs()
    assert [False] == desk.knows("run.0.0.ask0.0")
    with pytest.raises(StaleEvent):
        desk.report(active)
    desk.report(desk.claim(LOCAL0))
    assert RunStatus.DONE is wait(store.get(RUN)).status


# --- What ends early --------------------------------------------------------------------------


def test_what_is_open_in_a_round_that_is_given_up_ends_and_what_lies_below(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    first, second = desk.ask(parent), desk.ask(parent, number=1)
    done, active = desk.claim(LOCAL0), desk.claim(LOCAL1)
    desk.report(done)
    desk.ask(active, LOCAL1)

    cancelled = desk.give_up(parent, first)

    assert [active.id] == cancelled
    state = desk.child_round(parent, first)
    assert state is not None
    assert state.round.ended
    assert [JobStatus.DONE, JobStatus.CANCELLED, JobStatus.CANCELLED] == [job.status for job in state.jobs]
    assert (said(done), None, None) == state.messages
    # Only the other round's jobs are left.
    assert [f"run.{second}.{position}" for position in range(3)] == desk.next_jobs()
    assert [] == desk.give_up(parent, first)


def test_when_a_run_fails_nothing_that_was_asked_for_is_left(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    desk.ask(parent)
    active = desk.claim(LOCAL1)
    desk.ask(active)
    deep = desk.claim(LOCAL2)

    cancelled = desk.do(JobBroke(run_id=RUN, job_id=parent.id, failure=FAILURE))

    assert {active.id, deep.id} == set(cancelled)
    assert [None, None, None] == desk.next_jobs()
    assert RunStatus.FAILED is wait(store.get(RUN)).status


def test_a_run_that_fails_without_a_job_that_broke_ends_them_all(store: RunStore) -> None:
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    desk.ask(parent, LOCAL1)
    failed = replace(wait(store.get(RUN)), status=RunStatus.FAILED, failure=FAILURE)

    cancelled = wait(store.apply(Changes(run=failed, cancel_open_jobs=True)))

    assert [parent.id] == [job.id for job in cancelled]
    assert [None, None, None] == desk.next_jobs()


def test_two_runs_do_not_touch_each_other(store: RunStore) -> None:
    one = Desk(store)
    other = Desk(store, replace(asking_run(SITES), id="other"))  # type: ignore[arg-type]  # A run's id is text.
    parents = [one.claim(LOCAL0), other.claim(LOCAL0)]
    one.ask(parents[0])
    number = other.ask(parents[1])
    one.report(parents[0])

    assert ["other.1.0", "other.1.1", "other.1.2"] == other.next_jobs()
    assert other.child_round(parents[1], number) is not None


def test_what_was_read_is_there_until_who_asked_has_ended_where_a_store_outlives_the_hub(
    store: RunStore,
) -> None:
    """A job whose node is lost is done again from its beginning, and reads it once more."""
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    number = desk.ask(parent)
    for seat in SITES:
        desk.report(desk.claim(seat))
    wait(store.forget(RUN, number))

    is_kept = not isinstance(store, MemoryRunStore)
    assert [is_kept] * 3 == desk.knows("run.1.0", "run.1.1", "run.1.2")
    desk.report(parent)
    assert [False] * 3 == desk.knows("run.1.0", "run.1.1", "run.1.2")


# --- Memory -----------------------------------------------------------------------------------


def test_what_is_kept_of_a_round_that_was_read_does_not_grow_with_its_answers() -> None:
    """Of ten thousand rounds that a function has asked for, nothing stays but that it has asked."""
    store = MemoryRunStore()
    desk = Desk(store)
    parent = desk.claim(LOCAL0)
    for number in range(5):
        round_ = desk.ask(parent, number=number)
        for seat in SITES:
            desk.report(desk.claim(seat))
        wait(store.forget(RUN, round_))

    book = store._books[RUN]
    assert {"opening.0.0"} == set(book.messages)
    assert [0] * 5 == [len(room.jobs) for number, room in book.rooms.items() if number]
    desk.report(parent)
    assert {0} == set(book.rooms)
    assert {} == book.children
