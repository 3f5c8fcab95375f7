"""A node's connection to its hub: outward only, and taken up again whenever it breaks.

Every call that goes through here may be repeated: what a hub was told twice, it knows once. So a
call whose answer was lost is sent again, later and later, until there is an answer. What the hub
refuses is raised as the error that it is, and not sent again.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import random
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from atoll import __version__
from atoll.engine.limits import KEEP_ALIVE_SECONDS
from atoll.model.errors import AtollError, HubUnreachable, NotLoggedIn, TooMany, Unusable
from atoll.transports import forms, problem, version

_LOG = logging.getLogger(__name__)

#: Seconds for a connection to be made, and for the hub to say something on one.
_CONNECT_SECONDS = 15.0
_SILENT_SECONDS = 3 * KEEP_ALIVE_SECONDS
#: Seconds until a call is repeated at first, and at most. Each time it is twice as long.
_REPEAT_SECONDS = 0.1
_REPEAT_SECONDS_MAX = 30.0
#: Times that a call is repeated at which the hub itself failed. One that is away is waited for.
_FAULTS_MAX = 8
#: Seconds before its end that a token is replaced.
_TOKEN_SECONDS = 60.0
#: Seconds that a WebSocket is given to be closed in order.
_CLOSE_SECONDS = 2.0
#: What breaks a connection, or never let it come about.
BROKEN = (
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    # What answered speaks no HTTP, or is a proxy that connects nobody.
    aiohttp.ClientResponseError,
    TimeoutError,
    ConnectionError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """When something is tried again: later and later, and never all nodes at once."""

    #: From 0 to 1.
    dice: Callable[[], float] = random.random
    #: Waits for some seconds.
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    #: Seconds that only grow.
    clock: Callable[[], float] = time.monotonic

    async def wait(self, tries: int) -> None:
        """Wait before another try, after so many."""
        seconds = min(_REPEAT_SECONDS_MAX, _REPEAT_SECONDS * 2.0 ** min(tries, 12))
        await self.sleep(seconds * (0.5 + self.dice()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a hub has answered."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


class HubFailed(Exception):
    """The hub itself has failed at a call. It may not the next time."""

    def __init__(self, error: AtollError) -> None:
        super().__init__(str(error))
        self.error = error


#: After these it is tried again.
AGAIN = (*BROKEN, HubUnreachable, HubFailed, TooMany)


class Tries:
    """Tries of one thing.

    Args:
        pace: when it is tried again.
        host: the hub's, for the log.
    """

    def __init__(self, pace: Pace, host: str) -> None:
        self._pace = pace
        self._host = host
        self._count = 0
        self._faults = 0

    async def wait(self, error: Exception) -> None:
        """Wait before another try, after one that ended with this error.

        Raises:
            AtollError: the hub has failed at it too often.
        """
        if isinstance(error, TooMany):
            await self._pace.sleep(error.seconds)
            return
        if isinstance(error, HubFailed):
            self._faults += 1
            if self._faults > _FAULTS_MAX:
                raise error.error
        if self._count == 0:
            named = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            _LOG.warning("the hub at %s doesn't answer (%s); it is tried again", self._host, named)
        await self._pace.wait(self._count)
        self._count += 1

    def begin_anew(self) -> None:
        """It went well for a while."""
        self._count = self._faults = 0


class Connection:
    """Calls a hub.

    Args:
        url: the hub's address.
        key: what the node is known by; or who says it, where it may be renewed meanwhile.
        ca_file: certificates that are trusted beside nobody else's; None: those of the machine.
        proxy: an HTTP proxy; None: what the environment names.
        connector: makes the connections, where they are none over TCP.
        pace: when it is tried again.

    Raises:
        Unusable: the address is none, or would carry the key over the network in the open.
    """

    def __init__(
        self,
        url: str,
        key: str | Callable[[], str],
        *,
        ca_file: Path | None = None,
        proxy: str | None = None,
        connector: Callable[[], aiohttp.BaseConnector] | None = None,
        pace: Pace | None = None,
    ) -> None:
        self._url = _checked(url)
        self._key = key
        self._ca_file = ca_file
        self._proxy = proxy if proxy is not None else _named_proxy(self._url)
        self._connector = connector
        self.pace = pace or Pace()
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False
        self._token = ""
        self._token_until = 0.0
        self._asking = asyncio.Lock()

    async def close(self) -> None:
        """Close all connections, for good: what still calls is cut off."""
        self._is_closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Callable[[], bytes] | bytes = b"",
        *,
        accept: tuple[int, ...] = (),
    ) -> Answered:
        """Call until there is an answer.

        Args:
            method: GET, POST, ….
            path: below ``/v1``.
            body: what is sent; called anew for every try where it may differ.
            accept: statuses of refusals that are no errors here.

        Raises:
            AtollError: the hub refuses; as the class that it names.
        """
        tries = self.tries()
        while True:
            try:
                data = body if isinstance(body, bytes) else body()
                async with self.request(method, path, data=data, accept=accept) as response:
                    return Answered(
                        status=response.status, body=await response.read(), headers=response.headers
                    )
            except AGAIN as error:
                await tries.wait(error)

    def tries(self) -> Tries:
        """Tries of one thing."""
        return Tries(self.pace, self._url.host or "")

    @asynccontextmanager
    async def request(
        self,
        method: str,
        path: str,
        *,
        data: bytes | Callable[[], AsyncIterator[bytes]] = b"",
        headers: Mapping[str, str] | None = None,
        accept: tuple[int, ...] = (),
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request with an answer that does not refuse.

        Raises:
            AtollError: the hub refuses; as the class that it names.
        """
        renewed = False
        while True:
            token = await self._known_by()
            content = data if isinstance(data, bytes) else data()
            sent = {"Authorization": f"Bearer {token}", **(headers or {})}
            async with self._opened().request(
                method,
                self._url.join(URL(f"v1{path}", encoded=True)),
                data=content or None,
                headers=sent,
                proxy=self._proxy,
                allow_redirects=False,
            ) as response:
                if response.status < 300 or response.status in accept:
                    yield response
                    return
                error = await _refusal(response)
            if isinstance(error, NotLoggedIn) and not renewed:
                # The token is over, or the hub has forgotten it. A key that is over is refused for good.
                renewed = True
                if self._token == token:
                    self._token = ""
                continue
            raise error

    async def socket(self, path: str, *, message_bytes_max: int) -> aiohttp.ClientWebSocketResponse:
        """One WebSocket, which the caller closes. It is not taken up again when it breaks.

        Args:
            path: below ``/v1``.
            message_bytes_max: of what the hub says at a time.

        Raises:
            NotLoggedIn: the hub doesn't know the node's key any more.
            HubUnreachable: the hub has failed, or something before it passes no WebSocket on.
        """
        try:
            token = await self._known_by()
            return await self._opened().ws_connect(
                self._url.join(URL(f"v1{path}", encoded=True)),
                headers={"Authorization": f"Bearer {token}"},
                proxy=self._proxy,
                heartbeat=KEEP_ALIVE_SECONDS,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
                max_msg_size=message_bytes_max,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise HubUnreachable(
                f"the hub at {self._url.host}, or a proxy before it, takes no WebSocket (status {error.status}): it "
                "must pass on requests with the header 'Upgrade: websocket'"
            ) from error
        except HubFailed as error:
            raise HubUnreachable(f"the hub at {self._url.host} gives no token: {error}") from error

    def forget_token(self) -> None:
        """Ask for another token before anything else is asked: the hub doesn't know this one."""
        self._token = ""

    async def _known_by(self) -> str:
        if not self._token or self.pace.clock() > self._token_until:
            async with self._asking:
                if not self._token or self.pace.clock() > self._token_until:
                    await self._ask_for_token()
        return self._token

    async def _ask_for_token(self) -> None:
        async with self._opened().post(
            self._url.join(URL("v1/node/token")),
            data=forms.encode(forms.Key(key=self._key if isinstance(self._key, str) else self._key())),
            proxy=self._proxy,
            allow_redirects=False,
        ) as response:
            if response.status >= 300:
                raise await _refusal(response)
            text = await response.read()
            theirs = response.headers.get(version.HEADER)
        version.check(theirs, __version__, they="the hub")
        told = forms.token.decode(text)
        self._token = told.access_token
        self._token_until = self.pace.clock() + max(told.expires_in - _TOKEN_SECONDS, told.expires_in / 2)

    def _opened(self) -> aiohttp.ClientSession:
        if self._is_closed:
            raise RuntimeError("the connection to the hub was closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=self._connect(),
                # What the hub sends is small, or as dense as it can be.
                headers={version.HEADER: __version__, "Accept-Encoding": "identity"},
                skip_auto_headers=("User-Agent",),
                timeout=aiohttp.ClientTimeout(sock_connect=_CONNECT_SECONDS, sock_read=_SILENT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session

    def _connect(self) -> aiohttp.BaseConnector:
        if self._connector is not None:
            return self._connector()
        trusted: ssl.SSLContext | bool = True
        if self._ca_file is not None:
            trusted = ssl.create_default_context(cafile=str(self._ca_file))
        return aiohttp.TCPConnector(ssl=trusted, limit=0)


async def _refusal(response: aiohttp.ClientResponse) -> AtollError | HubFailed:
    """The error that an answer tells which refuses."""
    error = problem.error_of(response.status, await response.read())
    after = response.headers.get("Retry-After", "")
    if isinstance(error, TooMany) and after.isascii() and after.isdigit():
        error.seconds = min(float(after), _REPEAT_SECONDS_MAX)
    if response.status >= 500 and not isinstance(error, HubUnreachable):
        return HubFailed(error)
    return error


def _checked(url: str) -> URL:
    """The address of a hub, with a slash at its end.

    Raises:
        Unusable: it is none, or would carry secrets over the network in the open.
    """
    try:
        parsed = URL(url)
    except ValueError as error:
        raise Unusable(f"{url[:80]!r} is no address of a hub: expected https://HOST") from error
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.user or parsed.password:
        raise Unusable(
            "the address of the hub is not usable: expected https://HOST, without a name or password"
        )
    if parsed.scheme == "http" and not _is_loopback(parsed.host):
        raise Unusable(
            f"the hub at {parsed.host} would be spoken to in the open, and whoever listens could take the node's key: "
            "expected https://. Plain http:// is for this machine alone"
        )
    return parsed.with_path(parsed.path.rstrip("/") + "/")


def _named_proxy(url: URL) -> str | None:
    """The proxy that the environment names for an address.

    It is looked up once. The library would do that for each request, in a thread that this waits for; and it
    would take a password for the hub from a file that is meant for other programs.
    """
    proxy = getproxies().get(url.scheme)
    # The library doesn't take one from the environment either that is itself spoken to over TLS.
    if proxy is None or proxy.startswith("https://") or proxy_bypass(url.host or ""):
        return None
    return proxy


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
