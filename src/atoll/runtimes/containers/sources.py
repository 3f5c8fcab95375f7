"""Which registries a site asks: for images, for their signatures, and where those send it on.

A name of an image is a stranger's, and whoever asks a registry by it connects to a host that the stranger
has chosen. So a registry that the site hasn't named is asked only where it is in the world: never on this
machine, in a private network, or where a cloud tells a machine its secrets.

What Atoll itself asks is held by the very address that it connects to: a name is looked up once. What an
engine pulls is held by its name, which the engine looks up itself.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from atoll.engine.limits import REGISTRY_LOOKUP_SECONDS_MAX
from atoll.model.errors import JobRefused, RuntimeUnavailable
from atoll.runtimes.containers.reference import canonical_host

#: Any registry that is in the world.
ANY = "*"
#: Names that no public registry has.
_INNER = (
    *(".local", ".localhost", ".localdomain", ".internal", ".intranet", ".lan", ".home", ".corp", ".private"),
    *(".home.arpa", ".test", ".invalid"),
)
#: Where clouds tell their machines what is theirs, at addresses that look like anybody's, and what is
#: no place's, whatever else is said of it.
_NOBODYS = tuple(map(ip_network, ("168.63.129.16/32", "192.0.0.0/24", "192.88.99.0/24")))
#: Addresses of version 6 in whose last bits one of version 4 is meant.
_TRANSLATED = ip_network("64:ff9b::/96")
_REMEDY = "If it is meant, its admin names it under 'policies.registries' of node.yaml"


class Sources:
    """The registries of one site.

    Args:
        patterns: hosts, with their ports where they have any; ``*`` stands for anything, and alone for
            any registry that is in the world.
        named: hosts that the site has named elsewhere, and so means, too.
    """

    def __init__(self, patterns: Sequence[str] = (ANY,), named: Iterable[str] = ()) -> None:
        # A bracket is an address's, and no pattern's.
        self._listed = tuple(each.replace("[", "[[]") for each in patterns if each != ANY)
        self._any = ANY in patterns
        self._named = frozenset(named)

    def names(self, host: str) -> bool:
        """Whether the site means this very registry, wherever it is."""
        return host in self._named or any(fnmatchcase(host, pattern) for pattern in self._listed)

    def check(self, host: str) -> None:
        """See that a registry may be asked, as far as its name tells.

        Raises:
            JobRefused: it may not.
        """
        if self.names(host):
            return
        if not self._any:
            count = len(self._listed) + len(self._named)
            raise JobRefused(
                f"this site asks nothing of the registry {host}: it is not among the {count} that it names. {_REMEDY}"
            )
        if _is_inner(host):
            raise JobRefused(f"this site asks nothing of {host}: that is no registry in the world. {_REMEDY}")

    async def check_found(self, host: str) -> None:
        """See the same, and look where the name leads by now, for who will look it up himself.

        A name that can't be looked up here is let pass: others may know the way.

        Raises:
            JobRefused: it may not be asked.
        """
        self.check(host)
        if self.names(host):
            return
        name = _name_of(host)
        try:
            async with asyncio.timeout(REGISTRY_LOOKUP_SECONDS_MAX):
                found = await asyncio.get_running_loop().getaddrinfo(name, 443, type=socket.SOCK_STREAM)
        except (OSError, TimeoutError, UnicodeError):
            return
        if not all(is_public(str(address[0])) for *_, address in found):
            raise JobRefused(
                f"this site asks nothing of the registry {host}: that name leads into a private network, or to this "
                f"machine. {_REMEDY}"
            )

    def check_url(self, url: URL, *, plain: bool, sent_by: str) -> None:
        """See that a registry may send this site to an address.

        Args:
            url: the address.
            plain: whether the site speaks to the registry without encryption.
            sent_by: the registry.

        Raises:
            RuntimeUnavailable: it may not.
        """
        if url.scheme != "https" and not (plain and url.scheme == "http"):
            raise RuntimeUnavailable(
                f"the registry {sent_by} sends this site on without encryption: expected an address of https"
            )
        host = host_of(url)
        if not host or (not self.names(host) and _is_inner(host)):
            raise RuntimeUnavailable(
                f"the registry {sent_by} sends this site on to {host[:255]!r}, which is nowhere in the world. {_REMEDY}"
            )

    def resolver(self) -> AbstractResolver:
        """Looks names up for connections, and gives none but addresses that may be connected to."""
        return _Resolver(self)


class _Resolver(AbstractResolver):
    """Looks names up once: what is looked at is what is connected to."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._inner = ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host.

        Raises:
            OSError: there are none.
            RuntimeUnavailable: one of them is of a private network.
        """
        found = await self._inner.resolve(host, port, family)
        known = canonical_host(f"{host}:{port}") or ""
        if not self._sources.names(known) and not all(is_public(each["host"]) for each in found):
            raise RuntimeUnavailable(
                f"this site asks nothing of {known}: that name leads into a private network, or to this machine. "
                f"{_REMEDY}"
            )
        return found

    async def close(self) -> None:
        """Let go of what was needed."""
        await self._inner.close()


def is_public(address: str) -> bool:
    """Whether an address is somebody's in the world: not of this machine, of a private network, or nobody's."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return _is_public(found)


def host_of(url: URL) -> str:
    """The host of an address, with its port, as a registry is called; empty for none."""
    if url.host is None:
        return ""
    host = f"[{url.host}]" if ":" in url.host else url.host
    default = 80 if url.scheme == "http" else 443
    return canonical_host(host if url.port in (None, default) else f"{host}:{url.port}") or ""


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv6Address):
        meant: Any = address.ipv4_mapped or address.sixtofour
        if address in _TRANSLATED:
            meant = IPv4Address(int(address) & 0xFFFF_FFFF)
        if meant is not None:
            return _is_public(meant)
        if address.teredo is not None or address.is_site_local:
            return False
    if any(address in network for network in _NOBODYS):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _name_of(host: str) -> str:
    """A host without its port, and without brackets."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdecimal() else host).strip("[]")


def _is_inner(host: str) -> bool:
    """Whether a host is called as one is that nobody in the world has."""
    name = _name_of(host)
    try:
        return not _is_public(ip_address(name))
    except ValueError:
        return "." not in name or name.endswith(_INNER)
