"""Raw arrays as plain Python values, without numpy.

An array's type is written as numpy writes it: ``<f8`` is a little-endian number of eight bytes.
Booleans, numbers, times and text of fixed length are known. What JSON has no word for becomes
what people read in its place: a number that is not finite is None, a time is ISO text.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

#: What `struct` calls the kinds and sizes of numbers and times.
_LETTERS = {
    "b1": "?", "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q",
    "f2": "e", "f4": "f", "f8": "d", "c8": "f", "c16": "d", "M8": "q", "m8": "q",
}  # fmt: skip
_WRITTEN = re.compile(
    r"(?P<order>[<>|])(?P<kind>[a-zA-Z])(?P<size>[0-9]{1,9})"
    r"(\[(?P<multiple>[0-9]{0,9})(?P<unit>as|fs|ps|ns|us|ms|[smhDWMY])\])?"
)
#: Units of time: how many seconds, or of their parts with this many digits.
_UNITS = {
    "W": (604_800, 0), "D": (86_400, 0), "h": (3_600, 0), "m": (60, 0), "s": (1, 0),
    "ms": (1, 3), "us": (1, 6), "ns": (1, 9), "ps": (1, 12), "fs": (1, 15), "as": (1, 18),
}  # fmt: skip
_MONTHS = {"Y": 12, "M": 1}
#: The whole number that stands for no time at all.
_NO_TIME = -(2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementType:
    """What an array's elements are."""

    size_bytes: int
    #: So many elements, from their bytes.
    read: Callable[[memoryview, int], Sequence[Any]]


def element_type(written: str) -> ElementType | None:
    """What numpy's name for a type means; None where there are no plain values for it."""
    match = _WRITTEN.fullmatch(written)
    if match is None:
        return None
    kind, size = match["kind"], int(match["size"])
    order = "<" if match["order"] == "|" else match["order"]
    letter = _LETTERS.get(f"{kind}{size}")
    if (match["unit"] is not None) != (kind in "mM"):
        return None  # Times without a unit count something that nobody knows.
    if letter is not None:
        change = _change(kind, match["unit"], int(match["multiple"] or 1))
        return ElementType(size_bytes=size, read=_numbers(f"{order}{{}}{letter}", change, pairs=kind == "c"))
    if kind == "S":
        return ElementType(size_bytes=size, read=_texts(size, "utf-8"))
    if kind == "U":
        coding = "utf-32-le" if order == "<" else "utf-32-be"
        return ElementType(size_bytes=4 * size, read=_texts(4 * size, coding))
    return None


def shaped(flat: Sequence[Any], shape: Sequence[int]) -> Any:
    """Elements as lists within lists, in C order; the only one where there are no dimensions."""
    if not shape:
        return flat[0]
    if 0 in shape:
        return _empty(shape)
    for extent in reversed(shape[1:]):
        flat = [list(flat[start : start + extent]) for start in range(0, len(flat), extent)]
    return list(flat)


def _empty(shape: Sequence[int]) -> list[Any]:
    return [_empty(shape[1:]) for _ in range(shape[0])]


def finite(number: float) -> float | None:
    """A number that JSON has a word for, or None."""
    return number if isfinite(number) else None


def _numbers(
    pattern: str, change: Callable[[Any], Any] | None, *, pairs: bool
) -> Callable[[memoryview, int], Sequence[Any]]:
    def read(view: memoryview, count: int) -> Sequence[Any]:
        values = struct.unpack(pattern.format(count * 2 if pairs else count), view)
        if change is not None:
            values = tuple(map(change, values))
        return [list(pair) for pair in zip(values[::2], values[1::2], strict=True)] if pairs else values

    return read


def _change(kind: str, unit: str, multiple: int) -> Callable[[Any], Any] | None:
    if kind in "fc":
        return finite
    if kind == "M":
        return lambda count: None if count == _NO_TIME else moment(count * multiple, unit)
    if kind == "m":
        return lambda count: None if count == _NO_TIME else duration(count * multiple, unit)
    return None


def _texts(size_bytes: int, coding: str) -> Callable[[memoryview, int], Sequence[Any]]:
    def read(view: memoryview, count: int) -> Sequence[Any]:
        cells = (view[n * size_bytes : (n + 1) * size_bytes] for n in range(count))
        # What is shorter than its cell is filled up with zeros.
        return [str(cell, coding, "replace").rstrip("\0") for cell in cells]

    return read


def moment(count: int, unit: str) -> str:
    """So many units after 1970 began, as ISO text."""
    if unit in _MONTHS:
        year, month = divmod(count * _MONTHS[unit], 12)
        return _year(1970 + year) + (f"-{month + 1:02d}" if unit == "M" else "")
    factor, digits = _UNITS[unit]
    seconds, part = divmod(count * factor, 10**digits)
    days, second = divmod(seconds, 86_400)
    if unit in "WD":
        return _date(days)
    clock = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
    return f"{_date(days)}T{clock}{_fraction(part, digits)}"


def duration(count: int, unit: str) -> str:
    """So many units, in seconds; of years and months, which have no fixed length, as they are."""
    if unit in _MONTHS:
        return f"{count} {'years' if unit == 'Y' else 'months'}"
    factor, digits = _UNITS[unit]
    seconds, part = divmod(abs(count) * factor, 10**digits)
    return f"{'-' if count < 0 else ''}{seconds}{_fraction(part, digits)}"


def _fraction(part: int, digits: int) -> str:
    return "." + f"{part:0{digits}d}".rstrip("0") if part else ""


def _date(days: int) -> str:
    """The day so many days after 1970-01-01, in the calendar that ISO has for all years."""
    # Counted from the first of March of year 0, so that a leap day is the last of its year; in
    # eras of 400 years, which all have 146,097 days.
    era, day = divmod(days + 719_468, 146_097)
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day -= 365 * year + year // 4 - year // 100
    month = (5 * day + 2) // 153
    day -= (153 * month + 2) // 5
    month = month + 3 if month < 10 else month - 9
    return f"{_year(era * 400 + year + (month <= 2))}-{month:02d}-{day + 1:02d}"


def _year(year: int) -> str:
    return f"-{-year:04d}" if year < 0 else f"{year:04d}"
