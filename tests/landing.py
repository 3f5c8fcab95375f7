"""A hub for tests of the client: founded by its own requests, at a port, in a thread of its own.

Nodes are played by hand: a test claims a job and says what it leaves, so that it decides when.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hub_app import HubApp, hub_app
from tests.served import pace, server_of

import atoll
from atoll.client.client import open_client
from atoll.client.core import Background, Credentials
from atoll.dialects.functions.container import pack
from atoll.hub.people.invitations import InvitationService
from atoll.model.events import JobBroke, JobReported
from atoll.model.work import Blob, Failure, Message, MessageId, Outcome, Ticket
from atoll.transports.connection import Connection
from atoll.transports.http import HttpLink

PASSWORD = "a long enough password"  # of a hub that lives as long as a test
SITES = ("Biscoe", "Dream", "Torgersen")


@dataclass(kw_only=True)
class Landing:
    """A hub with an administrator, a collaboration and nodes that are played by hand."""

    url: str
    app: HubApp
    background: Background
    token: str = ""
    #: What each node is known by.
    keys: dict[str, str] = field(default_factory=dict)
    _links: dict[str, HttpLink] = field(default_factory=dict)

    def connect(self) -> atoll.Client:
        """A client of the administrator."""
        return atoll.connect(self.url, token=self.token)

    def link(self, node: str) -> HttpLink:
        """A node's link to the hub."""
        if node not in self._links:

            async def made() -> HttpLink:
                link = HttpLink(Connection(self.url, self.keys[node], pace=pace()))
                await link.start(listens=False)
                return link

            self._links[node] = self.background.run(made())
        return self._links[node]

    def claim(self, node: str) -> Ticket:
        """The next job of a node."""
        ticket = self.background.run(self.link(node).claim())
        assert ticket is not None, f"{node} has nothing to do"
        return ticket

    def report(self, node: str, ticket: Ticket, body: bytes, files: dict[str, bytes] | None = None) -> None:
        """Say what a job leaves."""
        self.background.run(self._report(self.link(node), ticket, body, files or {}))

    async def _report(self, link: HttpLink, ticket: Ticket, body: bytes, files: dict[str, bytes]) -> None:
        blobs = []
        for name, content in files.items():
            blob = blob_of(name, content)
            await link.put_blob(ticket.job.run_id, blob, _chunks(content))
            blobs.append(blob)
        message = Message(
            id=MessageId(f"{ticket.job.id}.left"),
            sender=ticket.job.seat,
            readers=ticket.readers,
            body=body,
            blobs=tuple(blobs),
        )
        await link.report(
            JobReported(
                run_id=ticket.job.run_id, job_id=ticket.job.id, outcome=Outcome(message=message, final=True)
            )
        )

    def break_(self, node: str, message: str = "it broke") -> None:
        """Claim the next job of a node and say that it failed."""
        ticket = self.claim(node)
        failure = Failure(type="AlgorithmFailed", message=message, site=ticket.job.seat)
        event = JobBroke(run_id=ticket.job.run_id, job_id=ticket.job.id, failure=failure)
        self.background.run(self.link(node).report(event))

    def play(self, node: str, value: Any, **more: Any) -> Ticket:
        """Claim the next job of a node, and leave a value as a function does."""
        ticket = self.claim(node)
        self.report(node, ticket, pack(value), **more)
        return ticket

    def close(self) -> None:
        """Close the nodes' links."""
        for link in self._links.values():
            self.background.run(link.close())


@contextmanager
def landing(folder: Path) -> Iterator[Landing]:
    """A hub, founded."""
    background = Background()
    began = threading.Event()
    made: list[tuple[HubApp, str, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve(listening: socket.socket) -> None:
        async with hub_app(folder) as app:
            code = await app.app.state.rooms.of(InvitationService).setup_code()
            server = server_of(app.app)
            await server.begin([listening])
            end = asyncio.Event()
            made.append((app, code, asyncio.get_running_loop(), end))
            began.set()
            await end.wait()
            await server.end()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=lambda: asyncio.run(serve(listening)))
        thread.start()
        assert began.wait(10)
        app, code, loop, end = made[0]
        there = Landing(url=f"http://127.0.0.1:{listening.getsockname()[1]}", app=app, background=background)
        try:
            _found(there, code)
            yield there
        finally:
            there.close()
            background.close()
            loop.call_soon_threadsafe(end.set)
            thread.join()


def blob_of(name: str, content: bytes) -> Blob:
    """A file, by what is in it."""
    # Late: hashlib is all that it is for.
    import hashlib

    return Blob(name=name, digest=f"sha256:{hashlib.sha256(content).hexdigest()}", size_bytes=len(content))


def _found(there: Landing, code: str) -> None:
    """Make the first administrator, the collaboration and its nodes."""
    with open_client(there.url, Credentials()) as stranger:
        newcomer = {"code": code, "organization": "Lagoon", "username": "keeper", "password": PASSWORD}
        _open(stranger, "setup", newcomer)
    with atoll.login(there.url, "keeper", PASSWORD) as client:
        me = client.me()
        there.token = client.tokens.create("test", me.scopes, days=7).token or ""
        islands = client.collaborations.create("islands", organizations=[me.organization.id])
        for name in (*SITES, "Lagoon"):
            node = client.nodes.create(name, organization=me.organization.id, holds_data=name != "Lagoon")
            if name == "Lagoon":
                client.collaborations.change(islands.id, default_aggregator=node.id)
            else:
                client.collaborations.add_node(islands.id, node.id)
            registered = _open(client, "nodes/register", {"code": node.code})
            there.keys[name] = registered["key"]


def _open(client: atoll.Client, path: str, body: Any) -> Any:
    """Ask an endpoint that is open."""
    ask: Callable[..., Any] = client.reach.core._open
    return client.reach.background.run(ask("POST", path, body)).json


async def _chunks(content: bytes) -> AsyncIterator[bytes]:
    yield content
