"""The container that arguments and results of functions travel in.

::

    bytes 0-3   ATO1
    bytes 4-7   N: how long the header is; big-endian, unsigned
    N bytes     the header: JSON, {"value": ..., "buffers": [[offset, length], ...]}
    buffers     each begins at a multiple of 64 from the start

What is in it was written by an algorithm that nobody here has read. Every number in it is checked
against what is there before anything is looked up by it, and nothing in it is ever run.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atoll.model.errors import ReplyInvalid
from atoll.model.work import Content

MAGIC = b"ATO1"
#: Buffers begin at multiples of it, so that an array can be used where it lies.
ALIGNMENT = 64
#: Bytes of a header that is read. Reading takes up to twenty times as much memory, and what is this
#: long is no result for people. Numbers that travel as arrays are not in the header.
HEADER_BYTES_MAX = 64 * 1024**2

_START = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container that was read: its tagged value, and where its buffers are."""

    value: Any
    _view: memoryview
    _buffers: Sequence[tuple[int, int]]

    def buffer(self, index: object) -> memoryview:
        """The buffer with this index.

        Raises:
            ReplyInvalid: there is none.
        """
        if type(index) is not int or not 0 <= index < len(self._buffers):
            raise ReplyInvalid(
                f"a value names buffer {_quoted(index)}, and the container has {len(self._buffers)}"
            )
        offset, length = self._buffers[index]
        return self._view[offset : offset + length]


def pack(value: Any) -> bytes:
    """A container without buffers.

    Args:
        value: tagged JSON.

    Raises:
        TypeError: it is not JSON.
        ValueError: it holds NaN, or itself.
        RecursionError: it is nested too deeply.
    """
    header = json.dumps({"value": value}, separators=(",", ":"), allow_nan=False).encode("ascii")
    padding = -(_START + len(header)) % ALIGNMENT
    return MAGIC + len(header).to_bytes(4, "big") + header + bytes(padding)


def header_bytes(content: Content) -> int:
    """How long the header of a container is; the header itself is not read.

    Raises:
        ReplyInvalid: it is no container, or it ends before its header does.
    """
    return _header_bytes(_view_of(content))


def unpack(content: Content) -> Container:
    """Read a container's header. Buffers stay where they are.

    Raises:
        ReplyInvalid: it is no container, or its header is not what it should be, or too long.
    """
    view = _view_of(content)
    length = _header_bytes(view)
    if length > HEADER_BYTES_MAX:
        raise ReplyInvalid(
            f"a container's header has {length} bytes: expected at most {HEADER_BYTES_MAX}. "
            "Long lists of numbers travel better as arrays"
        )
    header = _read(view[_START : _START + length])
    if not isinstance(header, dict) or "value" not in header:
        raise ReplyInvalid("a container's header is no JSON object with a value")
    buffers = header.get("buffers", [])
    if not isinstance(buffers, list):
        raise ReplyInvalid("a container's header lists no buffers: expected pairs of offset and length")
    for position, buffer in enumerate(buffers):
        _check_buffer(buffer, position, start=_START + length, end=len(view))
    return Container(value=header["value"], _view=view, _buffers=buffers)


def _view_of(content: Content) -> memoryview:
    if isinstance(content, bytes):
        return memoryview(content)
    if not content.size_bytes:
        return memoryview(b"")
    # A private mapping: what is sealed against writing may not be mapped in any other way.
    return memoryview(
        mmap.mmap(content.fileno(), content.size_bytes, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    )


def _header_bytes(view: memoryview) -> int:
    if view[: len(MAGIC)] != MAGIC or len(view) < _START:
        raise ReplyInvalid(
            f"{len(view)} bytes are no container: expected {MAGIC.decode()} and a header. "
            "Did something else than atoll-algorithm write to its socket?"
        )
    length = int.from_bytes(view[len(MAGIC) : _START], "big")
    if _START + length > len(view):
        raise ReplyInvalid(
            f"a container's header should have {length} bytes, and only {len(view) - _START} are there"
        )
    return length


def _read(view: memoryview) -> Any:
    try:
        return json.loads(str(view, "utf-8"), parse_constant=_refuse)
    except RecursionError:
        raise ReplyInvalid("a container's header is nested too deeply to be read") from None
    except UnicodeDecodeError as error:
        raise ReplyInvalid(f"a container's header is not UTF-8 (at byte {error.start})") from None
    except json.JSONDecodeError as error:
        # The sentence without a quotation: the header may hold values.
        raise ReplyInvalid(f"a container's header is not JSON (at character {error.pos})") from None
    except ValueError as error:
        raise ReplyInvalid(f"a container's header can't be read: {error}") from None


def _refuse(word: str) -> Any:
    raise ReplyInvalid(
        f"a container's header holds {word}, which JSON has no word for: it is tagged as $float"
    )


def _check_buffer(buffer: Any, position: int, *, start: int, end: int) -> None:
    if not isinstance(buffer, list) or len(buffer) != 2 or not all(type(number) is int for number in buffer):
        raise ReplyInvalid(f"buffer {position} of a container is not given by an offset and a length")
    offset, length = buffer
    if offset % ALIGNMENT or length < 0 or not start <= offset <= end - length:
        raise ReplyInvalid(
            f"buffer {position} of a container has {length} bytes from {offset}: expected a multiple of "
            f"{ALIGNMENT} after the header ({start}), and an end within {end} bytes"
        )


def _quoted(index: object) -> str:
    return str(index) if type(index) is int else type(index).__name__
