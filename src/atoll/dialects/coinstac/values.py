"""JSON as COINSTAC passes it on: through JavaScript's eyes, but without its losses.

* Integral floats below 1e21 become integers, as JavaScript would write them: ``1.0`` arrives
  as ``1``. (From 1e21 on, JavaScript writes an exponent, and Python reads a float again.)
* Big integers and the order of keys are kept, where JavaScript would lose both.
* NaN and infinities are refused with their path: JSON has no word for them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from math import isfinite
from typing import Any

from atoll.model.errors import ReplyInvalid

#: JavaScript writes integral numbers from here on with an exponent.
_EXPONENT_FROM = 1e21
#: Integral floats below this are exact, so that ``int`` says what JavaScript would.
_EXACT_BELOW = 2.0**53


class _NotANumber(ValueError):
    pass


def read(text: str, *, what: str) -> Any:
    """Parse JSON text, numbers as above.

    Raises:
        ReplyInvalid: a number is NaN or not finite (with its path in `what`), an integer has
            more digits than Python reads, or the nesting is too deep.
        json.JSONDecodeError: the text is not JSON.
    """
    try:
        return _DECODER.decode(text)
    except _NotANumber as error:
        raise ReplyInvalid(_not_finite(text, what)) from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:
        raise ReplyInvalid(f"{what} holds an integer that is too long: {error}") from error
    except RecursionError as error:
        raise ReplyInvalid(f"{what} is nested too deeply to be read") from error


def write(value: Any) -> bytes:
    """JSON text in ASCII, so that any script reads it under any locale.

    Raises:
        ReplyInvalid: the value holds NaN, or something that JSON has no word for.
    """
    try:
        return _ENCODER.encode(value).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise ReplyInvalid(f"a value can't be written as JSON: {error}") from error


def truthy(value: Any) -> bool:
    """Whether JavaScript takes a JSON value as true: empty lists and objects are."""
    return isinstance(value, list | dict) or bool(value)


def _number(text: str) -> int | float:
    value = float(text)
    if not isfinite(value):
        raise _NotANumber(text)
    if not value.is_integer() or abs(value) >= _EXPONENT_FROM:
        return value
    return int(value) if abs(value) < _EXACT_BELOW else int(Decimal(repr(value)))


def _refuse(text: str) -> Any:
    raise _NotANumber(text)


def _not_finite(text: str, what: str) -> str:
    # Python reads 1e999 as infinity, as JavaScript does; both are named alike.
    words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
    try:
        path, value = next(_walk(json.loads(text), what))
        named = f"{path} is {words[str(value)]}"
    except json.JSONDecodeError:
        raise
    except (StopIteration, ValueError, RecursionError):
        # Its key comes again with another value, or what follows it can't be read.
        named = f"{what} holds a number that is not finite"
    return f"{named}, which JSON has no word for: expected a finite number. Send null, or leave the value out"


def _walk(value: Any, path: str) -> Iterator[tuple[str, float]]:
    stack: list[tuple[Any, str]] = [(value, path)]
    while stack:
        value, path = stack.pop()
        if isinstance(value, float) and not isfinite(value):
            yield path, value
        elif isinstance(value, dict):
            stack.extend((item, f"{path}.{key}") for key, item in reversed(value.items()))
        elif isinstance(value, list):
            stack.extend((item, f"{path}[{i}]") for i, item in reversed(list(enumerate(value))))


# Made once: `json.loads` and `json.dumps` would make one for every call.
_DECODER = json.JSONDecoder(parse_float=_number, parse_constant=_refuse)
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
