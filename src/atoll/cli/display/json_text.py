"""A value as JSON for people: short lists on one line, and never longer than a few screens.

What is shown in full is JSON that can be copied. Where it is cut, it says by how much.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from rich.text import Text

from atoll.cli.amounts import counted
from atoll.cli.display.page import Page
from atoll.cli.escape import escape

#: Lines on a page.
LINES_MAX = 200
#: Characters of one text within JSON. An image is some hundred thousand.
TEXT_CHARACTERS_MAX = 400
#: Characters of a line up to which a list or an object stays on it.
_LINE_CHARACTERS_MAX = 80
#: Items that are looked at to see whether they fit one line.
_LINE_ITEMS_MAX = 16
#: How deep JSON is printed; Python gives up at about a thousand.
_DEPTH_MAX = 40


def put_json(page: Page, value: Any, *, why: str = "") -> None:
    """Write a value as JSON, cut after `LINES_MAX` lines.

    Args:
        page: where it is written.
        value: anything that JSON can hold.
        why: what stands in the way of a better view of the whole result, without a full stop.
            The whole result is written once; later reasons point to it.
    """
    if why:
        page.remark(f"{why}; the result as JSON {'stands above' if page.whole_shown else 'follows'}.")
        if page.whole_shown:
            return
        page.whole_shown = True
    lines = list(islice(_lines(value, indent="", depth=0), LINES_MAX + 1))
    for line in lines[:LINES_MAX]:
        page.put(Text(line, overflow="fold"))
    if len(lines) > LINES_MAX:
        page.remark(f"… cut after {counted(LINES_MAX, 'line')}; all of it is in {page.whole}")


def _lines(value: Any, *, indent: str, depth: int, lead: str = "", tail: str = "") -> Iterator[str]:
    """The lines of a value; `lead` comes before it and `tail` after it."""
    short = _on_one_line(value, depth=depth)
    if short is not None:
        yield f"{indent}{lead}{short}{tail}"
        return
    inner = f"{indent}  "
    is_object = isinstance(value, Mapping)
    yield f"{indent}{lead}{'{' if is_object else '['}"
    entries = value.items() if is_object else ((None, item) for item in value)
    for number, (key, item) in enumerate(entries, start=1):
        name = f"{_text(str(key))}: " if is_object else ""
        comma = "," if number < len(value) else ""
        yield from _lines(item, indent=inner, depth=depth + 1, lead=name, tail=comma)
    yield f"{indent}{'}' if is_object else ']'}{tail}"


def _on_one_line(value: Any, *, depth: int) -> str | None:
    """The value on one line, or None where it needs more."""
    is_object = isinstance(value, Mapping)
    if not is_object and (isinstance(value, str | bytes) or not isinstance(value, Sequence)):
        return _single(value)
    if not value:
        return "{}" if is_object else "[]"
    if depth >= _DEPTH_MAX:
        return "{…}" if is_object else "[…]"
    if len(value) > _LINE_ITEMS_MAX or (depth == 0 and is_object):
        return None
    items = list(value.values()) if is_object else list(value)
    if any(
        isinstance(item, Mapping) or (not isinstance(item, str) and isinstance(item, Sequence))
        for item in items
    ):
        return None
    texts = [_single(item) for item in items]
    if is_object:
        texts = [f"{_text(str(key))}: {text}" for key, text in zip(value, texts, strict=True)]
    line = ", ".join(texts)
    if len(line) > _LINE_CHARACTERS_MAX:
        return None
    return f"{{{line}}}" if is_object else f"[{line}]"


def _single(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return _text(repr(value))


def _text(text: str) -> str:
    cut = escape(json.dumps(text[:TEXT_CHARACTERS_MAX], ensure_ascii=False))
    if len(text) <= TEXT_CHARACTERS_MAX:
        return cut
    return f'{cut[:-1]}…" ({counted(len(text), "character")})'
