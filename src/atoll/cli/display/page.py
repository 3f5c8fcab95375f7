"""What a tab of a result is written to: the terminal, and remarks about what is not shown.

A page prints nothing that came from a result without escaping it, and it counts what it
leaves out, so that nothing is lost in silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

from atoll.cli.amounts import counted
from atoll.cli.display.arrays import array_text, is_array_note
from atoll.cli.display.numbers import SIGNIFICANT_DIGITS, is_number, number_text, rounds
from atoll.cli.escape import escape

#: Tables on one page. A regression of every brain region has hundreds; more than this scrolls
#: away before anybody reads it.
TABLES_MAX = 24
#: Characters of one cell. Longer texts break a table's shape.
CELL_CHARACTERS_MAX = 60
#: Items of a list that one cell shows.
CELL_ITEMS_MAX = 6
#: Characters of a message that is shown as text.
TEXT_CHARACTERS_MAX = 20_000


class Page:
    """Writes to a console, and remembers what it rounded, shortened and left out."""

    def __init__(self, console: Console, whole: str = "result.json") -> None:
        self.console = console
        #: What has the result as it is, for sentences about what is left out here.
        self.whole = whole
        #: Tables that were left out, beyond `TABLES_MAX`.
        self.tables_left_out = 0
        #: Whether the whole result stands on the page as JSON.
        self.whole_shown = False
        self._table_count = 0
        self._rounded = False
        self._shortened = False

    @property
    def width(self) -> int:
        """Columns that a table may fill."""
        return max(20, self.console.width - 2)

    def heading(self, text: str) -> None:
        """A line above what belongs together."""
        self.console.print()
        shown = Text(self._short(escape(text), 200), style="bold", overflow="fold")
        self.console.print(shown, highlight=False)

    def text(self, text: str) -> None:
        """Text from a result, line by line."""
        shown = self._short(escape(text[: TEXT_CHARACTERS_MAX + 1], keep_lines=True), TEXT_CHARACTERS_MAX)
        self.put(Text(shown, overflow="fold"))

    def remark(self, text: str) -> None:
        """A sentence of Atoll's own, set back from the result."""
        self.put(Text(escape(text), style="dim", overflow="fold"))

    def path(self, path: Path, caption: str) -> None:
        """Where a file is, after what it shows; never broken in two, so that it can be copied."""
        line = Text("  ")
        line.append(
            f"{self._short(escape(caption[: CELL_CHARACTERS_MAX + 1]), CELL_CHARACTERS_MAX)}  ", style="dim"
        )
        line.append(escape(str(path)))
        self.console.print(line, highlight=False, soft_wrap=True)

    def put(self, renderable: RenderableType) -> None:
        """Something that is laid out already, indented."""
        self.console.print(Padding(renderable, (0, 0, 0, 2), expand=False), highlight=False)

    def room_for_table(self) -> bool:
        """Whether one more table has room; counts it either way."""
        if self._table_count >= TABLES_MAX:
            self.tables_left_out += 1
            return False
        self._table_count += 1
        return True

    def cell(self, value: Any) -> str:
        """One value as the text of a cell, on one line."""
        if isinstance(value, str):
            return self._short(escape(value[: CELL_CHARACTERS_MAX + 1]), CELL_CHARACTERS_MAX)
        if is_number(value):
            self._rounded = self._rounded or rounds(value)
            return number_text(value)
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        if is_array_note(value):
            return self._short(escape(array_text(value)), CELL_CHARACTERS_MAX)
        if isinstance(value, Mapping):
            pairs = [f"{self.cell(str(key))}: {self._item(item)}" for key, item in _first(value.items())]
            return self._short(f"{{{', '.join(pairs + _more(len(value)))}}}", CELL_CHARACTERS_MAX)
        if isinstance(value, Sequence):
            items = [self._item(item) for item in _first(value)]
            return f"[{', '.join(items + _more(len(value)))}]"
        return self._short(escape(repr(value)), CELL_CHARACTERS_MAX)

    def close(self) -> None:
        """Say what was rounded, shortened and left out, and where it is."""
        if self.tables_left_out:
            self.remark(f"… {counted(self.tables_left_out, 'more table')} in {self.whole}")
        said = []
        if self._rounded:
            said.append(f"Numbers are rounded to {SIGNIFICANT_DIGITS} digits")
        if self._shortened:
            said.append("long texts are cut" if said else "Long texts are cut")
        if said:
            self.console.print()
            self.remark(f"{' and '.join(said)}; {self.whole} has them in full.")

    def _item(self, value: Any) -> str:
        """A value inside a list; what is nested deeper only tells its size."""
        if isinstance(value, Mapping):
            return f"{{{len(value)}}}"
        if isinstance(value, Sequence) and not isinstance(value, str):
            return f"[{len(value)}]"
        return self.cell(value)

    def _short(self, text: str, characters_max: int) -> str:
        if len(text) <= characters_max:
            return text
        self._shortened = True
        return f"{text[: characters_max - 1]}…"


def _first(items: Any) -> list[Any]:
    return [item for item, _ in zip(items, range(CELL_ITEMS_MAX), strict=False)]


def _more(count: int) -> list[str]:
    return [f"… {count - CELL_ITEMS_MAX:,} more"] if count > CELL_ITEMS_MAX else []
