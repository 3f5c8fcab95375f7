"""A hub and the links of its seats: a harbour. Every kind of link is held to the same promises.

A way to build links is one entry of `LINKS`: a function that takes a hub's parts and gives a hub
and its seats' links. So a link over a network is held to the same promises as a function call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar, cast

from tests import served
from tests.federation import REMOTE, RUN, openings, said
from tests.hub_app import hub_app

from atoll.dialects.coinstac import choreography
from atoll.engine import calls
from atoll.engine.peers import PeerLink
from atoll.engine.ports import BlobStore, HubLink, RunStore
from atoll.hub.hub import Hub
from atoll.hub.peers.switchboard import Switchboard
from atoll.model.events import JobBroke, JobReported, RoundGivenUp, RoundRequested
from atoll.model.work import Failure, Message, MessageId, Order, Run, Seat, Ticket
from atoll.simulator.link import LocalLink, Turnstile
from atoll.simulator.peers import LocalPeers
from atoll.stores.memory import MemoryBlobStore, MemoryRunStore
from atoll.transports.http import HttpLink

T = TypeVar("T")
FAILURE = Failure(type="AlgorithmFailed", message="python local.py ended with exit status 1")


class InOrder:
    """Dice that change nothing: the first comes first."""

    def shuffle(self, items: list[Seat]) -> None:
        """Leave the items as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Harbour:
    """A hub, and the link of each of its seats."""

    hub: Hub
    links: dict[Seat, HubLink]
    #: What each has for jobs that talk to each other.
    peers: Mapping[Seat, PeerLink]

    async def claim(self, *seats: Seat) -> list[Ticket]:
        """A ticket for each of these seats. They ask at the same time, as nodes do."""
        tickets = await asyncio.gather(*(self.links[seat].claim() for seat in seats))
        assert None not in tickets
        return [ticket for ticket in tickets if ticket is not None]

    async def report(self, *tickets: Ticket, **how: Any) -> None:
        """Say that these jobs are done; at the same time."""
        await asyncio.gather(*(self.links[ticket.job.seat].report(done(ticket, **how)) for ticket in tickets))

    async def play(self, *seats: Seat, **how: Any) -> list[Ticket]:
        """Claim and report one job of each of these seats."""
        tickets = await self.claim(*seats)
        await self.report(*tickets, **how)
        return tickets

    async def ask(
        self,
        ticket: Ticket,
        *seats: Seat,
        number: int = 0,
        digest: str | None = None,
        session: str | None = None,
    ) -> int:
        """A job asks sites of the run, or all; the round's number."""
        event, messages = request(ticket, *seats, number=number, digest=digest, session=session)
        return await self.links[ticket.job.seat].ask(event, messages)


def request(
    ticket: Ticket,
    *seats: Seat,
    number: int = 0,
    digest: str | None = None,
    session: str | None = None,
) -> tuple[RoundRequested, list[Message]]:
    """What a job says to ask sites of the run, or all."""
    job = ticket.job
    message = Message(
        id=MessageId(f"{job.id}.ask{number}.0"), sender=job.seat, readers=seats or ticket.sites, body=b"asked"
    )
    event = RoundRequested(
        run_id=RUN,
        job_id=job.id,
        number=number,
        digest=digest or f"sha256:{number}",
        name="moments",
        orders=tuple(
            Order(seat=seat, inbox=(message.id,), session=session) for seat in seats or ticket.sites
        ),
    )
    return event, [message]


def given_up(ticket: Ticket, number: int) -> RoundGivenUp:
    """A job waits no longer for a round."""
    return RoundGivenUp(run_id=RUN, job_id=ticket.job.id, round_number=number)


def done(ticket: Ticket, **how: Any) -> JobReported:
    """A job that went well."""
    return JobReported(run_id=RUN, job_id=ticket.job.id, outcome=said(ticket, **how))


def broken(ticket: Ticket) -> JobBroke:
    """A job that did not."""
    return JobBroke(run_id=RUN, job_id=ticket.job.id, failure=FAILURE)


Docking = Callable[[RunStore, BlobStore, Sequence[Seat]], AbstractAsyncContextManager[Harbour]]


@asynccontextmanager
async def local(runs: RunStore, blobs: BlobStore, seats: Sequence[Seat]) -> AsyncIterator[Harbour]:
    """Function calls in this process."""
    turnstile = Turnstile(InOrder())
    hub = Hub(runs, blobs, {"coinstac": choreography, "functions": calls}, [turnstile])
    board = Switchboard(hub, time.monotonic)
    hub.bells.on_end.append(board.run_ended)
    yield Harbour(
        hub=hub,
        links={seat: LocalLink(hub, seat, turnstile) for seat in seats},
        peers={seat: LocalPeers(board, seat) for seat in seats},
    )


@asynccontextmanager
async def over_unix(_: RunStore, __: BlobStore, seats: Sequence[Seat]) -> AsyncIterator[Harbour]:
    """HTTP in this process: the whole hub behind its server, on a Unix socket."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "hub.sock"
        async with hub_app(Path(folder)) as app:
            await served.settle(app, seats)
            async with served.on_socket(app.app, path):
                links = {seat: HttpLink(served.over_socket(path, seat)) for seat in seats}
                async with _started(links):
                    yield Harbour(hub=app.parts.hub, links=dict(links), peers=_peers(links))


@asynccontextmanager
async def over_tcp(_: RunStore, __: BlobStore, seats: Sequence[Seat]) -> AsyncIterator[Harbour]:
    """HTTP over a socket of this machine, to a hub in a thread of its own."""
    with TemporaryDirectory() as folder, served.in_thread(Path(folder), seats) as (port, hub):
        links = {seat: HttpLink(served.over_tcp(port, seat)) for seat in seats}
        async with _started(links):
            yield Harbour(hub=cast(Hub, hub), links=dict(links), peers=_peers(links))


@asynccontextmanager
async def _started(links: Mapping[Seat, HttpLink]) -> AsyncIterator[None]:
    await asyncio.gather(*(link.start() for link in links.values()))
    try:
        yield
    finally:
        await asyncio.gather(*(link.close() for link in links.values()))


def _peers(links: Mapping[Seat, HttpLink]) -> dict[Seat, PeerLink]:
    return {seat: link.peers for seat, link in links.items()}


LINKS: dict[str, Docking] = {"local": local, "http": over_unix, "socket": over_tcp}


def at(docking: Docking, run: Run, visit: Callable[[Harbour], Coroutine[Any, Any, T]]) -> T:
    """Visit a harbour where this run has just begun."""

    async def sail() -> T:
        seats = (*run.sites, REMOTE)
        async with docking(MemoryRunStore(), MemoryBlobStore(), seats) as harbour, asyncio.timeout(10):
            await harbour.hub.submit(run, openings(run, {"a": 1}))
            return await visit(harbour)

    return asyncio.run(sail())
