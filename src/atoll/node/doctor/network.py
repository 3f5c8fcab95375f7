"""Looks at the way to the hub: its name, the proxy, TLS, the clock, the hub itself, and the key."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from atoll import __version__
from atoll.model.errors import SpecInvalid, VersionMismatch
from atoll.node.doctor.findings import Finding, Level, doubt, fault, fine
from atoll.node.secrets import read_secret
from atoll.node.settings import NodeSettings
from atoll.transports import version

#: Seconds that one question over the network may take.
_SECONDS = 15.0
#: Days before a certificate ends from which on it is told.
_DAYS = 14
#: Seconds that two clocks may differ before it is told, and before it is a fault.
_SKEW_DOUBT, _SKEW_FAULT = 30.0, 300.0
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
#: What OpenSSL calls a certificate whose authority isn't known here.
_UNKNOWN_AUTHORITY = frozenset({18, 19, 20, 21})
_EXPIRED, _OTHER_NAME = 10, 62


@dataclass(frozen=True, slots=True, kw_only=True)
class _Way:
    """The way to the hub."""

    host: str
    port: int
    tls: bool
    #: Where the proxy listens; None where there is none.
    proxy: tuple[str, int] | None
    proxy_url: str | None


async def way(settings: NodeSettings, *, now: Callable[[], float] = time.time) -> AsyncIterator[Finding]:
    """Every step on the way to the hub, until one can't be made."""
    found = _way(settings)
    if not found.tls and found.host not in _LOOPBACK:
        yield fault(
            "hub address",
            f"{settings.hub} is plain HTTP beyond this machine: a node doesn't send its key over it",
            "let the hub speak TLS, and say https:// in node.yaml",
        )
        return
    if found.proxy is not None:
        yield fine("proxy", f"{found.proxy[0]}:{found.proxy[1]}")
    else:
        yield fine("proxy", "none")
    named = await _named(found)
    yield named
    if named.level is Level.FAULT:
        return
    context = _context(settings) if found.tls else None
    if isinstance(context, Finding):
        yield context
        return
    if context is not None and found.proxy is None:
        secured = await _secured(found, context, now)
        yield secured
        if secured.level is Level.FAULT:
            return
    async for finding in _asked(settings, found, context, now):
        yield finding


def _way(settings: NodeSettings) -> _Way:
    # Imported here and below, with aiohttp: nothing else at a node reads addresses.
    from aiohttp.helpers import get_env_proxy_for_url
    from yarl import URL

    url = URL(settings.hub)
    proxy = None if settings.proxy is None else URL(settings.proxy)
    if proxy is None:
        try:
            proxy, _ = get_env_proxy_for_url(url)
        except LookupError:
            proxy = None
    listens = None if proxy is None else (proxy.host or "", proxy.port or 8080)
    return _Way(
        host=url.host or "",
        port=url.port or 443,
        tls=url.scheme == "https",
        proxy=listens,
        proxy_url=None if proxy is None else str(proxy),
    )


async def _named(found: _Way) -> Finding:
    host, port = found.proxy or (found.host, found.port)
    try:
        async with asyncio.timeout(_SECONDS):
            addresses = await asyncio.get_running_loop().getaddrinfo(host, port)
    except (OSError, TimeoutError, UnicodeError):
        return fault(
            "name",
            f"{host!r} has no address here",
            "check the address in node.yaml, and this machine's name servers (/etc/resolv.conf)",
        )
    return fine("name", f"{host} is {addresses[0][4][0]}")


def _context(settings: NodeSettings) -> ssl.SSLContext | Finding:
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError):
        return fault(
            "tls", f"{settings.ca_file} holds no certificates", "name a file in PEM format as 'ca_file'"
        )


async def _secured(found: _Way, context: ssl.SSLContext, now: Callable[[], float]) -> Finding:
    try:
        async with asyncio.timeout(_SECONDS):
            _, writer = await asyncio.open_connection(found.host, found.port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        return _unverified(found, error)
    except ssl.SSLError as error:
        return fault(
            "tls", f"what answers doesn't speak TLS ({error.reason})", "check the port in the address"
        )
    except (OSError, TimeoutError):
        return fault(
            "connection",
            f"{found.host}:{found.port} can't be reached",
            "let this machine call out on that port, or name the 'proxy' that may; check that the hub runs",
        )
    certificate = writer.get_extra_info("peercert")
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
    days = (ssl.cert_time_to_seconds(certificate["notAfter"]) - now()) / 86_400
    if days < _DAYS:
        return doubt("tls", f"the hub's certificate ends in {days:.0f} days", "tell the hub's people")
    return fine("tls", f"the hub's certificate is good for {days:.0f} days")


def _unverified(found: _Way, error: ssl.SSLCertVerificationError) -> Finding:
    if error.verify_code == _EXPIRED:
        return fault(
            "tls",
            "the hub's certificate has ended, or this machine's clock is wrong",
            "tell the hub's people, and compare the clocks",
        )
    if error.verify_code == _OTHER_NAME:
        return fault(
            "tls",
            f"the hub's certificate is for another name than {found.host}",
            "use the name in the certificate",
        )
    if error.verify_code in _UNKNOWN_AUTHORITY:
        return fault(
            "tls",
            "nobody here knows who vouches for the hub's certificate: a private authority, or a proxy that looks into "
            "what passes",
            "ask for the authority's certificate, and name its file as 'ca_file' in node.yaml",
        )
    return fault("tls", f"the hub's certificate is not accepted ({error.verify_message})", "ask its people")


async def _asked(
    settings: NodeSettings, found: _Way, context: ssl.SSLContext | None, now: Callable[[], float]
) -> AsyncIterator[Finding]:
    import aiohttp  # Late, as said above.

    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    said = {version.HEADER: __version__}
    async with aiohttp.ClientSession(timeout=timeout, headers=said) as session:
        # Whoever is asked is not believed where else to go: the key is shown to the hub alone.
        more: dict[str, Any] = {
            "proxy": found.proxy_url,
            "ssl": context or False,
            "allow_redirects": False,
        }
        try:
            async with session.get(f"{settings.hub.rstrip('/')}/v1/version", **more) as answer:
                status, headers, body = answer.status, answer.headers.copy(), await answer.content.read(4096)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            yield fault(
                "hub",
                f"no hub answers at {settings.hub} ({type(error).__name__})",
                "check the address, the proxy, and that the hub runs",
            )
            return
        yield _clock(headers, now)
        yield _version(settings, status, headers, body)
        try:
            key = read_secret(settings.key_file)
        except SpecInvalid as error:
            yield fault("key", str(error), "register the node: atoll node start --register CODE --hub URL")
            return
        try:
            url = f"{settings.hub.rstrip('/')}/v1/node/token"
            async with session.post(url, data=json.dumps({"key": key}), **more) as answer:
                yield _key(answer.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            yield fault("key", f"it could not be shown to the hub ({type(error).__name__})", "try again")


def _clock(headers: Mapping[str, str], now: Callable[[], float]) -> Finding:
    try:
        skew = now() - parsedate_to_datetime(headers["Date"]).timestamp()
    except (KeyError, ValueError):
        return doubt("clock", "the hub doesn't say what time it has", "compare the clocks yourself")
    words = f"this machine is {abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'} the hub"
    remedy = "set the clock by NTP: timedatectl set-ntp true"
    if abs(skew) >= _SKEW_FAULT:
        return fault("clock", words, remedy)
    if abs(skew) >= _SKEW_DOUBT:
        return doubt("clock", words, remedy)
    return fine("clock", "this machine and the hub agree")


def _version(settings: NodeSettings, status: int, headers: Mapping[str, str], body: bytes) -> Finding:
    theirs = headers.get(version.HEADER)
    if theirs is None:
        try:
            theirs = json.loads(body).get("version")
        except (ValueError, AttributeError):
            theirs = None
    if theirs is None:
        return fault(
            "hub",
            f"what answers at {settings.hub} is no hub (status {status})",
            "check the address, and what stands between",
        )
    try:
        version.check(str(theirs), __version__, they="the hub")
    except VersionMismatch as error:
        return fault("hub", str(error), "pip install --upgrade 'atoll[node]', or ask the hub's people")
    return fine("hub", f"version {theirs}, and this node has {__version__}")


def _key(status: int) -> Finding:
    if status in (401, 403, 404):
        return fault(
            "key",
            "the hub doesn't know this node's key, or not any more",
            "ask for a new code, and register: atoll node start --register CODE",
        )
    if status >= 300:
        return doubt("key", f"the hub answered with status {status}", "try again, and ask its people")
    return fine("key", "the hub knows this node")
