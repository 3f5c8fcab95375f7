"""Communication between sites: what an algorithm declares, and what lies between two nodes.

A *stream* is a connection between two jobs of one run. The caller's node and the called one's both
call out to the hub, which passes on pieces that it can't read. Streams are off unless both sites'
rules allow them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from atoll.model.work import JobId, RunId, Seat


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A port at which an algorithm listens for others of its run."""

    #: From 1 to 65535.
    number: int
    #: By which others find it; empty where it has none.
    label: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The job for which a node speaks."""

    run_id: RunId
    job_id: JobId
    #: Which claim of it; None where nobody counts.
    attempt: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A job that others of its run may reach."""

    job_id: JobId
    seat: Seat
    round_number: int
    #: The job that asked for it; None in a main round.
    parent: JobId | None = None
    #: The round of that job.
    parent_round: int | None = None
    ports: tuple[Port, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where an algorithm finds a port of a peer."""

    host: str
    port: int
    label: str
    peer: Peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Knock:
    """Another job of the run wants to be connected."""

    #: The stream's name, which only the called node is told.
    stream: str
    #: The declared port that it wants.
    port: int
    #: Who wants it, and the public key of this stream's end there.
    job_id: JobId
    key: bytes


class Channel(Protocol):
    """One end of a stream: pieces go in and come out in order, or it breaks."""

    async def send(self, piece: bytes) -> None:
        """Pass a piece on. Waits where the other side is slow.

        Raises:
            StreamBroken: the stream is over.
        """
        ...

    async def receive(self) -> bytes | None:
        """The next piece; None where the stream is over."""
        ...

    async def close(self) -> None:
        """End it. What was passed on before still arrives. May be called twice."""
        ...


class Announced(Protocol):
    """A job whose ports are known to the others of its run, until this is closed."""

    async def knock(self) -> Knock:
        """Wait until somebody wants to be connected.

        Raises:
            AtollError: the hub doesn't take calls for this job any more.
        """
        ...

    async def refuse(self, stream: str, sentence: str) -> None:
        """Connect nobody; whoever wants to be is told why."""
        ...

    async def close(self) -> None:
        """Take no calls any more. May be called twice."""
        ...


class PeerLink(Protocol):
    """The hub as a node sees it whose jobs talk to others of their runs."""

    async def peers(self, standing: Standing) -> Sequence[Peer]:
        """The jobs of the run whose ports are announced, in the order in which they came to be.

        Raises:
            StaleEvent: the job has ended already.
            NotYours: it is another node's.
        """
        ...

    async def announce(self, standing: Standing, ports: Sequence[Port]) -> Announced:
        """Let others of the run reach these ports of a job.

        Raises:
            StaleEvent: the job has ended already.
            NotYours: it is another node's.
        """
        ...

    async def connect(self, standing: Standing, to: JobId, port: int, key: bytes) -> tuple[Channel, bytes]:
        """Be connected with a port of another job; the stream, and the key of its other end.

        Raises:
            NotThere: no job of the run with this name announces this port.
            NotAllowed: the other site doesn't take the call.
            QuotaReached: the run or the node has too many streams.
            StaleEvent: the job has ended already.
            NotYours: it is another node's.
        """
        ...

    async def answer(self, standing: Standing, stream: str, key: bytes) -> Channel:
        """Take a call.

        Raises:
            NotThere: whoever called waits no longer.
            StaleEvent: the job has ended already.
            NotYours: it is another node's.
        """
        ...
