"""What a hub is made of, and where its services are found.

A *service* holds the logic of one room of the hub and knows no HTTP. It is made with the `Parts`
when it is first asked for, and once: what it remembers, it remembers for the whole process.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from fastapi.requests import HTTPConnection

from atoll.hub.hub import Hub
from atoll.hub.settings import HubSettings
from atoll.stores.objects import ObjectBlobStore
from atoll.stores.sql.database import Database
from atoll.stores.sql.runs import SqlRunStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a hub is made of."""

    #: How it is set up.
    settings: HubSettings
    #: Where everything but files is kept.
    database: Database
    #: What moves runs on.
    hub: Hub
    #: Where runs are kept: in the same database.
    runs: SqlRunStore
    #: Where files are kept.
    blobs: ObjectBlobStore
    #: Seconds since 1970.
    now: Callable[[], float] = time.time


class Service(Protocol):
    """The logic of one room."""

    def __init__(self, rooms: Rooms, /) -> None: ...


S = TypeVar("S", bound=Service)


class Rooms:
    """The services of one hub, each made when it is first asked for."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self._services: dict[type[Any], Any] = {}

    def of(self, kind: type[S]) -> S:
        """The service of a class."""
        service: S | None = self._services.get(kind)
        if service is None:
            service = self._services[kind] = kind(self)
        return service


def room(request: HTTPConnection, kind: type[S]) -> S:
    """The service of a class, of the hub that a request came to."""
    rooms: Rooms = request.app.state.rooms
    return rooms.of(kind)
