"""Warnings on a console: each once, and no more than a bound."""

from __future__ import annotations

from rich.console import Console

from atoll.cli.amounts import counted
from atoll.cli.escape import escape

#: Warnings that are printed; the others are counted.
WARNINGS_MAX = 100
#: Characters of a warning.
_CHARACTERS_MAX = 2_000


class Warnings:
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
            shown = escape(text[:_CHARACTERS_MAX], keep_lines=True)
            shown += "…" if len(text) > _CHARACTERS_MAX else ""
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
                f"warning: … and {counted(left_out, 'more warning')}", style="yellow", highlight=False
            )
