"""What somebody who watches a simulation is told, while it happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from atoll.model.work import Role, Seat


class Watcher(Protocol):
    """Hears what the seats of a simulation do, in the order in which they do it."""

    def begun(self, *, sites: Sequence[Seat], steps: Sequence[str], runtime: str) -> None:
        """The run starts: its sites in order, the names of its steps, and how code is run."""
        ...

    def asked(self, *, number: int, name: str, asker: Seat, within: int, seats: Sequence[Seat]) -> None:
        """A call at `asker`, of the round `within`, waits for a child round of these seats.

        Args:
            number: the child round's.
            name: the function that is called.
            asker: who asks.
            within: the number of the round that the asking call is of.
            seats: who is called.
        """
        ...

    def answered(self, *, number: int) -> None:
        """A child round has ended, or is waited for no longer."""
        ...

    def job_started(self, *, seat: Seat, role: Role, step: int, iteration: int, number: int) -> None:
        """The algorithm is called at a seat.

        `step` counts from 0, `iteration` from 1; `number` is the round's, main or child.
        """
        ...

    def job_ended(
        self, *, seat: Seat, role: Role, seconds: float, sent_bytes: int, failed: bool, number: int
    ) -> None:
        """The call has ended at this seat. `sent_bytes`: its message and its files."""
        ...

    def broke(self, *, seat: Seat, number: int, message: str) -> None:
        """Why a call failed, after its end: what everybody may know, without values of data."""
        ...

    def progressed(self, *, seat: Seat, fraction: float | None, text: str) -> None:
        """A call says how far it is: from 0 to 1, or in words."""
        ...

    def warned(self, text: str) -> None:
        """Something was tolerated, or is worth knowing. Comes once per text."""
        ...

    def ended(self) -> None:
        """Nothing more will come; also after a failure or an interruption."""
        ...
