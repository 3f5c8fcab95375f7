"""One job, from its ticket to its report.

::

    desk -> fetch -> session -> compose -> call -> parse -> push -> report

A refusal, a bad file or a script that fails is an ending that is reported, never a crash.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from atoll.engine.limits import CallLimits
from atoll.engine.ports import Folder, HubLink
from atoll.engine.running import Runtime
from atoll.model.errors import AtollError, JobFailed
from atoll.model.events import JobBroke, JobReported
from atoll.model.work import Failure, Message, Outcome, RunId, Ticket, Work
from atoll.node.desk import Desk, Installed
from atoll.node.hooks import fetch, push


class Observer(Protocol):
    """Hears at a node what happens there; nothing that it hears leaves the site through it."""

    def started(self, ticket: Ticket, request: bytes) -> None:
        """The algorithm is called with this request."""
        ...

    def finished(self, ticket: Ticket, seconds: float, message: Message | None) -> None:
        """The job has ended; without a message it failed."""
        ...

    def warned(self, ticket: Ticket, text: str) -> None:
        """Something was tolerated."""
        ...


class Runner:
    """Runs the jobs of one seat."""

    def __init__(
        self,
        link: HubLink,
        runtime: Runtime,
        installed: Mapping[str, Installed],
        desk_for: Callable[[RunId], Desk],
        observer: Observer,
        *,
        limits: CallLimits,
        seed_for: Callable[[Ticket], int | None] = lambda _: None,
    ) -> None:
        self._link = link
        self._runtime = runtime
        self._installed = installed
        self._desk_for = desk_for
        self._desks: dict[RunId, Desk] = {}
        self._observer = observer
        self._limits = limits
        self._seed_for = seed_for

    async def work(self, ticket: Ticket) -> JobReported | JobBroke:
        """Run one job and say how it ended."""
        job = ticket.job
        started = time.perf_counter()
        message = None
        try:
            outcome = await self._outcome(ticket)
            message = outcome.message
        except AtollError as error:
            failure = Failure(type=type(error).__name__, message=str(error), site=job.seat)
            return JobBroke(run_id=job.run_id, job_id=job.id, failure=failure)
        except Exception as error:  # A node outlives its mistakes: the run is told, and where to look.
            log = self._desk(job.run_id).log
            _write_down(log)
            text = f"the node failed with {type(error).__name__}; the traceback is in {log.name} at this site"
            failure = Failure(type=JobFailed.__name__, message=text, site=job.seat)
            return JobBroke(run_id=job.run_id, job_id=job.id, failure=failure)
        finally:
            if ticket.work is Work.CALL:
                self._observer.finished(ticket, time.perf_counter() - started, message)
        return JobReported(run_id=job.run_id, job_id=job.id, outcome=outcome)

    async def end(self, run_id: RunId) -> None:
        """End what a run started at this seat, and remove what it received."""
        desk = self._desks.pop(run_id, None)
        if desk is not None:
            await desk.close()
            desk.remove()

    async def _outcome(self, ticket: Ticket) -> Outcome:
        installed = self._installed[ticket.algorithm.digest]
        desk = self._desk(ticket.job.run_id)
        bodies = await fetch.bodies(self._link, ticket)
        await desk.turn_to(ticket.step)
        await fetch.files(self._link, ticket, installed.convention, desk)
        if ticket.work is Work.DELIVER:
            installed.convention.receive(ticket, bodies, desk)
            return Outcome(message=None)
        return await self._call(ticket, installed, desk, bodies)

    async def _call(self, ticket: Ticket, installed: Installed, desk: Desk, bodies: list[bytes]) -> Outcome:
        convention = installed.convention
        session = await desk.seat_down(ticket, installed, self._runtime, self._limits)
        fetch.carry(convention.carried(ticket, bodies, desk), desk)
        request = convention.compose(ticket, bodies, desk)
        self._observer.started(ticket, request)
        reply = await session.call(request, seed=self._seed_for(ticket))
        answer = convention.parse(ticket, reply, desk)
        for warning in answer.warnings:
            self._observer.warned(ticket, warning)
        await desk.settle(Folder.TRANSFER)
        # A site that works for itself has nobody to send files to: they stay where they are.
        alone = ticket.readers == (ticket.job.seat,)
        blobs = () if alone else await push.files(self._link, desk)
        message = await push.message(self._link, ticket, answer.body, blobs)
        return Outcome(message=message, final=answer.final)

    def _desk(self, run_id: RunId) -> Desk:
        if run_id not in self._desks:
            self._desks[run_id] = self._desk_for(run_id)
        return self._desks[run_id]


def _write_down(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        traceback.print_exc(file=file)
