"""Sessions over whatever starts their processes, and the style that starts one for each call.

A runtime gives a `Place`, which knows how to start a process for one launch; whether that is
a cold start, a fork or something else is nothing that a session knows.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Protocol

from atoll.engine.limits import CallLimits
from atoll.engine.running import Doorway, Outlet, Reply, Request, whole
from atoll.model.errors import AlgorithmFailed, LimitReached
from atoll.runtimes.children import Streams
from atoll.runtimes.doors import Doors
from atoll.runtimes.streams import Collector, Feeder, Log
from atoll.runtimes.warm import ParentLost
from atoll.runtimes.watching import Watch

#: How Python and numpy say that there was no memory, on the last line of a traceback.
_NO_MEMORY = re.compile(r"^(\w+\.)*_?(Array)?MemoryError\b")
#: The exit status of what the system has ended for its memory.
KILLED = -signal.SIGKILL


class Running(Protocol):
    """A process that was started."""

    #: Its exit status, or minus the signal that ended it.
    ended: asyncio.Future[int]

    def kill(self) -> None:
        """End it with everything that it started; `ended` is set when that has happened."""
        ...


class Place(Protocol):
    """Where the processes of one launch run."""

    limits: CallLimits
    log: Path
    #: The folders of this machine that the processes can write to.
    writable: Sequence[Path]
    #: How the process reaches its doorway over HTTP.
    doors: Doors

    async def start(self, streams: Streams, seed: int | None, environment: Mapping[str, str]) -> Running:
        """Start a process, with these variables beside the launch's."""
        ...

    def inside(self, path: Path) -> str:
        """Where the process sees a path."""
        ...

    def memory_kills(self) -> int | None:
        """How often the system ended a process for its memory; None where that can't be told."""
        ...

    def refusals(self) -> int | None:
        """How often the system refused a process another one; None where that can't be told."""
        ...

    def members(self) -> Collection[int]:
        """The processes that are there, in this process's numbers, as far as they are known."""
        ...

    async def sweep(self) -> None:
        """End what an ended process has left, where the system doesn't do that."""
        ...

    async def offer(self, outlet: Outlet) -> None:
        """Open a further address inside; see `atoll.engine.running.Session`."""
        ...

    async def reach(self, port: int) -> int:
        """Connect to a port inside; see `atoll.engine.running.Session`."""
        ...

    async def close(self) -> None:
        """Give up what the place holds. May be called twice."""
        ...


class Seated:
    """What all styles of session share."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.watch = Watch(place)

    @property
    def address(self) -> tuple[str, int] | None:
        return self.place.doors.address

    def inside(self, path: Path) -> str:
        return self.place.inside(path)

    async def offer(self, outlet: Outlet) -> None:
        await self.place.offer(outlet)

    async def reach(self, port: int) -> int:
        return await self.place.reach(port)

    def open_log(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self.place.log, flags, 0o600)

    def check_memory(self, kills_before: int | None, exit_code: int, tail: str) -> None:
        """Report an end for want of memory as what it is, where it can be told."""
        bound = self.place.limits.memory_bytes
        if bound is None or exit_code == 0:
            return
        kills = self.place.memory_kills()
        killed = kills is not None and kills_before is not None and kills > kills_before
        lines = tail.strip().splitlines()
        if killed or (lines and _NO_MEMORY.match(lines[-1])):
            raise LimitReached(
                f"the call needed more than {bound} bytes of memory, the most that it may have, and was ended. "
                "Raise the bound, or work on the data in parts"
            )


class CallSession(Seated):
    """A process per call: the request on standard input, the reply on standard output."""

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        try:
            return await self._call(request, seed, doorway)
        except ParentLost:
            pass  # Not the call's own doing, and nothing of it is known to the caller yet.
        try:
            return await self._call(request, seed, doorway)
        except ParentLost as error:
            raise AlgorithmFailed(
                "the process that starts this algorithm's calls ended twice while one was under way; "
                "a library that the algorithm imports may have crashed it, or memory ran out"
            ) from error

    async def close(self) -> None:
        await self.place.close()

    async def _call(self, request: Request, seed: int | None, doorway: Doorway | None) -> Reply:
        kills = self.place.memory_kills()
        log = Log(self.open_log())
        doors = self.place.doors
        feeder = collector = None
        try:
            with ExitStack() as theirs:  # all that is the process's own once it was started
                their_input, our_output = os.pipe2(os.O_CLOEXEC)
                theirs.callback(os.close, their_input)
                # What small requests need is there before the process looks for it.
                feeder = Feeder(our_output, whole(request.body))
                our_input, their_output = os.pipe2(os.O_CLOEXEC)
                theirs.callback(os.close, their_output)
                collector = Collector(our_input, self.place.limits.reply_bytes, self.watch.too_much)
                door = doors.offer()
                if door is not None:
                    theirs.enter_context(door)
                doors.begin(doorway)
                streams = Streams(
                    stdin=their_input,
                    stdout=their_output,
                    stderr=log.descriptor,
                    door=None if door is None else door.fileno(),
                )
                running = await self.place.start(streams, seed, request.environment)
            self.watch.begin(running, log)
            try:
                exit_code = await self._until_ended(running)
            except ParentLost:
                if self.watch.reached is not None:
                    raise self.watch.reached from None
                self.check_memory(kills, KILLED, log.tail())
                raise
            if self.watch.reached is not None:
                raise self.watch.reached
            output = collector.finish()
            await self.watch.settle()  # the last of it may have been too much
            tail = log.tail()
            self.check_memory(kills, exit_code, tail)
            return Reply(output=output, exit_code=exit_code, log_tail=tail)
        finally:
            self.watch.end()
            doors.end()
            if feeder is not None:
                feeder.close()
            if collector is not None:
                collector.close()
            log.close()

    async def _until_ended(self, running: Running) -> int:
        """Wait for a process. Whoever stops waiting ends it, and waits for that."""
        try:
            return await asyncio.shield(running.ended)
        finally:
            if not running.ended.done():
                running.kill()
                with suppress(ParentLost):
                    await asyncio.shield(running.ended)
            await self.place.sweep()
