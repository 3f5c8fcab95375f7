"""An agent claims the jobs of its seat and runs them, and lets nobody wait for one who waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.federation import FunctionRuntime, Heard, NoHub, installed, make_desk, make_ticket

from atoll.engine.limits import CallLimits
from atoll.model.errors import NotLoggedIn, StaleEvent, TooLarge
from atoll.model.events import JobBroke, JobReported
from atoll.model.work import JobId, Message, MessageId, Outcome, Seat, Ticket
from atoll.node.agent import Agent
from atoll.node.at_hand import Shelf
from atoll.node.runner import Runner
from atoll.node.shift import Shift

OPENING = Message(id=MessageId("opening"), sender=Seat("submitter"), readers=(), body=b'{"inputs":[]}')


class Counter(NoHub):
    """A hub that hands out given tickets and notes in which order everything happens."""

    def __init__(self, tickets: list[Ticket], *, stale: bool = False) -> None:
        self.noted: list[str] = []
        self.idle = asyncio.Event()
        self.ends: asyncio.Queue[JobId] = asyncio.Queue()
        #: Where it is set, reports wait for it.
        self.holds: asyncio.Event | None = None
        self._tickets = deque(tickets)
        self._stale = stale

    async def listen(self) -> None:
        """There may be a job at once; and then, never again."""
        if "listen" in self.noted:
            self.idle.set()
            await asyncio.Event().wait()
        self.noted.append("listen")

    async def claim(self) -> Ticket | None:
        """The next one."""
        self.noted.append("claim")
        return self._tickets.popleft() if self._tickets else None

    async def report(self, event: JobReported | JobBroke) -> None:
        """Note it, and say that nobody waits for it where that is so."""
        if self.holds is not None:
            await self.holds.wait()
        self.noted.append(f"report {event.job_id}")
        if self._stale:
            raise StaleEvent("the run has ended")

    async def cancelled(self) -> JobId:
        """The jobs that a test ends."""
        return await self.ends.get()


class Room:
    """Room for one call, whose use is noted."""

    def __init__(self, noted: list[str]) -> None:
        self._noted = noted

    async def acquire(self) -> None:
        """Room for one call."""
        self._noted.append("slot taken")

    def release(self) -> None:
        """The call has ended."""
        self._noted.append("slot left")


def tickets(count: int) -> list[Ticket]:
    """Jobs of one seat."""
    return [make_ticket(step=step, inbox=(OPENING,)) for step in range(count)]


def agent_with(root: Path, counter: Counter) -> Agent:
    """An agent whose algorithm answers at once."""
    runner = Runner(
        counter,
        Shelf(
            {f"sha256:{step}": installed(root) for step in range(3)},
            FunctionRuntime(lambda _request, _room: {"output": 1}),
        ),
        lambda _: make_desk(root),
        Heard(),
        limits=CallLimits(),
    )
    return Agent(counter, runner, Room(counter.noted))


def test_a_slot_is_taken_for_the_work_alone(tmp_path: Path) -> None:
    async def work() -> list[str]:
        counter = Counter(tickets(1))

        assert await agent_with(tmp_path, counter).work_once()
        return counter.noted

    assert ["claim", "slot taken", "slot left", "report run.0.1.local0"] == asyncio.run(work())


def test_where_there_is_no_job_nothing_is_done(tmp_path: Path) -> None:
    async def work() -> list[str]:
        counter = Counter([])

        assert not await agent_with(tmp_path, counter).work_once()
        return counter.noted

    assert ["claim"] == asyncio.run(work())


def test_a_report_that_nobody_waits_for_is_no_error(tmp_path: Path) -> None:
    async def work() -> bool:
        return await agent_with(tmp_path, Counter(tickets(1), stale=True)).work_once()

    assert asyncio.run(work())


def test_an_agent_claims_until_there_is_no_job_and_then_listens(tmp_path: Path) -> None:
    async def serve() -> list[str]:
        counter = Counter(tickets(2))
        agent = agent_with(tmp_path, counter)
        serving = asyncio.create_task(agent.serve())
        await counter.idle.wait()
        await ended(serving)
        return counter.noted

    assert [
        *("claim", "slot taken", "slot left", "report run.0.1.local0"),
        *("claim", "slot taken", "slot left", "report run.1.1.local0"),
        "claim",
        "listen",
        "claim",
    ] == asyncio.run(serve())


# --- Jobs that wait, and jobs that end early --------------------------------------------------

Work = Callable[[Ticket, Shift], Awaitable[None]]


class Scripted(Runner):
    """A runner whose jobs do what a test says, by the number of their step."""

    def __init__(self, works: Mapping[int, Work]) -> None:
        self._works = works
        self.ended: list[str] = []

    async def work(self, ticket: Ticket, shift: Shift) -> JobReported:
        """Do it, and note how it ended."""
        how = "cancelled"
        try:
            await self._works[ticket.step](ticket, shift)
            how = "done"
        finally:
            self.ended.append(f"{ticket.step} {how}")
        job = ticket.job
        return JobReported(run_id=job.run_id, job_id=job.id, outcome=Outcome(message=None))


async def ended(*tasks: asyncio.Task[None]) -> None:
    """Cancel these, and wait until they have ended."""
    for task in tasks:
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=5)
        assert done, "it never ends"


async def turns(count: int = 20) -> None:
    """Let the others have their turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def nothing(_ticket: Ticket, _shift: Shift) -> None:
    """A job that is done at once."""


async def endless(_ticket: Ticket, _shift: Shift) -> None:
    """A job that is never done."""
    await asyncio.Event().wait()


def serve(
    works: list[Work],
    meanwhile: Callable[[Counter, Agent], Awaitable[None]],
    *,
    slots: int = 1,
) -> tuple[Counter, Scripted]:
    """Serve these jobs, which are there from the beginning, while something else is done."""

    async def run() -> tuple[Counter, Scripted]:
        counter = Counter(tickets(len(works)))
        runner = Scripted(dict(enumerate(works)))
        agent = Agent(counter, runner, asyncio.Semaphore(slots))
        serving = asyncio.create_task(agent.serve())
        try:
            async with asyncio.timeout(5):
                await meanwhile(counter, agent)
        finally:
            await ended(serving)
        assert set() == agent._tasks
        return counter, runner

    return asyncio.run(run())


async def until_idle(counter: Counter, _agent: Agent) -> None:
    """Until there is nothing more to claim, and all was reported."""
    await counter.idle.wait()
    await turns()


def test_while_a_job_waits_its_seat_serves_others_with_its_slot() -> None:
    """The second job was there before the first began to wait: nobody rings again for it."""
    done = asyncio.Event()

    async def waiting(_ticket: Ticket, shift: Shift) -> None:
        async with shift.waiting():
            await done.wait()
        await shift.go_on()

    async def awaited(_ticket: Ticket, _shift: Shift) -> None:
        done.set()

    counter, runner = serve([waiting, awaited], until_idle)

    assert ["1 done", "0 done"] == runner.ended
    reports = [noted for noted in counter.noted if noted.startswith("report")]
    assert ["report run.1.1.local0", "report run.0.1.local0"] == reports


def test_only_one_loop_claims_however_many_jobs_have_waited() -> None:
    alive: list[int] = []

    async def waiting(_ticket: Ticket, shift: Shift) -> None:
        async with shift.waiting():
            pass
        await shift.go_on()

    async def count(counter: Counter, agent: Agent) -> None:
        await until_idle(counter, agent)
        alive.append(len(agent._tasks))

    _, runner = serve([waiting] * 10, count)

    assert 10 == len(runner.ended)
    # The loop that listens, and who hears of jobs that are to end.
    assert [2] == alive


def test_a_job_that_nobody_waits_for_any_more_ends_and_its_seat_goes_on() -> None:
    async def give_up(counter: Counter, agent: Agent) -> None:
        await turns()
        counter.ends.put_nowait(tickets(1)[0].job.id)
        await until_idle(counter, agent)

    counter, runner = serve([endless, nothing], give_up)

    assert ["0 cancelled", "1 done"] == runner.ended
    assert "report run.0.1.local0" not in counter.noted
    assert "report run.1.1.local0" in counter.noted


def test_a_job_that_waits_may_end_so_too() -> None:
    async def waiting(ticket: Ticket, shift: Shift) -> None:
        async with shift.waiting():
            await endless(ticket, shift)

    async def give_up(counter: Counter, agent: Agent) -> None:
        await turns()
        counter.ends.put_nowait(tickets(1)[0].job.id)
        await until_idle(counter, agent)
        await turns()

    counter, runner = serve([waiting, nothing], give_up)

    assert {"0 cancelled", "1 done"} == set(runner.ended)
    assert "report run.0.1.local0" not in counter.noted


def test_a_job_that_ends_before_it_got_a_slot_takes_none() -> None:
    held = asyncio.Semaphore(1)

    async def run() -> list[str]:
        counter = Counter(tickets(2))
        runner = Scripted({0: nothing, 1: nothing})
        agent = Agent(counter, runner, held)
        await held.acquire()
        serving = asyncio.create_task(agent.serve())
        await turns()
        counter.ends.put_nowait(tickets(1)[0].job.id)
        await turns()
        held.release()
        async with asyncio.timeout(5):
            await until_idle(counter, agent)
        await ended(serving)
        return runner.ended

    assert ["1 done"] == asyncio.run(run())
    assert not held.locked()


def test_a_job_that_is_done_and_waits_to_say_so_may_end_so_too() -> None:
    async def give_up(counter: Counter, agent: Agent) -> None:
        counter.holds = asyncio.Event()
        await turns()
        counter.ends.put_nowait(tickets(1)[0].job.id)
        await turns()
        counter.holds.set()
        await until_idle(counter, agent)

    counter, runner = serve([nothing, nothing], give_up)

    assert ["0 done", "1 done"] == runner.ended
    assert "report run.0.1.local0" not in counter.noted
    assert "report run.1.1.local0" in counter.noted


def test_the_end_of_a_job_that_is_not_at_work_here_is_nothing() -> None:
    async def give_up(counter: Counter, agent: Agent) -> None:
        counter.ends.put_nowait(JobId("run.7.0"))
        counter.ends.put_nowait(tickets(1)[0].job.id)
        await until_idle(counter, agent)
        # It has ended already.
        counter.ends.put_nowait(tickets(1)[0].job.id)
        await turns()

    _, runner = serve([nothing, nothing], give_up)

    assert {"0 done", "1 done"} >= set(runner.ended)
    assert "1 done" in runner.ended


def test_an_earlier_try_of_a_job_ends_when_the_node_claims_it_again() -> None:
    begun: list[str] = []

    async def first_endless(_ticket: Ticket, _shift: Shift) -> None:
        begun.append("begun")
        if len(begun) == 1:
            await asyncio.Event().wait()

    async def run() -> tuple[list[str], list[str]]:
        (ticket,) = tickets(1)
        counter = Counter([ticket, replace(ticket, job=replace(ticket.job, attempt=2))])
        runner = Scripted({0: first_endless})
        agent = Agent(counter, runner, asyncio.Semaphore(2), loops=2)
        serving = asyncio.create_task(agent.serve())
        async with asyncio.timeout(5):
            await until_idle(counter, agent)
        assert agent.at_work == []
        await ended(serving)
        return runner.ended, counter.noted

    ends, noted = asyncio.run(run())

    assert ["0 cancelled", "0 done"] == ends
    assert 1 == noted.count("report run.0.1.local0")


@pytest.mark.parametrize("first", ["job", "node"])
def test_a_node_that_is_ended_while_it_ends_a_job_ends(first: str) -> None:
    """Else its loop would take both for the job's end, and listen for ever."""

    async def slow_to_end(ticket: Ticket, shift: Shift) -> None:
        try:
            await endless(ticket, shift)
        finally:
            await turns()

    async def run() -> None:
        counter = Counter(tickets(1))
        agent = Agent(counter, Scripted({0: slow_to_end}), asyncio.Semaphore())
        serving = asyncio.create_task(agent.serve())
        await turns()
        if first == "job":
            counter.ends.put_nowait(tickets(1)[0].job.id)
            await turns(2)
        serving.cancel()
        counter.ends.put_nowait(tickets(1)[0].job.id)
        await ended(serving)
        assert set() == agent._tasks

    asyncio.run(run())


def test_a_node_that_is_ended_ends_whatever_its_job_makes_of_that() -> None:
    async def stubborn(ticket: Ticket, shift: Shift) -> None:
        with suppress(asyncio.CancelledError):
            await endless(ticket, shift)

    async def run() -> list[str]:
        counter = Counter(tickets(2))
        agent = Agent(counter, Scripted({0: stubborn, 1: endless}), asyncio.Semaphore())
        serving = asyncio.create_task(agent.serve())
        await turns()
        await ended(serving)
        return counter.noted

    assert ["claim", "report run.0.1.local0"] == asyncio.run(run())


@pytest.mark.parametrize("waits", [False, True])
def test_what_a_loop_meets_that_is_no_jobs_ending_reaches_who_serves(waits: bool) -> None:
    async def broken(_ticket: Ticket, shift: Shift) -> None:
        if waits:
            async with shift.waiting():
                await turns()
        raise ZeroDivisionError("a mistake of the node")

    async def run() -> None:
        counter = Counter(tickets(2))
        agent = Agent(counter, Scripted({0: broken, 1: endless}), asyncio.Semaphore(2))
        async with asyncio.timeout(5):
            with pytest.raises(ZeroDivisionError, match="a mistake of the node"):
                await agent.serve()
        assert set() == agent._tasks

    asyncio.run(run())


def test_a_mistake_in_hearing_of_ends_reaches_who_serves() -> None:
    class Deaf(Counter):
        async def cancelled(self) -> JobId:
            raise ZeroDivisionError("a mistake of the link")

    async def run() -> None:
        agent = Agent(Deaf([]), Scripted({}), asyncio.Semaphore())
        with pytest.raises(ZeroDivisionError, match="a mistake of the link"):
            await agent.serve()

    asyncio.run(run())


# --- What a hub doesn't take ------------------------------------------------------------------


class Picky(Counter):
    """A hub that takes only bad news."""

    def __init__(self, jobs: list[Ticket], error: Exception) -> None:
        super().__init__(jobs)
        self.heard: list[JobReported | JobBroke] = []
        self._error = error

    async def report(self, event: JobReported | JobBroke) -> None:
        """Refuse what is done."""
        if isinstance(event, JobReported):
            raise self._error
        self.heard.append(event)


def test_a_job_whose_outcome_the_hub_does_not_take_has_broken(tmp_path: Path) -> None:
    async def work() -> list[JobReported | JobBroke]:
        hub = Picky(tickets(1), TooLarge("the message is too large"))
        assert await agent_with(tmp_path, hub).work_once()
        return hub.heard

    (event,) = asyncio.run(work())

    assert isinstance(event, JobBroke)
    assert event.failure.type == "TooLarge"
    assert event.failure.message == "the hub doesn't take what the job has left: the message is too large"


def test_an_agent_whose_node_the_hub_does_not_know_any_more_ends(tmp_path: Path) -> None:
    async def work() -> None:
        with pytest.raises(NotLoggedIn):
            await agent_with(tmp_path, Picky(tickets(1), NotLoggedIn("the key is over"))).work_once()

    asyncio.run(work())


def test_an_agent_that_is_drained_claims_nothing_more(tmp_path: Path) -> None:
    async def work() -> list[str]:
        counter = Counter(tickets(2))
        agent = agent_with(tmp_path, counter)
        await agent.drain()
        serving = asyncio.create_task(agent.serve())
        await asyncio.sleep(0)
        await ended(serving)
        return counter.noted

    assert "claim" not in asyncio.run(work())
