"""An agent claims the jobs of its seat and runs them, one after another."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from pathlib import Path

from tests.federation import FunctionRuntime, Heard, NoHub, installed, make_desk, make_ticket

from atoll.engine.limits import CallLimits
from atoll.model.errors import StaleEvent
from atoll.model.events import JobBroke, JobReported
from atoll.model.work import Message, MessageId, Seat, Ticket
from atoll.node.agent import Agent
from atoll.node.runner import Runner

OPENING = Message(id=MessageId("opening"), sender=Seat("submitter"), readers=(), body=b'{"inputs":[]}')


class Counter(NoHub):
    """A hub that hands out given tickets and notes in which order everything happens."""

    def __init__(self, tickets: list[Ticket], *, stale: bool = False) -> None:
        self.noted: list[str] = []
        self.idle = asyncio.Event()
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
        self.noted.append(f"report {event.job_id}")
        if self._stale:
            raise StaleEvent("the run has ended")


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
        FunctionRuntime(lambda _request, _room: {"output": 1}),
        {f"sha256:{step}": installed(root) for step in range(3)},
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


def test_an_agent_claims_until_there_is_no_job_and_then_listens_again(tmp_path: Path) -> None:
    async def serve() -> list[str]:
        counter = Counter(tickets(2))
        agent = agent_with(tmp_path, counter)
        serving = asyncio.create_task(agent.serve())
        await counter.idle.wait()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving
        return counter.noted

    assert [
        "listen",
        *("claim", "slot taken", "slot left", "report run.0.1.local0"),
        *("claim", "slot taken", "slot left", "report run.1.1.local0"),
        "claim",
    ] == asyncio.run(serve())
