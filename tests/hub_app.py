"""A whole hub in the test's own process: the real application, asked without a network.

`caller` speaks ASGI to it, as a server would. Nothing of the hub is replaced but its clock.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from fastapi import FastAPI

from atoll.dialects.coinstac import choreography as coinstac
from atoll.engine import calls
from atoll.hub.api import create_app
from atoll.hub.hub import Hub
from atoll.hub.parts import Parts, Rooms
from atoll.hub.people import logins
from atoll.hub.settings import HubSettings
from atoll.stores.objects import ObjectBlobStore
from atoll.stores.sql.base import metadata
from atoll.stores.sql.database import Database
from atoll.stores.sql.runs import SqlRunStore

CHOREOGRAPHIES = {"coinstac": coinstac, "functions": calls, "vantage6": calls}
#: Hashes passwords as a hub does, and not as hard: tests make many.
QUICK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
#: 2026-01-01T00:00:00Z.
BEGINNING = 1_767_225_600.0


@dataclass
class Clock:
    """A clock that stands still until it is moved."""

    at: float = BEGINNING

    def __call__(self) -> float:
        return self.at

    def move(self, seconds: float) -> None:
        """Let time pass."""
        self.at += seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the hub answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The name of the error that it tells, or nothing."""
        told = self.headers.get("content-type") == "application/problem+json"
        return str(self.json["code"]) if told else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Somebody who asks the hub."""

    app: FastAPI
    #: What it shows. Empty: nothing.
    token: str = ""
    address: str = "192.0.2.1"
    headers: Mapping[str, str] = field(default_factory=dict)

    def as_(self, token: str) -> Caller:
        """The same, with another token."""
        return replace(self, token=token)

    def from_(self, address: str) -> Caller:
        """The same, from elsewhere."""
        return replace(self, address=address)

    async def get(self, path: str, **headers: str) -> Reply:
        """Ask for something."""
        return await self.ask("GET", path, **headers)

    async def post(self, path: str, body: Any = None, **headers: str) -> Reply:
        """Send something."""
        return await self.ask("POST", path, body, **headers)

    async def patch(self, path: str, body: Any = None, **headers: str) -> Reply:
        """Change something."""
        return await self.ask("PATCH", path, body, **headers)

    async def put(self, path: str, body: Any = None, **headers: str) -> Reply:
        """Put something where it belongs."""
        return await self.ask("PUT", path, body, **headers)

    async def delete(self, path: str, **headers: str) -> Reply:
        """Remove something."""
        return await self.ask("DELETE", path, **headers)

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        """One request. In the names of headers ``_`` stands for ``-``."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {
            "host": "hub.test",
            **self.headers,
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        if self.token:
            sent.setdefault("authorization", f"Bearer {self.token}")
        if content:
            sent.setdefault("content-length", str(len(content)))
            sent.setdefault("content-type", "application/json")
        bare, _, query = path.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": bare,
            "raw_path": bare.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode(), text.encode()) for name, text in sent.items()],
            "client": (self.address, 50_000),
            "server": ("hub.test", 80),
        }
        answered: list[Any] = []
        incoming = [{"type": "http.request", "body": content, "more_body": False}]
        has_begun = asyncio.Event()

        async def receive() -> Any:
            if incoming:
                return incoming.pop()
            # An answer that goes on for ever is left when it has begun.
            await has_begun.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            answered.append(message)
            if message["type"] == "http.response.body":
                has_begun.set()

        await self.app(scope, receive, send)
        start = answered[0]
        return Reply(
            status=start["status"],
            headers={name.decode(): text.decode() for name, text in start["headers"]},
            body=b"".join(message.get("body", b"") for message in answered[1:]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HubApp:
    """A hub, with its clock and what it is made of."""

    app: FastAPI
    parts: Parts
    clock: Clock

    @property
    def rooms(self) -> Rooms:
        """The hub's services."""
        rooms: Rooms = self.app.state.rooms
        return rooms

    @property
    def anybody(self) -> Caller:
        """Somebody who shows no token."""
        return Caller(app=self.app)


#: A file with a hub's tables, as it is when nothing is in them: to make them takes longer than a test.
_EMPTY: list[bytes] = []


async def _empty() -> bytes:
    if not _EMPTY:
        with tempfile.TemporaryDirectory() as folder:
            database = Database(f"sqlite:///{folder}/hub.db")
            await database.make(metadata)
            await database.close()
            with closing(sqlite3.connect(f"{folder}/hub.db")) as connection:
                _EMPTY.append(connection.serialize())
    return _EMPTY[0]


@asynccontextmanager
async def hub_app(folder: Path, database_url: str | None = None, **settings: Any) -> AsyncIterator[HubApp]:
    """A hub whose database is new: a file in a folder, or what an address names."""
    logins.HASHER = QUICK
    file = folder / "hub.db"
    if database_url is None and not file.exists():
        file.write_bytes(await _empty())
    database = Database(database_url or f"sqlite:///{file}")
    if database_url is not None:
        await database.make(metadata)
    clock = Clock()
    runs, blobs = SqlRunStore(database, now=clock), ObjectBlobStore(str(folder / "blobs"))
    parts = Parts(
        settings=HubSettings(**settings),
        database=database,
        hub=Hub(runs, blobs, CHOREOGRAPHIES),
        runs=runs,
        blobs=blobs,
        now=clock,
    )
    try:
        yield HubApp(app=create_app(parts), parts=parts, clock=clock)
    finally:
        await database.close()
