"""Under which addresses of its own loopback an algorithm finds servers, databases' servers among them.

A server keeps its name, so that an address that names it stays as it is and its certificate fits: the
name leads to a loopback address inside. A server on this machine itself is found on the loopback there,
too. One that is named by its number gets another number, and whatever names it is changed.
"""

from __future__ import annotations

import re
from dataclasses import replace
from ipaddress import ip_address

from atoll.node.network.relay import Direct, Target
from atoll.node.offer import Source

#: Where an algorithm finds its doorway and the proxy, if it has them.
DOOR, PROXY = ("127.0.0.1", 8080), ("127.0.0.1", 3128)

#: The beginning of an address: the scheme, a user with a password, a host and a port.
_URL = re.compile(
    r"(?P<before>(?:jdbc:)?(?P<scheme>[a-z][a-z0-9.-]*)(?:\+[a-z0-9_.-]+)?://(?:[^/?#]*@)?)"
    r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::(?P<port>[0-9]{1,5}))?(?P<after>[/?#;].*)?\Z",
    re.IGNORECASE | re.DOTALL,
)
#: Where a server listens whose address names no port.
_PORTS = {
    "postgresql": 5432,
    "postgres": 5432,
    "mysql": 3306,
    "mariadb": 3306,
    "mssql": 1433,
    "sqlserver": 1433,
    "oracle": 1521,
    "mongodb": 27017,
    "redis": 6379,
    "redshift": 5439,
    "clickhouse": 9000,
    "trino": 8080,
    "http": 80,
    "https": 443,
}
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?\Z", re.IGNORECASE)


class Homes:
    """Addresses of a sandbox's loopback, one for each server."""

    def __init__(self) -> None:
        self._of: dict[str, str] = {}

    def of(self, server: str) -> str:
        """The address of a server. The first, 127.0.0.1, is the algorithm's own."""
        number = len(self._of) + 2
        return self._of.setdefault(server.lower(), f"127.0.{number // 256}.{number % 256}")


def server_of(url: str) -> tuple[str, int] | None:
    """The host and the port that an address names; None where it names none, or nobody knows the port."""
    found = _URL.match(url)
    if found is None:
        return None
    port = int(found["port"]) if found["port"] else _PORTS.get(found["scheme"].lower(), 0)
    return (found["host"].strip("[]"), port) if 0 < port < 65_536 else None


def move(source: Source, homes: Homes) -> tuple[Target | None, Source]:
    """How a database's server is reached from inside, and the database with the address to be used there."""
    server = None if source.path is not None else server_of(source.url)
    if server is None:
        return None, source
    host, port = server
    way = Direct(host=host, port=port)
    if host.lower() in ("localhost", "127.0.0.1") and (PROXY[0], port) not in (DOOR, PROXY):
        return Target(host="127.0.0.1", port=port, way=way), source
    if _is_name(host):
        return Target(host=homes.of(host), port=port, alias=host.lower(), way=way), source
    found = _URL.match(source.url)
    assert found is not None
    home = homes.of(host)
    url = f"{found['before']}{home}:{port}{found['after'] or ''}"
    return Target(host=home, port=port, way=way), replace(source, url=url)


def _is_name(host: str) -> bool:
    if host.lower() == "localhost" or not _NAME.match(host):
        return False
    try:
        ip_address(host)
    except ValueError:
        # What consists of digits alone reads as a number to some.
        return not host.rpartition(".")[2].isdecimal()
    return False
