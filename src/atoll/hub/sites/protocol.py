"""What nodes ask of the hub: each speaks only about its own jobs, and about the runs that it is part of.

A claimed job has a lease. The node renews it with every heartbeat; who is not heard of for three of
them has lost its jobs, and another claim of them gets a higher number. Whoever speaks with an
earlier one is a ghost, and is refused.

Nothing of a node stays here beside what makes waiting cheap: which stream is its latest, and of
which runs it keeps something. A hub that starts anew learns that with the next heartbeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from atoll.engine.limits import (
    LEASE_HEARTBEATS,
    LOG_LINES_MAX,
    LOG_TOLD_BYTES_MAX,
    PROGRESS_TEXT_BYTES_MAX,
    WAIT_SECONDS_MAX,
)
from atoll.engine.ports import ChildState
from atoll.hub.blobs.service import Blobs
from atoll.hub.notices import Bell
from atoll.hub.parts import Rooms
from atoll.hub.principal import Principal
from atoll.model.errors import Malformed, NotYours, StaleEvent
from atoll.model.events import JobBroke, JobLost, JobReported, RoundGivenUp, RoundRequested
from atoll.model.work import Failure, JobId, Message, RunId, Ticket
from atoll.stores.sql import presence
from atoll.stores.sql.behalf import Behalves
from atoll.stores.sql.leases import Leases, Line, Sign
from atoll.stores.sql.presence import Facts
from atoll.transports.forms import Claim, Claimed, Heard, Heartbeat, Hello, Logs, Signal, Welcome

_LEVELS = ("info", "warning", "error")
#: Labels, dialects and runtimes that a node may name, and characters of each: all are shown to people.
_SAID_MAX, _SAID_LENGTH_MAX = 1_000, 200


class Listening:
    """A stream of what wakes a node."""

    def __init__(self, nodes: Nodes, node: Principal, bell: Bell) -> None:
        self._nodes = nodes
        self.node = node
        #: Is set when there is something to tell.
        self.bell = bell

    def signals(self) -> Sequence[Signal] | None:
        """What the node is to be told now; None where it listens elsewhere by now."""
        return self._nodes.signals(self)

    def end(self) -> None:
        """The node listens no longer."""
        self._nodes.left(self)


class Nodes:
    """The hub as its nodes see it.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        parts = rooms.parts
        self._hub = parts.hub
        self._database = parts.database
        self._runs = parts.runs
        self._now = parts.now
        self._heartbeat_seconds = parts.settings.heartbeat_seconds
        self._blobs = rooms.of(Blobs)
        self._behalves = Behalves(parts.database)
        lease_seconds = LEASE_HEARTBEATS * parts.settings.heartbeat_seconds
        self.leases = Leases(parts.database, lease_seconds=lease_seconds)
        #: The latest stream of each node; an earlier one that still waits ends when it wakes.
        self._streams: dict[str, Listening] = {}
        #: Of which runs each node keeps something, and which of those have ended.
        self._kept: dict[str, set[RunId]] = {}
        self._ended: dict[str, list[RunId]] = {}
        #: When each was heard of last, by id; written down now and then.
        self.heard_of: dict[str, float] = {}
        parts.hub.bells.on_end.append(self._run_ended)

    async def hello(self, node: Principal, hello: Hello) -> Welcome:
        """A node has come. What it doesn't work at any more can be claimed anew.

        Raises:
            Malformed: it says more of itself than people could read.
        """
        said = (hello.version, *hello.databases, *hello.dialects, *hello.runtimes)
        if len(said) > _SAID_MAX or max(map(len, said)) > _SAID_LENGTH_MAX:
            raise Malformed(
                f"the node says too much of itself: expected at most {_SAID_MAX} labels, dialects and runtimes of at "
                f"most {_SAID_LENGTH_MAX} characters each"
            )
        facts = Facts(
            version=hello.version,
            databases=hello.databases,
            dialects=hello.dialects,
            runtimes=hello.runtimes,
        )
        await presence.came(self._database, node.id, facts, self._now())
        await self._lose_others(node.name, hello.working)
        heard = await self.heartbeat(node, Heartbeat(working=hello.working, runs=hello.runs))
        return Welcome(
            node=node.name,
            heartbeat_seconds=self._heartbeat_seconds,
            stale=heard.stale,
            ended=heard.ended,
        )

    async def heartbeat(self, node: Principal, heartbeat: Heartbeat) -> Heard:
        """A node is there, and works at this."""
        now = self._now()
        self.heard_of[node.id] = now
        signs = [
            Sign(
                run_id=each.run,
                job_id=each.job,
                attempt=each.attempt,
                fraction=None if each.fraction is None else min(1.0, max(0.0, each.fraction)),
                # An algorithm says it, and one that says what no database keeps must not end a whole node.
                text=each.text.replace("\0", "").encode()[:PROGRESS_TEXT_BYTES_MAX].decode(errors="ignore"),
            )
            for each in heartbeat.working
        ]
        stale = await self.leases.renew(node.name, signs, now)
        if signs:
            self._hub.bells.stir()
        ended = await self.leases.ended(heartbeat.runs)
        self._kept[node.name] = set(heartbeat.runs) - set(ended)
        return Heard(stale=list(stale), ended=list(ended))

    def listening(self, node: Principal) -> Listening:
        """A node begins to listen. If it did before, it doesn't any more."""
        bell = self._hub.bells.work(node.name)
        mine = self._streams[node.name] = Listening(self, node, bell)
        bell.wake()
        return mine

    def signals(self, listening: Listening) -> Sequence[Signal] | None:
        """What a node is to be told now; None where its stream is not the latest."""
        node, bell = listening.node, listening.bell
        if self._streams.get(node.name) is not listening:
            return None
        self.heard_of[node.id] = self._now()
        if not bell.is_set():
            return [Signal()]
        bell.clear()
        is_for_work, bell.is_for_work = bell.is_for_work, False
        cancelled = self._hub.bells.cancelled(node.name)
        signals = []
        while (job_id := cancelled.take()) is not None:
            signals.append(Signal(cancelled=job_id))
        signals += [Signal(ended=run_id) for run_id in self._ended.pop(node.name, ())]
        if is_for_work or not signals:
            signals.append(Signal(work=True))
        return signals

    def left(self, listening: Listening) -> None:
        """A node listens no longer."""
        if self._streams.get(listening.node.name) is listening:
            del self._streams[listening.node.name]

    async def claim(self, node: Principal, claim: Claim) -> Ticket | None:
        """The next job of a node, if there is one."""
        if claim.unheard:
            await self._lose_others(node.name, claim.working)
        ticket = await self._hub.claim(node.name)
        if ticket is None:
            return None
        self._kept.setdefault(node.name, set()).add(ticket.job.run_id)
        return replace(ticket, behalf=await self._behalves.of(ticket.job.run_id))

    async def has_more(self, node: Principal) -> bool:
        """Whether there is a job for a node that it could claim now."""
        return await self._runs.next_job(node.name) is not None

    async def report(self, node: Principal, event: JobReported | JobBroke) -> None:
        """Take in how a job ended.

        Raises:
            StaleEvent: it has ended already, or was claimed anew.
            NotYours: it is another node's.
            Malformed: it names a file that was not brought.
        """
        if isinstance(event, JobReported) and event.outcome.message is not None:
            await self._check_files(event.run_id, [event.outcome.message])
        if isinstance(event, JobBroke):
            event = replace(event, failure=_short(event.failure))
        await self._hub.report(node.name, event)

    async def lost(self, node: Principal, event: JobLost) -> None:
        """A node says that it doesn't work at a job any more."""
        await self._hub.lost(node.name, event)

    async def ask(self, node: Principal, event: RoundRequested, messages: Sequence[Message]) -> int:
        """A job asks for a child round; its number."""
        await self._check_files(event.run_id, messages)
        return await self._hub.ask(node.name, event, messages)

    async def child(self, node: Principal, run_id: RunId, job_id: JobId, number: int) -> ChildState:
        """A child round of a job of this node."""
        return await self._hub.child(node.name, run_id, job_id, number)

    async def child_ended(
        self, node: Principal, run_id: RunId, job_id: JobId, number: int, seconds: float
    ) -> bool:
        """Wait for a child round to end, but not for longer than some seconds; whether it has ended."""
        # Taken before it looks: what ends meanwhile would else be waited for.
        end = self._hub.bells.round(run_id, number)
        if (await self._hub.child(node.name, run_id, job_id, number)).round.ended:
            return True
        try:
            async with asyncio.timeout(min(seconds, WAIT_SECONDS_MAX)):
                await end.wait()
        except TimeoutError:
            return False
        return (await self._hub.child(node.name, run_id, job_id, number)).round.ended

    async def give_up(self, node: Principal, event: RoundGivenUp) -> None:
        """A job waits no longer for a child round."""
        await self._hub.give_up(node.name, event)

    async def release(self, node: Principal, run_id: RunId, job_id: JobId, number: int) -> None:
        """The messages of a child round were read for the last time."""
        await self._hub.release(node.name, run_id, job_id, number)

    async def write_down(self, node: Principal, logs: Logs) -> None:
        """Keep what a node tells of its jobs.

        Raises:
            Malformed: there are too many lines, or they are of no known kind.
        """
        if len(logs.logs) > LOG_LINES_MAX:
            raise Malformed(f"{len(logs.logs)} lines were told at once: expected at most {LOG_LINES_MAX}")
        lines = []
        for each in logs.logs:
            if each.level not in _LEVELS:
                raise Malformed(
                    f"a line has the level {each.level[:20]!r}: expected one of {', '.join(_LEVELS)}"
                )
            text = each.text.replace("\0", "").encode()[:LOG_TOLD_BYTES_MAX].decode(errors="ignore")
            lines.append(Line(run_id=each.run, job_id=each.job, level=each.level, text=text))
        await self.leases.write_down(node.name, lines, self._now())
        self._hub.bells.stir()

    async def _lose_others(self, node: str, working: Sequence[Claimed]) -> None:
        """Whatever else the node has claimed, nobody works at."""
        known = {(each.job, each.attempt) for each in working}
        for claim in await self.leases.active(node):
            if (claim.job_id, claim.attempt) not in known:
                event = JobLost(run_id=claim.run_id, job_id=claim.job_id, attempt=claim.attempt)
                with suppress(StaleEvent, NotYours):  # It has ended since it was found.
                    await self._hub.lost(node, event)

    async def _check_files(self, run_id: RunId, messages: Sequence[Message]) -> None:
        """Every file was brought before the message that names it."""
        for message in messages:
            named = [*message.blobs, *([message.body_blob] if message.body_blob else [])]
            for blob in named:
                if not await self._blobs.is_there(run_id, blob):
                    raise Malformed(
                        f"message {message.id} names a file {blob.digest} of {blob.size_bytes} bytes, which was "
                        "not brought: expected each before the message that names it"
                    )

    def _run_ended(self, run_id: RunId) -> None:
        for node, kept in self._kept.items():
            if run_id in kept:
                kept.discard(run_id)
                self._ended.setdefault(node, []).append(run_id)
                self._hub.bells.work(node).set()


def _short(failure: Failure) -> Failure:
    """A failure of a length that can be shown to all who follow a run, whatever a site says."""
    return replace(
        failure,
        type=failure.type[:_SAID_LENGTH_MAX],
        message=failure.message.encode()[:LOG_TOLD_BYTES_MAX].decode(errors="ignore"),
        raised=None if failure.raised is None else failure.raised[:_SAID_LENGTH_MAX],
    )
