"""One job, from its ticket to its report.

::

    policies -> algorithm -> desk -> fetch -> chair -> compose -> call (and what it asks) -> parse
             -> checks -> push -> report

A refusal, a bad file or a script that fails is an ending that is reported, never a crash.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from atoll.algorithms.installed import Installed
from atoll.engine.limits import CallLimits
from atoll.engine.ports import Folder, HubLink
from atoll.engine.running import Reply, Request, Style, whole
from atoll.model.errors import AlgorithmFailed, AtollError, JobFailed
from atoll.model.events import JobBroke, JobReported
from atoll.model.work import Blob, Content, Failure, Message, MessageId, Outcome, RunId, Seat, Ticket, Work
from atoll.node.at_hand import Library
from atoll.node.chair import Chair
from atoll.node.desk import Desk
from atoll.node.gateway.gate import JobGate, shortened
from atoll.node.gateway.porch import Porch
from atoll.node.hooks import fetch, push
from atoll.node.peers.peering import Peering, Talking
from atoll.node.provision import Provision
from atoll.node.rules import Check, Outgoing, Policy
from atoll.node.shift import Shift
from atoll.node.telling import frames_only


class Observer(Protocol):
    """Hears at a node what happens there; nothing that it hears leaves the site through it."""

    def started(self, ticket: Ticket, request: bytes) -> None:
        """The algorithm is called with this request, which is JSON."""
        ...

    def progressed(self, ticket: Ticket, fraction: float | None, text: str) -> None:
        """The algorithm says how far it is."""
        ...

    def waits(self, ticket: Ticket, text: str) -> None:
        """The node says what the job waits for before its algorithm is called, such as an image or a queue."""
        ...

    def refused(self, ticket: Ticket, sentence: str) -> None:
        """The algorithm asked for what it may not have."""
        ...

    def finished(self, ticket: Ticket, seconds: float, message: Message | None) -> None:
        """The job has ended; without a message it failed, or was given up."""
        ...

    def broke(self, ticket: Ticket, kind: str, sentence: str) -> None:
        """Why a job failed, before its end: the kind of the error, and what has no value of the site's data."""
        ...

    def warned(self, ticket: Ticket, text: str) -> None:
        """Something was tolerated."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """A site's own rules, in the order in which they are asked."""

    policies: Sequence[Policy] = ()
    checks: Sequence[Check] = ()
    #: What is told of an error beyond the site.
    told: Callable[[AtollError], str] = str


class Runner:
    """Runs the jobs of one node.

    Args:
        link: the hub.
        library: has the algorithms.
        desk_for: makes the desk of a ticket's seat for its run.
        observer: hears what happens.
        limits: what one call may take.
        rules: what the site allows.
        provide: what the site brings to a ticket's step. Default: what the desk was made with.
        seed_for: seeds calls.
        peering: lets jobs talk to others of their runs. Default: none may.
    """

    def __init__(
        self,
        link: HubLink,
        library: Library,
        desk_for: Callable[[Ticket], Desk],
        observer: Observer,
        *,
        limits: CallLimits,
        rules: Rules | None = None,
        provide: Callable[[Ticket], Provision] | None = None,
        seed_for: Callable[[Ticket], int | None] = lambda _: None,
        peering: Peering | None = None,
    ) -> None:
        self._link = link
        self._library = library
        self._desk_for = desk_for
        self._desks: dict[tuple[RunId, Seat], Desk] = {}
        self._observer = observer
        self._limits = limits
        self._rules = rules or Rules()
        self._provide = provide
        self._seed_for = seed_for
        self._peering = peering

    @property
    def runs(self) -> set[RunId]:
        """The runs that have a desk here."""
        return {run_id for run_id, _ in self._desks}

    async def work(self, ticket: Ticket, shift: Shift) -> JobReported | JobBroke:
        """Run one job and say how it ended."""
        job = ticket.job
        attempt = job.attempt or None
        started = time.perf_counter()
        message = None
        try:
            outcome = await self._outcome(ticket, shift)
            message = outcome.message
        except AtollError as error:
            raised = error.raised if isinstance(error, AlgorithmFailed) else None
            kind = type(error).__name__
            self._observer.broke(ticket, kind, frames_only(error))
            failure = Failure(type=kind, message=self._rules.told(error), site=job.seat, raised=raised)
            return JobBroke(run_id=job.run_id, job_id=job.id, attempt=attempt, failure=failure)
        except Exception as error:  # A node outlives its mistakes: the run is told, and where to look.
            log = self._desk(ticket).log
            _write_down(log)
            text = f"the node failed with {type(error).__name__}; the traceback is in {log.name} at this site"
            self._observer.broke(ticket, JobFailed.__name__, text)
            failure = Failure(type=JobFailed.__name__, message=text, site=job.seat)
            return JobBroke(run_id=job.run_id, job_id=job.id, attempt=attempt, failure=failure)
        finally:
            if ticket.work is Work.CALL:
                self._observer.finished(ticket, time.perf_counter() - started, message)
        return JobReported(run_id=job.run_id, job_id=job.id, attempt=attempt, outcome=outcome)

    async def end(self, run_id: RunId) -> None:
        """End what a run started here, and remove what it received."""
        for key in [key for key in self._desks if key[0] == run_id]:
            desk = self._desks.pop(key)
            await desk.close()
            desk.remove()

    async def close(self) -> None:
        """End every session. What the desks keep stays for the next start."""
        for desk in self._desks.values():
            await desk.close()
        self._desks.clear()

    async def _outcome(self, ticket: Ticket, shift: Shift) -> Outcome:
        for policy in self._rules.policies:
            policy(ticket)
        hand = await self._library.at_hand(ticket, self._waits(ticket))
        installed, desk = hand.installed, self._desk(ticket)
        bodies = await fetch.bodies(self._link, ticket)
        turned = ticket.step != desk.step
        await desk.begin(ticket)
        if turned and self._provide is not None:
            # In a thread: a site's folder may hold thousands of files.
            desk.equip(await asyncio.to_thread(self._provide, ticket))
        await fetch.files(self._link, ticket, installed.convention, desk)
        if ticket.work is Work.DELIVER:
            self._receive(ticket, installed, desk, bodies)
            desk.keep_memory(ticket.job.id)
            return Outcome(message=None)
        _check_alive(ticket, installed, desk)
        chair = await desk.sit_down(ticket, installed, hand.runtime, self._limits, self._waits(ticket))
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
        reply = await self._reply(ticket, shift, installed, chair, desk, bodies, request)
        if installed.prints:
            _append(desk.log, whole(reply.output))
        answer = convention.parse(ticket, reply, chair)
        for warning in answer.warnings:
            self._observer.warned(ticket, warning)
        desk.keep_memory(ticket.job.id)
        blobs = await self._files(ticket, installed, chair, desk, answer.body)
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

    async def _reply(
        self,
        ticket: Ticket,
        shift: Shift,
        installed: Installed,
        chair: Chair,
        desk: Desk,
        bodies: list[Content],
        request: Request,
    ) -> Reply:
        """Call the algorithm, and answer what it asks meanwhile."""
        async with self._talking(ticket, installed, chair, desk) as talking:
            checks = self._rules.checks
            gate = JobGate(
                self._link, ticket, shift, self._observer, desk.log, checks=checks, talking=talking
            )
            door = installed.convention.door(ticket, bodies, chair, gate)
            self._observer.started(ticket, whole(request.body) if request.told is None else request.told)
            if door is None:
                return await chair.call(request, None)
            async with Porch(door) as porch:
                return await chair.call(request, porch)

    def _talking(
        self, ticket: Ticket, installed: Installed, chair: Chair, desk: Desk
    ) -> AbstractAsyncContextManager[Talking | None]:
        if self._peering is None:
            return nullcontext()
        return self._peering.of(ticket, installed, chair, desk.log)

    async def _files(
        self, ticket: Ticket, installed: Installed, chair: Chair, desk: Desk, body: Content
    ) -> tuple[Blob, ...]:
        """Look at what is to leave; send the files of the transfer folder, if there is one."""
        sends = Folder.TRANSFER in installed.convention.targets(ticket.job.seat)
        if sends:
            await chair.settle(Folder.TRANSFER)
        # A site that works for itself has nobody to send files to: they stay where they are.
        sends = sends and ticket.readers != (ticket.job.seat,)
        outgoing = Outgoing(body=body, files=desk.folders[Folder.TRANSFER] if sends else None)
        for check in self._rules.checks:
            check(ticket, outgoing)
        return await push.files(self._link, ticket.job.run_id, desk) if sends else ()

    def _waits(self, ticket: Ticket) -> Callable[[str], None]:
        """Tells what the start of a ticket's session waits for, as how far the job is."""
        return lambda text: self._observer.waits(ticket, shortened(text))

    def _receive(self, ticket: Ticket, installed: Installed, desk: Desk, bodies: list[Content]) -> None:
        chair = Chair(desk=desk, key=None, number=0)
        installed.convention.receive(ticket, bodies, chair)

    def _desk(self, ticket: Ticket) -> Desk:
        key = (ticket.job.run_id, ticket.job.seat)
        if key not in self._desks:
            self._desks[key] = self._desk_for(ticket)
        return self._desks[key]


def _check_alive(ticket: Ticket, installed: Installed, desk: Desk) -> None:
    """Refuse to go on with a computation whose process has ended with an earlier life of this node."""
    style, _ = installed.convention.launch(ticket)
    if style is Style.SERVE and ticket.iteration > 1 and desk.revived and not desk.chairs:
        raise AlgorithmFailed(
            "the computation keeps what it knows in its own process (protocol 2), which ended with its node "
            f"before iteration {ticket.iteration}. Submit the run anew"
        )


def _append(log: Path, printed: bytes) -> None:
    if printed:
        with log.open("ab") as file:
            file.write(printed)


def _write_down(log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as file:
        traceback.print_exc(file=file)
