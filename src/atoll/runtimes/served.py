"""Sessions whose one process answers request after request over a socket.

::

    node   --- request --->            process
           <-- question or remark ---          (only where it may talk)
           --- answers to it --->
           <-- returned, or failed ---

What a process says is read when somebody waits for it, one frame at a time, so that one which
talks without end is held up, and ends with its time.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import ExitStack, suppress
from typing import Any, ClassVar

from atoll.engine.limits import LOG_TAIL_BYTES, CallLimits
from atoll.engine.running import Doorway, Head, Reply, Request, Session, Style, whole
from atoll.model.errors import AlgorithmFailed, LimitReached, ReplyInvalid
from atoll.model.work import Content, Held
from atoll.runtimes.children import Streams
from atoll.runtimes.held import HELD_BYTES_MIN, MemoryFile, open_again
from atoll.runtimes.line import Line
from atoll.runtimes.sessions import KILLED, CallSession, Place, Running, Seated
from atoll.runtimes.streams import Log, too_large
from atoll.runtimes.warm import ParentLost

#: Seconds that a process which closed its line gets to end.
_END_SECONDS = 5.0
#: Bytes of a frame's head. A function's name, the sites that it asks, a failure's frames.
_HEAD_BYTES_MAX = 1024 * 1024
#: Bytes of a head's length, which stand before it.
_PREFIX_BYTES = 4
#: Frames that a process may send before it answers: ten for each child round that a job may
#: ask for. One that only ever talks shall not fill a log until its day is over.
_FRAMES_MAX = 1_000_000
# A federation's file may hold dates, which JSON has no word for.
_write = json.JSONEncoder(default=str).encode


class _Served(Seated):
    """What both styles share: a process, its line and its log."""

    #: What a process was expected to do that ended by itself, without an answer.
    expected: ClassVar[str]

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._log: Log | None = None
        self._running: Running | None = None
        self._line: Line | None = None
        #: Why there is no process any more, for a call that would need it.
        self._gone: str | None = None

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        if self._gone is not None:
            raise AlgorithmFailed(self._gone)
        kills = self.place.memory_kills()
        try:
            if self._running is None:
                await self._start(seed)
            running, line, log = self._running, self._line, self._log
            assert running is not None
            assert line is not None
            assert log is not None
            log.mark()
            self.watch.begin(running, log)
            self.place.doors.begin(doorway)
            reply = await self._exchange(line, log, running, request, doorway)
            if reply is None:
                return await self._ended(running, log, kills)
            await self.watch.settle()
            return reply
        except BaseException:
            # Its answer would be taken for the next call's.
            await self._stop("its last call was ended")
            raise
        finally:
            self.watch.end()
            self.place.doors.end()

    async def close(self) -> None:
        try:
            await self._stop("its session was closed")
        finally:
            if self._log is not None:
                self._log.close()
            await self.place.close()

    def _line_of(self, connection: socket.socket, limits: CallLimits) -> Line:
        raise NotImplementedError

    async def _exchange(
        self, line: Line, log: Log, running: Running, request: Request, doorway: Doorway | None
    ) -> Reply | None:
        """One call; None where the process left without an answer."""
        raise NotImplementedError

    async def _start(self, seed: int | None) -> None:
        ours, theirs = socket.socketpair()
        try:
            with ExitStack() as given:  # all that is the process's own once it was started
                given.enter_context(theirs)
                nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
                given.callback(os.close, nothing)
                door = self.place.doors.offer()
                if door is not None:
                    given.enter_context(door)
                self._log = Log(self.open_log())
                streams = Streams(
                    stdin=nothing,
                    stdout=self._log.descriptor,
                    stderr=self._log.descriptor,
                    serve=theirs.fileno(),
                    door=None if door is None else door.fileno(),
                )
                self._running = await self.place.start(streams, seed, {})
        except BaseException:
            ours.close()
            raise
        self._line = self._line_of(ours, self.place.limits)
        self._running.ended.add_done_callback(self._line.finish)

    async def _ended(self, running: Running, log: Log, kills: int | None) -> Reply:
        """The process left without an answer."""
        timer = asyncio.get_running_loop().call_later(_END_SECONDS, running.kill)
        try:
            exit_code = await asyncio.shield(running.ended)
        except ParentLost as error:
            await self.watch.settle()
            self.check_memory(kills, KILLED, log.tail())
            raise AlgorithmFailed(
                "the process that this algorithm lived in was lost, and with it what it kept in memory: "
                "the machine may have run out of memory. Run it again"
            ) from error
        finally:
            timer.cancel()
        await self.watch.settle()
        tail = log.tail()
        self.check_memory(kills, exit_code, tail)
        self._gone = "the algorithm's process has ended; it can't answer another call"
        if exit_code == 0:
            raise AlgorithmFailed(
                f"the algorithm's process ended without an answer: expected {self.expected}"
            )
        return Reply(output=b"", exit_code=exit_code, log_tail=tail)

    async def _stop(self, why: str) -> None:
        if self._gone is None:
            self._gone = f"the algorithm's process can't answer another call: {why}"
        running, self._running = self._running, None
        try:
            if running is not None and not running.ended.done():
                running.kill()
                with suppress(ParentLost):
                    await asyncio.shield(running.ended)
            await self.place.sweep()
        finally:
            if self._line is not None:
                self._line.close()


class ServeSession(_Served):
    """One process that answers request after request."""

    expected = "its entry script to call coinstac.start(local, remote)"

    def _line_of(self, connection: socket.socket, limits: CallLimits) -> Line:
        # An answer begins with a byte that is not the answer's.
        return Line(connection, body_bytes_max=limits.reply_bytes, around_bytes_max=1, files=False)

    async def _exchange(
        self, line: Line, log: Log, running: Running, request: Request, doorway: Doorway | None
    ) -> Reply | None:
        await line.send([whole(request.body)])
        frame = await line.receive()
        if frame is None:
            return None
        answer, _ = frame
        if answer[:1] == b"\x00":
            return Reply(output=answer[1:], log_tail=log.tail())
        said = answer[1:].decode("utf-8", "replace")[-LOG_TAIL_BYTES:]
        return Reply(output=b"", exit_code=1, log_tail=log.tail() or said)


class TalkSession(_Served):
    """One process that answers call after call, and may put questions before it answers."""

    expected = "it to answer calls until its line is closed"

    def _line_of(self, connection: socket.socket, limits: CallLimits) -> Line:
        around = _PREFIX_BYTES + _HEAD_BYTES_MAX
        return Line(connection, body_bytes_max=limits.reply_bytes, around_bytes_max=around, files=True)

    async def _exchange(
        self, line: Line, log: Log, running: Running, request: Request, doorway: Doorway | None
    ) -> Reply | None:
        await _send(line, request.head, request.body)
        for _ in range(_FRAMES_MAX):
            frame = await line.receive()
            if frame is None:
                return None
            if self.watch.reached is not None:
                raise self.watch.reached
            head, body = self._understand(*frame)
            if head["say"] in ("returned", "failed"):
                return Reply(output=body, head=head, log_tail=log.tail())
            if not running.ended.done():  # else nobody waits for an answer
                await _while_running(running, _answer(line, doorway, head, body))
        raise LimitReached(
            f"the algorithm sent {_FRAMES_MAX} questions and remarks without an answer, the most that one call may "
            "send. Report progress less often"
        )

    def _understand(self, content: bytes, file: MemoryFile | None) -> tuple[Head, Content]:
        length = int.from_bytes(content[:_PREFIX_BYTES], "big")
        end = _PREFIX_BYTES + length
        if len(content) < _PREFIX_BYTES or end > len(content) or length > _HEAD_BYTES_MAX:
            raise ReplyInvalid(
                f"the algorithm sent a frame of {len(content)} bytes whose head should have {length}: expected a "
                f"head of at most {_HEAD_BYTES_MAX} bytes behind its length, and then the body"
            )
        if file is None:
            if len(content) - end > self.place.limits.reply_bytes:
                raise too_large(self.place.limits.reply_bytes)
            return _read(content[_PREFIX_BYTES:end]), content[end:]
        if end != len(content):
            raise ReplyInvalid(
                "the algorithm sent a frame with a body and a memory file: expected one of them"
            )
        return _read(content[_PREFIX_BYTES:end]), file


def seat(place: Place, style: Style) -> Session:
    """A session of a style at a place."""
    kinds: dict[Style, Callable[[Place], Session]] = {
        Style.CALL: CallSession,
        Style.SERVE: ServeSession,
        Style.TALK: TalkSession,
    }
    return kinds[style](place)


def _read(head: bytes) -> Head:
    """A head; that it says what kind of frame it is, is all that is looked at here."""
    try:
        document = json.loads(head)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("say"), str):
        raise ReplyInvalid(
            'the algorithm sent a frame whose head is not a JSON object with a word under "say"'
        )
    return document


async def _answer(line: Line, doorway: Doorway | None, head: Head, body: Content) -> None:
    """Have a question or a remark answered, one frame after another."""
    if doorway is None:
        raise ReplyInvalid("the algorithm asked something during a call that nobody was to be asked in")
    answers = doorway.answers(head, body)
    try:
        async for answer in answers:
            await _send(line, *answer)
    finally:
        if isinstance(answers, AsyncGenerator):
            await answers.aclose()


async def _while_running(running: Running, work: Coroutine[Any, Any, None]) -> None:
    """Do something for a process, for as long as it is there."""
    task = asyncio.ensure_future(work)
    either: set[asyncio.Future[Any]] = {task, running.ended}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
        if not task.cancelled():
            task.exception()  # It was looked at, even where this is cancelled and nobody will raise it.
    if not task.cancelled():
        task.result()


async def _send(line: Line, head: Head, body: Content) -> None:
    """Send a frame with a head. A large body goes beside it."""
    text = _write(head).encode("ascii")
    parts = [len(text).to_bytes(_PREFIX_BYTES, "big"), text]
    if isinstance(body, bytes) and len(body) < HELD_BYTES_MIN:
        await line.send([*parts, body])
        return
    held: Held = MemoryFile.of(body) if isinstance(body, bytes) else body
    descriptor = open_again(held.fileno())
    try:
        await line.send(parts, descriptor)
    finally:
        os.close(descriptor)
