"""A terminal in a few lines: what a person would see after what a program has written to it.

It obeys what a live view needs and refuses everything else, so that a test notices a control
character that came from somewhere else.
"""

from __future__ import annotations

import re

_CONTROL = re.compile(r"\x1b\[(?P<parameters>[0-9;?]*)(?P<final>[A-Za-z])")
#: Colours, and hiding and showing the cursor: they move nothing.
_IGNORED = {"m", "h", "l"}


class Terminal:
    """A screen with a cursor, and what has scrolled off its top."""

    def __init__(self, *, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.gone: list[str] = []
        self._rows = [""] * height
        self._row = self._column = 0

    @property
    def screen(self) -> list[str]:
        """The lines of the screen up to the last that holds something."""
        rows = [row.rstrip() for row in self._rows]
        while rows and not rows[-1]:
            rows.pop()
        return rows

    def feed(self, text: str) -> None:
        """Obey what was written.

        Raises:
            ValueError: it holds a control that no live view needs.
        """
        place = 0
        while place < len(text):
            character = text[place]
            control = _CONTROL.match(text, place)
            if control:
                self._obey(control["final"], control["parameters"])
                place = control.end()
                continue
            if character == "\r":
                self._column = 0
            elif character == "\n":
                self._next_row()
            elif character.isprintable():
                self._put(character)
            else:
                raise ValueError(f"the control {character!r} in {text[max(0, place - 20) : place + 20]!r}")
            place += 1

    def _obey(self, final: str, parameters: str) -> None:
        if final == "A":
            self._row = max(0, self._row - int(parameters or 1))
        elif final == "K" and parameters == "2":
            self._rows[self._row] = ""
        elif final not in _IGNORED:
            raise ValueError(f"the control sequence {parameters}{final}")

    def _put(self, character: str) -> None:
        if self._column == self.width:
            self._column = 0
            self._next_row()
        row = self._rows[self._row].ljust(self._column)
        self._rows[self._row] = f"{row[: self._column]}{character}{row[self._column + 1 :]}"
        self._column += 1

    def _next_row(self) -> None:
        if self._row == self.height - 1:
            self.gone.append(self._rows.pop(0).rstrip())
            self._rows.append("")
        else:
            self._row += 1
