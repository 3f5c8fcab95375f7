"""The node's life: hear of work, claim it, run it, report.

One agent serves one node; a simulation has one for each seat. A slot is taken for the work between
claim and report, so that a machine with many seats runs only as many calls at a time as it has
room for.

A call that waits for calls of its own holds no slot, and doesn't keep its seat from other work::

    loop: claim -> work ----------> report -> claim ... -> listen -> claim ...
                    |\\
                    | waits: another loop is started, which serves the seat from now on
                    |
                    +-> report, and this loop ends

Who drains an agent lets it finish what is under way, and claims nothing any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from dataclasses import dataclass, field

from atoll.engine.ports import HubLink
from atoll.model.errors import NotLoggedIn, NotYours, Refused, StaleEvent, VersionMismatch
from atoll.model.events import JobBroke, JobReported
from atoll.model.work import Failure, Job, JobId, RunId, Ticket
from atoll.node.runner import Runner
from atoll.node.shift import Shift, Slot

_log = logging.getLogger(__name__)


class Agent:
    """Claims the jobs of one node and runs them.

    Args:
        link: the hub.
        runner: runs a job.
        slot: room for a call.
        loops: how many jobs are claimed at a time.
    """

    def __init__(self, link: HubLink, runner: Runner, slot: Slot, *, loops: int = 1) -> None:
        self._link = link
        self._slot = slot
        self._loops = loops
        self.runner = runner
        self._tasks: set[asyncio.Task[None]] = set()
        #: Gets what a loop met that is not a job's own ending.
        self._broken: asyncio.Future[None] | None = None
        self._at_work: dict[JobId, _AtWork] = {}
        self._given_up: set[JobId] = set()
        self._over = False
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def serve(self) -> None:
        """Work until cancelled.

        Raises:
            Exception: whatever a loop met that is not a job's own ending.
        """
        self._broken = asyncio.get_running_loop().create_future()
        self._watch(self._hear_of_ends())
        for _ in range(self._loops):
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
        """Start a loop that serves the node."""
        if not self._draining:
            self._watch(self._loop())

    @property
    def at_work(self) -> list[Job]:
        """The jobs that were claimed and not yet reported, as they were claimed."""
        return [work.job for work in self._at_work.values()]

    async def drain(self) -> None:
        """Claim nothing any more, and return when nothing is under way."""
        self._draining = True
        await self._idle.wait()

    async def give_up(self, job_id: JobId) -> None:
        """End a job that nobody waits for any more, with its processes."""
        if (work := self._stop(job_id)) is not None:
            await work.ended.wait()

    async def end(self, run_id: RunId) -> None:
        """A run has ended: end its jobs here, and what it has left."""
        for job in self.at_work:
            if job.run_id == run_id:
                await self.give_up(job.id)
        await self.runner.end(run_id)

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
        while not self._draining:
            # Before it listens: who relieves another may find jobs that were heard of long ago.
            while (ticket := await self._link.claim()) is not None:
                # A job whose end took away the sign that all should end is the last one.
                if await self._carry(ticket) or self._over or self._draining:
                    return
            await self._link.listen()

    async def _carry(self, ticket: Ticket) -> bool:
        """Run a job and report it; whether another loop serves the seat by now."""
        job_id = ticket.job.id
        task = asyncio.current_task()
        assert task is not None
        # An earlier try of it may be at work here still: the node was thought to be lost, and wasn't.
        await self.give_up(job_id)
        shift = Shift(self._slot, self.relieve)
        work = self._at_work[job_id] = _AtWork(job=ticket.job, task=task)
        self._idle.clear()
        try:
            await shift.begin()
            try:
                event = await self.runner.work(ticket, shift)
            finally:
                shift.end()
            await self._report(event)
        except (StaleEvent, NotYours):
            pass  # The run ended meanwhile, or another try of this job has begun. Nobody waits for this one.
        except asyncio.CancelledError:
            if job_id not in self._given_up:
                raise
            task.uncancel()
        finally:
            work.ended.set()
            if self._at_work.get(job_id) is work:
                del self._at_work[job_id]
            self._given_up.discard(job_id)
            if not self._at_work:
                self._idle.set()
        return shift.relieved

    async def _report(self, event: JobReported | JobBroke) -> None:
        """Say how a job ended; where the hub doesn't take what it left, that it can't be done."""
        try:
            await self._link.report(event)
        except (NotLoggedIn, VersionMismatch):
            raise
        except Refused as error:
            words = f"the hub doesn't take what the job has left: {error}"
            _log.info("job %s has failed: %s", event.job_id, words)
            failure = Failure(type=type(error).__name__, message=words)
            broke = JobBroke(run_id=event.run_id, job_id=event.job_id, attempt=event.attempt, failure=failure)
            await self._link.report(broke)

    async def _hear_of_ends(self) -> None:
        """End the jobs that nobody waits for any more."""
        while True:
            self._stop(await self._link.cancelled())

    def _stop(self, job_id: JobId) -> _AtWork | None:
        work = self._at_work.get(job_id)
        if work is not None:
            self._given_up.add(job_id)
            work.task.cancel()
        return work


@dataclass(frozen=True, slots=True, kw_only=True)
class _AtWork:
    """A job that was claimed and not yet reported."""

    job: Job
    #: The loop that runs it.
    task: asyncio.Task[None]
    ended: asyncio.Event = field(default_factory=asyncio.Event)
