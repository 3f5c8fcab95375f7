"""Connects jobs of one run: who may be called, and by whom.

::

    called node                     hub                        caller's node
      announce(job, ports) ------>  knows it
                                    peers(job) <-------------- which are there?
      knock <---------------------  <------------------------- connect(job, to, port, key)
      answer(stream, key) ------->  ------------------------>  the other's key
            pieces <------------->  two bounded pipes <------> pieces

Only nodes come here, each for a job that it works at, and no job hears of another run's. What is
passed on is never looked at. All of it is in this process's memory: a hub that ends, ends the streams.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from typing import Protocol

from atoll.engine.limits import (
    PORTS_MAX,
    STREAM_ANSWER_SECONDS,
    STREAM_IDLE_SECONDS,
    STREAMS_PER_NODE_MAX,
    STREAMS_PER_RUN_MAX,
)
from atoll.engine.peers import Knock, Peer, Port, Standing
from atoll.engine.ports import OpenState
from atoll.hub.peers.pipe import End, Pipe
from atoll.model.errors import Malformed, NotAllowed, NotThere, QuotaReached, StaleEvent
from atoll.model.work import JobId, RunId

#: Bytes of a public key.
_KEY_BYTES = 32
_SENTENCE_MAX = 300
_LABEL_MAX = 100


class Registry(Protocol):
    """Knows which node works at which job; see `Hub`."""

    async def at_work(self, node: str, run_id: RunId, job_id: JobId, attempt: int | None) -> OpenState:
        """A job that a node works at.

        Raises:
            StaleEvent: it has ended, or was claimed anew.
            NotYours: it is another node's.
        """
        ...


class Announcement:
    """A job that others of its run may call, until this is closed."""

    def __init__(self, board: Switchboard, node: str, standing: Standing, peer: Peer) -> None:
        self._board = board
        self.node = node
        self.standing = standing
        self.peer = peer
        #: None: it is over.
        self.knocks: asyncio.Queue[Knock | None] = asyncio.Queue()

    async def knock(self) -> Knock:
        """Wait until somebody calls.

        Raises:
            StaleEvent: the job has ended, or is announced anew.
        """
        knock = await self.knocks.get()
        if knock is None:
            raise StaleEvent(f"job {self.standing.job_id} takes no calls here any more")
        return knock

    async def refuse(self, stream: str, sentence: str) -> None:
        """Connect nobody; whoever calls is told why."""
        self._board.refuse(self.node, stream, sentence)

    async def close(self) -> None:
        """Take no calls any more."""
        self._board.withdraw(self)


class _Stream:
    """Two ends and what lies between."""

    def __init__(
        self, board: Switchboard, name: str, caller: tuple[str, Standing], called: Announcement
    ) -> None:
        self._board = board
        self.name = name
        self.caller_node, self.caller = caller
        self.called_node, self.called = called.node, called.standing
        self._forth, self._back = Pipe(), Pipe()
        #: Of the other end, when that has answered.
        self.answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.used_at = board.now()
        self._ends = 2

    @property
    def nodes(self) -> tuple[str, str]:
        """Both nodes."""
        return self.caller_node, self.called_node

    @property
    def standings(self) -> tuple[tuple[str, Standing], tuple[str, Standing]]:
        """Both jobs, each with its node."""
        return (self.caller_node, self.caller), (self.called_node, self.called)

    def caller_end(self) -> End:
        return End(self, self._forth, self._back)

    def called_end(self) -> End:
        return End(self, self._back, self._forth)

    def used(self) -> None:
        self.used_at = self._board.now()

    def left(self) -> None:
        """An end was closed. The other reads what was written before, and closes its own."""
        self._ends -= 1
        if self._ends <= 0:
            self._board.forget(self.name)

    def cut(self, error: Exception) -> None:
        """End it at once."""
        if not self.answered.done():
            self.answered.set_exception(error)
            # Nobody may wait for it any more.
            self.answered.exception()
        for pipe in (self._forth, self._back):
            pipe.end(drop=True)
        self._board.forget(self.name)


class Switchboard:
    """Connects jobs of one run.

    Args:
        registry: knows who works at what.
        now: seconds that only grow.
        answer_seconds: how long a called node may take.
    """

    def __init__(
        self, registry: Registry, now: Callable[[], float], *, answer_seconds: float = STREAM_ANSWER_SECONDS
    ) -> None:
        self._registry = registry
        self.now = now
        self._answer_seconds = answer_seconds
        self._announced: dict[RunId, dict[JobId, Announcement]] = {}
        self._streams: dict[str, _Stream] = {}

    @property
    def stream_count(self) -> int:
        """How many streams there are."""
        return len(self._streams)

    async def peers(self, node: str, standing: Standing) -> Sequence[Peer]:
        """The jobs of the run whose ports are announced.

        Raises:
            StaleEvent: the job that asks has ended.
            NotYours: it is another node's.
        """
        await self._check(node, standing)
        return [each.peer for each in self._announced.get(standing.run_id, {}).values()]

    async def announce(self, node: str, standing: Standing, ports: Sequence[Port]) -> Announcement:
        """Let others of its run call a job.

        Raises:
            StaleEvent: the job has ended.
            NotYours: it is another node's.
            Malformed: the ports are none.
        """
        numbers = {port.number for port in ports}
        if not 1 <= len(numbers) == len(ports) <= PORTS_MAX or not all(
            1 <= port.number <= 65_535 and len(port.label) <= _LABEL_MAX for port in ports
        ):
            raise Malformed(
                f"a job announces {len(ports)} ports: expected 1 to {PORTS_MAX}, each once, from 1 to 65535, with a "
                f"label of at most {_LABEL_MAX} characters"
            )
        state = await self._check(node, standing)
        peer = Peer(
            job_id=standing.job_id,
            seat=state.job.seat,
            round_number=state.round.number,
            parent=state.round.parent,
            parent_round=None if state.round.parent is None else _round_of(state.round.parent),
            ports=tuple(ports),
        )
        announced = self._announced.setdefault(standing.run_id, {})
        if (earlier := announced.get(standing.job_id)) is not None:
            earlier.knocks.put_nowait(None)
        counted = replace(standing, attempt=state.job.attempt)
        announcement = announced[standing.job_id] = Announcement(self, node, counted, peer)
        return announcement

    async def connect(
        self, node: str, standing: Standing, to: JobId, port: int, key: bytes
    ) -> tuple[End, bytes]:
        """Call a port of another job; the stream, and the key of its other end.

        Raises:
            NotThere: no job of the run with this name announces this port.
            NotAllowed: the called site doesn't take the call.
            QuotaReached: there are too many streams.
        """
        state = await self._check(node, standing)
        standing = replace(standing, attempt=state.job.attempt)
        called = self._announced.get(standing.run_id, {}).get(to)
        if called is None or port not in {each.number for each in called.peer.ports}:
            raise NotThere(f"no job {to[:80]!r} of this run takes calls at port {port}: has it ended?")
        _check_key(key)
        self._check_room(node, called, standing.run_id)
        name = secrets.token_urlsafe(24)
        stream = self._streams[name] = _Stream(self, name, (node, standing), called)
        called.knocks.put_nowait(Knock(stream=name, port=port, job_id=standing.job_id, key=key))
        try:
            async with asyncio.timeout(self._answer_seconds):
                theirs = await asyncio.shield(stream.answered)
        except TimeoutError:
            error = NotAllowed(
                f"the node of {called.peer.seat} doesn't answer a call at port {port} within {self._answer_seconds:g} "
                "seconds"
            )
            stream.cut(error)
            raise error from None
        except BaseException:
            stream.cut(NotThere("whoever called waits no longer"))
            raise
        return stream.caller_end(), theirs

    async def answer(self, node: str, standing: Standing, stream: str, key: bytes) -> End:
        """Take a call.

        Raises:
            NotThere: whoever called waits no longer, or never called this job.
        """
        await self._check(node, standing)
        _check_key(key)
        found = self._streams.get(stream)
        if (
            found is None
            or found.answered.done()
            or (found.called_node, found.called.job_id) != (node, standing.job_id)
        ):
            raise NotThere("whoever called waits no longer")
        found.answered.set_result(key)
        return found.called_end()

    def refuse(self, node: str, stream: str, sentence: str) -> None:
        """Take no call."""
        found = self._streams.get(stream)
        if found is not None and found.called_node == node and not found.answered.done():
            found.cut(NotAllowed(f"{node} takes no call: {sentence[:_SENTENCE_MAX]}"))

    def withdraw(self, announcement: Announcement) -> None:
        """A job takes no calls any more."""
        standing = announcement.standing
        announced = self._announced.get(standing.run_id, {})
        if announced.get(standing.job_id) is announcement:
            del announced[standing.job_id]
            if not announced:
                del self._announced[standing.run_id]
        announcement.knocks.put_nowait(None)

    def forget(self, stream: str) -> None:
        """A stream is over."""
        self._streams.pop(stream, None)

    def run_ended(self, run_id: RunId) -> None:
        """Nobody of a run calls or is called any more."""
        for announcement in list(self._announced.get(run_id, {}).values()):
            self.withdraw(announcement)
        for stream in list(self._streams.values()):
            if stream.called.run_id == run_id:
                stream.cut(StaleEvent(f"run {run_id} has ended"))

    async def look(self, working: Callable[[str], Awaitable[Collection[Standing]]]) -> None:
        """End what belongs to jobs that have ended, and what has carried nothing for long.

        Nodes end their own streams with their jobs. This is for those that don't, or were lost.

        Args:
            working: at what a node works; asked once for each.
        """
        announcements = [each for run in self._announced.values() for each in run.values()]
        streams = list(self._streams.values())
        nodes = {each.node for each in announcements} | {node for each in streams for node in each.nodes}
        at_work = {(node, each) for node in sorted(nodes) for each in await working(node)}
        for announcement in announcements:
            if (announcement.node, announcement.standing) not in at_work:
                self.withdraw(announcement)
        for stream in streams:
            if not at_work.issuperset(stream.standings):
                stream.cut(StaleEvent("the job at one end of a stream has ended"))
            elif self.now() - stream.used_at > STREAM_IDLE_SECONDS:
                stream.cut(StaleEvent(f"a stream has carried nothing for {STREAM_IDLE_SECONDS:g} seconds"))

    async def _check(self, node: str, standing: Standing) -> OpenState:
        return await self._registry.at_work(node, standing.run_id, standing.job_id, standing.attempt)

    def _check_room(self, caller: str, announcement: Announcement, run_id: RunId) -> None:
        called, streams = announcement.node, self._streams.values()
        if announcement.knocks.qsize() >= STREAMS_PER_NODE_MAX:
            raise QuotaReached(f"{called} has {STREAMS_PER_NODE_MAX} calls that it has not looked at")
        if sum(stream.called.run_id == run_id for stream in streams) >= STREAMS_PER_RUN_MAX:
            raise QuotaReached(
                f"the run has {STREAMS_PER_RUN_MAX} streams between its jobs, the most that it may have at a time"
            )
        for node in dict.fromkeys((caller, called)):
            if sum(node in stream.nodes for stream in streams) >= STREAMS_PER_NODE_MAX:
                raise QuotaReached(
                    f"{node} has {STREAMS_PER_NODE_MAX} streams to other sites, the most that a node may have at a time"
                )


def _round_of(job_id: JobId) -> int:
    return int(job_id.rsplit(".", 2)[1])


def _check_key(key: bytes) -> None:
    if len(key) != _KEY_BYTES:
        raise Malformed(f"a key has {len(key)} bytes: expected {_KEY_BYTES}")
