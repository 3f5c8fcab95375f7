"""The node's life: hear of work, claim it, run it, report.

One agent serves one seat. Its slot is taken for the work between claim and report, so that a
machine with many seats runs only as many calls at a time as it has room for.

A call that waits for calls of its own holds no slot, and doesn't keep its seat from other work::

    loop: claim -> work ----------> report -> claim ... -> listen -> claim ...
                    |\\
                    | waits: another loop is started, which serves the seat from now on
                    |
                    +-> report, and this loop ends
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from atoll.engine.ports import HubLink
from atoll.model.errors import StaleEvent
from atoll.model.work import JobId, Ticket
from atoll.node.runner import Runner
from atoll.node.shift import Shift, Slot


class Agent:
    """Claims the jobs of one seat and runs them, one after another."""

    def __init__(self, link: HubLink, runner: Runner, slot: Slot) -> None:
        self._link = link
        self._slot = slot
        self.runner = runner
        self._tasks: set[asyncio.Task[None]] = set()
        #: Gets what a loop met that is not a job's own ending.
        self._broken: asyncio.Future[None] | None = None
        #: The task that runs each job.
        self._at_work: dict[JobId, asyncio.Task[None]] = {}
        self._given_up: set[JobId] = set()
        self._over = False

    async def serve(self) -> None:
        """Work until cancelled.

        Raises:
            Exception: whatever a loop met that is not a job's own ending.
        """
        self._broken = asyncio.get_running_loop().create_future()
        self._watch(self._hear_of_ends())
        self.relieve()
        try:
            await self._broken
        finally:
            self._over = True
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def relieve(self) -> None:
        """Start a loop that serves the seat."""
        self._watch(self._loop())

    def _watch(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._left)

    def _left(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._broken is not None and not self._broken.done():
            self._broken.set_exception(error)

    async def work_once(self) -> bool:
        """Claim and run one job, if there is one."""
        ticket = await self._link.claim()
        if ticket is None:
            return False
        await self._carry(ticket)
        return True

    async def _loop(self) -> None:
        while True:
            # Before it listens: who relieves another may find jobs that were heard of long ago.
            while (ticket := await self._link.claim()) is not None:
                # A job whose end took away the sign that all should end is the last one.
                if await self._carry(ticket) or self._over:
                    return
            await self._link.listen()

    async def _carry(self, ticket: Ticket) -> bool:
        """Run a job and report it; whether another loop serves the seat by now."""
        job_id = ticket.job.id
        task = asyncio.current_task()
        assert task is not None
        shift = Shift(self._slot, self.relieve)
        self._at_work[job_id] = task
        try:
            await shift.begin()
            try:
                event = await self.runner.work(ticket, shift)
            finally:
                shift.end()
            await self._link.report(event)
        except StaleEvent:
            pass  # The run ended meanwhile, for another reason. Nobody waits for this job.
        except asyncio.CancelledError:
            if job_id not in self._given_up:
                raise
            task.uncancel()
        finally:
            del self._at_work[job_id]
            self._given_up.discard(job_id)
        return shift.relieved

    async def _hear_of_ends(self) -> None:
        """End the jobs that nobody waits for any more."""
        while True:
            job_id = await self._link.cancelled()
            task = self._at_work.get(job_id)
            if task is not None:
                self._given_up.add(job_id)
                task.cancel()
