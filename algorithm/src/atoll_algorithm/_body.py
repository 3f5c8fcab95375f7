"""The container that arguments and results travel in.

::

    bytes 0-3   ATO1
    bytes 4-7   N, big-endian
    N bytes     {"value": tagged JSON, "buffers": [[offset, length], ...]}
                zeros, to a multiple of 64
    buffers     each at a multiple of 64

A plain value costs a JSON dump and no more. Arrays are written from where they lie, and
read where they lie: what `unpack` returns are read-only views on `data`, which lives as long
as one of them.
"""

from __future__ import annotations

import json
from typing import Any, Callable, Dict, FrozenSet, List, NoReturn, Optional, Tuple

from atoll_algorithm import _arrays  # noqa: F401 -- it adds its tags to those of _values
from atoll_algorithm._values import Make, Reader, Writer, is_plain
from atoll_algorithm.errors import BodyInvalid, CantTravel

MAGIC = b"ATO1"
ALIGNMENT = 64
_ZEROS = bytes(ALIGNMENT)
#: So long may the JSON be: its length has four bytes.
HEADER_BYTES_MAX = (1 << 32) - 1


def _refuse_constant(text: str) -> NoReturn:
    raise BodyInvalid("a body's JSON says %s, which is no JSON" % (text,))


def _dumper() -> Callable[[Any], str]:
    """What writes JSON. The interpreter's own writer, used directly, saves half of the time of a small value."""
    make = getattr(json.encoder, "c_make_encoder", None)
    plain = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if make is None:
        return plain.encode
    try:
        # Without a record of what it is in: what it is given was walked, and holds no circle.
        write = make(None, plain.default, json.encoder.encode_basestring, None, ":", ",", False, False, False)
        if "".join(write([1, "é", None], 0)) != '[1,"é",null]':
            return plain.encode
    except Exception:  # another interpreter's writer takes something else
        return plain.encode
    return lambda value: "".join(write(value, 0))


_dump = _dumper()
_dump_ascii = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode
_decoder = json.JSONDecoder(parse_constant=_refuse_constant)
_scan: Callable[[str, int], Tuple[Any, int]] = vars(_decoder)["scan_once"]


def pack(value: Any, what: str = "result", words: Optional[FrozenSet[str]] = None) -> List[Any]:
    """A value as the pieces of a container, in order.

    Args:
        value: What is to travel.
        what: What it is called in an error.
        words: The dict keys that an error's `sendable` may show; None: all.

    Raises:
        CantTravel: It, or something in it, has no form in a container.
    """
    try:
        if is_plain(value):
            try:
                return [_join(b'{"value":' + _text(value) + b"}")]
            except ValueError:
                pass  # NaN, or a circle: what follows knows the first, and names the second
        writer = Writer(what, words)
        tagged = _text(writer.tag(value))
    except RecursionError:
        raise CantTravel("%s is nested too deeply, or holds itself" % (what,)) from None
    except ValueError as error:
        # Of whole numbers with thousands of digits some versions of Python make no text.
        raise CantTravel("%s can't be written as JSON (%s)" % (what, type(error).__name__)) from error
    if not writer.buffers:
        return [_join(b'{"value":' + tagged + b"}")]
    return _with_buffers(tagged, writer.buffers)


def _text(tagged: Any) -> bytes:
    try:
        return _dump(tagged).encode("utf-8")
    except UnicodeEncodeError:  # half of a surrogate pair, which UTF-8 has no form for
        return _dump_ascii(tagged).encode("ascii")


def _join(header: bytes) -> bytes:
    if len(header) > HEADER_BYTES_MAX:
        raise CantTravel("a value without arrays takes %d bytes: send it as an array" % (len(header),))
    return b"%b%b%b%b" % (
        MAGIC,
        len(header).to_bytes(4, "big"),
        header,
        _ZEROS[: -(8 + len(header)) % ALIGNMENT],
    )


def _with_buffers(tagged: bytes, buffers: List[Any]) -> List[Any]:
    views = [memoryview(one) for one in buffers]
    header, before = b"", -1
    # Where the buffers begin depends on the header's length, which depends on where they begin.
    while len(header) != before:
        before = len(header)
        offset = -(-(8 + before) // ALIGNMENT) * ALIGNMENT
        places = []
        for view in views:
            places.append([offset, view.nbytes])
            offset += -(-view.nbytes // ALIGNMENT) * ALIGNMENT
        header = b'{"value":' + tagged + b',"buffers":' + _dump(places).encode("ascii") + b"}"
    pieces: List[Any] = [_join(header)]
    for number, view in enumerate(views):
        pieces.append(view)
        gap = -view.nbytes % ALIGNMENT
        if gap and number < len(views) - 1:
            pieces.append(bytes(gap))
    return pieces


def size(pieces: List[Any]) -> int:
    """How many bytes the pieces of a container take."""
    return sum([memoryview(piece).nbytes for piece in pieces])


def join(pieces: List[Any]) -> bytes:
    """The pieces of a container as one."""
    return pieces[0] if len(pieces) == 1 and type(pieces[0]) is bytes else b"".join(pieces)


def unpack(data: Any, make: Optional[Make] = None) -> Any:
    """The value that a container holds.

    Args:
        data: bytes, or anything that lends its memory as bytes. It must not change any more.
        make: What makes dataclasses; None: they come as dicts.

    Raises:
        BodyInvalid: `data` is no container, or a damaged one.
    """
    text, end = _text_of(data)
    header = _header(text)
    places = header.get("buffers", [])
    if not places and "$" not in text:
        return header["value"]
    _check_places(places, len(data), end)
    try:
        return Reader(data, places, make).untag(header["value"])
    except BodyInvalid:
        raise
    except RecursionError:
        raise BodyInvalid("a body is nested too deeply") from None
    except Exception as error:  # numpy and pandas raise what they like for what they can't hold
        raise BodyInvalid("a body is damaged (%s)" % (type(error).__name__,)) from error


def peek(data: Any) -> Any:
    """The tagged JSON that a container holds, with none of its buffers read.

    Raises:
        BodyInvalid: As for `unpack`.
    """
    return _header(_text_of(data)[0])["value"]


def _header(text: str) -> Dict[str, Any]:
    try:
        header, end = _scan(text, 0)
        if end != len(text):
            header = _decoder.decode(text)
    except StopIteration:
        raise BodyInvalid("a body's header is no JSON") from None
    except RecursionError:
        raise BodyInvalid("a body is nested too deeply") from None
    except BodyInvalid:
        raise
    except ValueError as error:  # no JSON, or numbers with thousands of digits
        raise BodyInvalid("a body's header is no JSON") from error
    if type(header) is not dict or "value" not in header:
        raise BodyInvalid("a body's header has no value")
    return header


def _text_of(data: Any) -> Tuple[str, int]:
    """The header, and where it ends."""
    if len(data) < 8 or data[:4] != MAGIC:
        raise BodyInvalid("%d bytes are no body: one begins with ATO1" % (len(data),))
    end = 8 + int.from_bytes(data[4:8], "big")
    if end > len(data):
        raise BodyInvalid("a body of %d bytes says that its header ends at %d" % (len(data), end))
    try:
        return str(data[8:end], "utf-8"), end
    except UnicodeDecodeError:
        raise BodyInvalid("a body's header isn't UTF-8") from None


def _check_places(places: Any, length: int, start: int) -> None:
    if type(places) is not list:
        raise BodyInvalid("a body's buffers are no list")
    for place in places:
        if type(place) is not list or len(place) != 2 or [type(one) for one in place] != [int, int]:
            raise BodyInvalid("a body's buffers are lists of offset and length")
        offset, size_bytes = place
        if offset % ALIGNMENT or offset < start or size_bytes < 0 or offset + size_bytes > length:
            raise BodyInvalid("a body of %d bytes has a buffer of %d at %d" % (length, size_bytes, offset))
