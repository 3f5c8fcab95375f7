"""What both views of a simulation do with what they are told: write it down, with the time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console

from atoll.cli.progress import Progress
from atoll.cli.warned import Warnings
from atoll.model.work import Role, Seat


class Hearing:
    """Writes down what happens. Before the beginning, and where there was none, it hears nothing."""

    def __init__(
        self, console: Console, *, clock: Callable[[], float] = time.monotonic, iterates: bool = True
    ) -> None:
        """Begin to listen.

        Args:
            console: where a view shows what it hears.
            clock: the time, in seconds.
            iterates: whether iterations are counted: a function is called once.
        """
        self.console = console
        self.clock = clock
        self.warnings = Warnings(console)
        #: What was heard; None before the beginning.
        self.progress: Progress | None = None
        self._iterates = iterates

    def begun(self, *, sites: Sequence[Seat], steps: Sequence[str], runtime: str) -> None:
        """The run starts."""
        now = self.clock()
        self.progress = Progress(sites=sites, steps=steps, runtime=runtime, now=now, iterates=self._iterates)

    def asked(self, *, number: int, name: str, asker: Seat, within: int, seats: Sequence[Seat]) -> None:
        """A call waits for others."""
        if self.progress is not None:
            now = self.clock()
            self.progress.asked(number=number, name=name, asker=asker, within=within, seats=seats, now=now)

    def answered(self, *, number: int) -> None:
        """It waits no longer."""
        if self.progress is not None:
            self.progress.answered(number=number, now=self.clock())

    def job_started(self, *, seat: Seat, role: Role, step: int, iteration: int, number: int) -> None:
        """A call begins."""
        if self.progress is not None:
            now = self.clock()
            self.progress.job_started(
                seat=seat, role=role, step=step, iteration=iteration, number=number, now=now
            )

    def job_ended(
        self, *, seat: Seat, role: Role, seconds: float, sent_bytes: int, failed: bool, number: int
    ) -> None:
        """A call has ended."""
        if self.progress is not None:
            self.progress.job_ended(
                seat=seat,
                role=role,
                seconds=seconds,
                sent_bytes=sent_bytes,
                failed=failed,
                number=number,
                now=self.clock(),
            )

    def broke(self, *, seat: Seat, number: int, message: str) -> None:
        """Why a call failed."""
        if self.progress is not None:
            self.progress.broke(seat=seat, number=number, message=message)

    def progressed(self, *, seat: Seat, fraction: float | None, text: str) -> None:
        """A call says how far it is."""
        if self.progress is not None:
            self.progress.progressed(seat=seat, fraction=fraction, text=text)
