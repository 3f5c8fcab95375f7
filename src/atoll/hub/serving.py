"""A hub from its settings: what it is made of, and what goes on in it until it ends."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Message, Receive, Scope, Send

from atoll.dialects.coinstac import choreography as coinstac
from atoll.engine import calls
from atoll.engine.limits import KEEP_ALIVE_SECONDS, LEASE_HEARTBEATS, STREAM_PIECE_BYTES
from atoll.engine.ports import Choreography
from atoll.hub.api import create_app
from atoll.hub.heads import BoundedHeads
from atoll.hub.hub import Hub
from atoll.hub.parts import Parts, Rooms
from atoll.hub.people.invitations import InvitationService
from atoll.hub.relay import Relay
from atoll.hub.runs.service import Runs
from atoll.hub.settings import HubSettings
from atoll.hub.sites.sweeper import Sweeper
from atoll.model.errors import AtollError, Unusable
from atoll.stores.objects import ObjectBlobStore
from atoll.stores.sql.database import Database
from atoll.stores.sql.events import drop_events
from atoll.stores.sql.migrating import migrate
from atoll.stores.sql.runs import SqlRunStore

#: How WebSockets are spoken: pieces of streams are small, sealed, and don't get smaller.
WEBSOCKETS: Mapping[str, Any] = {
    "ws": "websockets-sansio",
    "ws_max_size": 2 * STREAM_PIECE_BYTES,
    "ws_per_message_deflate": False,
    "ws_ping_interval": KEEP_ALIVE_SECONDS,
}
CHOREOGRAPHIES: Mapping[str, Choreography] = {"coinstac": coinstac, "functions": calls, "vantage6": calls}
_LOG = logging.getLogger(__name__)
_DAY = 86_400.0
#: Seconds between two looks at what is kept too long.
_TIDY_SECONDS = 3_600.0
#: Seconds that requests may take to end when the hub does. Those that listen never would.
_END_SECONDS = 2
#: Files and connections that a process may have: each node keeps a connection open.
_FILES = 65_536


def parts_of(settings: HubSettings, database: Database, relay: Relay | None = None) -> Parts:
    """What a hub with these settings is made of."""
    runs = SqlRunStore(database, lease_seconds=LEASE_HEARTBEATS * settings.heartbeat_seconds)
    blobs = ObjectBlobStore(settings.blobs_url)
    hub = Hub(runs, blobs, CHOREOGRAPHIES, relay=None if relay is None else relay.tell)
    return Parts(settings=settings, database=database, hub=hub, runs=runs, blobs=blobs)


@asynccontextmanager
async def opened(settings: HubSettings) -> AsyncIterator[tuple[FastAPI, Rooms]]:
    """A hub with its tables as this version needs them, and all that goes on in it beside requests."""
    settings.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = Database(settings.database_url)
    try:
        await migrate(database)
        relay = Relay(database) if database.is_server else None
        parts = parts_of(settings, database, relay)
        app = create_app(parts)
        rooms: Rooms = app.state.rooms
        tasks = [
            asyncio.create_task(rooms.of(Sweeper).sweep_for_ever()),
            asyncio.create_task(_tidy_for_ever(rooms)),
        ]
        if relay is not None:
            tasks.append(asyncio.create_task(relay.run(parts.hub.bells)))
        try:
            yield app, rooms
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    finally:
        await database.close()


async def serve(settings: HubSettings, say: Callable[[str], None]) -> None:
    """Serve until a signal says that the hub is to end.

    Args:
        settings: the hub's.
        say: is told what whoever starts a hub must know: the address and, at first, the set-up code.

    Raises:
        Unusable: the hub can't start.
    """
    _open_more_files()
    with _alone(settings):
        await _serve(settings, say)


async def _serve(settings: HubSettings, say: Callable[[str], None]) -> None:
    async with opened(settings) as (app, rooms):
        code = await rooms.of(InvitationService).setup_code()

        def ready(address: str) -> None:
            say(f"Atoll's hub listens at {address}")
            if code is not None:
                say(f"Set-up code: {code}")
                say("Whoever shows it first becomes the administrator. It is not shown again.")

        await _Server(app, settings, ready).serve()


@contextmanager
def _alone(settings: HubSettings) -> Iterator[None]:
    """Hold a file's database for one hub: two wouldn't hear of what the other stores."""
    if not settings.database_url.startswith("sqlite:///"):
        yield
        return
    path = Path(f"{settings.database_url.removeprefix('sqlite:///')}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Unusable(f"the database's folder {path.parent} can't be used ({error.strerror})") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Unusable(
                f"another hub serves {path.with_suffix('')}: end that one. Several hubs may share PostgreSQL"
            ) from None
        yield
    finally:
        os.close(lock)


class _Server(uvicorn.Server):
    """Serves a hub, and says when it does."""

    def __init__(self, app: FastAPI, settings: HubSettings, ready: Callable[[str], None]) -> None:
        self._app = app
        super().__init__(
            uvicorn.Config(
                self._answer,
                interface="asgi3",
                host=settings.host,
                port=settings.port,
                http=BoundedHeads,
                **WEBSOCKETS,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=settings.behind_proxy,
                forwarded_allow_ips=list(settings.trusted_proxies),
                ssl_certfile=settings.tls_certificate,
                ssl_keyfile=settings.tls_key,
                timeout_graceful_shutdown=_END_SECONDS,
                backlog=4_096,
            )
        )
        self._settings = settings
        self._ready = ready

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. What still waits when the hub ends is told so, and may ask its next hub."""
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except asyncio.CancelledError:
            if not self.should_exit:
                raise
            if not begun:
                await send(
                    {"type": "http.response.start", "status": 503, "headers": [(b"retry-after", b"1")]}
                )
                await send({"type": "http.response.body", "body": b""})

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        """End. Streams would go on for ever: they are told that nobody reads them any more."""
        for connection in self.server_state.connections:
            cycle = getattr(connection, "cycle", None)
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let the first signal end the hub in order, and a second one at once.

        Uvicorn's own raises the signal again when it has ended, before the database is closed.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[Any] | None = None) -> None:
        """Begin to listen, and say so."""
        try:
            await super().startup(sockets)
        except SystemExit:
            # Uvicorn has logged why, and would end the process before the database is closed.
            where = f"{self._settings.host}:{self._settings.port}"
            raise Unusable(f"the hub can't listen at {where}: another program may, or it may not") from None
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            scheme = "https" if self._settings.has_tls else "http"
            self._ready(self._settings.url or f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}")


async def _tidy_for_ever(rooms: Rooms) -> None:
    """Remove what was kept as long as was agreed."""
    parts = rooms.parts
    while True:
        try:
            await rooms.of(Runs).sweep()
            await drop_events(parts.database, parts.now() - parts.settings.events_days * _DAY)
        except Exception:  # the next time may go better: the hub outlives a database that is away
            _LOG.exception("tidying up failed; it is tried again in %s seconds", _TIDY_SECONDS)
        await asyncio.sleep(_TIDY_SECONDS)


def _open_more_files() -> None:
    """Take as many open files as this process may have: a thousand nodes keep a connection each."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft < wanted:
        with suppress(ValueError, OSError):  # Then it has what it has.
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found where somebody looked."""

    #: What was looked at.
    subject: str
    ok: bool
    #: What it is like, or what is wrong and what to do.
    text: str


async def looked_into(settings: HubSettings) -> list[Looked]:
    """Whether a hub with these settings can start. Nothing is changed."""
    found = [Looked(subject="settings", ok=True, text="each can be read")]
    database = None
    try:
        if settings.database_url.startswith("sqlite:///") and not await _is_file(settings):
            found.append(Looked(subject="database", ok=True, text="a new file will be made"))
        else:
            database = Database(settings.database_url)
            async with database.reading():
                found.append(Looked(subject="database", ok=True, text="it answers"))
    except (AtollError, SQLAlchemyError, OSError) as error:
        # The library's words may quote the address, with a password.
        what = str(error) if isinstance(error, AtollError) else f"it doesn't answer ({type(error).__name__})"
        found.append(Looked(subject="database", ok=False, text=f"{what}: check its address and its server"))
    finally:
        if database is not None:
            await database.close()
    try:
        ObjectBlobStore(settings.blobs_url)
        found.append(Looked(subject="blobs", ok=True, text="the place can be used"))
    except (AtollError, OSError, ValueError) as error:
        found.append(Looked(subject="blobs", ok=False, text=f"the place can't be used: {error}"))
    for name in ("tls_certificate", "tls_key"):
        path = getattr(settings, name)
        if path is not None:
            readable = path.is_file() and os.access(path, os.R_OK)
            text = (
                f"{path} can be read" if readable else f"{path} can't be read: check its name and its rights"
            )
            found.append(Looked(subject=name, ok=readable, text=text))
    return found


async def _is_file(settings: HubSettings) -> bool:
    path = Path(settings.database_url.removeprefix("sqlite:///"))
    return await asyncio.to_thread(path.exists)
