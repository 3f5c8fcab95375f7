"""One job, from its ticket to its report.

::

    desk -> fetch -> chair -> compose -> call (and what it asks) -> parse -> push -> report

A refusal, a bad file or a script that fails is an ending that is reported, never a crash.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from atoll.algorithms.installed import Installed
from atoll.engine.limits import CallLimits
from atoll.engine.ports import Folder, HubLink
from atoll.engine.running import Runtime, whole
from atoll.model.errors import AlgorithmFailed, AtollError, JobFailed
from atoll.model.events import JobBroke, JobReported
from atoll.model.work import Blob, Content, Failure, Message, MessageId, Outcome, RunId, Ticket, Work
from atoll.node.chair import Chair
from atoll.node.desk import Desk
from atoll.node.gateway.gate import JobGate
from atoll.node.gateway.porch import Porch
from atoll.node.hooks import fetch, push
from atoll.node.shift import Shift


class Observer(Protocol):
    """Hears at a node what happens there; nothing that it hears leaves the site through it."""

    def started(self, ticket: Ticket, request: bytes) -> None:
        """The algorithm is called with this request, which is JSON."""
        ...

    def progressed(self, ticket: Ticket, fraction: float | None, text: str) -> None:
        """The algorithm says how far it is."""
        ...

    def refused(self, ticket: Ticket, sentence: str) -> None:
        """The algorithm asked for what it may not have."""
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

    async def work(self, ticket: Ticket, shift: Shift) -> JobReported | JobBroke:
        """Run one job and say how it ended."""
        job = ticket.job
        started = time.perf_counter()
        message = None
        try:
            outcome = await self._outcome(ticket, shift)
            message = outcome.message
        except AtollError as error:
            raised = error.raised if isinstance(error, AlgorithmFailed) else None
            failure = Failure(type=type(error).__name__, message=str(error), site=job.seat, raised=raised)
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

    async def _outcome(self, ticket: Ticket, shift: Shift) -> Outcome:
        installed = self._installed[ticket.algorithm.digest]
        desk = self._desk(ticket.job.run_id)
        bodies = await fetch.bodies(self._link, ticket)
        await desk.turn_to(ticket.step)
        await fetch.files(self._link, ticket, installed.convention, desk)
        if ticket.work is Work.DELIVER:
            self._receive(ticket, installed, desk, bodies)
            return Outcome(message=None)
        chair = await desk.sit_down(ticket, installed, self._runtime, self._limits)
        try:
            chair.begin(self._seed_for(ticket))
            return await self._call(ticket, shift, installed, chair, desk, bodies)
        finally:
            await desk.stand_up(chair)

    async def _call(
        self,
        ticket: Ticket,
        shift: Shift,
        installed: Installed,
        chair: Chair,
        desk: Desk,
        bodies: list[Content],
    ) -> Outcome:
        convention = installed.convention
        assert chair.session is not None
        fetch.carry(convention.carried(ticket, bodies, chair), desk)
        request = convention.compose(ticket, bodies, chair)
        gate = JobGate(self._link, ticket, shift, self._observer, desk.log)
        door = convention.door(ticket, bodies, chair, gate)
        self._observer.started(ticket, whole(request.body) if request.told is None else request.told)
        if door is None:
            reply = await chair.call(request, None)
        else:
            async with Porch(door) as porch:
                reply = await chair.call(request, porch)
        if installed.prints:
            _append(desk.log, whole(reply.output))
        answer = convention.parse(ticket, reply, chair)
        for warning in answer.warnings:
            self._observer.warned(ticket, warning)
        blobs = await self._files(ticket, installed, chair, desk)
        message = await push.message(
            self._link,
            ticket.job.run_id,
            MessageId(ticket.job.id),
            sender=ticket.job.seat,
            readers=ticket.readers,
            body=answer.body,
            blobs=blobs,
        )
        return Outcome(message=message, final=answer.final)

    async def _files(
        self, ticket: Ticket, installed: Installed, chair: Chair, desk: Desk
    ) -> tuple[Blob, ...]:
        """Send what the call left in the transfer folder, if it has one."""
        if Folder.TRANSFER not in installed.convention.targets(ticket.job.seat):
            return ()
        await chair.settle(Folder.TRANSFER)
        # A site that works for itself has nobody to send files to: they stay where they are.
        alone = ticket.readers == (ticket.job.seat,)
        return () if alone else await push.files(self._link, ticket.job.run_id, desk)

    def _receive(self, ticket: Ticket, installed: Installed, desk: Desk, bodies: list[Content]) -> None:
        chair = Chair(desk=desk, key=None, number=0)
        installed.convention.receive(ticket, bodies, chair)

    def _desk(self, run_id: RunId) -> Desk:
        if run_id not in self._desks:
            self._desks[run_id] = self._desk_for(run_id)
        return self._desks[run_id]


def _append(log: Path, printed: bytes) -> None:
    if printed:
        with log.open("ab") as file:
            file.write(printed)


def _write_down(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        traceback.print_exc(file=file)
