"""Any value of a result as tables: what is alike stands in one column.

======================================  ==================================================
a value                                 its shape on the page
======================================  ==================================================
an object of single values              two columns: name and value
lists of one length in one object       a table, one column per list (coefficients)
a list of objects, or objects by name   a table, one row each, the union of their keys
a list of lists of one length           a table, one row each
what is nested deeper                   a table of its own, under the names that lead to it
======================================  ==================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from atoll.cli.amounts import counted
from atoll.cli.display.arrays import is_array_note
from atoll.cli.display.json_text import put_json
from atoll.cli.display.numbers import aligned, is_number
from atoll.cli.display.page import CELL_CHARACTERS_MAX, CELL_ITEMS_MAX, Page

#: Rows of one table.
ROWS_MAX = 40
#: Columns that are laid out, before those that don't fit are left out.
COLUMNS_MAX = 60
#: Records that are read for the union of their keys.
_RECORDS_READ_MAX = 1_000
#: How deep tables nest before what is left is shown as JSON.
_DEPTH_MAX = 8
#: How COINSTAC's regressions name the list that labels their coefficients.
_LABELS_KEY = "covariate_labels"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """What a compspec calls the values of one object."""

    #: By name: objects with `label`, `type` and `items`.
    items: Mapping[str, Any]

    def of(self, name: str) -> str:
        """The label of a value; its own name where the compspec has none."""
        entry = self.items.get(name)
        label = entry.get("label") if isinstance(entry, Mapping) else None
        return label if isinstance(label, str) and label.strip() else name

    def below(self, name: str) -> Labels:
        """The labels of what a value holds; of a value without any (a site's name) the same."""
        entry = self.items.get(name)
        items = entry.get("items") if isinstance(entry, Mapping) else None
        return Labels(items=items) if isinstance(items, Mapping) else self


def show(page: Page, value: Any, *, labels: Labels, heading: str, depth: int = 0) -> None:
    """Lay a value out under a heading; an empty heading prints none.

    Args:
        page: where it is written.
        value: anything that JSON can hold.
        labels: what the compspec calls its parts.
        heading: the names that lead to it.
        depth: how deep it lies.
    """
    if depth >= _DEPTH_MAX:
        if page.room_for_table():
            _head(page, heading)
            put_json(page, value)
    elif isinstance(value, Mapping) and value and not is_array_note(value):
        _show_object(page, value, labels=labels, heading=heading, depth=depth)
    elif _is_list(value) and value:
        _show_list(page, value, labels=labels, heading=heading, depth=depth)
    elif page.room_for_table():
        _head(page, heading)
        page.text(value) if isinstance(value, str) else page.put(Text(page.cell(value)))


def _show_object(page: Page, value: Mapping[str, Any], *, labels: Labels, heading: str, depth: int) -> None:
    if len(value) > 1 and all(_is_record(item) for item in islice(value.values(), _RECORDS_READ_MAX)):
        if page.room_for_table():
            _head(page, heading)
            _put_records(page, list(value.values()), labels=labels.below(""), names=[*map(str, value)])
        return
    columns, names = _columns_of(value)
    flat = {
        key: item for key, item in value.items() if key not in columns and key != names and _is_flat(item)
    }
    if (columns or flat) and page.room_for_table():
        _head(page, heading)
        if columns:
            _put_columns(page, value, columns=columns, names=names, labels=labels)
        if columns and flat:
            page.console.print()
        if flat:
            _put_pairs(page, [(labels.of(str(key)), item) for key, item in flat.items()])
    for key, item in value.items():
        if key not in columns and key not in flat and key != names:
            name = str(key)
            _show_below(page, item, labels=labels, name=name, heading=heading, depth=depth)


def _show_below(page: Page, item: Any, *, labels: Labels, name: str, heading: str, depth: int) -> None:
    below = " · ".join(part for part in (heading, labels.of(name)) if part)
    show(page, item, labels=labels.below(name), heading=below, depth=depth + 1)


def _show_list(page: Page, value: Sequence[Any], *, labels: Labels, heading: str, depth: int) -> None:
    read = list(islice(value, _RECORDS_READ_MAX))
    if all(_is_record(item) for item in read):
        shown = "records"
    elif all(_is_list(item) and _is_flat_list(item) and len(item) == len(read[0]) > 0 for item in read):
        shown = "matrix"
    elif _is_flat_list(value):
        shown = "line"
    elif all(isinstance(item, Mapping) for item in read):
        for number, item in enumerate(read, start=1):
            part = f"{heading} · {number} of {len(value):,}" if heading else f"{number} of {len(value):,}"
            show(page, item, labels=labels, heading=part, depth=depth + 1)
        page.tables_left_out += len(value) - len(read)
        return
    else:
        shown = "json"
    if not page.room_for_table():
        return
    _head(page, heading)
    if shown == "records":
        _put_records(page, value, labels=labels, names=None)
    elif shown == "matrix":
        columns = [str(number) for number in range(len(read[0]))]
        rows = [dict(zip(columns, row, strict=True)) for row in islice(value, ROWS_MAX)]
        _put_grid(page, rows, columns=columns, labels=Labels(items={}), names=None, count=len(value))
    elif shown == "line":
        _put_line(page, value)
    else:
        put_json(page, value)


def _columns_of(value: Mapping[str, Any]) -> tuple[list[str], str | None]:
    """The lists of one length that belong together, and the one that names their rows."""
    lists = {
        key: item for key, item in value.items() if _is_list(item) and _is_flat_list(item) and len(item) > 1
    }
    names = next((key for key in lists if key == _LABELS_KEY), None)
    by_length: dict[int, list[str]] = {}
    for key, item in lists.items():
        by_length.setdefault(len(item), []).append(key)
    groups = sorted(by_length.values(), key=len, reverse=True)
    group = by_length[len(lists[names])] if names else groups[0] if groups else []
    if len(group) < 2:
        return [], None
    return [key for key in group if key != names], names


def _put_columns(
    page: Page, value: Mapping[str, Any], *, columns: list[str], names: str | None, labels: Labels
) -> None:
    count = len(value[columns[0]])
    rows = [{key: value[key][place] for key in columns} for place in range(min(count, ROWS_MAX))]
    titles = [page.cell(name) for name in value[names][:ROWS_MAX]] if names else None
    _put_grid(page, rows, columns=columns, labels=labels, names=titles, count=count)


def _put_records(
    page: Page, records: Sequence[Mapping[str, Any]], *, labels: Labels, names: Sequence[str] | None
) -> None:
    keys = list(dict.fromkeys(key for record in islice(records, _RECORDS_READ_MAX) for key in record))
    rows = list(islice(records, ROWS_MAX))
    titles = [page.cell(name) for name in names[:ROWS_MAX]] if names else None
    _put_grid(page, rows, columns=keys, labels=labels, names=titles, count=len(records))


def _put_pairs(page: Page, pairs: list[tuple[str, Any]]) -> None:
    table = _new_table(show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(no_wrap=False, overflow="fold")
    shown = pairs[:ROWS_MAX]
    texts = [page.cell(value) for _, value in shown]
    numbers = [place for place, (_, value) in enumerate(shown) if is_number(value)]
    for place, text in zip(numbers, aligned([texts[place] for place in numbers]), strict=True):
        texts[place] = text
    for (label, _), text in zip(shown, texts, strict=True):
        table.add_row(Text(page.cell(label)), Text(text))
    page.put(table)
    _say_more(page, rows=len(pairs) - len(shown))


def _put_grid(
    page: Page,
    rows: Sequence[Mapping[str, Any]],
    *,
    columns: Sequence[str],
    labels: Labels,
    names: list[str] | None,
    count: int,
) -> None:
    """A table with a row per record and the columns that fit."""
    heads = [page.cell(labels.of(str(key))) for key in columns[:COLUMNS_MAX]]
    cells = [_column(page, [(key in row, row.get(key)) for row in rows]) for key in columns[:COLUMNS_MAX]]
    if names is not None:
        heads, cells = ["", *heads], [(names, False), *cells]
    fitting = _fitting(heads, [texts for texts, _ in cells], width=page.width)
    if fitting < len(heads) and len(rows) == 1:
        _put_pairs(page, [(labels.of(str(key)), value) for key, value in rows[0].items()])
        return
    table = _new_table(show_header=True)
    for head, (texts, numeric) in list(zip(heads, cells, strict=True))[:fitting]:
        width = max([cell_len(head), *map(cell_len, texts)])
        table.add_column(
            Text(head, justify="right" if numeric else "left"), min_width=min(width, 8), no_wrap=True
        )
    for place in range(len(rows)):
        table.add_row(*(Text(texts[place], overflow="ellipsis") for texts, _ in cells[:fitting]))
    page.put(table)
    left_out = len(columns) + (names is not None) - fitting
    _say_more(page, rows=count - len(rows), columns=left_out)


def _column(page: Page, values: Sequence[tuple[bool, Any]]) -> tuple[list[str], bool]:
    """The texts of a column, and whether it holds numbers; what a record lacks stays empty."""
    texts = [page.cell(value) if present else "" for present, value in values]
    numeric = any(present and is_number(value) for present, value in values) and all(
        not present or value is None or is_number(value) for present, value in values
    )
    return (aligned(texts), True) if numeric else (texts, False)


def _fitting(heads: Sequence[str], columns: Sequence[Sequence[str]], *, width: int) -> int:
    """How many columns fit beside each other; at least two."""
    used = 0
    for number, (head, texts) in enumerate(zip(heads, columns, strict=True)):
        used += max([cell_len(head), *map(cell_len, texts)]) + (2 if number else 0)
        if used > width and number >= 2:
            return number
    return len(heads)


def _put_line(page: Page, values: Sequence[Any]) -> None:
    shown = [page.cell(item) for item in islice(values, ROWS_MAX)]
    more = f", … {len(values) - ROWS_MAX:,} more in {page.whole}" if len(values) > ROWS_MAX else ""
    page.put(Text(f"[{', '.join(shown)}{more}]", overflow="fold"))


def _say_more(page: Page, *, rows: int = 0, columns: int = 0) -> None:
    said = [
        counted(number, noun) for number, noun in ((rows, "more row"), (columns, "more column")) if number > 0
    ]
    if said:
        page.remark(f"… {' and '.join(said)} in {page.whole}")


def _head(page: Page, heading: str) -> None:
    if heading:
        page.heading(heading)


def _new_table(*, show_header: bool) -> Table:
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1),
        show_header=show_header,
        header_style="dim",
        border_style="dim",
    )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _is_single(value: Any) -> bool:
    # Asked millions of times: what JSON holds is known by its type, ten times as fast.
    if isinstance(value, str | int | float | None):
        return True
    return is_array_note(value) if isinstance(value, Mapping) else not _is_list(value)


def _is_flat_list(value: Sequence[Any]) -> bool:
    return all(_is_single(item) for item in value)


def _is_flat(value: Any) -> bool:
    """Whether a value fits one cell."""
    if isinstance(value, str):
        return len(value) <= CELL_CHARACTERS_MAX
    return _is_single(value) or not value or (_is_list(value) and _is_flat_list(value))


def _is_record(value: Any) -> bool:
    """Whether an object is a row: every value fits a cell, and no list is long."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(
            _is_flat(item) and not (_is_list(item) and len(item) > CELL_ITEMS_MAX) for item in value.values()
        )
    )
