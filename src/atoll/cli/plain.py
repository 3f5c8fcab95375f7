"""A few lines about a simulation while it goes on, for logs and pipes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console

from atoll.cli.amounts import bytes_text, counted, duration_text, seconds_text
from atoll.cli.escape import escape, fitted
from atoll.cli.hearing import Hearing
from atoll.cli.progress import Progress, said
from atoll.model.work import Role, Seat

#: Seconds between two lines, and how they grow with the time: a day's run prints some two
#: hundred lines, not seventeen thousand.
LINE_SECONDS_MIN = 5.0
_LINE_SHARE = 0.05
#: Sites that the first line names, and failures that get a line each.
_NAMED_MAX = 10
#: Characters of a seat's, and of any other name.
_SEAT_MAX, _NAME_MAX = 40, 80


class PlainView(Hearing):
    """Prints a line now and then. A short run has two: its beginning and its end."""

    def __init__(
        self, console: Console, *, clock: Callable[[], float] = time.monotonic, iterates: bool = True
    ) -> None:
        super().__init__(console, clock=clock, iterates=iterates)
        self._line_time = 0.0
        self._step = 0
        self._failure_count = 0

    def begun(self, *, sites: Sequence[Seat], steps: Sequence[str], runtime: str) -> None:
        """Say what runs where."""
        super().begun(sites=sites, steps=steps, runtime=runtime)
        self._line_time = self.clock()
        named = ", ".join(fitted(site, _SEAT_MAX) for site in sites[:_NAMED_MAX])
        more = f" and {len(sites) - _NAMED_MAX:,} more" if len(sites) > _NAMED_MAX else ""
        name = f"{fitted(steps[0], _NAME_MAX)}: " if len(steps) == 1 and steps[0] else ""
        self._say(f"{name}{counted(len(sites), 'site')} ({named}{more}), runtime {escape(runtime)}")

    def asked(self, *, number: int, name: str, asker: Seat, within: int, seats: Sequence[Seat]) -> None:
        """Say that a child round begins, where the last line is old enough."""
        super().asked(number=number, name=name, asker=asker, within=within, seats=seats)
        if (progress := self._at_time()) is not None:
            asks = (
                f"{fitted(name, _NAME_MAX)} at {counted(len(seats), 'site')}, for {fitted(asker, _SEAT_MAX)}"
            )
            self._say(f"round {progress.asked_count:,} begins after {self._extent(progress)}: {asks}")

    def job_started(self, *, seat: Seat, role: Role, step: int, iteration: int, number: int) -> None:
        """Say that a step begins; or an iteration, where the last line is old enough."""
        count = self.progress.iteration_count if self.progress else 0
        super().job_started(seat=seat, role=role, step=step, iteration=iteration, number=number)
        if self.progress is None or self.progress.iteration_count == count:
            return
        if step != self._step:
            self._step, self._line_time = step, self.clock()
            steps = self.progress.steps
            name = f": {fitted(steps[step], _NAME_MAX)}" if step < len(steps) else ""
            self._say(f"step {step + 1} of {len(steps)}{name}")
        elif (progress := self._at_time()) is not None:
            self._say(f"iteration {iteration:,} begins after {self._extent(progress)}")

    def job_ended(
        self, *, seat: Seat, role: Role, seconds: float, sent_bytes: int, failed: bool, number: int
    ) -> None:
        """Say that a call failed: the first few do so themselves, where somebody waited for them."""
        name = self.progress.function(number) if self.progress else ""
        awaited = self.progress is not None and self.progress.awaits(number)
        super().job_ended(
            seat=seat, role=role, seconds=seconds, sent_bytes=sent_bytes, failed=failed, number=number
        )
        if not failed or not awaited:
            return
        self._failure_count += 1
        if self._failure_count <= _NAMED_MAX:
            what = f"{fitted(name, _NAME_MAX)} at " if name else ""
            self._say(f"{what}{fitted(seat, _SEAT_MAX)} failed after {seconds_text(seconds)}")

    def progressed(self, *, seat: Seat, fraction: float | None, text: str) -> None:
        """Say how far a call is, where the last line is old enough."""
        super().progressed(seat=seat, fraction=fraction, text=text)
        if (progress := self._at_time()) is not None:
            self._say(f"{fitted(seat, _SEAT_MAX)} after {self._extent(progress)}: {said(fraction, text)}")

    def warned(self, text: str) -> None:
        """Print a warning, once per text."""
        self.warnings.add(text)
        self.warnings.print()

    def ended(self) -> None:
        """Say what it came to, once."""
        progress = self.progress
        if progress is not None and progress.ended is None:
            progress.ended = self.clock()
            more = self._failure_count - _NAMED_MAX
            if more > 0:
                self._say(f"… and {counted(more, 'more call')} failed")
            self._say(f"ended after {_rounds(progress)}{self._extent(progress)}")
        self.warnings.close()

    def _at_time(self) -> Progress | None:
        """What was heard, if the last line is old enough for another: that one is the last then."""
        progress, now = self.progress, self.clock()
        if progress is None:
            return None
        if now - self._line_time < max(LINE_SECONDS_MIN, _LINE_SHARE * progress.elapsed(now)):
            return None
        self._line_time = now
        return progress

    def _extent(self, progress: Progress) -> str:
        elapsed = duration_text(progress.elapsed(self.clock()))
        return f"{elapsed}, {bytes_text(progress.sent_bytes)} sent"

    def _say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


def _rounds(progress: Progress) -> str:
    if progress.asked_count:
        return f"{counted(progress.asked_count, 'round')} and "
    return f"{counted(progress.iteration_count, 'iteration')} and " if progress.iterates else ""
