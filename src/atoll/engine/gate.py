"""What a running algorithm may ask of the platform, and in whose words."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from atoll.engine.peers import Address
from atoll.engine.running import Head, HttpRequest, HttpResponse
from atoll.model.work import Content, Failure, JobStatus, Seat, Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """How far one job of a child round is."""

    seat: Seat
    ordinal: int
    status: JobStatus
    failure: Failure | None = None
    #: What it left. Only where it is done.
    body: Content | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A child round, as the job sees it that asked for it."""

    number: int
    name: str
    open_count: int
    parts: tuple[Part, ...]


class Gate(Protocol):
    """What one running job may ask of the platform: all of it, and nothing else."""

    @property
    def ticket(self) -> Ticket:
        """The job."""
        ...

    async def ask(
        self, name: str, calls: Sequence[tuple[Seat, Content]], *, session: str | None = None
    ) -> int:
        """Ask for a child round: the same algorithm, called at other seats, or at this one.

        Args:
            name: for people: the function that is called.
            calls: seats, and the body for each. The same object for several is sent once.
            session: a name of this job's own. Calls with the same one meet the same session.

        Returns:
            The round's number. The same request, made again after a restart, gets the same.

        Raises:
            LimitReached: there are too many rounds, or they are too deep.
            NotYours: a seat is not one of the run's.
        """
        ...

    async def child(self, number: int, *, bodies: bool = True) -> Child:
        """How far a child round of this job is.

        Raises:
            NotYours: this job has not asked for such a round.
        """
        ...

    async def ended(self, number: int, *, seconds: float | None = None) -> bool:
        """Wait for a child round, holding no slot; whether it has ended within that time."""
        ...

    async def give_up(self, number: int) -> None:
        """Wait no longer: what is still open in a child round ends."""
        ...

    async def release(self, number: int) -> None:
        """The answers of a child round were read for the last time."""
        ...

    async def addresses(self) -> Sequence[Address]:
        """Where the algorithm finds the ports of its run's jobs, its own among them.

        None, where this site lets it talk to nobody; whoever started the run is told so.
        """
        ...

    def progress(self, fraction: float | None, text: str) -> None:
        """Show how far the job is."""
        ...

    def log(self, text: str) -> None:
        """Write a line to the seat's log."""
        ...

    def refused(self, sentence: str) -> None:
        """Record that the algorithm asked for what it may not have."""
        ...


class Door(Protocol):
    """A dialect's words for what stands at a gate."""

    def answers(self, head: Head, body: Content) -> AsyncIterator[tuple[Head, Content]]:
        """The frames that answer a question; none where it is only a remark."""
        ...

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """What is answered to a request over HTTP."""
        ...
