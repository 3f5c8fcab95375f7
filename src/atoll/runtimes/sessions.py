"""The two styles of session, over whatever starts their processes.

A runtime gives a `Seat`, which knows how to start a process for one launch; whether that is
a cold start, a fork or something else is nothing that a session knows.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from atoll.engine.limits import LOG_TAIL_BYTES, CallLimits
from atoll.engine.running import Doorway, Reply, Request, whole
from atoll.model.errors import AlgorithmFailed, LimitReached
from atoll.runtimes.children import Streams
from atoll.runtimes.streams import Collector, Feeder, Log
from atoll.runtimes.warm import ParentLost

#: Seconds that a served process which closed its line gets to end.
_END_SECONDS = 5.0
#: How Python and numpy say that there was no memory, on the last line of a traceback.
_NO_MEMORY = re.compile(r"^(\w+\.)*_?(Array)?MemoryError\b")


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
    #: The host and port at which the process reaches its doorway, where it may.
    address: tuple[str, int] | None

    async def start(self, streams: Streams, seed: int | None, environment: Mapping[str, str]) -> Running:
        """Start a process, with these variables beside the launch's."""
        ...

    def inside(self, path: Path) -> str:
        """Where the process sees a path."""
        ...

    def memory_kills(self) -> int | None:
        """How often the system ended a process for its memory; None where that can't be told."""
        ...

    async def close(self) -> None:
        """Give up what the place holds. May be called twice."""
        ...


class _Watch:
    """Ends a process that goes beyond a bound, and remembers which."""

    def __init__(self, limits: CallLimits) -> None:
        self._limits = limits
        self._running: Running | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.reached: LimitReached | None = None

    def begin(self, running: Running) -> None:
        """A call of this process begins."""
        self._running = running
        self.reached = None
        self._timer = asyncio.get_running_loop().call_later(self._limits.seconds, self._too_long)

    def end(self) -> None:
        """The call has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def too_much(self) -> None:
        """The answer is larger than it may be."""
        self._stop(
            f"the answer has more than {self._limits.reply_bytes} bytes, the most that one call may answer, and "
            "the call was ended. Write large results to the output or transfer directory"
        )

    def _too_long(self) -> None:
        self._stop(
            f"the call took longer than {self._limits.seconds:g} seconds, the most that one call may take, and was "
            "ended. Raise the bound, or do less in one call"
        )

    def _stop(self, sentence: str) -> None:
        if self.reached is None and self._running is not None:
            self.reached = LimitReached(sentence)
            self._running.kill()


class _Session:
    """What both styles share."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._watch = _Watch(place.limits)

    @property
    def address(self) -> tuple[str, int] | None:
        return self._place.address

    def inside(self, path: Path) -> str:
        return self._place.inside(path)

    def _open_log(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._place.log, flags, 0o600)

    def _check_memory(self, kills_before: int | None, exit_code: int, tail: str) -> None:
        """Report an end for want of memory as what it is, where it can be told."""
        bound = self._place.limits.memory_bytes
        if bound is None or exit_code == 0:
            return
        kills = self._place.memory_kills()
        killed = kills is not None and kills_before is not None and kills > kills_before
        lines = tail.strip().splitlines()
        if killed or (lines and _NO_MEMORY.match(lines[-1])):
            raise LimitReached(
                f"the call needed more than {bound} bytes of memory, the most that it may have, and was ended. "
                "Raise the bound, or work on the data in parts"
            )


class CallSession(_Session):
    """A process per call: the request on standard input, the reply on standard output."""

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        try:
            return await self._call(request, seed)
        except ParentLost:
            pass  # Not the call's own doing, and nothing of it is known to the caller yet.
        try:
            return await self._call(request, seed)
        except ParentLost as error:
            raise AlgorithmFailed(
                "the process that starts this algorithm's calls ended twice while one was under way; "
                "a library that the algorithm imports may have crashed it, or memory ran out"
            ) from error

    async def close(self) -> None:
        await self._place.close()

    async def _call(self, request: Request, seed: int | None) -> Reply:
        log = Log(self._open_log())
        kills = self._place.memory_kills()
        feeder = collector = None
        try:
            their_input, our_output = os.pipe2(os.O_CLOEXEC)
            our_input, their_output = os.pipe2(os.O_CLOEXEC)
            # What small requests need is there before the process looks for it.
            feeder = Feeder(our_output, whole(request.body))
            collector = Collector(our_input, self._place.limits.reply_bytes, self._watch.too_much)
            streams = Streams(stdin=their_input, stdout=their_output, stderr=log.descriptor)
            try:
                running = await self._place.start(streams, seed, request.environment)
            finally:
                os.close(their_input)
                os.close(their_output)
            self._watch.begin(running)
            exit_code = await _until_ended(running)
            if self._watch.reached is not None:
                raise self._watch.reached
            output = collector.finish()
            if self._watch.reached is not None:  # the last of it was too much
                raise self._watch.reached
            tail = log.tail()
            self._check_memory(kills, exit_code, tail)
            return Reply(output=output, exit_code=exit_code, log_tail=tail)
        finally:
            self._watch.end()
            if feeder is not None:
                feeder.close()
            if collector is not None:
                collector.close()
            log.close()


async def _until_ended(running: Running) -> int:
    """Wait for a process. Whoever stops waiting ends it, and waits for that."""
    try:
        return await asyncio.shield(running.ended)
    finally:
        if not running.ended.done():
            running.kill()
            with suppress(ParentLost):
                await asyncio.shield(running.ended)


class ServeSession(_Session):
    """One process that answers request after request over a socket."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._log: Log | None = None
        self._running: Running | None = None
        self._frames: Frames | None = None
        #: Why there is no process any more, for a call that would need it.
        self._gone: str | None = None

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        if self._gone is not None:
            raise AlgorithmFailed(self._gone)
        kills = self._place.memory_kills()
        try:
            if self._running is None:
                await self._start(seed)
            assert self._running is not None
            assert self._frames is not None
            assert self._log is not None
            self._log.mark()
            self._watch.begin(self._running)
            answer = await self._frames.exchange(whole(request.body))
            if answer is None:
                return await self._ended(self._running, kills)
            self._watch.end()
            if answer[:1] == b"\x00":
                return Reply(output=answer[1:], log_tail=self._log.tail())
            said = answer[1:].decode("utf-8", "replace")[-LOG_TAIL_BYTES:]
            return Reply(output=b"", exit_code=1, log_tail=self._log.tail() or said)
        except BaseException:
            # Its answer would be taken for the next call's.
            await self._stop("its last call was ended")
            raise
        finally:
            self._watch.end()

    async def close(self) -> None:
        await self._stop("its session was closed")
        if self._log is not None:
            self._log.close()
        await self._place.close()

    async def _start(self, seed: int | None) -> None:
        ours, theirs = socket.socketpair()
        self._log = Log(self._open_log())
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            descriptor = self._log.descriptor
            streams = Streams(stdin=nothing, stdout=descriptor, stderr=descriptor, serve=theirs.fileno())
            self._running = await self._place.start(streams, seed, {})
            self._frames = Frames(ours, self._place.limits.reply_bytes, self._watch.too_much)
            self._running.ended.add_done_callback(self._frames.finish)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(nothing)

    async def _ended(self, running: Running, kills: int | None) -> Reply:
        """The process left without an answer."""
        timer = asyncio.get_running_loop().call_later(_END_SECONDS, running.kill)
        try:
            exit_code = await asyncio.shield(running.ended)
        except ParentLost as error:
            raise AlgorithmFailed(
                "the process that this algorithm lived in was lost, and with it what it kept in memory: "
                "the machine may have run out of memory. Run it again"
            ) from error
        finally:
            timer.cancel()
        if self._watch.reached is not None:
            raise self._watch.reached
        assert self._log is not None
        tail = self._log.tail()
        self._check_memory(kills, exit_code, tail)
        self._gone = "the algorithm's process has ended; it can't answer another call"
        if exit_code == 0:
            raise AlgorithmFailed(
                "the algorithm's process ended without an answer: expected its entry script to call "
                "coinstac.start(local, remote)"
            )
        return Reply(output=b"", exit_code=exit_code, log_tail=tail)

    async def _stop(self, why: str) -> None:
        if self._gone is None:
            self._gone = f"the algorithm's process can't answer another call: {why}"
        running, self._running = self._running, None
        if running is not None and not running.ended.done():
            running.kill()
            with suppress(ParentLost):
                await asyncio.shield(running.ended)
        if self._frames is not None:
            self._frames.close()


class Frames:
    """Requests and answers over a socket, each behind its length in eight bytes."""

    def __init__(self, connection: socket.socket, bound: int, exceed: Callable[[], None]) -> None:
        self._connection = connection
        #: An answer begins with a byte that is not the answer's.
        self._bound = bound + 1
        self._exceed = exceed
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[bytes | None] | None = None
        self._rest: list[memoryview] = []
        self._head = bytearray()
        self._body: bytearray | None = None
        self._filled = 0
        self._open = True
        connection.setblocking(False)
        self._loop.add_reader(connection, self._read)

    async def exchange(self, request: bytes) -> bytes | None:
        """Send a request; its answer, or None where the process has gone."""
        if not self._open:
            return None
        self._answer = self._loop.create_future()
        self._rest = [memoryview(len(request).to_bytes(8, "big")), memoryview(request)]
        self._write()
        if self._rest:
            self._loop.add_writer(self._connection, self._write)
        return await self._answer

    def finish(self, _ended: object = None) -> None:
        """The process has ended: take what it still said."""
        while self._open and self._read():
            pass
        self.close()

    def close(self) -> None:
        """Close the line; who waits for an answer gets None."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._connection)
            self._loop.remove_writer(self._connection)
            self._connection.close()
            self._settle(None)

    def _write(self) -> None:
        try:
            while self._rest:
                count = self._connection.sendmsg(self._rest)
                while self._rest and count >= len(self._rest[0]):
                    count -= len(self._rest.pop(0))
                if count:
                    self._rest[0] = self._rest[0][count:]
        except BlockingIOError:
            return
        except OSError:
            self._rest = []  # the reading side finds out what happened
        self._loop.remove_writer(self._connection)

    def _read(self) -> bool:
        """Read once; whether there may be more."""
        try:
            if self._body is None:
                piece = self._connection.recv(8 - len(self._head))
                count = len(piece)
                self._head += piece
            else:
                count = self._connection.recv_into(memoryview(self._body)[self._filled :])
                self._filled += count
        except BlockingIOError:
            return False
        except OSError:
            count = 0
        if count == 0:
            self.close()
            return False
        if self._body is None and len(self._head) == 8:
            size = int.from_bytes(self._head, "big")
            if size > self._bound:
                self._exceed()
                self.close()
                return False
            self._body, self._filled = bytearray(size), 0
            self._head.clear()
            return self._read() if size else True
        if self._body is not None and self._filled == len(self._body):
            body, self._body = self._body, None
            self._settle(bytes(body))
        return True

    def _settle(self, answer: bytes | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)
