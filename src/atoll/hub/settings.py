"""How a hub is set up."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """All settings of a hub. Flags come before the environment, and that before ``hub.yaml``."""

    #: The address that people and nodes reach it by. Empty: where it listens.
    url: str = ""
    #: Where it listens.
    host: str = "127.0.0.1"
    port: int = 8000
    database: str = "sqlite:///atoll-hub/hub.db"
    blobs: str = "atoll-hub/blobs"
    #: Seconds between two signs of life of a node.
    heartbeat_seconds: float = 15.0
    #: Requests per second of one person, of one node, and of one address that isn't known. 0: any.
    person_rate: float = 200.0
    node_rate: float = 2_000.0
    address_rate: float = 20.0
    #: Logins a minute from one address.
    login_rate: float = 30.0
    #: Bytes of a request that isn't a file.
    body_bytes_max: int = 64 * 1024 * 1024
    #: Addresses of proxies whose X-Forwarded headers are believed.
    trusted_proxies: tuple[str, ...] = field(default=())
    tls_certificate: Path | None = None
    tls_key: Path | None = None
