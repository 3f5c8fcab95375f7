"""A federation in one process: the real hub, the real agents, and a function call between them."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from atoll.algorithms.installed import Installed
from atoll.algorithms.manifest import Manifest
from atoll.dialects.coinstac import choreography as coinstac
from atoll.engine import calls
from atoll.engine.limits import CallLimits
from atoll.engine.ports import Choreography, Folder
from atoll.engine.running import Runtime
from atoll.hub.hub import Hub, Listener
from atoll.hub.peers.switchboard import Switchboard
from atoll.model.work import Content, Message, Run, Seat, Ticket
from atoll.node.agent import Agent
from atoll.node.at_hand import Shelf
from atoll.node.desk import Desk
from atoll.node.network.permitted import NetworkRules
from atoll.node.network.reach import served
from atoll.node.offer import Offer
from atoll.node.peers.peering import Peering
from atoll.node.provision import Provision
from atoll.node.runner import Observer, Runner
from atoll.node.site_data import SiteData
from atoll.simulator.link import LocalLink, SeededDice, Turnstile
from atoll.simulator.peers import LocalPeers
from atoll.simulator.reaching import Reaching, reaching
from atoll.stores.folder import FolderBlobStore
from atoll.stores.memory import MemoryRunStore

CHOREOGRAPHIES: Mapping[str, Choreography] = {"coinstac": coinstac, "functions": calls, "vantage6": calls}

#: Why simulated sites don't let algorithms talk to each other.
_MUTE = (
    "the simulated sites let no algorithm talk to other sites: write 'peers: true' into the federation.yaml where it "
    "is to be tried"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that a simulation needs to begin."""

    run: Run
    #: The messages that open the run's steps, as the submitter wrote them.
    messages: tuple[Message, ...]
    #: The algorithms of its steps, by digest.
    installed: Mapping[str, Installed]
    #: What each site brings; a seat without files is left out.
    data: Mapping[Seat, SiteData] = field(default_factory=dict)
    #: What each site offers; a seat without databases is left out.
    offers: Mapping[Seat, Offer] = field(default_factory=dict)
    #: What images hold, by the algorithm's digest: by that sites know which images they mean.
    described: Mapping[str, Manifest] = field(default_factory=dict)
    #: What sites let algorithms reach; one that says nothing of it is left out.
    networks: Mapping[Seat, NetworkRules] = field(default_factory=dict)
    #: Whether jobs may talk to each other while they run.
    peers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a plan is carried out."""

    runtime: Runtime
    #: For what ends with the run. Removed at its end by whoever made it.
    scratch: Path
    #: For each seat's output folder, and for its log.
    outputs: Path
    logs: Path
    #: Calls at a time over all seats.
    slots: int
    limits: CallLimits = field(default_factory=CallLimits)
    #: Repeats the order of claims, and the generators of the scripts. None: the order of the
    #: sites is shuffled by a fixed seed, and the scripts draw what they like.
    seed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a simulation ended."""

    run: Run
    #: The last message of each seat in the last step that settled it.
    settled: Mapping[Seat, Content]


class World:
    """One run over simulated sites."""

    def __init__(
        self, plan: Plan, settings: Settings, observer: Observer, listeners: Sequence[Listener] = ()
    ) -> None:
        self._plan = plan
        self._settings = settings
        self._blobs = FolderBlobStore(settings.scratch / "blobs")
        # Who asks for a seed wants to see that no order matters; else reports come as claims did.
        turnstile = Turnstile(SeededDice(settings.seed or 0), apart=settings.seed is not None)
        self._hub = Hub(MemoryRunStore(), self._blobs, CHOREOGRAPHIES, (turnstile, *listeners))
        #: Says what sites let algorithms reach; None where none does.
        self._reaching: Reaching | None = None
        self._board = Switchboard(self._hub, time.monotonic)
        self._hub.bells.on_end.append(self._board.run_ended)
        # Jobs that talk to each other wait for each other: all sites must be able to work at a time.
        slots = max(settings.slots, len(self._seats())) if plan.peers else settings.slots
        slot = asyncio.Semaphore(slots)
        self._agents = [self._agent(seat, turnstile, slot, observer) for seat in self._seats()]

    async def run(self) -> Ended:
        """Carry the plan out, to its end or its failure.

        Cancelled, it ends every process that it started.

        Raises:
            RuntimeUnavailable: what passes on to a network can't be started here.
        """
        if not self._plan.networks:
            return await self._run()
        async with reaching(self._plan.networks, self._plan.described) as self._reaching:
            return await self._run()

    async def _run(self) -> Ended:
        serving = [asyncio.create_task(agent.serve()) for agent in self._agents]
        try:
            await self._hub.submit(self._plan.run, self._plan.messages)
            ending = asyncio.create_task(self._hub.ended(self._plan.run.id))
            await asyncio.wait([ending, *serving], return_when=asyncio.FIRST_COMPLETED)
            if not ending.done():
                ending.cancel()
                next(task for task in serving if task.done()).result()
            run = ending.result()
            return Ended(run=run, settled=await self._settled(run))
        finally:
            for task in serving:
                task.cancel()
            await asyncio.gather(*serving, return_exceptions=True)
            # Together: an engine takes a while to end a container, and has as many as there are seats.
            ends = [agent.runner.end(self._plan.run.id) for agent in self._agents]
            for ended in await asyncio.gather(*ends, return_exceptions=True):
                if isinstance(ended, BaseException):
                    raise ended
            await self._blobs.clear()

    async def _settled(self, run: Run) -> Mapping[Seat, Content]:
        messages = await self._hub.settled(run.id, len(run.steps) - 1)
        return {seat: await self._body(message) for seat, message in messages.items()}

    async def _body(self, message: Message) -> Content:
        if message.body_blob is None:
            return message.body
        return b"".join([chunk async for chunk in self._hub.get_blob(message.body_blob)])

    def _seats(self) -> list[Seat]:
        run = self._plan.run
        return [*run.sites, *([run.aggregator] if run.aggregator else [])]

    def _agent(self, seat: Seat, turnstile: Turnstile, slot: asyncio.Semaphore, observer: Observer) -> Agent:
        link = LocalLink(self._hub, seat, turnstile)
        runner = Runner(
            link,
            Shelf(self._plan.installed, self._settings.runtime),
            lambda _: self._desk(seat),
            observer,
            limits=self._settings.limits,
            provide=partial(self._provision, seat) if seat in self._plan.networks else None,
            seed_for=seeds(self._settings.seed),
            peering=Peering(LocalPeers(self._board, seat), self._mute, observer),
        )
        return Agent(link, runner, slot)

    def _provision(self, seat: Seat, ticket: Ticket) -> Provision:
        """What a site brings to a step that lets its algorithms reach a network."""
        offer = self._plan.offers.get(seat, Offer())
        assert self._reaching is not None
        data = self._plan.data.get(seat)
        return Provision(offer=offer, data=data, reach=self._reaching(ticket, offer))

    def _mute(self, *_: object) -> str | None:
        return None if self._plan.peers else _MUTE

    def _desk(self, seat: Seat) -> Desk:
        folders = folders_of(seat, self._settings.scratch, self._settings.outputs)
        log = self._settings.logs / f"{seat}.log"
        offer = self._plan.offers.get(seat, Offer())
        return Desk(
            seat=seat,
            folders=folders,
            log=log,
            data=self._plan.data.get(seat),
            offer=offer,
            reach=served(offer.databases),
        )


def folders_of(seat: Seat, scratch: Path, outputs: Path) -> dict[Folder, Path]:
    """A seat's folders: its output stays, and the others end with the run."""
    folders = {folder: scratch / folder.value / seat for folder in Folder}
    folders[Folder.OUTPUT] = outputs / seat
    return folders


def seeds(seed: int | None) -> Callable[[Ticket], int | None]:
    """A seed of its own for each call, from the run's: the same call draws the same numbers."""

    def seed_for(ticket: Ticket) -> int | None:
        if seed is None:
            return None
        text = f"{seed}/{ticket.step}/{ticket.iteration}/{ticket.job.seat}"
        # Not the round's number: it depends on who was the first of those who asked at a time.
        return int.from_bytes(hashlib.sha256(f"{text}{ticket.origin}".encode()).digest()[:8])

    return seed_for
