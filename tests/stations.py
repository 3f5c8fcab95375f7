"""A federation of real stations in one process: a whole hub behind its server, and nodes that call it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.federation import in_chunks
from tests.hub_app import hub_app
from tests.hub_people import ISLANDS, LAGOON, SITES, Islands, islands
from tests.served import key_of, on_socket, over_socket

from atoll.algorithms.bundle import Bundle
from atoll.algorithms.opening import Asked, open_run
from atoll.algorithms.packing import pack
from atoll.engine.running import whole
from atoll.hub import codes
from atoll.hub.algorithms.service import Algorithms
from atoll.hub.runs.service import Runs
from atoll.hub.runs.submission import NewStep, Opening, Submission
from atoll.model.work import Algorithm, Run, RunId, Seat
from atoll.node.settings import NodeSettings, Policies
from atoll.node.station import Station
from atoll.stores.sql.site_tables import node_keys
from atoll.transports.http import HttpLink

__all__ = ["ISLANDS", "LAGOON", "SITES", "Federation", "Node", "federation"]


@dataclass
class Node:
    """A station that can be started, told to end, and killed, time and again."""

    settings: NodeSettings
    name: str
    socket: Path
    _task: asyncio.Task[None] | None = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Start it, and return when it is at work."""
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._stop = asyncio.Event()
        station = Station(self.settings, HttpLink(over_socket(self.socket, self.name)))
        self._task = asyncio.create_task(station.serve(self._stop, ready.set_result))
        waited: list[asyncio.Future[Any]] = [self._task, ready]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            await self._task
        assert await ready == self.name

    async def end(self) -> None:
        """Tell it to end, and wait until it has."""
        self._stop.set()
        await self.over()

    async def kill(self) -> None:
        """End it without a word to anybody."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def over(self) -> None:
        """Wait until it has ended; its error, if it has one."""
        assert self._task is not None
        await self._task
        self._task = None


@dataclass(frozen=True, kw_only=True)
class Federation:
    """A hub, and its nodes by name."""

    islands: Islands
    nodes: Mapping[str, Node]
    root: Path

    def pack(self, path: Path) -> Bundle:
        """The algorithm that lies at a path."""
        return pack(path, self.root)

    async def submit(self, *asked: Asked, sites: Sequence[str] = SITES, **how: Any) -> RunId:
        """Begin a run, as a client does."""
        opened = open_run(asked, [Seat(site) for site in sites])
        steps = tuple(
            NewStep(
                algorithm=Algorithm(dialect=step.dialect, digest=step.digest, name=step.name),
                aggregated=step.aggregated,
                role=step.role,
                seats=step.seats,
                openings=tuple(Opening(body=body) for body in step.bodies),
            )
            for step in opened.steps
        )
        submission = Submission(collaboration=ISLANDS, steps=steps, sites=tuple(sites), **how)
        return await self.islands.rooms.of(Runs).submit(self.islands.ada, submission)

    async def asked(self, path: Path, **how: Any) -> Asked:
        """What is asked of an algorithm, which is brought to the hub."""
        bundle = self.pack(path)
        content = bundle.path.read_bytes()
        service = self.islands.rooms.of(Algorithms)
        await service.bring(self.islands.ada, bundle.digest, ISLANDS, in_chunks(content))
        return Asked(manifest=bundle.manifest, digest=bundle.digest, **how)

    async def ended(self, run_id: RunId) -> Run:
        """Wait until a run has ended."""
        return await self.islands.app.parts.hub.ended(run_id)

    async def results(self, run_id: RunId) -> dict[str, bytes]:
        """What each seat has left in a run that is done."""
        run = await self.ended(run_id)
        assert run.failure is None, run.failure
        messages = await self.islands.app.parts.hub.settled(run_id, len(run.steps) - 1)
        return {str(seat): whole(message.body) for seat, message in messages.items()}


@asynccontextmanager
async def federation(
    root: Path, more: Mapping[str, Mapping[str, Any]] | None = None, **settings: Any
) -> AsyncIterator[Federation]:
    """A hub whose nodes can be started.

    Args:
        root: for everything.
        more: settings of some nodes.
        settings: of all nodes.
    """
    async with hub_app(root) as app, on_socket(app.app, root / "hub.sock"):
        place = await islands(app)
        async with app.parts.database.writing() as connection:
            for name in (*SITES, LAGOON):
                known = {"hash": codes.digest(key_of(name)), "node_id": f"nod_{name}", "created_at": 0.0}
                await connection.execute(node_keys.insert(), known)
        nodes = {
            name: Node(
                settings=replace(
                    NodeSettings(
                        hub="http://localhost",
                        key_file=root / "key",
                        runtime="inline",
                        allow_unsandboxed=True,
                        policies=Policies(bundles="allow"),
                        workspace=root / name,
                        data_maps=root / f"{name}.yaml",
                        holds_data=name != LAGOON,
                        drain_seconds=5.0,
                    ),
                    **{**settings, **(more or {}).get(name, {})},
                ),
                name=name,
                socket=root / "hub.sock",
            )
            for name in (*SITES, LAGOON)
        }
        try:
            yield Federation(islands=place, nodes=nodes, root=root)
        finally:
            for node in nodes.values():
                await node.kill()
