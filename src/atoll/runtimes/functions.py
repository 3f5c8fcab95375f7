"""Calls functions of the SDK in this process.

A function that asks nothing is called where the event loop runs: that costs no turn of it, and
``print`` and ``breakpoint()`` work as in any program. One that may ask waits for answers that
the loop brings, and has a thread of its own. Such a thread can't be ended: a call that is
cancelled is forgotten, and its function runs on until it asks or says something, or returns.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent import futures
from contextlib import suppress
from pathlib import Path
from typing import Any

from atoll.engine.limits import LOG_TAIL_BYTES
from atoll.engine.running import Doorway, Head, Launch, Outlet, Reply, Request
from atoll.model.errors import AlgorithmFailed, ReplyInvalid, RuntimeUnavailable
from atoll.model.work import Content
from atoll.runtimes.command import source_of
from atoll.runtimes.held import map_held
from atoll.runtimes.streams import too_large

#: How long synchronous calls may keep the event loop waiting between two of them.
_PAUSE_SECONDS = 0.02

#: What the SDK raises where sites have failed.
_OF_SITES = frozenset({"SiteFailed", "TooFewSites"})

_Frame = tuple[Head, Content]
#: A frame as the SDK takes it.
_Read = tuple[dict[str, Any], Any]


class Loaded:
    """An algorithm that was loaded into this process, for all seats of a runtime.

    Args:
        source: its module, or its package's folder; or functions that are in this process already.
    """

    def __init__(self, source: Path | Sequence[Any]) -> None:
        # The SDK is of no use to who runs no functions, and takes time to import.
        from atoll_algorithm._failing import failed  # what a served process answers
        from atoll_algorithm.inline import Algorithm

        self.algorithm: Algorithm | None = None
        #: Each call's answer, and the log's words, where the algorithm can't be loaded.
        self.broken: Head = {}
        self.broken_text = ""
        #: What a function raised last.
        self.error: BaseException | None = None
        #: What was told of each seat's last failure.
        self._told: dict[str, str] = {}
        self._logs: dict[str, Path] = {}
        try:
            if isinstance(source, Path):
                self.algorithm = Algorithm.load(str(source), report=self._report)
            else:
                self.algorithm = Algorithm.of(source, report=self._report)
        # Whatever a module raises when it is imported is its failure, not ours.
        except (Exception, SystemExit) as error:
            self.error = error
            self.broken = failed(error)
            self.broken_text = "".join(traceback.format_exception(error))

    def join(self, seat: str, log: Path) -> None:
        """A seat's failures are told in this log."""
        self._logs[seat] = log
        if self.broken_text:
            _append(log, self.broken_text)

    def told(self, seat: str) -> str:
        """The end of what was told of a seat's failure since this was asked last."""
        return self._told.pop(seat, "") or self.broken_text[-LOG_TAIL_BYTES:]

    def _report(self, seat: str, error: BaseException) -> None:
        # What a central function says of a site that failed here came from this.
        if error.__cause__ is None and type(error).__name__ in _OF_SITES:
            error.__cause__ = self.error
        self.error = error
        text = "".join(traceback.format_exception(error))
        self._told[seat] = text[-LOG_TAIL_BYTES:]
        if seat in self._logs:
            _append(self._logs[seat], text)


class NoWayIn:
    """What all sessions of this process have in common: they see what it sees, and have no network of their own."""

    @property
    def address(self) -> tuple[str, int] | None:
        return None

    def inside(self, path: Path) -> str:
        return str(path)

    async def offer(self, outlet: Outlet) -> None:
        raise RuntimeUnavailable(
            f"nothing can be offered at port {outlet.port} to code that runs in Atoll's own process: it has no "
            "network of its own"
        )

    async def reach(self, port: int) -> int:
        raise RuntimeUnavailable(
            f"code that runs in Atoll's own process can't be reached at port {port}: it has no network of its own"
        )


class FunctionSession(NoWayIn):
    """One seat's calls of functions in this process."""

    def __init__(self, launch: Launch, loaded: Loaded) -> None:
        self._seat = str(launch.seat)
        self._reply_bytes_max = launch.limits.reply_bytes
        self._loaded = loaded
        loaded.join(self._seat, launch.log)

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        algorithm = self._loaded.algorithm
        if algorithm is None:
            return Reply(output=b"", head=self._loaded.broken, log_tail=self._loaded.told(self._seat))
        head, body = _with_tables(request), _readable(request.body)
        if seed is not None:
            reseed(seed)
        if algorithm.asks(body):
            answer, output = await _call_apart(lambda ask: algorithm.call(head, body, ask), doorway)
        else:
            remarks: list[_Frame] = []
            answer, output = algorithm.call(head, body, _noting(remarks))
            if doorway is not None:  # which could hear nothing while the function ran
                for remark in remarks:
                    await _all(doorway.answers(*remark))
            await let_others()
        if len(output) > self._reply_bytes_max:
            raise too_large(self._reply_bytes_max)
        tail = "" if answer["say"] == "returned" else self._loaded.told(self._seat)
        return Reply(output=output, head=answer, log_tail=tail)

    async def close(self) -> None:
        """There is no process to end, and nobody waits for a function that still runs."""


async def let_others() -> None:
    """Calls are synchronous: let signals and the view have a turn, a few times a second."""
    now = time.monotonic()
    if now > _Turns.next:
        _Turns.next = now + _PAUSE_SECONDS
        await asyncio.sleep(0)


class _Turns:
    #: When the event loop gets its next one; all seats share the loop.
    next = 0.0


def reseed(seed: int) -> None:
    """Start the generators of this process anew."""
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


def target_of(launch: Launch) -> Path:
    """The module or folder that a launch's command names.

    Raises:
        AlgorithmFailed: it names none of the algorithm's.
    """
    target = source_of(launch, launch.command[-1])
    if target is None:
        raise AlgorithmFailed(
            f"{launch.command[-1]!r} can't be loaded: expected a module or a package's folder of the algorithm's"
        )
    return target


class _Asking:
    """The way from a function's thread to the doorway, and back.

    Args:
        doorway: who answers.
    """

    def __init__(self, doorway: Doorway | None) -> None:
        self._doorway = doorway
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._pending: futures.Future[list[_Frame]] | None = None
        self._over = False
        #: What the doorway raised: the call's end, whatever the function makes of it.
        self.error: Exception | None = None

    def ask(self, head: dict[str, Any], body: bytes) -> Iterator[_Read]:
        """Put a question, in the function's thread."""
        for answer, content in self._answers(head, body):
            yield dict(answer), _readable(content)

    def close(self) -> None:
        """Nobody waits for the function any more: whatever it asks or says now fails."""
        with self._lock:
            self._over = True
            if self._pending is not None:
                self._pending.cancel()

    def _answers(self, head: dict[str, Any], body: bytes) -> list[_Frame]:
        with self._lock:
            if self._over:
                raise futures.CancelledError
            if self._doorway is None:
                self.error = ReplyInvalid(
                    "the algorithm asked something during a call that nobody was to be asked in"
                )
                raise self.error
            # All at once: each way to the other thread and back costs more than an answer.
            asking = _all(self._doorway.answers(head, body))
            self._pending = asyncio.run_coroutine_threadsafe(asking, self._loop)
        try:
            return self._pending.result()
        except Exception as error:
            self.error = error
            raise


async def _call_apart(
    call: Callable[[Callable[[dict[str, Any], bytes], Iterable[_Read]]], tuple[dict[str, Any], bytes]],
    doorway: Doorway | None,
) -> tuple[dict[str, Any], bytes]:
    """Call a function in a thread of its own."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[tuple[dict[str, Any], bytes]] = loop.create_future()
    asking = _Asking(doorway)

    def say(how: Callable[[Any], None], what: Any) -> None:
        if not ended.done():
            how(what)

    def tell(how: Callable[[Any], None], what: Any) -> None:
        with suppress(RuntimeError):  # the loop has ended, and with it who waited
            loop.call_soon_threadsafe(say, how, what)

    def work() -> None:
        try:
            answer = call(asking.ask)
        except BaseException as error:  # the top of a thread: who waits shall know
            tell(ended.set_exception, error)
        else:
            tell(ended.set_result, answer)

    # Not one of a pool: functions that wait for each other must not wait for a thread. And
    # nobody waits for one that never returns.
    threading.Thread(target=work, daemon=True).start()
    try:
        answer = await ended
    finally:
        asking.close()
    if asking.error is not None:
        raise asking.error
    return answer


def _noting(remarks: list[_Frame]) -> Callable[[dict[str, Any], bytes], Iterable[_Read]]:
    """Remember what a function says that can't ask."""

    def note(head: dict[str, Any], body: bytes) -> Iterable[_Read]:
        remarks.append((head, body))
        return ()

    return note


async def _all(frames: AsyncIterator[_Frame]) -> list[_Frame]:
    try:
        return [frame async for frame in frames]
    finally:
        if isinstance(frames, AsyncGenerator):
            await frames.aclose()


def _with_tables(request: Request) -> dict[str, Any]:
    head = dict(request.head)
    if request.tables:
        head["databases"] = [
            {**each, "table": request.tables[each["label"]]} if each["label"] in request.tables else each
            for each in head.get("databases", ())
        ]
    return head


def _readable(content: Content) -> Any:
    return content if isinstance(content, bytes) else map_held(content)


def _append(log: Path, text: str) -> None:
    with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
