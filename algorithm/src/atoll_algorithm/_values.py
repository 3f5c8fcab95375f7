"""Values as tagged JSON and buffers, and back.

A value becomes plain JSON, in which an object with one key that begins with ``$`` stands for
what JSON has no word for. Numbers and bytes in bulk go to buffers. Nothing is pickled, and
nothing is imported to understand a value: what isn't loaded can't be in it.
"""

from __future__ import annotations

import sys
from math import isfinite
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Set, Tuple

from atoll_algorithm.errors import BodyInvalid, CantTravel

#: How deep values may be nested. JSON's own readers end not far behind.
DEPTH_MAX = 100

EXPECTED = (
    "expected None, numbers, text, bytes, dates, lists, tuples, sets, dicts, dataclasses, "
    "numpy arrays, or data frames of pandas, polars or pyarrow"
)
_SCALARS = frozenset([str, int, float, bool, type(None)])
_STEADY = frozenset([str, int, bool, type(None)])
_TEXT = frozenset([str])

#: What makes a dataclass's instance from ``module:QualifiedName`` and its fields.
Make = Callable[[str, Dict[str, Any]], Any]
Tagger = Callable[["Writer", Any], Any]


def is_plain(value: Any, depth: int = DEPTH_MAX) -> bool:
    """Whether JSON alone holds a value, but for numbers that aren't finite."""
    kind = type(value)
    if kind is dict:
        if not (set(map(type, value)) <= _TEXT) or "$" in "".join(value):
            return False
        inner = value.values()
    elif kind is list:
        inner = value
    else:
        return kind in _SCALARS
    rest = set(map(type, inner)) - _SCALARS
    if not rest:
        return True
    if not (rest <= {dict, list}) or depth <= 0:
        return False
    # The first that isn't ends this, and so a value that holds itself does too.
    return all(is_plain(one, depth - 1) for one in inner if type(one) not in _SCALARS)


def name_of(kind: type) -> str:
    """A type in a sentence: ``list``, ``torch.Tensor``."""
    top = kind.__module__.partition(".")[0]
    return kind.__qualname__ if top == "builtins" else "%s.%s" % (top, kind.__qualname__)


class Writer:
    """Turns one value into tagged JSON, and keeps its buffers."""

    def __init__(self, what: str, words: Optional[FrozenSet[str]] = None) -> None:
        #: Contiguous memory, in the order in which the JSON numbers it.
        self.buffers: List[Any] = []
        #: The keys that lead to the value at hand: text and numbers, or ``.name`` of a field.
        self.path: List[Any] = []
        self._what = what
        self._words = words

    def refuse(self, value: Any, hint: str = EXPECTED) -> CantTravel:
        """The error that says where a value lies that can't travel."""
        return self.fault("is a %s: %s" % (name_of(type(value)), hint))

    def fault(self, sentence: str) -> CantTravel:
        """The error that says what is wrong with the value at hand."""
        return CantTravel(
            "%s %s" % (self._where(None), sentence), "%s %s" % (self._where(self._words), sentence)
        )

    def _where(self, words: Optional[FrozenSet[str]]) -> str:
        """The path to the value at hand; with `words`, other keys are left out."""
        text = self._what
        for key in self.path:
            if isinstance(key, Field):
                text += "." + key
            elif type(key) is int or (type(key) is str and (words is None or key in words)):
                text += "[%r]" % (key,)
            elif isinstance(key, Key) and words is None and type(key.key) in (int, bool):
                text += "[%r]" % (key.key,)
            else:
                text += "[…]"
        return text

    def buffer(self, content: Any) -> int:
        """Keep a buffer; its number."""
        self.buffers.append(content)
        return len(self.buffers) - 1

    def tag(self, value: Any) -> Any:
        """A value as tagged JSON.

        Raises:
            CantTravel: It, or something in it, has no such form.
        """
        kind = type(value)
        tagger = _known.get(kind)
        if tagger is None:
            tagger = _known[kind] = _find(kind)
        return tagger(self, value)

    def inside(self, key: Any, value: Any) -> Any:
        """A value within another as tagged JSON."""
        if len(self.path) >= DEPTH_MAX:
            raise CantTravel("%s is nested more than %d deep" % (self._what, DEPTH_MAX))
        self.path.append(key)
        tagged = self.tag(value)
        self.path.pop()
        return tagged


class Field(str):
    """The name of a dataclass's field, in a path."""

    __slots__ = ()


class Key:
    """A dict's key that is no text, in a path."""

    __slots__ = ("key",)

    def __init__(self, key: Any) -> None:
        self.key = key


def _find(kind: type) -> Tagger:
    if "__dataclass_fields__" in kind.__dict__:
        return _tag_dataclass
    for base in kind.__mro__:
        tagger = TAGGERS.get((base.__module__.partition(".")[0], base.__qualname__))
        if tagger is not None:
            return tagger
    return _refuse


def _refuse(writer: Writer, value: Any) -> Any:
    hint = HINTS.get((type(value).__module__.partition(".")[0], type(value).__qualname__))
    raise writer.refuse(value) if hint is None else writer.refuse(value, hint)


def _tag_float(writer: Writer, value: float) -> Any:
    if isfinite(value):
        return float(value)
    return {"$float": "nan" if value != value else "inf" if value > 0 else "-inf"}  # noqa: PLR0124 -- NaN alone differs from itself


def _tag_list(writer: Writer, value: Any) -> Any:
    if set(map(type, value)) <= _STEADY:
        return list(value)
    return [writer.inside(index, one) for index, one in enumerate(value)]


def _tag_dict(writer: Writer, value: Any) -> Any:
    if all(isinstance(key, str) and key[:1] != "$" for key in value):
        return {str.__str__(key): writer.inside(key, one) for key, one in value.items()}
    pairs = []
    for key, one in value.items():
        step = key if type(key) is str else Key(key)
        pairs.append([writer.inside(step, key), writer.inside(step, one)])
    return {"$map": pairs}


def _tag_set(writer: Writer, value: Any) -> Any:
    # A set has no order of its own, and the same set is to be the same bytes.
    try:
        ordered = sorted(value)
    except TypeError:
        ordered = sorted(value, key=lambda one: (name_of(type(one)), repr(one)))
    return {"$set": [writer.inside(Key(one), one) for one in ordered]}


def _tag_bytes(writer: Writer, value: Any) -> Any:
    return {"$bytes": writer.buffer(memoryview(value).tobytes() if type(value) is not bytes else value)}


def _tag_complex(writer: Writer, value: complex) -> Any:
    return {"$complex": [_tag_float(writer, value.real), _tag_float(writer, value.imag)]}


def _tag_delta(writer: Writer, value: Any) -> Any:
    micros = (value.days * 86400 + value.seconds) * 1000000 + value.microseconds
    whole, part = divmod(abs(micros), 1000000)
    text = "%s%d" % ("-" if micros < 0 else "", whole)
    return _time("timedelta", text + (".%06d" % part if part else ""))


def _time(kind: str, text: str) -> Any:
    return {"$time": [kind, text]}


def _tag_dataclass(writer: Writer, value: Any) -> Any:
    kind = type(value)
    fields = sys.modules["dataclasses"].fields(value)
    content = {field.name: writer.inside(Field(field.name), getattr(value, field.name)) for field in fields}
    return {"$data": ["%s:%s" % (kind.__module__, kind.__qualname__), content]}


#: By the first part of the module's name, and the type's own.
TAGGERS: Dict[Tuple[str, str], Tagger] = {
    ("builtins", "NoneType"): lambda writer, value: None,
    ("builtins", "bool"): lambda writer, value: value,
    ("builtins", "int"): lambda writer, value: int(value),
    ("builtins", "float"): _tag_float,
    ("builtins", "str"): lambda writer, value: str.__str__(value),
    ("builtins", "bytes"): _tag_bytes,
    ("builtins", "bytearray"): _tag_bytes,
    ("builtins", "memoryview"): _tag_bytes,
    ("builtins", "complex"): _tag_complex,
    ("builtins", "list"): _tag_list,
    ("builtins", "tuple"): lambda writer, value: {"$tuple": _tag_list(writer, value)},
    ("builtins", "dict"): _tag_dict,
    ("builtins", "set"): _tag_set,
    ("builtins", "frozenset"): _tag_set,
    ("decimal", "Decimal"): lambda writer, value: {"$decimal": str(value)},
    ("_pydecimal", "Decimal"): lambda writer, value: {"$decimal": str(value)},
    ("datetime", "datetime"): lambda writer, value: _time("datetime", value.isoformat()),
    ("datetime", "date"): lambda writer, value: _time("date", value.isoformat()),
    ("datetime", "time"): lambda writer, value: _time("time", value.isoformat()),
    ("datetime", "timedelta"): _tag_delta,
}
#: What to do about a type that can't travel.
HINTS: Dict[Tuple[str, str], str] = {
    ("torch", "Tensor"): "expected an array, as .detach().cpu().numpy() makes it",
    ("builtins", "generator"): "expected a list, as list(...) makes it",
    ("builtins", "range"): "expected a list, as list(...) makes it",
    ("builtins", "map"): "expected a list, as list(...) makes it",
    ("builtins", "dict_keys"): "expected a list, as list(...) makes it",
    ("builtins", "dict_values"): "expected a list, as list(...) makes it",
    ("builtins", "dict_items"): "expected a list, as list(...) makes it",
}
#: The tagger of each type that was met.
_known: Dict[type, Tagger] = {}


class Reader:
    """Turns tagged JSON and buffers into a value."""

    def __init__(self, data: Any, places: List[Any], make: Optional[Make] = None) -> None:
        self._data = data
        self._places = places
        self._used: Set[int] = set()
        self._make = make

    def place(self, index: Any) -> Tuple[int, int]:
        """Where a buffer begins, and its length.

        Each is read once: ten thousand tags that name one buffer would otherwise become as many copies.
        """
        if type(index) is not int or not 0 <= index < len(self._places) or index in self._used:
            raise BodyInvalid("a body names a buffer that it doesn't have, or twice")
        self._used.add(index)
        offset, length = self._places[index]
        return offset, length

    def view(self, index: Any) -> memoryview:
        """A buffer's content, read-only and not copied."""
        offset, length = self.place(index)
        return memoryview(self._data)[offset : offset + length].toreadonly()

    @property
    def data(self) -> Any:
        """The whole body."""
        return self._data

    def untag(self, node: Any) -> Any:
        """The value that tagged JSON stands for.

        Raises:
            BodyInvalid: It stands for none.
        """
        kind = type(node)
        if kind is list:
            return [self.untag(one) for one in node] if node else node
        if kind is not dict:
            return node
        if len(node) == 1:
            ((tag, content),) = node.items()
            if tag[:1] == "$":
                untagger = UNTAGGERS.get(tag)
                if untagger is None:
                    raise BodyInvalid("a body has a tag that this version doesn't know: %r" % (tag[:40],))
                return untagger(self, content)
        return {key: self.untag(one) for key, one in node.items()}

    def make(self, name: str, fields: Dict[str, Any]) -> Any:
        """A dataclass's instance where its class is at hand, else its fields."""
        return fields if self._make is None else self._make(name, fields)


def check_form(holds: bool, tag: str) -> None:
    """Raise where a tag's content isn't what the tag asks for."""
    if not holds:
        raise BodyInvalid("a body's tag %r holds what it can't hold" % (tag,))


def _untag_float(reader: Reader, content: Any) -> float:
    check_form(content in ("nan", "inf", "-inf"), "$float")
    return float(content)


def _untag_list(reader: Reader, content: Any, tag: str) -> List[Any]:
    check_form(type(content) is list, tag)
    return [reader.untag(one) for one in content]


def _untag_map(reader: Reader, content: Any) -> Any:
    check_form(type(content) is list and all(type(one) is list and len(one) == 2 for one in content), "$map")
    return {reader.untag(key): reader.untag(value) for key, value in content}


def _untag_complex(reader: Reader, content: Any) -> complex:
    parts = _untag_list(reader, content, "$complex")
    check_form(len(parts) == 2 and all(type(part) in (int, float) for part in parts), "$complex")
    return complex(*parts)


def _untag_decimal(reader: Reader, content: Any) -> Any:
    import decimal  # most values hold none, and it takes a millisecond

    check_form(type(content) is str and len(content) < 10000, "$decimal")
    return decimal.Decimal(content)


def _untag_time(reader: Reader, content: Any) -> Any:
    import datetime  # most values hold none, and it takes a millisecond

    check_form(type(content) is list and len(content) == 2, "$time")
    kind, text = content
    check_form(type(text) is str and kind in ("datetime", "date", "time", "timedelta"), "$time")
    if kind == "timedelta":
        sign = -1 if text[:1] == "-" else 1
        whole, _, part = text.lstrip("-").partition(".")
        micros = int(whole or "0") * 1000000 + int((part + "000000")[:6])
        return datetime.timedelta(microseconds=sign * micros)
    if text[-1:] == "Z":
        text = text[:-1] + "+00:00"
    return getattr(datetime, kind).fromisoformat(text)


def _untag_data(reader: Reader, content: Any) -> Any:
    check_form(
        type(content) is list and len(content) == 2 and type(content[0]) is str and type(content[1]) is dict,
        "$data",
    )
    return reader.make(content[0], {key: reader.untag(one) for key, one in content[1].items()})


UNTAGGERS: Dict[str, Callable[[Reader, Any], Any]] = {
    "$float": _untag_float,
    "$tuple": lambda reader, content: tuple(_untag_list(reader, content, "$tuple")),
    "$set": lambda reader, content: set(_untag_list(reader, content, "$set")),
    "$map": _untag_map,
    "$bytes": lambda reader, content: reader.view(content).tobytes(),
    "$complex": _untag_complex,
    "$decimal": _untag_decimal,
    "$time": _untag_time,
    "$data": _untag_data,
}
