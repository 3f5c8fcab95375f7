"""What a person sees while a simulation runs: a live view of sites × rounds, or plain lines.

Both views are told what happens, and only write it down: a callback costs a few microseconds
at a thousand sites. The live view draws on a thread of its own, a few times a second, from
what was written down. Neither decides whether a run succeeded; the command says that.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence

from rich.console import Console, RenderableType
from rich.live import Live

from atoll.cli.escape import escape
from atoll.cli.progress import Progress, bytes_text, duration_text, seconds_text
from atoll.model.work import Role, Seat

#: Seconds between two pictures. Seconds are shown with one digit, so more is only unrest.
REFRESH_SECONDS = 0.2
#: Warnings that are printed; the others are counted.
WARNINGS_MAX = 100
#: Characters of a warning.
_WARNING_CHARACTERS_MAX = 2_000
#: Seconds between two lines of the plain view, and how they grow with the time: a day's run
#: prints some two hundred lines, not seventeen thousand.
LINE_SECONDS_MIN = 5.0
_LINE_SHARE = 0.05
#: Sites that the first plain line names, and failures that get a line each.
_NAMED_MAX = 10


class LiveView:
    """Shows the seats of a run in place, for a terminal.

    Not promised: that every event is seen. Ten thousand short calls show as a strip.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._progress: Progress | None = None
        self._live: Live | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()
        self._warnings = _Warnings(console)

    def begun(self, *, sites: Sequence[Seat], steps: Sequence[str], runtime: str) -> None:
        """Start to draw."""
        self._progress = Progress(sites=sites, steps=steps, runtime=runtime, now=self._clock())
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            get_renderable=self._picture,
            # What is no terminal (`--json >file`) keeps its own stream.
            redirect_stdout=_is_terminal(sys.stdout),
            redirect_stderr=_is_terminal(sys.stderr),
        )
        self._live.start(refresh=True)
        self._thread = threading.Thread(target=self._keep_drawing, name="atoll-live-view", daemon=True)
        self._thread.start()

    def job_started(self, *, seat: Seat, role: Role, step: int, iteration: int) -> None:
        """Write down a call."""
        if self._progress is not None:
            now = self._clock()
            self._progress.job_started(seat=seat, role=role, step=step, iteration=iteration, now=now)

    def job_ended(self, *, seat: Seat, role: Role, seconds: float, sent_bytes: int, failed: bool) -> None:
        """Write down the end of a call."""
        if self._progress is not None:
            self._progress.job_ended(
                seat=seat, role=role, seconds=seconds, sent_bytes=sent_bytes, failed=failed
            )

    def warned(self, text: str) -> None:
        """Keep a warning for the next picture, above which it is printed; once per text."""
        self._warnings.add(text)
        if self._live is None:
            self._warnings.print()

    def refresh(self) -> None:
        """Print the warnings that came, and draw."""
        live = self._live
        if live is not None:
            self._warnings.print()
            live.refresh()

    def ended(self) -> None:
        """Draw for the last time and give the terminal back. May be called again, and at any time."""
        self._over.set()
        live, thread = self._live, self._thread
        try:
            if thread is not None:
                thread.join()
            if self._progress is not None and self._progress.ended is None:
                self._progress.ended = self._clock()
            self._warnings.print()
        finally:
            self._live = self._thread = None
            if live is not None:
                # Draws once more, shows the cursor, and gives the streams back.
                live.stop()
        self._warnings.close()

    def _keep_drawing(self) -> None:
        pause = REFRESH_SECONDS
        while not self._over.wait(pause):
            before = time.perf_counter()
            self.refresh()
            # On a slow terminal drawing takes a tenth of the time at most.
            pause = max(REFRESH_SECONDS, 9 * (time.perf_counter() - before))

    def _picture(self) -> RenderableType:
        # Tables take some ten milliseconds to import: saved where only lines are printed.
        from atoll.cli.live_picture import draw

        if self._progress is None:
            return ""
        size = self._console.size
        return draw(self._progress, now=self._clock(), width=size.width, height=size.height)


class PlainView:
    """Prints a few lines while a run goes on, for logs and pipes.

    A short run has two: its beginning and its end.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._progress: Progress | None = None
        self._line_time = 0.0
        self._step = 0
        self._failure_count = 0
        self._warnings = _Warnings(console)

    def begun(self, *, sites: Sequence[Seat], steps: Sequence[str], runtime: str) -> None:
        """Say what runs where."""
        self._line_time = self._clock()
        self._progress = Progress(sites=sites, steps=steps, runtime=runtime, now=self._line_time)
        named = ", ".join(escape(site)[:40] for site in sites[:_NAMED_MAX])
        more = f" and {len(sites) - _NAMED_MAX:,} more" if len(sites) > _NAMED_MAX else ""
        name = f"{escape(steps[0])[:80]}: " if len(steps) == 1 and steps[0] else ""
        self._say(f"{name}{_counted(len(sites), 'site')} ({named}{more}), runtime {escape(runtime)}")

    def job_started(self, *, seat: Seat, role: Role, step: int, iteration: int) -> None:
        """Write down a call; say that an iteration begins where the last line is old enough."""
        progress, now = self._progress, self._clock()
        if progress is None:
            return
        opens = progress.job_started(seat=seat, role=role, step=step, iteration=iteration, now=now)
        if not opens:
            return
        if step != self._step:
            self._step, self._line_time = step, now
            name = f": {escape(progress.steps[step])[:80]}" if step < len(progress.steps) else ""
            self._say(f"step {step + 1} of {len(progress.steps)}{name}")
        elif now - self._line_time >= max(LINE_SECONDS_MIN, _LINE_SHARE * progress.elapsed(now)):
            self._line_time = now
            elapsed, sent = duration_text(progress.elapsed(now)), bytes_text(progress.sent_bytes)
            self._say(f"iteration {iteration:,} begins after {elapsed}, {sent} sent")

    def job_ended(self, *, seat: Seat, role: Role, seconds: float, sent_bytes: int, failed: bool) -> None:
        """Write down the end of a call; say so where it failed."""
        if self._progress is None:
            return
        self._progress.job_ended(seat=seat, role=role, seconds=seconds, sent_bytes=sent_bytes, failed=failed)
        if failed:
            self._failure_count += 1
            if self._failure_count <= _NAMED_MAX:
                self._say(f"{escape(seat)[:40]} failed after {seconds_text(seconds)}")

    def warned(self, text: str) -> None:
        """Print a warning, once per text."""
        self._warnings.add(text)
        self._warnings.print()

    def ended(self) -> None:
        """Say what it came to, once."""
        progress = self._progress
        if progress is not None and progress.ended is None:
            progress.ended = self._clock()
            elapsed, sent = duration_text(progress.elapsed(progress.ended)), bytes_text(progress.sent_bytes)
            self._say(
                f"ended after {_counted(progress.iteration_count, 'iteration')} and {elapsed}, {sent} sent"
            )
        self._warnings.close()

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


class _Warnings:
    """Prints each warning once, and no more than a bound."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._heard: set[str] = set()
        self._waiting: list[str] = []
        self._left_out = 0

    def add(self, text: str) -> None:
        if text in self._heard:
            return
        if len(self._heard) >= WARNINGS_MAX:
            self._left_out += 1
            return
        self._heard.add(text)
        self._waiting.append(text)

    def print(self) -> None:
        waiting, self._waiting = self._waiting, []
        for text in waiting:
            shown = escape(text[:_WARNING_CHARACTERS_MAX], keep_lines=True)
            shown += "…" if len(text) > _WARNING_CHARACTERS_MAX else ""
            # Styled as a whole: markup in somebody else's text means nothing.
            self._console.print(
                f"warning: {shown}",
                style="yellow",
                markup=False,
                highlight=False,
                emoji=False,
                soft_wrap=True,
            )

    def close(self) -> None:
        """Say how many were left out."""
        left_out, self._left_out = self._left_out, 0
        if left_out:
            self._console.print(
                f"warning: … and {_counted(left_out, 'more warning')}", style="yellow", highlight=False
            )


def _is_terminal(stream: object) -> bool:
    isatty = getattr(stream, "isatty", None)
    return bool(isatty is not None and isatty())


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
