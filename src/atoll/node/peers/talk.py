"""One running job, as it talks to others of its run. All that it began ends with its call."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Self

from atoll.engine.limits import STREAM_PIECE_BYTES, STREAMS_PER_NODE_MAX
from atoll.engine.peers import Address, Announced, Knock, Peer, PeerLink, Port, Standing
from atoll.engine.running import Session
from atoll.model.errors import (
    AtollError,
    HubUnreachable,
    NotAllowed,
    RuntimeUnavailable,
    StreamBroken,
    TooMany,
)
from atoll.model.work import JobId, Ticket
from atoll.node.peers.line import carry
from atoll.node.peers.outlets import Outlets
from atoll.runtimes.outlets import Shared
from atoll.transports.plug import Plug

_LOG = logging.getLogger(__name__)
#: Where an algorithm finds itself.
_SELF = "127.0.0.1"
#: Seconds before a job is announced anew, where the hub was lost; and at most.
_AGAIN_SECONDS, _AGAIN_SECONDS_MAX = 1.0, 30.0
#: Seconds between two looks whether the algorithm listens by now.
_LOOK_SECONDS = 0.05


class Talk:
    """What one job says to others, and they to it.

    Args:
        link: the hub.
        ticket: the job.
        ports: at which it listens.
        session: runs it.
        outlets: the addresses that the session has.
        patience_seconds: how long a call of another's waits for the algorithm to listen.
        say: is told a sentence for the seat's log.
        refused: is told a sentence for whoever started the run.
    """

    def __init__(
        self,
        link: PeerLink,
        ticket: Ticket,
        ports: Sequence[Port],
        *,
        session: Session,
        outlets: Outlets,
        patience_seconds: float,
        say: Callable[[str], None],
        refused: Callable[[str], None],
    ) -> None:
        self._link = link
        self._ticket = ticket
        self._ports = tuple(ports)
        self._session = session
        self._outlets = outlets
        self._patience_seconds = patience_seconds
        self._say = say
        self._refused = refused
        job = ticket.job
        self._standing = Standing(run_id=job.run_id, job_id=job.id, attempt=job.attempt or None)
        self._tasks: set[asyncio.Task[None]] = set()
        #: Is set when others know of its ports, or never will.
        self._known = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._outlets.take = self._take
        self._go_on(self._be_known)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._outlets.take = None
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def addresses(self) -> list[Address]:
        """Where the algorithm finds the ports of its run's jobs, its own among them.

        Raises:
            LimitReached: there are too many.
            RuntimeUnavailable: its runtime can't give it any.
        """
        # So that a job which asks for its own is told of them.
        await self._known.wait()
        try:
            peers = await self._link.peers(self._standing)
        except NotAllowed as error:
            self._refused(str(error))
            return []
        found = []
        for peer in sorted(peers, key=self._place):
            for port in peer.ports:
                host, number = await self._address(peer, port)
                found.append(Address(host=host, port=number, label=port.label, peer=peer))
        return found

    def _place(self, peer: Peer) -> tuple[int, int]:
        sites = self._ticket.sites
        return peer.round_number, sites.index(peer.seat) if peer.seat in sites else len(sites)

    async def _address(self, peer: Peer, port: Port) -> tuple[str, int]:
        if peer.job_id == self._ticket.job.id:
            return _SELF, port.number
        return await self._outlets.address(peer.job_id, port.number)

    # --- Calls of others ----------------------------------------------------------------------

    async def _be_known(self) -> None:
        try:
            await self._take_calls()
        finally:
            self._known.set()  # However it ended, the algorithm waits for it no longer.

    async def _take_calls(self) -> None:
        pause = _AGAIN_SECONDS
        while True:
            try:
                announced = await self._link.announce(self._standing, self._ports)
            except (HubUnreachable, TooMany) as error:
                self._say(f"others of the run can't reach this job now; it is tried again: {error}")
                self._known.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, _AGAIN_SECONDS_MAX)
                continue
            except AtollError as error:
                self._say(f"others of the run can't reach this job: {error}")
                return
            pause = _AGAIN_SECONDS
            self._known.set()
            try:
                while True:
                    knock = await announced.knock()
                    if len(self._tasks) > STREAMS_PER_NODE_MAX:  # more than a hub lets others begin
                        await announced.refuse(knock.stream, "there are too many connections")
                        continue
                    self._go_on(partial(self._answer, announced, knock))
            except HubUnreachable:
                await asyncio.sleep(pause)
            except AtollError:
                return  # The job has ended, whatever its node thinks.
            finally:
                await announced.close()

    async def _answer(self, announced: Announced, knock: Knock) -> None:
        # Imported here: it comes with the extra `node`, and few algorithms talk to others.
        from atoll.transports.stream_seal import Between, Keys

        try:
            plug = await self._plugged(await self._reach(knock.port))
        except (OSError, AtollError) as error:
            reason = "nobody listens there" if isinstance(error, OSError) else str(error)
            await announced.refuse(knock.stream, f"at port {knock.port}, {reason}")
            return
        try:
            keys = Keys()
            between = Between(
                run_id=self._standing.run_id,
                caller=knock.job_id,
                called=self._standing.job_id,
                port=knock.port,
            )
            sealed = keys.agree(knock.key, between, called=True)
            channel = await self._link.answer(self._standing, knock.stream, keys.public)
        except BaseException:
            plug.reset()
            raise
        await carry(plug, channel, *sealed)

    async def _reach(self, port: int) -> int:
        """Connect to the algorithm. One that is about to listen is waited for."""
        if port not in {each.number for each in self._ports}:
            raise ConnectionRefusedError
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_seconds
        while True:
            try:
                return await self._session.reach(port)
            except (OSError, RuntimeUnavailable):
                if loop.time() >= until:
                    raise
            await asyncio.sleep(_LOOK_SECONDS)

    # --- Calls of the algorithm's -------------------------------------------------------------

    def _take(self, to: JobId, port: int, descriptor: int) -> None:
        """Take over a connection that the algorithm has made."""
        if len(self._tasks) > STREAMS_PER_NODE_MAX:
            os.close(descriptor)
            self._say(
                f"the algorithm has {STREAMS_PER_NODE_MAX} connections, the most that it may have at a time"
            )
            return
        self._go_on(partial(self._call, to, port, _Held(descriptor)))

    async def _call(self, to: JobId, port: int, held: _Held) -> None:
        # Imported here: see above.
        from atoll.transports.stream_seal import Between, Keys

        try:
            plug = await self._plugged(held.give())
        finally:
            held.close()
        try:
            keys = Keys()
            channel, theirs = await self._link.connect(self._standing, to, port, keys.public)
        except BaseException:
            plug.reset()
            raise
        between = Between(run_id=self._standing.run_id, caller=self._standing.job_id, called=to, port=port)
        try:
            sealed = keys.agree(theirs, between, called=False)
        except StreamBroken:
            plug.reset()
            await channel.close()
            raise
        await carry(plug, channel, *sealed)

    async def _plugged(self, descriptor: int) -> Plug:
        return await Plug.of(descriptor, read_bytes=STREAM_PIECE_BYTES, kind=Shared)

    def _go_on(self, work: Callable[[], Awaitable[None]]) -> None:
        async def watched() -> None:
            try:
                await work()
            except AtollError as error:
                self._say(f"a connection to another job of the run has broken: {error}")
            except OSError:
                pass  # The algorithm itself has broken it off.
            except Exception:  # A node outlives its mistakes, and its operator is told.
                _LOG.exception("a connection of job %s to another failed", self._standing.job_id)

        task = asyncio.create_task(watched())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Held:
    """A descriptor that is closed, whether or not somebody comes to take it over."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def give(self) -> int:
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor

    def close(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        # A task that is cancelled before its first step never comes to its `finally`.
        self.close()
