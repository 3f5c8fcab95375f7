"""A person's connection to a hub, and the thread that it lives in.

`Core` is asynchronous. Whoever wants to wait for it uses `Background`: its event loop runs in a thread
of its own, so that a notebook, which has an event loop already, can use it like any other program.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import msgspec

from atoll import __version__
from atoll.model.errors import HubUnreachable, NotLoggedIn
from atoll.transports import problem, version
from atoll.transports.connection import AGAIN, Connection, HubFailed, Pace, Tries

T = TypeVar("T")

#: Seconds that a hub which doesn't answer is waited for: at first, and once it has answered.
_FIRST_SECONDS = 5.0
_PATIENT_SECONDS = 120.0
#: Seconds before its end that an access token is replaced.
_AHEAD_SECONDS = 60.0
#: Seconds that an access token is good for at least, where the hub says less than it could.
_TOKEN_SECONDS = 900.0


class Keeper(Protocol):
    """Keeps a login for several programs: a refresh token works once, whoever uses it."""

    def holding(self, credentials: Credentials) -> AbstractContextManager[None]:
        """Alone with what is kept. It is read into `credentials` at the beginning."""
        ...

    def keep(self, credentials: Credentials) -> None:
        """Keep the latest tokens."""
        ...


@dataclass(kw_only=True)
class Credentials:
    """What a person is known by: a token, or a login whose tokens follow each other."""

    #: A personal token or an access token.
    token: str = field(default="", repr=False)
    #: Gives the next tokens, once.
    refresh_token: str = field(default="", repr=False)
    #: Where a login is kept.
    keeper: Keeper | None = None

    def alone(self) -> AbstractContextManager[None]:
        """While nobody else uses the same login."""
        return nullcontext() if self.keeper is None else self.keeper.holding(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a hub has answered."""

    status: int
    body: bytes
    #: The cursor of the state that was told.
    cursor: int | None = None

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


class _Tokens(msgspec.Struct):
    access_token: str
    refresh_token: str


class _Patient(Tries):
    """Tries that end when a hub hasn't answered for long."""

    def __init__(self, pace: Pace, host: str, seconds: float) -> None:
        super().__init__(pace, host)
        self._clock = pace.clock
        self._seconds = seconds
        self._until = pace.clock() + seconds
        self._where = host

    async def wait(self, error: Exception) -> None:
        if self._clock() > self._until:
            if isinstance(error, HubFailed):
                raise error.error
            if isinstance(error, HubUnreachable):
                raise error
            raise HubUnreachable(
                f"no hub answers at {self._where} ({type(error).__name__}: {error}): check the address, and that the "
                "hub runs"
            ) from error
        await super().wait(error)

    def begin_anew(self) -> None:
        super().begin_anew()
        self._until = self._clock() + self._seconds


class Core(Connection):
    """Calls a hub for a person.

    Args:
        url: the hub's address.
        credentials: what the person is known by.
        ca_file: certificates that are trusted beside nobody else's; None: those of the machine.
        proxy: an HTTP proxy; None: what the environment names.
        connector: makes the connections, where they are none over TCP.
        pace: when it is tried again.

    Raises:
        Unusable: the address is none, or would carry the token over the network in the open.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        ca_file: Path | None = None,
        proxy: str | None = None,
        connector: Callable[[], aiohttp.BaseConnector] | None = None,
        pace: Pace | None = None,
    ) -> None:
        super().__init__(url, "", ca_file=ca_file, proxy=proxy, connector=connector, pace=pace)
        self.url = url.rstrip("/")
        self._credentials = credentials
        #: The last token that was shown.
        self._shown = ""
        self._answers = False

    async def meet(self) -> None:
        """See that there is a hub, and that both understand each other.

        Raises:
            HubUnreachable: there is none.
            VersionMismatch: they are too far apart.
        """
        told = await self._open("GET", "version")
        version.check(told.json.get("version"), __version__, they="the hub")
        self._answers = True

    async def log_in(self, username: str, password: str) -> None:
        """Log in.

        Raises:
            NotLoggedIn: nobody is known by these.
        """
        self._take(await self._open("POST", "login", {"username": username, "password": password}))

    async def get(self, path: str, **query: Any) -> Told:
        """Ask for something. What is None in the query is left out."""
        return await self.send("GET", path, **query)

    async def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content: Callable[[], AsyncIterator[bytes]] | None = None,
        accept: tuple[int, ...] = (),
        **query: Any,
    ) -> Told:
        """Call until there is an answer. What is done is done once, however often it was sent.

        Args:
            method: GET, POST, ….
            path: below ``/v1``.
            body: what is sent as JSON.
            content: what is sent as it is, in chunks; called anew for every try.
            accept: statuses of refusals that are no errors here.
            query: words of the query; None is left out.

        Raises:
            AtollError: the hub refuses; as the class that it names.
            HubUnreachable: there was no answer for long.
        """
        headers = {"Content-Type": "application/json"} if content is None else {}
        if method == "POST":
            headers["Idempotency-Key"] = secrets.token_urlsafe(24)
        data = b"" if body is None else msgspec.json.encode(body)
        tries = self.tries()
        while True:
            try:
                async with self.request(
                    method, path + _query(query), data=content or data, headers=headers, accept=accept
                ) as response:
                    told = Told(
                        status=response.status, body=await response.read(), cursor=_cursor(response.headers)
                    )
                    self._answers = True
                    return told
            except AGAIN as error:
                await tries.wait(error)

    async def pages(self, path: str, **query: Any) -> AsyncIterator[bytes]:
        """The items of a list, page by page: each page's JSON."""
        cursor: str | None = None
        while True:
            told = await self.get(path, cursor=cursor, limit=200, **query)
            yield told.body
            cursor = _next.decode(told.body).next
            if cursor is None:
                return

    def tries(self) -> Tries:
        """Tries of one thing, which end."""
        seconds = _PATIENT_SECONDS if self._answers else _FIRST_SECONDS
        return _Patient(self.pace, self.url.partition("://")[2], seconds)

    async def _ask_for_token(self) -> None:
        """Show the token, or get the next one of a login."""
        credentials = self._credentials
        with credentials.alone():
            if not credentials.token or credentials.token == self._shown:
                if not credentials.refresh_token:
                    raise NotLoggedIn(
                        "the hub doesn't know this token, or not any more: log in again, or make another"
                        if credentials.token
                        else "this needs a login: atoll.login(url, username, password), or a token"
                    )
                self._take(
                    await self._open("POST", "login/refresh", {"refresh_token": credentials.refresh_token})
                )
        self._shown = self._token = credentials.token
        lasts = _TOKEN_SECONDS - _AHEAD_SECONDS if credentials.refresh_token else float("inf")
        self._token_until = self.pace.clock() + lasts

    def _take(self, told: Told) -> None:
        tokens = msgspec.json.decode(told.body, type=_Tokens)
        self._credentials.token, self._credentials.refresh_token = tokens.access_token, tokens.refresh_token
        if self._credentials.keeper is not None:
            self._credentials.keeper.keep(self._credentials)

    async def _open(self, method: str, path: str, body: Any = None) -> Told:
        """Call an endpoint that is open. Only what changes nothing is sent again."""
        tries = self.tries()
        while True:
            try:
                async with self._opened().request(
                    method,
                    f"{self.url}/v1/{path}",
                    data=None if body is None else msgspec.json.encode(body),
                    proxy=self._proxy,
                    allow_redirects=False,
                ) as response:
                    text = await response.read()
                    if response.status >= 300:
                        raise problem.error_of(response.status, text)
                    return Told(status=response.status, body=text)
            except AGAIN as error:
                # A refresh token works once: whoever sends it twice is taken for a thief.
                if method != "GET" and not isinstance(error, aiohttp.ClientConnectorError):
                    raise HubUnreachable(f"the hub at {self.url} broke off: try again") from error
                await tries.wait(error)


class _Next(msgspec.Struct):
    next: str | None = None


_next = msgspec.json.Decoder(_Next)


class Background:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        # At its end it cancels what is still under way, which closes its connections.
        self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._serve, name="atoll-client", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with self._runner:
            self._loop.run_forever()

    @property
    def is_open(self) -> bool:
        """Whether it goes on."""
        return not self._loop.is_closed()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for a coroutine. Interrupted, it is cancelled."""
        if self._loop.is_closed():
            coroutine.close()
            raise HubUnreachable("the client was closed: connect again")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise HubUnreachable("the client was closed while it waited for its hub") from None
        except BaseException:
            future.cancel()
            raise

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """What an asynchronous iterator gives, one after the other."""

        async def following() -> tuple[bool, T | None]:
            try:
                return True, await anext(items)
            except StopAsyncIteration:
                return False, None

        async def end() -> None:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

        try:
            while True:
                there, item = self.run(following())
                if not there:
                    return
                yield item  # type: ignore[misc]  # It is an item, whenever one is there.
        finally:
            if not self._loop.is_closed():
                self.run(end())

    def finish(self, last: Coroutine[Any, Any, None]) -> None:
        """Do one thing more, and end the thread."""
        if threading.current_thread() is self._thread:
            # Whoever let go of the client last did so here: to wait for oneself would be to wait for ever.
            self._last = self._loop.create_task(last)
            self._last.add_done_callback(lambda _: self._loop.stop())
            return
        try:
            self.run(last)
        finally:
            self.close()

    def close(self) -> None:
        """End the thread."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()


def part(name: str) -> str:
    """A name as a part of a path."""
    return quote(name, safe="")


def _query(query: Mapping[str, Any]) -> str:
    given = {name: str(value) for name, value in query.items() if value is not None}
    return f"?{urlencode(given)}" if given else ""


def _cursor(headers: Mapping[str, str]) -> int | None:
    text = headers.get("Atoll-Cursor", "")
    return int(text) if text.isascii() and text.isdigit() else None
