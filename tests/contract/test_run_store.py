"""What every store of runs promises."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.federation import REMOTE, RUN, make_run, openings
from tests.federation import said as said_by
from tests.run_stores import STORES, stored, wait

from atoll.dialects.coinstac import choreography
from atoll.engine.conductor import advance, begin
from atoll.engine.ports import Changes, RunStore
from atoll.hub.hub import Hub
from atoll.model.errors import StaleEvent
from atoll.model.events import JobClaimed, JobReported
from atoll.model.work import (
    Failure,
    Job,
    JobStatus,
    Message,
    MessageId,
    Outcome,
    Run,
    RunId,
    RunStatus,
    Seat,
)
from atoll.stores.memory import MemoryBlobStore, MemoryRunStore

CHOREOGRAPHIES = {"coinstac": choreography}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunStore]:
    """An empty store of each kind."""
    with stored(request.param, tmp_path, request) as opened:
        yield opened


class Desk:
    """A hub's use of a store: claims and reports, without seats and listeners."""

    def __init__(self, store: RunStore, run: Run) -> None:
        self.store = store
        self.run_id = run.id
        wait(store.add(run, openings(run)))
        wait(store.apply(begin(run, CHOREOGRAPHIES)))

    def next_job(self, seat: Seat) -> Job | None:
        """What a seat would claim."""
        return wait(self.store.next_job(seat))

    def claim(self, seat: Seat) -> Job:
        """Take the next job of a seat."""
        job = self.next_job(seat)
        assert job is not None
        state = wait(self.store.open_state(job.run_id, job.id))
        changes = advance(state, JobClaimed(run_id=job.run_id, job_id=job.id), CHOREOGRAPHIES)
        wait(self.store.apply(changes))
        return changes.jobs[0]

    def report(self, job: Job, *, final: bool = False, silent: bool = False) -> Changes:
        """Do a job."""
        message = None if silent else said(job)
        event = JobReported(run_id=job.run_id, job_id=job.id, outcome=Outcome(message=message, final=final))
        changes = advance(wait(self.store.open_state(job.run_id, job.id)), event, CHOREOGRAPHIES)
        wait(self.store.apply(changes, () if message is None else (message,)))
        return changes

    def do(self, seats: Sequence[Seat], **how: Any) -> None:
        """Claim and do one job of each of these seats."""
        for seat in seats:
            self.report(self.claim(seat), **how)

    def knows(self, *ids: str) -> list[bool]:
        """Which of these messages are there."""
        found = []
        for id_ in ids:
            try:
                messages = wait(self.store.messages(self.run_id, [MessageId(id_)]))
            except KeyError:
                messages = []
            found.append([id_] == [message.id for message in messages])
        return found


def said(job: Job) -> Message:
    """What a job left."""
    return Message(id=MessageId(job.id), sender=job.seat, readers=(), body=job.id.encode())


# --- Runs and jobs ----------------------------------------------------------------------------


def test_a_run_that_was_added_is_there(store: RunStore) -> None:
    run = make_run(3)
    wait(store.add(run, openings(run)))

    assert run == wait(store.get(RUN))
    assert {} == wait(store.settled(RUN, 0))


def test_what_an_event_changed_is_there(store: RunStore) -> None:
    desk = Desk(store, make_run(2))
    job = desk.claim(Seat("local0"))

    state = wait(store.open_state(RUN, job.id))

    assert (JobStatus.ACTIVE, 2, 1) == (state.job.status, state.round.open_count, state.run.round_count)


def test_a_seat_is_given_its_own_oldest_job_until_it_is_claimed(store: RunStore) -> None:
    desk = Desk(store, make_run(2))
    second = replace(make_run(2), id=RunId("second"))
    Desk(store, second)

    first = desk.next_job(Seat("local0"))
    again = desk.next_job(Seat("local0"))
    claimed = [desk.claim(Seat("local0")), desk.claim(Seat("local0"))]

    assert first == again
    assert ["run.0.0", "second.0.0"] == [job.id for job in claimed]
    assert desk.next_job(Seat("local0")) is None
    assert desk.next_job(REMOTE) is None
    assert "run.0.1" == desk.claim(Seat("local1")).id


def test_the_other_jobs_of_a_round_come_in_their_order_and_only_with_its_last_open_one(
    store: RunStore,
) -> None:
    desk = Desk(store, make_run(12))
    jobs = [desk.claim(seat) for seat in reversed(make_run(12).sites)]
    early = [len(wait(store.open_state(RUN, job.id)).siblings) for job in jobs]
    for job in jobs[:-1]:
        desk.report(job)

    last = wait(store.open_state(RUN, jobs[-1].id))

    assert [0] * 12 == early
    assert [*range(12)] == [job.position for job in last.siblings]
    assert 11 == sum(job.status is JobStatus.DONE for job in last.siblings)


def test_nothing_is_known_of_the_jobs_of_a_round_that_is_over(store: RunStore) -> None:
    desk = Desk(store, make_run(1))
    job = desk.claim(Seat("local0"))
    desk.report(job)

    with pytest.raises(StaleEvent, match=r"^job run\.0\.0 is of a round that is over$"):
        wait(store.open_state(RUN, job.id))


def test_a_job_of_a_run_that_has_no_round_is_stale(store: RunStore) -> None:
    run = make_run(1)
    wait(store.add(run, openings(run)))

    with pytest.raises(StaleEvent):
        wait(store.open_state(RUN, begin(run, CHOREOGRAPHIES).jobs[0].id))


def test_when_a_run_fails_no_job_of_it_is_left_to_claim(store: RunStore) -> None:
    run = make_run(3)
    desk = Desk(store, run)
    other = Desk(store, replace(run, id=RunId("other")))
    job = desk.claim(Seat("local0"))
    state = wait(store.open_state(RUN, job.id))
    failure = Failure(type="AlgorithmFailed", message="no", site=job.seat)
    failed = replace(state.run, status=RunStatus.FAILED, failure=failure)
    broken = replace(job, status=JobStatus.FAILED, failure=failure)

    wait(store.apply(Changes(run=failed, jobs=(broken,), cancel_open_jobs=True)))

    assert failed == wait(store.get(RUN))
    assert JobStatus.FAILED is wait(store.open_state(RUN, job.id)).job.status
    assert (
        JobStatus.CANCELLED is wait(store.open_state(RUN, begin(run, CHOREOGRAPHIES).jobs[1].id)).job.status
    )
    # Another run's jobs are still there.
    assert ["other.0.0", "other.0.1", "other.0.2"] == [other.claim(seat).id for seat in run.sites]
    assert [None] * 3 == [desk.next_job(seat) for seat in run.sites]


# --- Messages ---------------------------------------------------------------------------------


def test_messages_come_in_the_order_in_which_they_are_asked_for(store: RunStore) -> None:
    run = make_run(11)
    desk = Desk(store, run)
    desk.do(run.sites[::-1])
    job = desk.next_job(REMOTE)
    assert job is not None

    messages = wait(store.messages(RUN, job.inbox))

    assert list(run.sites) == [message.sender for message in messages]
    assert [f"run.0.{position}".encode() for position in range(11)] == [message.body for message in messages]
    assert [] == list(wait(store.messages(RUN, [])))


def test_a_message_is_there_for_the_round_that_reads_it_and_not_for_ever(store: RunStore) -> None:
    run = make_run(2)
    desk = Desk(store, run)
    desk.do(run.sites)
    read_now = desk.knows("run.0.0", "run.0.1")
    desk.do([REMOTE])
    desk.do(run.sites)

    assert [True, True] == read_now
    assert [False, False] == desk.knows("run.0.0", "run.0.1")
    # Opening messages stay: a step may be opened late.
    assert [True] == desk.knows("opening.0.0")


def test_what_has_settled_a_step_is_kept(store: RunStore) -> None:
    run = make_run(2, aggregated=[True, False])
    desk = Desk(store, run)
    desk.do(run.sites)
    desk.do([REMOTE], final=True)
    desk.do(run.sites, silent=True)
    desk.do(run.sites[:1], final=True)
    desk.do(run.sites[1:])
    for _ in range(5):
        desk.do(run.sites[1:])
    desk.do(run.sites[1:], final=True)

    assert {REMOTE: "run.1.0"} == wait(store.settled(RUN, 0))
    assert {"local0": "run.3.0", "local1": "run.9.0"} == wait(store.settled(RUN, 1))
    assert [True, True, True] == desk.knows("run.1.0", "run.3.0", "run.9.0")
    assert RunStatus.DONE is wait(store.get(RUN)).status


def test_memory_does_not_grow_with_the_rounds_of_a_run() -> None:
    """After a thousand iterations as many messages and jobs are kept as after three."""
    run = make_run(3, iterations_max=1_000)
    store = MemoryRunStore()
    kept = set()

    async def iterate() -> Run:
        hub = Hub(store, MemoryBlobStore(), CHOREOGRAPHIES)
        await hub.submit(run, openings(run))
        for iteration in range(1, 1_001):
            for seat in (*run.sites, REMOTE):
                ticket = await hub.claim(seat)
                assert ticket is not None
                outcome = said_by(ticket, final=iteration == 1_000)
                await hub.report(seat, JobReported(run_id=RUN, job_id=ticket.job.id, outcome=outcome))
            if iteration >= 3:
                book = store._books[RUN]
                jobs = sum(len(room.jobs) for room in book.rooms.values())
                kept.add((len(book.messages), jobs, sum(map(len, store._queues.values()))))
        return await store.get(RUN)

    ended = asyncio.run(iterate())

    assert 2_000 == ended.call_round_count
    # The opening message and the aggregator's; three jobs, and all of them queued.
    assert {(2, 3, 3)} == kept
