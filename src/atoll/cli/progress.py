"""What is known of a simulation while it runs: who works, since when, and who is waited for.

Only numbers and names: nothing here draws, reads a clock or prints. `Progress` is written by
the thread that runs the simulation and read by the one that draws. A reader copies what it
walks over in one step (`tuple(…)`), which no writer can come between; a picture may then be
one event old in one place and new in another, and is right again a moment later.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from atoll.cli.calls import Asking, ChildRound, Part
from atoll.cli.escape import escape
from atoll.model.work import Role, Seat

#: Calls of a seat, and iterations of a run, that are kept for the strip.
RECENT_MAX = 32
#: Functions at seats whose failures are counted apart.
_FAILURES_MAX = 1_000
#: Characters of what a call says of itself.
_TEXT_MAX = 200
#: Characters of why a call failed.
_REASON_MAX = 1_000


class Doing(Enum):
    """What a seat does in the round that is under way."""

    NOT_CALLED = "not called"  #: never called so far
    WAITS = "waits"
    WORKING = "working"
    ASKS = "asks"  #: its only call waits for calls that it has asked for
    DONE = "done"
    FAILED = "failed"
    STOPPED = "stopped"  #: the run, or who asked for it, waited no longer while it worked


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRound:
    """The main round that a call belongs to."""

    step: int
    iteration: int
    role: Role


@dataclass(slots=True, kw_only=True)
class Call:
    """A call under way."""

    #: The function that is called; empty in a computation that has no functions.
    name: str
    began: float
    #: The child round that it is of; None in a main round.
    round: ChildRound | None
    #: What it has asked for, if it has.
    asking: Asking | None = None
    fraction: float | None = None
    text: str = ""

    @property
    def waits(self) -> bool:
        """Whether it waits for calls that it has asked for."""
        return self.asking is not None and bool(self.asking.open)


@dataclass(slots=True, kw_only=True)
class SeatProgress:
    """What is known of one seat."""

    seat: Seat
    role: Role
    #: The calls under way, by the number of their round. A site that combines may have a call
    #: that waits and one that works, and one that was asked for may ask in its turn.
    calls: dict[int, Call] = field(default_factory=dict)
    #: Child rounds that call it and have not begun here.
    queued: int = 0
    #: The main round of its last call.
    called: CallRound | None = None
    last_seconds: float | None = None
    sent_bytes: int = 0
    #: Whether its last call failed, or is waited for no longer.
    failed: bool = False
    given_up: bool = False
    #: Seconds of its last calls, the latest last.
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT_MAX))

    def at_work(self) -> Call | None:
        """The call that works and not only waits: the longest, if there are several."""
        return min(
            (call for call in tuple(self.calls.values()) if not call.waits),
            key=lambda call: call.began,
            default=None,
        )

    def busy_since(self) -> float | None:
        """When the call at work began; if all wait, the longest of them."""
        call = self.at_work()
        return call.began if call else min((call.began for call in tuple(self.calls.values())), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unanswered:
    """A seat that a function asked and got no answer from."""

    seat: Seat
    sentence: str
    #: Why, the last time; empty where that isn't known.
    reason: str = ""


class Progress:
    """Writes down what a watcher hears. Every method that hears costs the same at any size.

    Only `asked` and `answered` look at every seat of their round.
    """

    def __init__(
        self,
        *,
        sites: Sequence[Seat],
        steps: Sequence[str],
        runtime: str,
        now: float,
        iterates: bool = True,
    ) -> None:
        """Begin.

        Args:
            sites: their names, in order.
            steps: the names of the steps.
            runtime: how code is run.
            now: the time.
            iterates: whether somebody counts iterations: a function is called once.
        """
        self.iterates = iterates
        self.steps = tuple(steps)
        self.runtime = runtime
        self.began = now
        self.ended: float | None = None
        self.round: CallRound | None = None
        self.iteration_count = 0
        self.call_count = 0
        self.sent_bytes = 0
        #: Child rounds that were asked for, by whomever.
        self.asked_count = 0
        #: Whether any call has told how far it is.
        self.told = False
        #: Seconds of the last iterations, or of the last child rounds; the latest last.
        self.recent: deque[float] = deque(maxlen=RECENT_MAX)
        #: The calls of the main round that have asked, in the order in which they first did.
        self.askers: dict[Seat, Asking] = {}
        #: Calls of child rounds that failed, or were given up, by function and seat.
        self.failures: Counter[tuple[str, Seat]] = Counter()
        self.given_up: Counter[tuple[str, Seat]] = Counter()
        self._reasons: dict[tuple[str, Seat], str] = {}
        self._iteration_began = now
        self._main_number = -1
        self._rounds: dict[int, tuple[Asking, ChildRound]] = {}
        self._seats = {seat: SeatProgress(seat=seat, role=Role.SITE) for seat in sites}

    def asked(
        self, *, number: int, name: str, asker: Seat, within: int, seats: Sequence[Seat], now: float
    ) -> None:
        """Write down that a call waits for others."""
        known = self._seat(asker, Role.SITE)
        call = known.calls.get(within)
        if call is None:  # It has ended, or nobody saw it begin.
            call = Call(name="", began=now, round=None)
        if call.asking is None:
            call.asking = Asking(name=call.name, seat=asker, began=call.began)
            call.asking.fraction, call.asking.text = call.fraction, call.text
            askers = self.askers if call.round is None else call.round.askers
            askers[asker] = call.asking
        round_ = call.asking.begin(number=number, name=name, seats=seats, now=now)
        self._rounds[number] = (call.asking, round_)
        self.asked_count += 1
        for seat in seats:
            self._seat(seat, Role.SITE).queued += 1

    def answered(self, *, number: int, now: float) -> None:
        """Write down that a child round has ended, or is waited for no longer."""
        asking, round_ = self._rounds.pop(number, (None, None))
        if asking is None or round_ is None:
            return
        for seat, part in tuple(round_.parts.items()):
            if part is Part.QUEUED:
                self._seat(seat, Role.SITE).queued -= 1
            elif part is Part.WORKING:
                known = self._seat(seat, Role.SITE)
                known.calls.pop(number, None)
                known.given_up = True
            if part in (Part.QUEUED, Part.WORKING):
                self._count(self.given_up, round_.name, seat)
        asking.end(round_, now)
        self.recent.append(now - round_.began)

    def job_started(
        self, *, seat: Seat, role: Role, step: int, iteration: int, number: int, now: float
    ) -> None:
        """Write down a call."""
        known = self._seat(seat, role)
        known.failed = known.given_up = False
        _, child = self._rounds.get(number, (None, None))
        if child is not None:
            child.move(seat, Part.WORKING)
            known.queued -= 1
            known.called = self.round
            known.calls[number] = Call(name=child.name, began=now, round=child)
            return
        if number != self._main_number:
            self._main_number = number
            self.askers = {}
        name = self.steps[step] if step < len(self.steps) else ""
        known.calls[number] = Call(name=name, began=now, round=None)
        called, last = CallRound(step=step, iteration=iteration, role=role), self.round
        known.called = called
        if called == last:
            return
        if last is None or (last.step, last.iteration) != (step, iteration):
            if last is not None:
                self.recent.append(now - self._iteration_began)
            self._iteration_began = now
            self.iteration_count += 1
        self.round = called

    def job_ended(
        self,
        *,
        seat: Seat,
        role: Role,
        seconds: float,
        sent_bytes: int,
        failed: bool,
        number: int,
        now: float,
    ) -> None:
        """Write down the end of a call."""
        known = self._seat(seat, role)
        self.call_count += 1
        self.sent_bytes += sent_bytes
        known.sent_bytes += sent_bytes
        call = known.calls.pop(number, None)
        _, child = self._rounds.get(number, (None, None))
        if child is None and call is None and self._main_number != number:
            return  # Its round was given up before it ended.
        known.failed = failed
        asking = call.asking if call is not None else None
        if asking is None:  # What a call spent waiting says nothing of this seat's own work.
            known.last_seconds = seconds
            known.recent.append(seconds)
        else:
            asking.ended, asking.failed = now, failed
        if child is None:
            return
        child.askers.pop(seat, None)
        child.sent_bytes += sent_bytes
        child.move(seat, Part.FAILED if failed else Part.DONE)
        if failed:
            self._count(self.failures, child.name, seat)

    def broke(self, *, seat: Seat, number: int, message: str) -> None:
        """Write down why a call of a child round failed, the last time that it did."""
        _, child = self._rounds.get(number, (None, None))
        if child is not None and (child.name, seat) in self.failures:
            self._reasons[child.name, seat] = message[:_REASON_MAX]

    def progressed(self, *, seat: Seat, fraction: float | None, text: str) -> None:
        """Write down how far a call is: the one at work, as a call that waits can say nothing."""
        known = self._seat(seat, Role.SITE)
        call = known.at_work() or next(iter(tuple(known.calls.values())), None)
        if call is None:
            return
        self.told = True
        call.fraction, call.text = fraction, text
        if call.asking is not None:
            call.asking.fraction, call.asking.text = fraction, text

    def seats(self) -> tuple[SeatProgress, ...]:
        """The sites in their order, then any seat that only combines."""
        return tuple(self._seats.values())

    def awaits(self, number: int) -> bool:
        """Whether a round is waited for: not a child round that was given up."""
        return number in self._rounds or number == self._main_number

    def function(self, number: int) -> str:
        """The function that a round calls; nothing where no functions are called."""
        _, child = self._rounds.get(number, (None, None))
        if child is not None:
            return child.name
        step = self.round.step if self.round is not None else len(self.steps)
        return "" if self.iterates or step >= len(self.steps) else self.steps[step]

    def called(self) -> tuple[Seat, ...]:
        """The seats that were called at least once, in their order."""
        return tuple(known.seat for known in self.seats() if known.called is not None)

    def doing(self, seat: SeatProgress) -> Doing:
        """What a seat does in the round that is under way."""
        calls = tuple(seat.calls.values())
        if calls and self.ended is not None:
            return Doing.STOPPED
        if any(not call.waits for call in calls):
            return Doing.WORKING
        if seat.failed:
            return Doing.FAILED
        if seat.given_up:
            return Doing.STOPPED
        if calls:
            return Doing.ASKS
        if seat.queued and self.ended is None:
            return Doing.WAITS
        if seat.called is None:
            return Doing.NOT_CALLED
        return Doing.DONE if seat.called == self.round or self.ended is not None else Doing.WAITS

    def unanswered(self, *, late: bool) -> list[Unanswered]:
        """The seats that a function asked and got no answer from.

        Args:
            late: whether calls that were given up are among them: not where the run's end did that.
        """
        found = [(name, seat, "failed", count) for (name, seat), count in tuple(self.failures.items())]
        if late:
            found += [(name, seat, "was late", count) for (name, seat), count in tuple(self.given_up.items())]
        return [
            Unanswered(
                seat=seat,
                sentence=f"{name or 'a call'} {how} at {seat}{f', {count:,} times' if count > 1 else ''}",
                reason=self._reasons.get((name, seat), "") if how == "failed" else "",
            )
            for name, seat, how, count in found
        ]

    def elapsed(self, now: float) -> float:
        """Seconds from the beginning until now, or until the end."""
        return (now if self.ended is None else self.ended) - self.began

    def _seat(self, seat: Seat, role: Role) -> SeatProgress:
        known = self._seats.get(seat)
        if known is None:
            known = self._seats[seat] = SeatProgress(seat=seat, role=role)
        return known

    def _count(self, counter: Counter[tuple[str, Seat]], name: str, seat: Seat) -> None:
        if (name, seat) in counter or len(counter) < _FAILURES_MAX:
            counter[name, seat] += 1


def said(fraction: float | None, text: str) -> str:
    """How far a call says that it is: ``40 %  reading rows``; nothing where it has said nothing."""
    parts = [f"{fraction * 100:.0f} %" if fraction is not None else "", escape(text[:_TEXT_MAX])]
    return "  ".join(part for part in parts if part)
