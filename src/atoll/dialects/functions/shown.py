"""Tagged values as plain ones, for people: what JSON can say, and no more of it than can be read.

An algorithm wrote them, so that each form is checked, and what is shown is bounded: a few bytes
may name one text a million times, or an array of a million empty rows.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from math import isfinite
from typing import Any, ClassVar

from atoll.dialects.functions import arrow
from atoll.dialects.functions.cells import element_type, shaped
from atoll.dialects.functions.container import Container
from atoll.model.errors import ReplyInvalid

#: Elements of an array that are shown. A page of a million numbers is read by nobody, and takes
#: tens of megabytes as text.
ELEMENTS_MAX = 1_000_000
#: Elements that are shown of all arrays, tables and bytes together; sixteen characters of a text
#: that is not written out in the header count as one.
SHOWN_MAX = 4 * ELEMENTS_MAX
#: How deep a value may be nested. Functions' own bound is 100.
DEPTH_MAX = 128
#: Dimensions that an array may have: numpy's own bound.
_DIMENSIONS_MAX = 64
_CHARACTERS_PER_ELEMENT = 16


class Shown:
    """Reads the value of one container."""

    def __init__(self, container: Container, *, elements_max: int = ELEMENTS_MAX) -> None:
        """Look at a container.

        Args:
            container: whose value is read.
            elements_max: elements that are shown of an array; 0 to look at no buffer.
        """
        self._container = container
        self._elements_max = elements_max
        self._left = SHOWN_MAX if elements_max else 0
        self._depth = 0

    def read(self, node: Any) -> Any:
        """A tagged value as a plain one.

        Raises:
            ReplyInvalid: it is not what its tag asks for, or is nested too deeply.
        """
        if isinstance(node, float):
            return node if isfinite(node) else None
        if not isinstance(node, dict | list):
            return node
        self._depth += 1
        if self._depth > DEPTH_MAX:
            raise ReplyInvalid(f"a value is nested more than {DEPTH_MAX} deep")
        plain = self._inner(node)
        self._depth -= 1
        return plain

    def _inner(self, node: dict[str, Any] | list[Any]) -> Any:
        if isinstance(node, list):
            return [self.read(one) for one in node]
        tag = next(iter(node)) if len(node) == 1 else ""
        if not tag.startswith("$"):
            return {key: self.read(one) for key, one in node.items()}
        reader = self._TAGS.get(tag)
        if reader is None:
            raise ReplyInvalid(
                f"a value has the tag {tag[:40]!r}, which Atoll doesn't know. Is the algorithm's atoll-algorithm "
                "newer than this Atoll?"
            )
        return reader(self, node[tag])

    # --- Single values ------------------------------------------------------------------------

    def _float(self, content: Any) -> None:
        _check(content in ("nan", "inf", "-inf"), "$float")

    def _list(self, content: Any) -> list[Any]:
        _check(isinstance(content, list), "$tuple or $set")
        return [self.read(one) for one in content]

    def _complex(self, content: Any) -> list[Any]:
        parts = self._list(content)
        _check(len(parts) == 2 and all(one is None or type(one) in (int, float) for one in parts), "$complex")
        return parts

    def _decimal(self, content: Any) -> str:
        _check(isinstance(content, str), "$decimal")
        return str(content)

    def _time(self, content: Any) -> str:
        _check(_are_texts(content, 2) and content[0] in ("datetime", "date", "time", "timedelta"), "$time")
        return str(content[1])

    def _map(self, content: Any) -> dict[str, Any]:
        _check(
            isinstance(content, list) and all(isinstance(one, list) and len(one) == 2 for one in content),
            "$map",
        )
        return named((self.read(key), self.read(value)) for key, value in content)

    def _data(self, content: Any) -> dict[str, Any]:
        _check(isinstance(content, list) and len(content) == 2 and isinstance(content[1], dict), "$data")
        return {name: self.read(value) for name, value in content[1].items()}

    # --- What lies in buffers -----------------------------------------------------------------

    def _bytes(self, content: Any) -> Any:
        view = self._container.buffer(content)
        if not self._afford(len(view) // _CHARACTERS_PER_ELEMENT + 1):
            return {"bytes": len(view)}
        return base64.b64encode(view).decode("ascii")

    def _array(self, content: Any) -> Any:
        _check(isinstance(content, list) and len(content) == 3, "$array")
        written, shape, index = content
        _check(
            isinstance(written, str) and isinstance(shape, list) and len(shape) <= _DIMENSIONS_MAX, "$array"
        )
        _check(all(type(extent) is int and 0 <= extent < 1 << 63 for extent in shape), "$array")
        view = self._container.buffer(index)
        type_ = element_type(written)
        count, made = 1, 1
        for extent in shape:
            count *= extent
            made += count  # Lists take their place even where they are empty.
        if type_ is not None and count * type_.size_bytes != len(view):
            raise ReplyInvalid(
                f"an array of {written[:40]} of shape {shape} has {len(view)} bytes: "
                f"expected {count * type_.size_bytes}"
            )
        if type_ is None or count > self._elements_max or not self._afford(made + len(view) // 64):
            return {"dtype": written, "shape": shape}
        return shaped(type_.read(view, count), shape)

    def _cells(self, node: Any) -> Any:
        """A column's cells: a list, or what is shown in its place."""
        if isinstance(node, dict) and "$categories" in node:
            return self._categories(node["$categories"])
        return self._simple_cells(node)

    def _simple_cells(self, node: Any) -> Any:
        _check(isinstance(node, dict) and len(node) == 1, "$frame")
        ((tag, content),) = node.items()
        if tag == "$text":
            _check(isinstance(content, list), tag)
            _check(all(cell is None or isinstance(cell, str) for cell in content), tag)
            return content
        _check(tag == "$array" and isinstance(content, list) and len(content) == 3, "$frame")
        _check(isinstance(content[1], list) and len(content[1]) == 1, "$frame")
        return self._array(content)

    def _categories(self, content: Any) -> Any:
        _check(isinstance(content, list) and len(content) == 3, "$categories")
        codes, words = self._simple_cells(content[0]), self._simple_cells(content[1])
        if not isinstance(codes, list):
            return codes
        summary = {"dtype": "category", "shape": [len(codes)]}
        if not isinstance(words, list):
            return summary
        _check(all(type(code) is int and -1 <= code < len(words) for code in codes), "$categories")
        sizes = [len(word) // _CHARACTERS_PER_ELEMENT if isinstance(word, str) else 0 for word in words]
        if not self._afford(sum(sizes[code] for code in codes if code >= 0)):
            return summary
        return [None if code < 0 else words[code] for code in codes]

    def _frame(self, content: Any) -> dict[str, Any]:
        _check(isinstance(content, dict) and isinstance(content.get("columns"), list), "$frame")
        columns = content["columns"]
        _check(all(isinstance(column, list) and len(column) == 2 for column in columns), "$frame")
        shown = [(self.read(name), self._cells(cells)) for name, cells in columns]
        if content.get("index") is not None:
            label = self.read(content.get("index_name"))
            shown.insert(0, ("index" if label is None else label, self._cells(content["index"])))
        return named(shown)

    def _series(self, content: Any) -> Any:
        _check(isinstance(content, list) and 3 <= len(content) <= 4, "$series")
        cells = self._cells(content[1])
        index = None if content[2] is None else self._cells(content[2])
        if not isinstance(cells, list) or not isinstance(index, list):
            return cells
        _check(len(cells) == len(index), "$series")
        return named(zip(index, cells, strict=True))

    def _arrow(self, content: Any) -> Any:
        _check(isinstance(content, list) and len(content) == 2, "$arrow")
        view = self._container.buffer(content[1])
        columns = arrow.columns(view, self._afford) if self._elements_max else None
        return {"arrow": f"{len(view)} bytes"} if columns is None else named(columns)

    def _afford(self, elements: int) -> bool:
        """Whether so many more elements may be shown; then they are counted."""
        if elements > self._left:
            return False
        self._left -= elements
        return True

    #: What reads a tag's content.
    _TAGS: ClassVar[dict[str, Callable[[Shown, Any], Any]]] = {
        "$float": _float, "$tuple": _list, "$set": _list, "$complex": _complex, "$decimal": _decimal,
        "$time": _time, "$map": _map, "$data": _data, "$bytes": _bytes, "$array": _array,
        "$frame": _frame, "$series": _series, "$arrow": _arrow,
    }  # fmt: skip


def named(pairs: Iterable[tuple[Any, Any]]) -> dict[str, Any]:
    """An object of values by name. What is no text is written as JSON; what comes twice is numbered."""
    shown: dict[str, Any] = {}
    numbers: dict[str, int] = {}
    for name, value in pairs:
        text = free = name if isinstance(name, str) else json.dumps(name)
        while free in shown:
            numbers[text] = numbers.get(text, 1) + 1
            free = f"{text} ({numbers[text]})"
        shown[free] = value
    return shown


def _check(holds: bool, tag: str) -> None:  # noqa: FBT001 -- it reads like an assertion
    if not holds:
        raise ReplyInvalid(f"a value tagged {tag} is not what the tag asks for")


def _are_texts(content: Any, count: int) -> bool:
    return (
        isinstance(content, list) and len(content) == count and all(isinstance(one, str) for one in content)
    )
