"""What is known of a simulation while it runs: who works, since when, and who is waited for.

Only numbers and names: nothing here draws, reads a clock or prints. `Progress` is written by
the thread that runs the simulation and read by the one that draws. A reader copies what it
walks over in one step (`tuple(…)`), which no writer can come between; a picture may then be
one event old in one place and new in another, and is right again a moment later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from atoll.model.work import Role, Seat

#: Calls of a seat, and iterations of a run, that are kept for the strip.
RECENT_MAX = 32


class Doing(Enum):
    """What a seat does in the round that is under way."""

    NOT_CALLED = "not called"  #: never called so far
    WAITS = "waits"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"  #: the run ended while it worked


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRound:
    """The round that a call belongs to."""

    step: int
    iteration: int
    role: Role


@dataclass(slots=True, kw_only=True)
class SeatProgress:
    """What is known of one seat."""

    seat: Seat
    role: Role
    #: When the calls under way began. A site that also combines may have one of each role.
    started: dict[Role, float] = field(default_factory=dict)
    #: The round of its last call.
    called: CallRound | None = None
    last_seconds: float | None = None
    sent_bytes: int = 0
    failed: bool = False
    #: Seconds of its last calls, the latest last.
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_MAX))

    def working_since(self) -> float | None:
        """When the longest of its calls under way began."""
        return min(tuple(self.started.values()), default=None)


class Progress:
    """Writes down what a watcher hears. Every method that hears costs the same at any size."""

    def __init__(self, *, sites: Sequence[Seat], steps: Sequence[str], runtime: str, now: float) -> None:
        self.steps = tuple(steps)
        self.runtime = runtime
        self.began = now
        self.ended: float | None = None
        self.round: CallRound | None = None
        self.iteration_count = 0
        self.call_count = 0
        self.sent_bytes = 0
        #: Seconds of the last iterations, the latest last.
        self.recent: deque[float] = deque(maxlen=RECENT_MAX)
        self._iteration_began = now
        self._seats = {seat: SeatProgress(seat=seat, role=Role.SITE) for seat in sites}

    def job_started(self, *, seat: Seat, role: Role, step: int, iteration: int, now: float) -> bool:
        """Write down a call; tells whether it opens an iteration."""
        known = self._seats.get(seat)
        if known is None:
            known = self._seats[seat] = SeatProgress(seat=seat, role=role)
        called, last = CallRound(step=step, iteration=iteration, role=role), self.round
        known.called = called
        known.started[role] = now
        if called == last:
            return False
        opens = last is None or (last.step, last.iteration) != (step, iteration)
        if opens:
            if last is not None:
                self.recent.append(now - self._iteration_began)
            self._iteration_began = now
            self.iteration_count += 1
        self.round = called
        return opens

    def job_ended(self, *, seat: Seat, role: Role, seconds: float, sent_bytes: int, failed: bool) -> None:
        """Write down the end of a call."""
        known = self._seats.get(seat)
        if known is None:
            known = self._seats[seat] = SeatProgress(seat=seat, role=role)
        known.started.pop(role, None)
        known.last_seconds = seconds
        known.recent.append(seconds)
        known.sent_bytes += sent_bytes
        known.failed = known.failed or failed
        self.call_count += 1
        self.sent_bytes += sent_bytes

    def seats(self) -> tuple[SeatProgress, ...]:
        """The sites in their order, then any seat that only combines."""
        return tuple(self._seats.values())

    def doing(self, seat: SeatProgress) -> Doing:
        """What a seat does in the round that is under way."""
        if seat.failed:
            return Doing.FAILED
        if seat.started:
            return Doing.WORKING if self.ended is None else Doing.STOPPED
        if seat.called is None:
            return Doing.NOT_CALLED
        return Doing.DONE if seat.called == self.round or self.ended is not None else Doing.WAITS

    def elapsed(self, now: float) -> float:
        """Seconds from the beginning until now, or until the end."""
        return (now if self.ended is None else self.ended) - self.began


def seconds_text(seconds: float) -> str:
    """``0.02 s``, ``3.4 s``, ``42 s``, ``3:05``."""
    if seconds < 0.9995:
        return f"{max(seconds, 0):.2f} s" if seconds >= 0.0095 else f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 59.5 else duration_text(seconds)


def duration_text(seconds: float) -> str:
    """``0:12``, ``12:05``, ``1:02:03``."""
    minutes, rest = divmod(int(max(seconds, 0) + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def bytes_text(count: int) -> str:
    """``0 B``, ``999 B``, ``1.2 kB``, ``34 MB``; a thousand bytes are a kB."""
    number, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if number < 999.5:
            break
        number, unit = number / 1000, larger
    return f"{number:.1f} {unit}" if unit != "B" and number < 9.95 else f"{number:.0f} {unit}"
