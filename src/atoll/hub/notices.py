"""What a change means to whoever waits: nodes for work, jobs for what they asked, people for an end.

A hub rings its own bells, and tells its replicas to ring theirs. A notice only says where to
look: who missed one looks a little later, and nothing is lost by it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from atoll.engine.limits import CANCELLATIONS_KEPT_MAX
from atoll.engine.ports import Changes
from atoll.model.work import Job, JobId, JobStatus, RunId

K = TypeVar("K")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Where there is something new."""

    run_id: RunId
    #: Nodes that have got a job.
    work: tuple[str, ...] = ()
    #: Child rounds that have ended.
    rounds: tuple[int, ...] = ()
    #: Whether child rounds may have ended without being listed.
    all_rounds: bool = False
    #: Whether the run has ended.
    ended: bool = False
    #: Nodes, and a claimed job of each that nobody waits for any more.
    cancelled: tuple[tuple[str, JobId], ...] = ()


def notice_of(changes: Changes, cancelled: tuple[Job, ...]) -> Notice:
    """What stored changes mean to whoever waits."""
    ended = changes.run.status.ended
    return Notice(
        run_id=changes.run.id,
        work=() if ended else tuple(job.served_by for job in changes.jobs if job.status is JobStatus.QUEUED),
        rounds=tuple(
            round_.number for round_ in changes.rounds if round_.parent is not None and round_.ended
        ),
        all_rounds=ended or changes.cancel_round is not None or changes.cancel_below is not None,
        ended=ended,
        cancelled=tuple((job.served_by, job.id) for job in cancelled),
    )


class Bell(asyncio.Event):
    """A bell that may also call somebody when it is rung, once."""

    def __init__(self) -> None:
        super().__init__()
        self._wake: Callable[[], None] | None = None
        #: Whether it was rung for work, and not only for what else a node is told. Who looks clears it.
        self.is_for_work = False

    def ring_for_work(self) -> None:
        """Ring it: there may be a job."""
        self.is_for_work = True
        self.set()

    def on_set(self, wake: Callable[[], None] | None) -> None:
        """Let this be called when it is rung next, instead of what was to be called."""
        self._wake = wake

    def wake(self) -> None:
        """Call who is to be called, without ringing."""
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def set(self) -> None:
        """Ring it."""
        super().set()
        self.wake()


class Bells:
    """Who waits in this process, and for what."""

    def __init__(self) -> None:
        self._work: dict[str, Bell] = {}
        #: For as long as somebody waits.
        self._rounds: WeakValueDictionary[tuple[RunId, int], asyncio.Event] = WeakValueDictionary()
        self._runs: WeakValueDictionary[RunId, asyncio.Event] = WeakValueDictionary()
        self._cancelled: dict[str, _Told] = {}
        self._anything = asyncio.Event()
        #: Are told of every run that ends.
        self.on_end: list[Callable[[RunId], None]] = []

    def ring(self, notice: Notice) -> None:
        """Wake who waits for what this notice says."""
        for node in notice.work:
            self.work(node).ring_for_work()
        for number in notice.rounds:
            self._wake_round(notice.run_id, number)
        if notice.all_rounds:
            for of, number in list(self._rounds):
                if of == notice.run_id:
                    self._wake_round(of, number)
        for node, job_id in notice.cancelled:
            self.cancelled(node).tell(job_id)
            # Who listens for a node has one bell for all that it is told.
            self.work(node).set()
        self.stir()
        for told in self.on_end if notice.ended else ():
            told(notice.run_id)
        if notice.ended and (end := self._runs.pop(notice.run_id, None)) is not None:
            end.set()

    def ring_all(self) -> None:
        """Wake everybody: notices may have been missed. Who finds nothing new waits again."""
        for bell in self._work.values():
            bell.ring_for_work()
        for run_id, number in list(self._rounds):
            self._wake_round(run_id, number)
        for run_id in list(self._runs):
            if (end := self._runs.pop(run_id, None)) is not None:
                end.set()
        self.stir()

    def stir(self) -> None:
        """Wake who waits for anything at all: something was told that no notice is about."""
        stirred, self._anything = self._anything, asyncio.Event()
        stirred.set()

    def anything(self) -> asyncio.Event:
        """Is set when something has changed. Take it before you look."""
        return self._anything

    def work(self, node: str) -> Bell:
        """Is set when there may be a job for a node; who waits for it clears it."""
        return self._work.setdefault(node, Bell())

    def round(self, run_id: RunId, number: int) -> asyncio.Event:
        """Is set when a child round may have ended. Take it before you look."""
        return _kept(self._rounds, (run_id, number))

    def run(self, run_id: RunId) -> asyncio.Event:
        """Is set when a run has ended. Take it before you look."""
        return _kept(self._runs, run_id)

    def cancelled(self, node: str) -> _Told:
        """The claimed jobs of a node that nobody waits for."""
        return self._cancelled.setdefault(node, _Told())

    def _wake_round(self, run_id: RunId, number: int) -> None:
        if (end := self._rounds.pop((run_id, number), None)) is not None:
            end.set()


class _Told:
    """Jobs that a node is told of once; of those that it never asks about, the latest."""

    def __init__(self) -> None:
        self._jobs: deque[JobId] = deque(maxlen=CANCELLATIONS_KEPT_MAX)
        self._some = asyncio.Event()

    def tell(self, job_id: JobId) -> None:
        """Add one."""
        self._jobs.append(job_id)
        self._some.set()

    def take(self) -> JobId | None:
        """One, if there is one."""
        return self._jobs.popleft() if self._jobs else None

    async def next(self) -> JobId:
        """Wait for one."""
        while not self._jobs:
            self._some.clear()
            await self._some.wait()
        return self._jobs.popleft()


def _kept(events: WeakValueDictionary[K, asyncio.Event], key: K) -> asyncio.Event:
    event = events.get(key)
    if event is None:
        event = events[key] = asyncio.Event()
    return event
