"""The algorithms that a node has, and what each is run with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from atoll.algorithms.installed import Installed
from atoll.engine.running import Runtime
from atoll.model.work import Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class AtHand:
    """An algorithm, and what runs it."""

    installed: Installed
    runtime: Runtime


class Library(Protocol):
    """Has the algorithms of tickets, or gets them."""

    async def at_hand(self, ticket: Ticket, waits: Callable[[str], None] | None = None, /) -> AtHand:
        """The algorithm of a ticket.

        Args:
            ticket: the job.
            waits: is told what getting it waits for.

        Raises:
            JobRefused: this node doesn't have what it requires, or doesn't take it.
            RuntimeUnavailable: what it needs can't be found out, or isn't there now.
            BlobMismatch: what arrived as its code is not what was asked for.
        """
        ...


class Shelf:
    """Algorithms that are there from the beginning, all with one runtime."""

    def __init__(self, installed: Mapping[str, Installed], runtime: Runtime) -> None:
        self._installed = installed
        self._runtime = runtime

    async def at_hand(self, ticket: Ticket, _waits: Callable[[str], None] | None = None, /) -> AtHand:
        """The algorithm with the ticket's digest."""
        return AtHand(installed=self._installed[ticket.algorithm.digest], runtime=self._runtime)
