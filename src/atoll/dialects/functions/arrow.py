"""Tables that travel as Arrow streams, for people: columns of plain values.

Frames go this way that hold what raw buffers can't: times with zones, numbers that may be
missing, several levels of names. Reading them takes pyarrow, which Atoll doesn't need for
anything else. A stream is somebody else's data: what could take far more memory than it has
bytes is not read.
"""

from __future__ import annotations

import base64
import importlib
import json
import struct
from collections.abc import Callable, Iterator
from math import isfinite
from typing import Any

from atoll.dialects.functions.cells import duration, moment
from atoll.model.errors import ReplyInvalid

#: The first version that runs nothing of what lies in a stream.
_SOUND = (14, 0, 1)
_CHARACTERS_PER_ELEMENT = 16
#: Characters of a type's name that are shown.
_TYPE_CHARACTERS_MAX = 100

# What a stream's messages are, in their own format: a table's fields by number.
_MESSAGE_HEADER = 2
_DICTIONARY_DATA = 1
_BATCH_COMPRESSION = 3


def columns(stream: memoryview, afford: Callable[[int], bool]) -> list[tuple[Any, Any]] | None:
    """A stream's columns by name, the index first; None where it can't be shown.

    Args:
        stream: an Arrow IPC stream.
        afford: whether so many more elements may be shown.

    Raises:
        ReplyInvalid: the stream is damaged.
    """
    try:
        # Guards an installation without pyarrow, and saves everybody else its time.
        arrow, ipc = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.ipc")
    except ImportError:
        return None
    if _version(arrow.__version__) < _SOUND:
        return None
    try:
        buffer = arrow.py_buffer(stream)
        if any(_is_compressed(message) for message in ipc.MessageReader.open_stream(buffer)):
            return None
        with ipc.open_stream(buffer) as reader:
            return list(_columns(arrow, reader, afford))
    except (arrow.ArrowException, struct.error, OSError, ValueError, OverflowError) as error:
        raise ReplyInvalid(f"a table's Arrow data are damaged ({type(error).__name__})") from error


def _columns(arrow: Any, reader: Any, afford: Callable[[int], bool]) -> Iterator[tuple[Any, Any]]:
    batches = []
    for batch in reader:
        batch.validate(full=True)
        batches.append(batch)
    rows = sum(batch.num_rows for batch in batches)
    index = _index(reader.schema)
    yield from (
        (name, list(numbers)) for name, numbers in _ranges(index) if len(numbers) == rows and afford(rows)
    )
    # What was a frame's index comes first.
    positions = sorted(range(len(reader.schema)), key=lambda at: reader.schema.names[at] not in index)
    for position in positions:
        field = reader.schema.field(position)
        name = "index" if field.name.startswith("__index_level_") else field.name
        convert = _conversion(arrow, field.type)
        values = None
        if convert is not None and afford(rows):
            values = _values((batch.column(position) for batch in batches), convert, afford)
        yield (
            name,
            {"dtype": str(field.type)[:_TYPE_CHARACTERS_MAX], "shape": [rows]} if values is None else values,
        )


def _values(
    arrays: Iterator[Any], convert: Callable[[Any], Any], afford: Callable[[int], bool]
) -> list[Any] | None:
    values = []
    for array in arrays:
        # One by one: a dictionary of long words would otherwise become a long list of them.
        for scalar in array:
            value = convert(scalar) if scalar.is_valid else None
            if isinstance(value, str) and not afford(len(value) // _CHARACTERS_PER_ELEMENT):
                return None
            values.append(value)
    return values


def _conversion(arrow: Any, type_: Any) -> Callable[[Any], Any] | None:
    """How a value of this type is shown; None for lists and other types that hold more than a value."""
    types = arrow.types
    if types.is_dictionary(type_):
        inner = _conversion(arrow, type_.value_type)
        return (
            None if inner is None else lambda scalar: inner(scalar.value) if scalar.value.is_valid else None
        )
    if types.is_timestamp(type_):
        zone = "" if type_.tz is None else "Z"  # With a zone, what is stored is universal time.
        return lambda scalar: moment(scalar.value, type_.unit) + zone
    if types.is_date(type_):
        return lambda scalar: scalar.as_py().isoformat()
    if types.is_time(type_):
        return lambda scalar: moment(scalar.value, type_.unit).partition("T")[2]
    if types.is_duration(type_):
        return lambda scalar: duration(scalar.value, type_.unit)
    if types.is_floating(type_):
        return lambda scalar: number if isfinite(number := float(scalar.as_py())) else None
    if types.is_decimal(type_):
        return lambda scalar: str(scalar.as_py())
    if any(
        is_binary(type_)
        for is_binary in _named(types, "is_binary is_large_binary is_binary_view is_fixed_size_binary")
    ):
        return lambda scalar: base64.b64encode(scalar.as_py()).decode("ascii")
    as_is = _named(types, "is_null is_boolean is_integer is_string is_large_string is_string_view")
    return (lambda scalar: scalar.as_py()) if any(is_(type_) for is_ in as_is) else None


def _named(types: Any, names: str) -> list[Callable[[Any], bool]]:
    """Checks of types by name: older versions lack those of types that they don't know."""
    return [getattr(types, name) for name in names.split() if hasattr(types, name)]


def _index(schema: Any) -> list[Any]:
    """What pandas notes of a frame's index: names of columns, and ranges that are no column."""
    try:
        index = json.loads((schema.metadata or {})[b"pandas"])["index_columns"]
    except (KeyError, TypeError, ValueError, RecursionError):
        return []
    return index if isinstance(index, list) else []


def _ranges(index: list[Any]) -> Iterator[tuple[Any, range]]:
    for entry in index:
        given = [entry.get(key) for key in ("start", "stop", "step")] if isinstance(entry, dict) else []
        numbers = [number for number in given if type(number) is int]
        # Rows that are only counted, from 0, need no index.
        if len(numbers) == 3 and numbers[2] and numbers[::2] != [0, 1]:
            yield entry.get("name") or "index", range(*numbers)


def _is_compressed(message: Any) -> bool:
    """Whether a message's body is written smaller than it is: by how much is only known once it is read."""
    if message.type not in ("record batch", "dictionary"):
        return False
    data = bytes(message.metadata)
    header = _follow(data, struct.unpack_from("<I", data)[0], _MESSAGE_HEADER)
    if message.type == "dictionary":
        header = _follow(data, header, _DICTIONARY_DATA)
    return _field(data, header, _BATCH_COMPRESSION) != 0


def _field(data: bytes, table: int, number: int) -> int:
    """Where a table has a field; 0 where it leaves it out."""
    listed = table - struct.unpack_from("<i", data, table)[0]
    size = struct.unpack_from("<H", data, listed)[0]
    at = 4 + 2 * number
    offset = struct.unpack_from("<H", data, listed + at)[0] if at < size else 0
    return table + int(offset) if offset else 0


def _follow(data: bytes, table: int, number: int) -> int:
    """The table that a table's field refers to."""
    at = _field(data, table, number)
    return at + int(struct.unpack_from("<I", data, at)[0])


def _version(text: str) -> tuple[int, ...]:
    return tuple(int("0" + "".join(filter(str.isdigit, part))) for part in text.split(".")[:3])
