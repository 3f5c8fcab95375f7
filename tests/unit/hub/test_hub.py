"""The hub takes one event at a time, and tells whom it concerns."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Sequence
from typing import Any

import pytest
from tests.asking import asking_run
from tests.federation import LOCAL0, REMOTE, RUN, Heard, make_run, openings, said, seats
from tests.harbour import done, request

from atoll.dialects.coinstac import choreography
from atoll.engine import calls
from atoll.engine.ports import Changes, ChildState, OpenState
from atoll.hub.hub import Hub
from atoll.model.errors import NotYours, StaleEvent
from atoll.model.events import Event, JobClaimed, JobReported
from atoll.model.work import (
    Job,
    JobId,
    JobStatus,
    Message,
    MessageId,
    Outcome,
    Run,
    RunId,
    RunStatus,
    Seat,
    Ticket,
    Work,
)
from atoll.stores.memory import MemoryBlobStore, MemoryRunStore


class Counting(MemoryRunStore):
    """A store that notes what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def open_state(self, run_id: RunId, job_id: JobId) -> OpenState:
        self.asked.append("open_state")
        return await super().open_state(run_id, job_id)

    async def apply(self, changes: Changes, messages: Sequence[Message] = ()) -> Sequence[Job]:
        self.asked.append("apply")
        return await super().apply(changes, messages)

    async def next_job(self, node: str) -> Job | None:
        self.asked.append("next_job")
        return await super().next_job(node)

    async def messages(self, run_id: RunId, ids: Sequence[MessageId]) -> Sequence[Message]:
        self.asked.append(f"{len(ids)} messages")
        return await super().messages(run_id, ids)


class Queues(dict[str, "deque[Job]"]):
    """The queues of a store, noting which are looked at."""

    def __init__(self, queues: dict[str, deque[Job]]) -> None:
        super().__init__(queues)
        self.looked_at: list[str] = []

    def get(self, key: str, default: Any = None) -> Any:
        self.looked_at.append(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> deque[Job]:
        self.looked_at.append(key)
        return super().__getitem__(key)

    def values(self) -> Any:
        raise AssertionError("all queues were looked at")

    items = values


def hub_with(runs: MemoryRunStore, *listeners: Heard) -> Hub:
    """A hub over this store."""
    return Hub(runs, MemoryBlobStore(), {"coinstac": choreography, "functions": calls}, listeners)


def claimed_with(sites: int) -> tuple[list[str], list[str]]:
    """What a claim of one seat, and a claim in vain of another, ask of the store; and which queues."""
    store = Counting()
    run = make_run(sites)

    async def claim() -> None:
        hub = hub_with(store)
        await hub.submit(run, openings(run))
        store.asked.clear()
        store._queues = Queues(store._queues)
        ticket = await hub.claim(LOCAL0)
        nothing = await hub.claim(REMOTE)

        assert ticket is not None
        assert nothing is None

    asyncio.run(claim())
    assert isinstance(store._queues, Queues)
    return store.asked, store._queues.looked_at


def test_a_claim_costs_nothing_for_the_jobs_of_other_seats() -> None:
    few, many = claimed_with(2), claimed_with(2_000)

    assert few == many
    assert ["next_job", "open_state", "apply", "1 messages", "next_job"] == many[0]
    assert {LOCAL0, REMOTE} == set(many[1])


async def begun(run: Run, *listeners: Heard, store: MemoryRunStore | None = None) -> Hub:
    """A hub where this run has just begun."""
    hub = hub_with(store or MemoryRunStore(), *listeners)
    await hub.submit(run, openings(run))
    return hub


def test_a_job_is_claimed_once_by_whoever_asks_at_the_same_time() -> None:
    async def claim() -> list[Any]:
        hub = await begun(make_run(2))
        return list(await asyncio.gather(*(hub.claim(LOCAL0) for _ in range(5))))

    tickets = asyncio.run(claim())

    assert 1 == sum(ticket is not None for ticket in tickets)


def test_a_seat_speaks_about_its_own_jobs_alone() -> None:
    async def speak() -> tuple[list[str], list[JobStatus]]:
        store = MemoryRunStore()
        hub = await begun(make_run(2), store=store)
        mine = await hub.claim(LOCAL0)
        assert mine is not None
        outcome = said(mine)
        forged = Outcome(
            message=Message(id=MessageId("x"), sender=Seat("local1"), readers=(REMOTE,)), final=True
        )
        refusals = []
        for seat, told in ((Seat("local1"), outcome), (REMOTE, outcome), (LOCAL0, forged)):
            with pytest.raises(NotYours) as refused:
                await hub.report(seat, JobReported(run_id=RUN, job_id=mine.job.id, outcome=told))
            refusals.append(str(refused.value))
        book = store._books[RUN]

        assert {"opening.0.0"} == set(book.messages)
        return refusals, [job.status for job in book.rooms[0].jobs.values()]

    refusals, statuses = asyncio.run(speak())

    assert [
        "local1 spoke about job run.0.0, which is another seat's",
        "remote spoke about job run.0.0, which is another seat's",
        "local0 reported a message that local1 is said to have sent",
    ] == refusals
    assert [JobStatus.ACTIVE, JobStatus.QUEUED] == statuses


def test_what_is_said_after_a_run_has_ended_is_stale() -> None:
    async def speak() -> Run:
        hub = await begun(make_run(1, aggregated=[False]))
        ticket = await hub.claim(LOCAL0)
        assert ticket is not None
        event = JobReported(run_id=RUN, job_id=ticket.job.id, outcome=said(ticket, final=True))
        await hub.report(LOCAL0, event)
        run = await hub.ended(RUN)
        with pytest.raises(StaleEvent):
            await hub.report(LOCAL0, event)
        return run

    assert RunStatus.DONE is asyncio.run(speak()).status


def test_everything_is_told_in_its_order_after_it_was_stored() -> None:
    store, heard = MemoryRunStore(), Heard()
    stored: list[int] = []

    class _Witness(Heard):
        def changed(self, event: Event | None, job: Job | None, changes: Changes) -> None:
            super().changed(event, job, changes)
            stored.append(store._books[RUN].run.round_count)

    async def play() -> None:
        hub = await begun(make_run(1), _Witness(), heard, store=store)
        for seat, final in ((LOCAL0, False), (REMOTE, True), (LOCAL0, False)):
            ticket = await hub.claim(seat)
            assert ticket is not None
            outcome = said(ticket, final=final)
            await hub.report(seat, JobReported(run_id=RUN, job_id=ticket.job.id, outcome=outcome))

    asyncio.run(play())

    kinds = [(type(event).__name__, job.seat if job else None) for event, job, _ in heard.events]
    assert [
        ("NoneType", None),
        (JobClaimed.__name__, LOCAL0),
        (JobReported.__name__, LOCAL0),
        (JobClaimed.__name__, REMOTE),
        (JobReported.__name__, REMOTE),
        (JobClaimed.__name__, LOCAL0),
        (JobReported.__name__, LOCAL0),
    ] == kinds
    assert [changes.run.round_count for _, _, changes in heard.events] == stored
    # A job is told as it was before the event.
    assert [JobStatus.QUEUED, JobStatus.ACTIVE] * 3 == [job.status for _, job, _ in heard.events if job]


def test_only_seats_with_a_new_job_are_rung() -> None:
    async def listen() -> list[bool]:
        hub = await begun(make_run(2))
        await asyncio.gather(hub.listen(LOCAL0), hub.listen(Seat("local1")))
        waiting = [asyncio.create_task(hub.listen(seat)) for seat in (LOCAL0, Seat("local1"), REMOTE)]
        for seat in (LOCAL0, Seat("local1")):
            ticket = await hub.claim(seat)
            assert ticket is not None
            assert Work.CALL is ticket.work
            await hub.report(seat, JobReported(run_id=RUN, job_id=ticket.job.id, outcome=said(ticket)))
        await waiting[2]
        rung = [task.done() for task in waiting]
        for task in waiting:
            task.cancel()
        return rung

    assert [False, False, True] == asyncio.run(listen())


def test_two_runs_go_on_beside_each_other() -> None:
    async def play() -> list[RunStatus]:
        hub = hub_with(MemoryRunStore())
        runs = []
        for name in ("one", "two"):
            run = Run(
                id=RunId(name),
                steps=make_run(1, aggregated=[False]).steps,
                sites=(LOCAL0,),
                aggregator=None,
                iterations_max=1,
            )
            await hub.submit(run, openings(run))
            runs.append(run.id)
        for _ in runs:
            ticket = await hub.claim(LOCAL0)
            assert ticket is not None
            event = JobReported(
                run_id=ticket.job.run_id, job_id=ticket.job.id, outcome=said(ticket, final=True)
            )
            await hub.report(LOCAL0, event)
        return [(await hub.ended(run_id)).status for run_id in runs]

    assert [RunStatus.DONE, RunStatus.DONE] == asyncio.run(play())


# --- Child rounds -----------------------------------------------------------------------------


async def asking(hub: Hub, *seats_: Seat, number: int = 0) -> tuple[Ticket, int]:
    """The central job, which has asked these seats."""
    ticket = await hub.claim(LOCAL0)
    assert ticket is not None
    event, messages = request(ticket, *seats_, number=number)
    return ticket, await hub.ask(LOCAL0, event, messages)


def test_only_seats_that_are_asked_are_rung() -> None:
    async def listen() -> list[bool]:
        run = asking_run(seats(3))
        hub = await begun(run)
        await hub.listen(LOCAL0)
        waiting = [asyncio.create_task(hub.listen(seat)) for seat in run.sites]
        await asking(hub, Seat("local2"), Seat("local1"))
        await asyncio.gather(*waiting[1:])
        rung = [task.done() for task in waiting]
        for task in waiting:
            task.cancel()
        return rung

    assert [False, True, True] == asyncio.run(listen())


def test_whoever_waits_for_a_round_is_woken_and_then_forgotten() -> None:
    async def work() -> tuple[int, int]:
        hub = await begun(asking_run(seats(3)))
        parent, number = await asking(hub, Seat("local1"))
        waiting = [asyncio.create_task(hub.child_ended(LOCAL0, RUN, parent.job.id, number)) for _ in range(3)]
        given_up = asyncio.create_task(hub.child_ended(LOCAL0, RUN, parent.job.id, number))
        await asyncio.sleep(0)
        during = len(hub.bells._rounds)
        given_up.cancel()
        ticket = await hub.claim(Seat("local1"))
        assert ticket is not None
        await hub.report(Seat("local1"), done(ticket))
        await asyncio.gather(*waiting)
        # Nothing was waited for: the round had ended.
        await hub.child_ended(LOCAL0, RUN, parent.job.id, number)
        await asyncio.gather(given_up, return_exceptions=True)
        return during, len(hub.bells._rounds)

    assert (1, 0) == asyncio.run(work())


def test_who_stops_waiting_leaves_nothing_behind() -> None:
    async def work() -> int:
        hub = await begun(asking_run(seats(3)))
        parent, number = await asking(hub)
        waiting = asyncio.create_task(hub.child_ended(LOCAL0, RUN, parent.job.id, number))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
        del waiting
        await asyncio.sleep(0)
        gc.collect()  # the traceback of its end knew what it had waited for
        return len(hub.bells._rounds)

    assert 0 == asyncio.run(work())


def test_an_end_between_looking_and_waiting_is_not_missed() -> None:
    """A store that takes its time tells of a round that has ended by the time it is heard."""

    class Slow(MemoryRunStore):
        looked = asyncio.Event()
        goes_on = asyncio.Event()

        async def child_round(self, run_id: RunId, job_id: JobId, number: int) -> ChildState | None:
            found = await super().child_round(run_id, job_id, number)
            if not self.goes_on.is_set():
                self.looked.set()
                await self.goes_on.wait()
            return found

    async def work() -> None:
        store = Slow()
        hub = await begun(asking_run(seats(3)), store=store)
        parent, number = await asking(hub, Seat("local1"))
        ticket = await hub.claim(Seat("local1"))
        assert ticket is not None
        waiting = asyncio.create_task(hub.child_ended(LOCAL0, RUN, parent.job.id, number))
        await store.looked.wait()
        await hub.report(Seat("local1"), done(ticket))
        store.goes_on.set()
        async with asyncio.timeout(5):
            await waiting

    asyncio.run(work())


def test_an_event_of_a_child_round_costs_nothing_for_the_other_sites() -> None:
    def asked_of_store(sites: int) -> list[str]:
        store = Counting()

        async def work() -> None:
            hub = await begun(asking_run(seats(sites)), store=store)
            await asking(hub)
            store.asked.clear()
            ticket = await hub.claim(Seat("local1"))
            assert ticket is not None
            await hub.report(Seat("local1"), done(ticket))

        asyncio.run(work())
        return store.asked

    assert asked_of_store(3) == asked_of_store(300)
