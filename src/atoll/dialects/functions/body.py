"""What functions are called with and what they return, read and written on Atoll's side.

Bodies travel from one function to another and are not looked at on the way. Only what a person
typed is written here, and only what a person is shown is read: as JSON, which has no word for
much of what functions return. `plain` says what stands in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from atoll.dialects.functions.container import pack, unpack
from atoll.dialects.functions.shown import DEPTH_MAX, Shown
from atoll.model.errors import ReplyInvalid, SpecInvalid
from atoll.model.work import Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a function is called with."""

    function: str
    #: The arguments as plain values; arrays and frames by their shape only.
    args: Mapping[str, Any]
    #: Labels of the databases that were asked for; None: whatever the site offers.
    databases: tuple[str, ...] | None


def call_body(function: str, args: Mapping[str, Any], databases: Sequence[str] | None = None) -> bytes:
    """The body of a call whose arguments are plain values, as a person writes them.

    Args:
        function: its name.
        args: what JSON can say, and numbers that are not finite.
        databases: the labels that were asked for, in their order; None: whatever a site offers.

    Raises:
        SpecInvalid: an argument is something else, or has a name that no parameter can have.
    """
    named = next((name for name in args if name.startswith("$")), None)
    if named is not None:  # The body's own words begin so.
        raise SpecInvalid(
            f"{function} can't be given an argument {named[:40]!r}: expected a name without '$'"
        )
    tagged = {name: _tagged(value, f"the argument {name}") for name, value in args.items()}
    labels = None if databases is None else list(databases)
    try:
        return pack({"function": function, "args": tagged, "databases": labels})
    except ValueError as error:  # A whole number of thousands of digits.
        raise SpecInvalid(f"the arguments of {function} can't be written as JSON: {error}") from None


def read_call(body: Content) -> Call:
    """What a call's body asks for. Its arrays are not read.

    Raises:
        ReplyInvalid: it is not the body of a call.
    """
    container = unpack(body)
    asked = container.value
    if not isinstance(asked, dict) or not isinstance(asked.get("function"), str):
        raise ReplyInvalid("a call's body names no function")
    args, labels = asked.get("args") or {}, asked.get("databases")
    if not isinstance(args, dict):
        raise ReplyInvalid(
            f"a call of {asked['function']!r} has no arguments: expected an object, or an empty one"
        )
    if labels is not None and not (isinstance(labels, list) and all(isinstance(one, str) for one in labels)):
        raise ReplyInvalid(f"a call of {asked['function']!r} names no databases: expected labels, or null")
    reader = Shown(container, elements_max=0)
    return Call(
        function=asked["function"],
        args={name: reader.read(value) for name, value in args.items()},
        databases=None if labels is None else tuple(labels),
    )


def plain(body: Content) -> Any:
    """What a function returned, in what JSON can say, for people and for ``--json``.

    ======================  ==================================================================
    NaN, infinity           null
    a complex number        ``[real, imaginary]``
    an array                lists within lists
    a time, a duration      ISO text; seconds, as text
    a decimal number        text
    bytes                   base64
    a tuple, a set          a list
    a dict with other keys  an object; its keys are written as JSON
    a dataclass             an object of its fields
    a frame                 an object of its columns, each a list; its index is the first, ``index``
    a series                a list; with an index, an object
    ======================  ==================================================================

    A frame's columns, rather than its rows: names are said once, their order stays, a frame
    without rows keeps them, and ``pandas.DataFrame(…)`` takes it as it is. Names that come twice
    are numbered. An array that is too large to be read is shown as ``{"dtype", "shape"}``, and
    other things of that kind by their size.

    Raises:
        ReplyInvalid: the body is damaged, or holds what functions can't have written.
    """
    container = unpack(body)
    return Shown(container).read(container.value)


def _tagged(value: Any, where: str, depth: int = 0) -> Any:
    if depth > DEPTH_MAX:
        raise SpecInvalid(f"{where} is nested more than {DEPTH_MAX} deep")
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_tagged(one, f"{where}[{number}]", depth + 1) for number, one in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value):
        entries = [(key, _tagged(one, f"{where}.{key}", depth + 1)) for key, one in value.items()]
        if any(key.startswith("$") for key in value):
            return {"$map": [list(entry) for entry in entries]}
        return dict(entries)
    raise SpecInvalid(
        f"{where} is of type {type(value).__name__}: expected what JSON can say, which is null, true, false, "
        "numbers, texts, lists, and objects whose keys are texts"
    )
