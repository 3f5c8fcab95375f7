"""What a person at a terminal sees while a simulation runs: seats × rounds, drawn in place.

The view is told what happens, and only writes it down: a callback costs a few microseconds at
a thousand sites. It draws on a thread of its own, a few times a second, from what was written
down. It doesn't decide whether a run succeeded; the command says that.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence

from rich.console import Console, RenderableType
from rich.live import Live

from atoll.cli.hearing import Hearing
from atoll.model.work import Seat

#: Seconds between two pictures. Seconds are shown with one digit, so more is only unrest.
REFRESH_SECONDS = 0.2


class LiveView(Hearing):
    """Shows the seats of a run in place, for a terminal.

    Not promised: that every event is seen. Ten thousand short calls show as a strip.
    """

    def __init__(
        self, console: Console, *, clock: Callable[[], float] = time.monotonic, iterates: bool = True
    ) -> None:
        super().__init__(console, clock=clock, iterates=iterates)
        self._live: Live | None = None
        self._thread: threading.Thread | None = None
        self._over = threading.Event()

    def begun(self, *, sites: Sequence[Seat], steps: Sequence[str], runtime: str) -> None:
        """Start to draw."""
        super().begun(sites=sites, steps=steps, runtime=runtime)
        self._live = Live(
            console=self.console,
            auto_refresh=False,
            get_renderable=self._picture,
            # What is no terminal (`--json >file`) keeps its own stream.
            redirect_stdout=_is_terminal(sys.stdout),
            redirect_stderr=_is_terminal(sys.stderr),
        )
        self._live.start(refresh=True)
        self._thread = threading.Thread(target=self._keep_drawing, name="atoll-live-view", daemon=True)
        self._thread.start()

    def warned(self, text: str) -> None:
        """Keep a warning for the next picture, above which it is printed; once per text."""
        self.warnings.add(text)
        if self._live is None:
            self.warnings.print()

    def refresh(self) -> None:
        """Print the warnings that came, and draw."""
        live = self._live
        if live is not None:
            self.warnings.print()
            live.refresh()

    def ended(self) -> None:
        """Draw for the last time and give the terminal back. May be called again, and at any time."""
        self._over.set()
        live, thread = self._live, self._thread
        try:
            if thread is not None:
                thread.join()
            if self.progress is not None and self.progress.ended is None:
                self.progress.ended = self.clock()
            self.warnings.print()
        finally:
            self._live = self._thread = None
            if live is not None:
                # Draws once more, shows the cursor, and gives the streams back.
                live.stop()
        self.warnings.close()

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

        if self.progress is None:
            return ""
        size = self.console.size
        return draw(self.progress, now=self.clock(), width=size.width, height=size.height)


def _is_terminal(stream: object) -> bool:
    isatty = getattr(stream, "isatty", None)
    return bool(isatty is not None and isatty())
