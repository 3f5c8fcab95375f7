"""What options say as values: a function's arguments, databases and steps before a function.

Only what the words themselves can tell is checked here. Whether there is such a function, such a
database or such a step is known to those who look at the algorithm and at the sites.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from atoll.model.errors import SpecInvalid

_MEBIBYTE = 1024**2
#: What stands before the path of a file that holds an image.
_OF_FILE = "sif:"
#: An image's own id, or the beginning of it, as an engine takes it for a name.
_ID = re.compile(r"(sha256:)?[0-9a-f]{4,64}\Z")


def arguments(given: Sequence[str], file: Path | None) -> dict[str, Any]:
    """The arguments of a function: those of the file, and over them those of ``--arg``.

    Raises:
        SpecInvalid: an argument or the file can't be read; all faults at once.
    """
    faults: list[str] = []
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = _of_file(file)
        except SpecInvalid as error:
            faults.extend(error.faults)
    seen: set[str] = set()
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key:
            faults.append(f"--arg {_short(text)}: expected KEY=VALUE, such as --arg column=age")
        elif key in seen:
            faults.append(f"--arg {_short(key)} was given twice: each argument has one value")
        else:
            seen.add(key)
            try:
                values[key] = _value(value)
                _check_text([key, values[key]])
            except _NoJson as error:
                faults.append(f"--arg {_short(key)}: {error}")
    if faults:
        raise SpecInvalid(*faults)
    return values


def databases(given: Sequence[str]) -> tuple[str, ...]:
    """The databases that are asked for: ``LABEL``, or ``LABEL:{"query": …}``.

    Raises:
        SpecInvalid: what stands after a label is no JSON object.
    """
    return tuple(_with_object("--database", text, label=True) for text in given)


def steps(option: str, given: Sequence[str]) -> tuple[str, ...]:
    """Steps before a function: ``NAME``, or ``NAME:{"argument": value}``.

    Raises:
        SpecInvalid: what stands after a name is no JSON object.
    """
    return tuple(_with_object(option, text, label=False) for text in given)


def size(option: str, text: str | None) -> int | None:
    """A number of bytes, with or without a unit; None where nothing was given.

    Raises:
        SpecInvalid: it is none.
    """
    if text is None:
        return None
    # Imported here, so that --help answers at once.
    from atoll.node.sections import bytes_of

    found = bytes_of(text)
    if not found:
        raise SpecInvalid(
            f"{option} {_short(text)}: expected a number of bytes above 0, or one with a unit such as 4GiB"
        )
    return found


def mebibytes(option: str, text: str | None) -> int | None:
    """A number of mebibytes, or of bytes where it has a unit; None where nothing was given.

    Raises:
        SpecInvalid: it is none.
    """
    if text is not None and text.isdecimal():
        text = f"{text}MiB"
    found = size(option, text)
    if found is not None and found < _MEBIBYTE:
        raise SpecInvalid(f"{option} {_short(text or '')}: expected 1MiB or more")
    return None if found is None else found // _MEBIBYTE


class _NoJson(ValueError):
    """A text is not JSON that can be passed on. It doesn't leave this module."""


def _of_file(file: Path) -> dict[str, Any]:
    try:
        values = _json(file.read_text(encoding="utf-8-sig"))
        _check_text(values)
    except OSError as error:
        raise SpecInvalid(f"--args {file} can't be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise SpecInvalid(f"--args {file} is not UTF-8, at byte {error.start}: expected JSON") from error
    except _NoJson as error:
        raise SpecInvalid(f"--args {file}: {error}") from error
    if not isinstance(values, dict):
        raise SpecInvalid(
            f"--args {file} holds {_kind(values)}: expected a JSON object with a value for each argument"
        )
    return values


def _with_object(option: str, text: str, *, label: bool) -> str:
    """A name and the JSON object after it, in the one form in which it is passed on."""
    # A label may hold a colon; one that a brace follows begins the options.
    place = text.find(":{") if label else text.find(":")
    name, written = (text, "") if place < 0 else (text[:place], text[place + 1 :])
    what = "LABEL" if label else "NAME"
    if not name.strip():
        raise SpecInvalid(f'{option} {_short(text)}: expected {what}, or {what}:{{"key": value}}')
    try:
        options = _json(written) if place >= 0 else {}
        _check_text([name, options])
    except _NoJson as error:
        raise SpecInvalid(f"{option} {_short(name)}: what stands after the colon {error}") from error
    if not isinstance(options, dict):
        raise SpecInvalid(
            f"{option} {_short(name)}: what stands after the colon is {_kind(options)}; expected a JSON object, "
            'such as {"key": "value"}'
        )
    return f"{name}:{json.dumps(options)}" if options else name


def _value(text: str) -> Any:
    """JSON where it parses as JSON, else text."""
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_once)
    except _NoJson:
        raise
    except ValueError:
        return text
    except RecursionError as error:
        raise _NoJson("is nested too deeply") from error


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _NoJson(f"is not JSON ({error.msg}, at {where})") from error
    except _NoJson:
        raise
    except ValueError as error:
        raise _NoJson(f"is not JSON ({error})") from error
    except RecursionError as error:
        raise _NoJson("is nested too deeply") from error


def _refuse(word: str) -> Any:
    # No `_NoJson`: as an argument NaN is a text like any other.
    raise ValueError(f"it has {word}")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _NoJson(f"has the number {_short(text)}, which is too large")
    return number


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _NoJson(f"has the key {_short(key)} twice")
        found[key] = value
    return found


def _check_text(value: Any) -> None:
    """Refuse half a surrogate pair, or bytes of the command line, that UTF-8 has no word for."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _NoJson("holds text that is not UTF-8") from error


def _kind(value: Any) -> str:
    kinds = {list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}
    return kinds.get(type(value), "null")


def _short(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:59]}…")


def place(path: Path, image: str | None) -> tuple[Path, str | None]:
    """Where inputs are looked for, and the image, where there is one: PATH itself may be one.

    Raises:
        SpecInvalid: both are images, or a file that should hold one isn't there.
    """
    word = str(path)
    if not word.startswith(("docker:", _OF_FILE)):
        return path, _image(image)
    if image is not None:
        raise SpecInvalid(f"{word} is an image, and --image names another: leave one out")
    return Path(), _image(word)


def _image(word: str | None) -> str | None:
    if word is None:
        return None
    if not word.startswith(_OF_FILE):
        return _of_engine(word.removeprefix("docker:"))
    file = Path(word.removeprefix(_OF_FILE))
    if not file.exists():
        raise SpecInvalid(
            f"{file} is not there: expected a file that holds an image, or a folder with one's files"
        )
    return f"{_OF_FILE}{file.absolute()}"


def _of_engine(name: str) -> str:
    # Imported here, so that --help answers at once.
    from atoll.algorithms.images import parse

    if not _ID.match(name):
        parse(name)
    return name
