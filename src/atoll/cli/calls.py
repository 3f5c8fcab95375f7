"""Calls that ask for calls of their own: what is known of the tree that they make.

::

    mean at alpha                        a call that asks
      round 1 · moments                  a child round: calls that start and end together
        alpha  beta  gamma
      round 2 · moments
        moments at beta                  one of them, which asks in its turn
          round 1 · count

A call may ask a hundred thousand times. So of what has ended only the last few rounds are kept,
and the sums of all; what was asked by a call that was itself asked for goes with it.

Written by one thread and read by another, as `atoll.cli.progress` says.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from atoll.model.work import Seat

#: Child rounds of one call that are kept after they have ended.
ROUNDS_KEPT = 5
#: Seats of such a round whose own ends are kept, too; of more than these only the counts.
SEATS_KEPT = 32


class Part(Enum):
    """How far one seat's call of a child round is."""

    QUEUED = "queued"
    WORKING = "working"
    DONE = "done"
    FAILED = "failed"
    GIVEN_UP = "given up"  #: nobody waits for it any more


@dataclass(slots=True, kw_only=True)
class ChildRound:
    """Calls that one call has asked for."""

    number: int
    #: How many the call has asked for, this one included.
    place: int
    #: The function that is called.
    name: str
    began: float
    #: Every seat that is called, in order; empty where these were too many to be kept.
    parts: dict[Seat, Part]
    seat_count: int
    #: How many parts are in each state; counted along, as there may be thousands.
    counts: Counter[Part] = field(default_factory=Counter)
    sent_bytes: int = 0
    ended: float | None = None
    #: Its calls that have asked in their turn, and still work.
    askers: dict[Seat, Asking] = field(default_factory=dict)

    def move(self, seat: Seat, part: Part) -> None:
        """A seat's call is further now."""
        before = self.parts.get(seat)
        if before is not None:
            self.counts[before] -= 1
        self.parts[seat] = part
        self.counts[part] += 1

    @property
    def failed(self) -> int:
        """How many calls ended without an answer."""
        return self.counts[Part.FAILED] + self.counts[Part.GIVEN_UP]


@dataclass(slots=True, kw_only=True)
class Asking:
    """A call that has asked for others."""

    #: The function that asks, and where.
    name: str
    seat: Seat
    began: float
    #: The rounds that it waits for, and the last of those that have ended.
    open: dict[int, ChildRound] = field(default_factory=dict)
    recent: deque[ChildRound] = field(default_factory=lambda: deque(maxlen=ROUNDS_KEPT))
    #: Of all its rounds: how many, their calls, and those without an answer.
    round_count: int = 0
    call_count: int = 0
    failed_count: int = 0
    ended: float | None = None
    failed: bool = False
    fraction: float | None = None
    text: str = ""

    def begin(self, *, number: int, name: str, seats: Sequence[Seat], now: float) -> ChildRound:
        """Ask for one more round."""
        self.round_count += 1
        self.call_count += len(seats)
        parts = dict.fromkeys(seats, Part.QUEUED)
        round_ = ChildRound(
            number=number,
            place=self.round_count,
            name=name,
            began=now,
            parts=parts,
            seat_count=len(parts),
        )
        round_.counts[Part.QUEUED] = len(parts)
        self.open[number] = round_
        return round_

    def end(self, round_: ChildRound, now: float) -> None:
        """A round of it has ended, or is waited for no longer."""
        for seat, part in round_.parts.items():
            if part in (Part.QUEUED, Part.WORKING):
                round_.move(seat, Part.GIVEN_UP)
        round_.ended = now
        round_.askers.clear()
        if round_.seat_count > SEATS_KEPT:
            round_.parts = {}
        self.failed_count += round_.failed
        self.open.pop(round_.number, None)
        self.recent.append(round_)

    def rounds(self) -> tuple[ChildRound, ...]:
        """The rounds that are known: the last that have ended, then those that are open."""
        return (*tuple(self.recent), *tuple(self.open.values()))
