"""What one running job may ask of the platform, and nothing else.

A gate is made for one job and closed with it. It knows its own job and the rounds that this job
has asked for; what belongs to others it can't name.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from atoll.engine.gate import Child, Part
from atoll.engine.limits import PROGRESS_TEXT_BYTES_MAX, REFUSALS_MAX
from atoll.engine.peers import Address
from atoll.engine.ports import ChildState, HubLink
from atoll.model.errors import AtollError
from atoll.model.events import RoundGivenUp, RoundRequested
from atoll.model.work import Content, Job, JobStatus, Message, MessageId, Order, Seat, Ticket
from atoll.node.hooks import fetch, push
from atoll.node.peers.peering import Talking
from atoll.node.rules import Check, Outgoing
from atoll.node.shift import Shift


class Listener(Protocol):
    """Hears at a node what a running job says."""

    def progressed(self, ticket: Ticket, fraction: float | None, text: str) -> None:
        """The algorithm says how far it is."""
        ...

    def refused(self, ticket: Ticket, sentence: str) -> None:
        """The algorithm asked for what it may not have."""
        ...


class JobGate:
    """The gate of one job.

    Args:
        link: the hub.
        ticket: the job.
        shift: holds its slot.
        listener: hears what it says.
        log: the seat's.
        checks: look at what it asks of others, as at all that leaves the site.
        talking: what it says to others; None where it can't say anything.
    """

    def __init__(
        self,
        link: HubLink,
        ticket: Ticket,
        shift: Shift,
        listener: Listener,
        log: Path,
        *,
        checks: Sequence[Check] = (),
        talking: Talking | None = None,
    ) -> None:
        self._link = link
        self._ticket = ticket
        self._shift = shift
        self._listener = listener
        self._log = log
        self._checks = checks
        self._talking = talking
        self._asked = 0
        self._refused = 0
        self._asking = asyncio.Lock()
        #: The round that was found to have ended, as long as its answers weren't read: nothing changes in it.
        self._over: ChildState | None = None

    @property
    def ticket(self) -> Ticket:
        """The job."""
        return self._ticket

    async def ask(
        self, name: str, calls: Sequence[tuple[Seat, Content]], *, session: str | None = None
    ) -> int:
        """Ask for a child round.

        Raises:
            JobRefused: the site's rules don't let out what is asked.
        """
        job = self._ticket.job
        for body in {id(body): body for _, body in calls}.values():
            for check in self._checks:
                check(self._ticket, Outgoing(body=body))
        async with self._asking:
            prefix = f"{job.id}.ask{self._asked}"
            messages, of_body = await self._messages(prefix, calls)
            orders = tuple(
                Order(seat=seat, inbox=(of_body[id(body)].id,), session=session) for seat, body in calls
            )
            event = RoundRequested(
                run_id=job.run_id,
                job_id=job.id,
                attempt=job.attempt or None,
                number=self._asked,
                digest=_digest(name, session, [(seat, of_body[id(body)]) for seat, body in calls]),
                name=name,
                orders=orders,
            )
            number = await self._link.ask(event, messages)
            self._asked += 1
        return number

    async def child(self, number: int, *, bodies: bool = True) -> Child:
        """How far a child round of this job is."""
        job = self._ticket.job
        state = self._over
        if state is None or state.round.number != number:
            state = await self._link.child(job.run_id, job.id, number)
        # Who hears that a round has ended asks next for what it has left: that was told with it.
        self._over = state if state.round.ended and not bodies else None
        parts = [
            await self._part(of, message if bodies else None)
            for of, message in zip(state.jobs, state.messages, strict=True)
        ]
        round_ = state.round
        return Child(number=number, name=round_.name, open_count=round_.open_count, parts=tuple(parts))

    async def ended(self, number: int, *, seconds: float | None = None) -> bool:
        """Wait for a child round, holding no slot."""
        job = self._ticket.job
        try:
            async with self._shift.waiting(), asyncio.timeout(seconds):
                await self._link.child_ended(job.run_id, job.id, number)
        except TimeoutError:
            return False
        except AtollError:
            await self._shift.go_on()
            raise
        await self._shift.go_on()
        return True

    async def give_up(self, number: int) -> None:
        """End what is still open in a child round."""
        job = self._ticket.job
        event = RoundGivenUp(
            run_id=job.run_id, job_id=job.id, attempt=job.attempt or None, round_number=number
        )
        await self._link.give_up(event)
        await self._shift.go_on()

    async def release(self, number: int) -> None:
        """The answers of a child round were read for the last time."""
        job = self._ticket.job
        self._over = None
        await self._link.release(job.run_id, job.id, number)

    async def addresses(self) -> Sequence[Address]:
        """Where the algorithm finds the ports of its run's jobs."""
        return () if self._talking is None else await self._talking.addresses()

    def progress(self, fraction: float | None, text: str) -> None:
        """Show how far the job is."""
        self._listener.progressed(self._ticket, fraction, shortened(text))

    def log(self, text: str) -> None:
        """Write a line to the seat's log."""
        with self._log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"{text}\n")

    def refused(self, sentence: str) -> None:
        """Record that the algorithm asked for what it may not have, unless that is known well enough."""
        self._refused += 1
        if self._refused <= REFUSALS_MAX:
            self._listener.refused(self._ticket, sentence)

    async def _messages(
        self, prefix: str, calls: Sequence[tuple[Seat, Content]]
    ) -> tuple[list[Message], dict[int, Message]]:
        """A message for each body; one that is the same object for several seats is sent once."""
        readers: dict[int, list[Seat]] = {}
        contents: dict[int, Content] = {}
        for seat, body in calls:
            readers.setdefault(id(body), []).append(seat)
            contents[id(body)] = body
        of_body: dict[int, Message] = {}
        for position, (key, seats) in enumerate(readers.items()):
            of_body[key] = await push.message(
                self._link,
                self._ticket.job.run_id,
                MessageId(f"{prefix}.{position}"),
                sender=self._ticket.job.seat,
                readers=tuple(seats),
                body=contents[key],
            )
        return list(of_body.values()), of_body

    async def _part(self, job: Job, message: Message | None) -> Part:
        body = None
        if job.status is JobStatus.DONE and message is not None:
            body = await fetch.body(self._link, self._ticket.job.run_id, message)
        return Part(seat=job.seat, ordinal=job.ordinal, status=job.status, failure=job.failure, body=body)


def shortened(text: str) -> str:
    """As much of a text as goes with a job's progress."""
    return text.encode("utf-8", "replace")[:PROGRESS_TEXT_BYTES_MAX].decode("utf-8", "ignore")


def _digest(name: str, session: str | None, calls: Sequence[tuple[Seat, Message]]) -> str:
    """What is asked, without what chance decides: the same at every repetition."""
    # A name is whatever an algorithm says, be it half a pair of surrogates.
    digest = hashlib.sha256(f"{name}\0{session or ''}".encode("utf-8", "surrogatepass"))
    known: dict[MessageId, bytes] = {}
    for seat, message in calls:
        if message.id not in known:
            known[message.id] = _said(message)
        digest.update(b"\0%s\0" % seat.encode())
        digest.update(known[message.id])
    return f"sha256:{digest.hexdigest()}"


def _said(message: Message) -> bytes:
    if message.body_blob is not None:
        return message.body_blob.digest.encode()
    if isinstance(message.body, bytes):
        return hashlib.sha256(message.body).digest()
    # What is held never outlives this process, so that it is never asked for again.
    return b"held %d" % message.body.size_bytes
