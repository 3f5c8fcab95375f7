"""A session whose algorithm runs on a compute node, as its node sees it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.engine.running import Doorway, Outlet, Reply, Request, whole
from atoll.model.errors import AlgorithmFailed, JobFailed, LimitReached, ReplyInvalid, RuntimeUnavailable
from atoll.model.work import Content
from atoll.runtimes.slurm import faults
from atoll.runtimes.slurm.door import Door
from atoll.runtimes.slurm.frames import Frames, LineBrokenError, keep_alive
from atoll.runtimes.slurm.queue import Queue, SlurmSilentError
from atoll.runtimes.slurm.relay import WORDS, Relay
from atoll.runtimes.slurm.spec import Spec
from atoll.runtimes.slurm.spool import SessionFolder

#: Seconds that Slurm gets to know how a job has ended whose line broke, and between two looks.
_ENDING_SECONDS = 10.0
_LOOK_SECONDS = 0.5

#: What ends a call.
_ANSWERS = frozenset({"reply", "failed", "stopped"})
#: What a call hears: a frame, or why there is none.
_Heard = tuple[dict[str, Any], Content] | Exception


@dataclass(frozen=True, slots=True, kw_only=True)
class Berth:
    """The job of a session."""

    job: int
    queue: Queue
    folder: SessionFolder

    async def cancel(self) -> None:
        """End it. Where Slurm doesn't answer, it ends by itself: nobody speaks to it any more."""
        with suppress(SlurmSilentError):
            await self.queue.cancel(self.job)

    async def ending(self) -> JobFailed:
        """Why it has ended, as an error of the call that needed it."""
        standing = None
        with suppress(SlurmSilentError, TimeoutError):
            async with asyncio.timeout(_ENDING_SECONDS):
                while (standing := await self.queue.standing(self.job)) is not None:
                    if not standing.runs and standing.state != "COMPLETING":
                        break
                    await asyncio.sleep(_LOOK_SECONDS)
        if standing is None or standing.runs:
            state = "its connection broke"
        else:
            state = f"Slurm calls it {standing.state}"
        what = f"the algorithm's Slurm job {self.job} ended before its session was closed: {state}"
        match standing and standing.state:
            case "TIMEOUT":
                return LimitReached(f"{what}. Raise 'slurm: minutes', the time that a session may last")
            case "OUT_OF_MEMORY":
                return LimitReached(f"{what}. Raise 'limits: memory', or work on the data in parts")
            case "PREEMPTED" | "NODE_FAIL" | "BOOT_FAIL" | "CANCELLED":
                return AlgorithmFailed(f"{what}. Submit the run anew")
        return AlgorithmFailed(f"{what}. What it printed last:\n{self.folder.printed()}")


class SlurmSession:
    """See `atoll.engine.running.Session`.

    Args:
        spec: what was started.
        berth: its job.
        frames: the line to it.
        ready: what it said when it was ready.
        isolated: whether the algorithm sees only what it is shown.
    """

    def __init__(
        self, spec: Spec, berth: Berth, frames: Frames, ready: Mapping[str, Any], *, isolated: bool
    ) -> None:
        self._spec = spec
        self._berth = berth
        self._frames = frames
        self._isolated = isolated
        address = ready["address"]
        self._address = None if address is None else (str(address[0]), int(address[1]))
        self._points = {Path(source): str(target) for source, target in ready["inside"].items()}
        self._relay = Relay(frames, first=2)
        self._door = Door()
        self._outlets = list(spec.launch.outlets)
        #: Who waits for an outlet to be open, and for a connection to be made.
        self._offered: dict[int, asyncio.Future[None]] = {}
        self._reached: dict[int, asyncio.Future[None]] = {}
        self._heard: asyncio.Queue[_Heard] = asyncio.Queue()
        #: Whether a call has no answer yet. It gets one in any case, if only that it was stopped.
        self._under_way = False
        #: Why there is no algorithm any more, for a call that would need it.
        self._gone: str | None = None
        #: Whether the job has said that its session is closed; and whether it says no more.
        self._parted = False
        #: Whether a call has failed there.
        self._troubled = False
        self._over = asyncio.Event()
        self._closing: asyncio.Task[None] | None = None
        self._tell_closed: Callable[[], None] = lambda: None
        self._tasks: set[asyncio.Task[None]] = set()
        pace = spec.pace
        self._spawn(self._watch(pace.beat_seconds, pace.silent_seconds))
        self._listening = asyncio.create_task(self._listen())

    @property
    def address(self) -> tuple[str, int] | None:
        return self._address

    def inside(self, path: Path) -> str:
        """Where the algorithm sees a path: on its compute node, that is."""
        for each in dict.fromkeys((path, Path(os.path.realpath(path)))):
            fitting = [point for point in self._points if each.is_relative_to(point)]
            if fitting:
                point = max(fitting, key=lambda one: len(one.parts))
                return os.path.normpath(os.path.join(self._points[point], each.relative_to(point)))
        if self._isolated:
            raise ValueError(f"{path} is not shown to the algorithm of {self._spec.launch.seat}")
        return str(path)

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        if self._gone is not None:
            raise AlgorithmFailed(self._gone)
        words = {
            "say": "call",
            "head": request.head,
            "environment": dict(request.environment),
            "seed": seed,
            "doorway": doorway is not None,
        }
        self._heard = asyncio.Queue()
        self._under_way = True
        if doorway is not None and self._address is not None:
            self._door.open(doorway)
        try:
            await self._frames.send(words, request.body)
            return await self._converse(doorway)
        except LineBrokenError:
            error = await self._berth.ending()
            self._gone = f"the algorithm can't answer another call: {error}"
            raise error from None
        except BaseException:
            if self._under_way:
                await self._stop()
            raise
        finally:
            self._door.shut()

    def when_closed(self, tell: Callable[[], None]) -> None:
        """Have this told when the session is closed."""
        self._tell_closed = tell

    async def offer(self, outlet: Outlet) -> None:
        number = len(self._outlets)
        self._outlets.append(outlet)
        words = {"host": outlet.host, "port": outlet.port, "alias": outlet.alias}
        await self._ask({"say": "offer", "outlet": number, **words}, self._offered, number)

    async def reach(self, port: int) -> int:
        ours, theirs = socket.socketpair()
        number = self._relay.reserve()
        self._relay.accept(number, theirs)
        try:
            await self._ask({"say": "reach", "stream": number, "port": port}, self._reached, number)
        except BaseException:
            ours.close()
            self._relay.drop(number)
            raise
        return ours.detach()

    async def close(self) -> None:
        if self._closing is None:
            self._gone = "the algorithm can't answer another call: its session was closed"
            self._closing = asyncio.create_task(self._close())
        # Whoever is cancelled meanwhile has it closed all the same.
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        pace = self._spec.pace
        try:
            async with asyncio.timeout(pace.end_seconds):
                await self._frames.send({"say": "close"})
                await self._over.wait()
        except (LineBrokenError, TimeoutError):
            pass  # Slurm ends it.
        finally:
            if not self._parted:
                await self._berth.cancel()
            # First, as nothing that is sent now may be taken any more.
            await self._frames.close()
            await self._relay.close()
            tasks = [self._listening, *self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._lose(LineBrokenError("its session was closed"))
            self._door.close()
            self._berth.folder.remove(failed=not self._parted or self._troubled)
            self._tell_closed()

    async def _converse(self, doorway: Doorway | None) -> Reply:
        """Answer what a call asks, until it has been answered itself."""
        answering: asyncio.Task[None] | None = None
        try:
            while True:
                heard = await self._heard.get()
                if isinstance(heard, Exception):
                    raise heard
                head, body = heard
                self._under_way = head["say"] not in _ANSWERS
                match head["say"]:
                    case "question":
                        answering = asyncio.create_task(self._answer(doorway, head, body))
                    case "enough" if answering is not None:
                        answering.cancel()
                    case "reply":
                        return Reply(
                            output=body,
                            head=head["head"],
                            exit_code=head["exit_code"],
                            log_tail=head["log_tail"],
                        )
                    case "failed":
                        self._troubled = True
                        raise faults.heard(head["error"])
                    case "stopped":
                        raise LineBrokenError("the call was ended on its compute node")
        finally:
            if answering is not None:
                answering.cancel()
                await asyncio.gather(answering, return_exceptions=True)

    async def _answer(self, doorway: Doorway | None, head: Mapping[str, Any], body: Content) -> None:
        """Have a question or a remark answered."""
        number = head["question"]
        try:
            answers = _answers(doorway, head["head"], body)
            try:
                async for said, content in answers:
                    await self._frames.send({"say": "answer", "question": number, "head": said}, content)
            finally:
                if isinstance(answers, AsyncGenerator):
                    await answers.aclose()
            await self._frames.send({"say": "answered", "question": number})
        except Exception as error:  # The call raises it, as if it had asked here.
            self._heard.put_nowait(error)

    async def _stop(self) -> None:
        """End a call of which nobody wants the answer, with what it has started."""
        try:
            async with asyncio.timeout(self._spec.pace.end_seconds):
                await self._frames.send({"say": "stop"})
                while True:
                    heard = await self._heard.get()
                    if isinstance(heard, LineBrokenError):
                        raise heard
                    if not isinstance(heard, Exception) and heard[0]["say"] in _ANSWERS:
                        return
        except (LineBrokenError, TimeoutError):
            self._gone = (
                "the algorithm can't answer another call: its last call had to be ended with its Slurm job"
            )
            await self._berth.cancel()

    async def _ask(
        self, words: Mapping[str, Any], waiting: dict[int, asyncio.Future[None]], number: int
    ) -> None:
        answered = waiting[number] = asyncio.get_running_loop().create_future()
        try:
            if self._gone is not None:
                raise RuntimeUnavailable(self._gone)
            await self._frames.send(words)
            await answered
        except LineBrokenError as error:
            raise RuntimeUnavailable(
                f"the algorithm's Slurm job {self._berth.job} is gone: {error}"
            ) from None
        finally:
            del waiting[number]

    async def _watch(self, beat_seconds: float, silent_seconds: float) -> None:
        await keep_alive(self._frames, beat_seconds=beat_seconds, silent_seconds=silent_seconds)
        await self._frames.close()  # Whoever listens hears of it.

    async def _listen(self) -> None:
        """Hear the job. Nothing is sent from here: two that only send would wait for each other."""
        try:
            while True:
                heard = await self._frames.receive()
                try:
                    self._hear(*heard)
                except (LookupError, TypeError, ValueError, AttributeError):
                    # What runs where nothing keeps it in may speak for the job.
                    raise LineBrokenError("the job said what none says") from None
        except LineBrokenError as error:
            self._lose(error)
            self._over.set()
            await self._frames.close()

    def _lose(self, error: LineBrokenError) -> None:
        """Nobody answers a call, opens an outlet or makes a connection any more."""
        self._heard.put_nowait(error)
        for future in [*self._offered.values(), *self._reached.values()]:
            if not future.done():
                future.set_exception(error)

    def _hear(self, head: dict[str, Any], body: Content) -> None:
        match head["say"]:
            case word if word in WORDS:
                self._relay.hear(head, whole(body))
            case "open":
                self._opened(head)
            case "offered":
                _settle(self._offered.get(head["outlet"]), head)
            case "reached":
                _settle(self._reached.get(head["stream"]), head)
                if "error" in head:
                    self._relay.drop(head["stream"])
                elif head["stream"] not in self._reached:  # Who asked for it has left.
                    self._spawn(self._relay.refuse(head["stream"]))
            case "closed":
                self._parted = True
                self._over.set()
            case "question" | "enough" | "reply" | "failed" | "stopped":
                self._heard.put_nowait((head, body))
            case _:
                pass  # A sign of life.

    def _opened(self, head: Mapping[str, Any]) -> None:
        """The algorithm has connected to its doorway, or to an outlet."""
        number = head["stream"]
        if head["to"] == "outlet":
            ours, theirs = socket.socketpair()
            self._relay.accept(number, theirs)
            self._outlets[head["outlet"]].take(ours.detach())
            return
        connection = self._door.connect()
        if connection is not None:
            self._relay.accept(number, connection)
        else:
            self._spawn(self._relay.refuse(number))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _settle(future: asyncio.Future[None] | None, head: Mapping[str, Any]) -> None:
    if future is None or future.done():
        return
    if "error" in head:
        future.set_exception(faults.heard(head["error"]))
    else:
        future.set_result(None)


def _answers(
    doorway: Doorway | None, head: Mapping[str, Any], body: Content
) -> AsyncIterator[tuple[Mapping[str, Any], Content]]:
    if doorway is None:
        raise ReplyInvalid("the algorithm asked something during a call that nobody was to be asked in")
    return doorway.answers(head, body)
