"""Arrays that are too large to be shown: what stands in their place, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: The kinds of numpy's element types whose names end with their bits.
_KINDS = {"f": "float", "i": "int", "u": "uint", "c": "complex"}


def is_array_note(value: Any) -> bool:
    """Whether this stands in an array's place: its element type and its shape, and nothing else."""
    return (
        isinstance(value, Mapping)
        and value.keys() == {"dtype", "shape"}
        and isinstance(value["dtype"], str)
        and isinstance(value["shape"], list)
        and all(type(extent) is int for extent in value["shape"])
    )


def array_text(note: Mapping[str, Any]) -> str:
    """``array of 10,000,000 float32``, ``array of 2,000 × 300 int64``."""
    extents = " × ".join(f"{extent:,}" for extent in note["shape"]) or "one"
    return f"array of {extents} {_type_name(note['dtype'])}"


def _type_name(dtype: str) -> str:
    """``float64`` for ``<f8``; what isn't a plain number keeps its own word."""
    kind, size = dtype[1:2], dtype[2:]
    if dtype == "|b1":
        return "bool"
    return (
        f"{_KINDS[kind]}{8 * int(size)}" if kind in _KINDS and size.isdecimal() and len(size) < 3 else dtype
    )
