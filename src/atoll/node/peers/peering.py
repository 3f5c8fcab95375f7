"""Which jobs of a node may talk to other sites, and how they come to do so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol
from weakref import WeakKeyDictionary

from atoll.algorithms.installed import Installed
from atoll.engine.limits import REFUSALS_MAX, STREAM_LISTEN_SECONDS
from atoll.engine.peers import Address, PeerLink
from atoll.engine.running import Image
from atoll.model.work import Algorithm, Ticket
from atoll.node.chair import Chair
from atoll.node.peers.outlets import Outlets
from atoll.node.peers.talk import Talk

#: Says why a site doesn't let an algorithm, with its image, talk to other sites; None where it does.
Rule = Callable[[Algorithm, Image | None], str | None]


class Told(Protocol):
    """Hears what an algorithm was refused."""

    def refused(self, ticket: Ticket, sentence: str) -> None:
        """The algorithm asked for what it may not have."""
        ...


class Talking(Protocol):
    """What a job's gate asks."""

    async def addresses(self) -> Sequence[Address]:
        """Where the algorithm finds the ports of its run's jobs."""
        ...


@dataclass(frozen=True, slots=True)
class Mute:
    """A job that may not talk to others. Where it asks, whoever started the run is told why."""

    refused: Callable[[str], None]
    reason: str

    async def addresses(self) -> Sequence[Address]:
        """None."""
        self.refused(self.reason)
        return ()


def _unsealed() -> str | None:
    """Why nothing can be sealed here; None where it can."""
    if find_spec("cryptography") is None:
        return (
            "algorithms can't talk to other sites, as nothing seals what they say: pip install 'atoll[node]'"
        )
    return None


class Peering:
    """Lets jobs of a node talk to others of their runs, as far as the site's rules do.

    Args:
        link: the hub.
        rule: of the site.
        told: hears what is refused.
        patience_seconds: how long a call of another's waits for an algorithm to listen.
    """

    def __init__(
        self, link: PeerLink, rule: Rule, told: Told, *, patience_seconds: float = STREAM_LISTEN_SECONDS
    ) -> None:
        self._link = link
        self._rule = rule
        self._told = told
        self._patience_seconds = patience_seconds
        #: What sessions were given, for as long as they live.
        self._outlets: WeakKeyDictionary[Chair, Outlets] = WeakKeyDictionary()

    @asynccontextmanager
    async def of(
        self, ticket: Ticket, installed: Installed, chair: Chair, log: Path
    ) -> AsyncIterator[Talking]:
        """What one call says to others, until it has ended."""
        said: set[str] = set()

        def refused(sentence: str) -> None:
            # Once: an algorithm may ask again and again until somebody is there.
            if sentence not in said:
                said.add(sentence)
                self._told.refused(ticket, sentence)

        lines = iter(range(REFUSALS_MAX))

        def say(sentence: str) -> None:
            if next(lines, None) is None:
                return  # Who connects in vain a hundred times would fill a disk with it.
            with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{sentence}\n")

        ports = installed.ports or installed.ports_assumed
        reason = self._rule(ticket.algorithm, installed.image) or _unsealed()
        if reason is not None or not ports or chair.session is None:
            if installed.ports and reason is not None:
                refused(reason)
            yield Mute(refused, reason or "this algorithm declares no port at which others could reach it")
            return
        outlets = self._outlets.get(chair)
        if outlets is None:
            outlets = self._outlets[chair] = Outlets(chair.session, ports)
        talk = Talk(
            self._link,
            ticket,
            ports,
            session=chair.session,
            outlets=outlets,
            patience_seconds=self._patience_seconds,
            say=say,
            refused=refused,
        )
        async with talk:
            yield talk
