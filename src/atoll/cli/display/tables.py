"""The display ``table``: the tables that a compspec asks for, found in the result by their sources."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from atoll.cli.display.layout import Labels, show
from atoll.cli.display.page import TABLES_MAX, Page
from atoll.cli.escape import escape

_MISSING = object()


def show_tables(page: Page, result: Any, tables: Any, *, outputs: Mapping[str, Any]) -> None:
    """Show each table that `tables` names; all of the result where it names none."""
    asked = [table for table in _listed(tables) if isinstance(table, Mapping)]
    if not asked:
        show(page, result, labels=Labels(items=outputs), heading="")
    for table in asked:
        source = str(table.get("source", ""))
        value, labels, label = _follow(result, source, Labels(items=outputs))
        if value is _MISSING:
            page.heading(source or "Table")
            page.remark(f"The result has no {escape(source)!r}.")
        else:
            _show_table(page, value, table, labels=labels, heading=label)


def _show_table(page: Page, value: Any, table: Mapping[str, Any], *, labels: Labels, heading: str) -> None:
    """Show a value as its table says: whole, by its keys, or by the sources of its subtables."""
    subtables = table.get("subtables")
    if subtables == "by-key" and isinstance(value, Mapping):
        for key, item in islice(value.items(), TABLES_MAX):
            show(page, item, labels=labels, heading=f"{heading} · {key}")
        page.tables_left_out += max(0, len(value) - TABLES_MAX)
    elif isinstance(subtables, Sequence) and not isinstance(subtables, str):
        elements = value if _listed(value) else [value]
        asked = [subtable for subtable in subtables if isinstance(subtable, Mapping)]
        for element in islice(elements, TABLES_MAX):
            for subtable in asked:
                _show_subtable(page, element, subtable, labels=labels, heading=heading)
        page.tables_left_out += max(0, len(elements) - TABLES_MAX) * len(asked)
    else:
        show(page, value, labels=labels, heading=heading)


def _show_subtable(
    page: Page, element: Any, subtable: Mapping[str, Any], *, labels: Labels, heading: str
) -> None:
    source = str(subtable.get("source", ""))
    value, below, label = _follow(element, source, labels)
    if value is _MISSING:
        page.remark(f"{escape(heading)} has no {escape(source)!r}.")
        return
    subtitle = subtable.get("subtitle")
    titled = element.get(subtitle) if isinstance(element, Mapping) and isinstance(subtitle, str) else None
    if titled is not None:
        label = f"{label} · {page.cell(titled)}"
    _show_table(page, value, subtable, labels=below, heading=label)


def _follow(value: Any, source: str, labels: Labels) -> tuple[Any, Labels, str]:
    """What a source such as ``regressions.global_stats`` names, its labels, and its own label.

    A list on the way is followed in each of its elements. A key that has dots of its own wins
    over a path.
    """
    if isinstance(value, Mapping) and source in value:
        return value[source], labels.below(source), labels.of(source)
    label = source
    for part in source.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif _listed(value) and any(isinstance(item, Mapping) and part in item for item in value):
            value = [item[part] for item in value if isinstance(item, Mapping) and part in item]
        else:
            return _MISSING, labels, source
        label, labels = labels.of(part), labels.below(part)
    return value, labels, label


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else ()
