"""A JSON document that can say where it is wrong.

Reading is `json.loads`. Only when something is to be reported is the text gone through once
more, to find the line of a path. This module opens no file: it is handed the text, and the
name that the text is known by.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from atoll.model.errors import SpecInvalid

#: What JSON can say.
Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
#: Keys and positions that lead from the root of a document to a value.
JsonPath: TypeAlias = tuple[str | int, ...]

#: The longest text of a value that a sentence quotes, in characters.
SHORT_CHARACTERS = 40

#: Longer texts are not searched for keys that appear twice, in characters.
WATCHED_CHARACTERS_MAX = 1_000_000

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')
_SPACE = re.compile(r"[ \t\n\r]+")
_PLAIN_KEY = re.compile(r"[\w/-]+")
#: Only a number with such a part can be beyond a 64-bit float.
_MAYBE_INFINITE = re.compile(r"[eE]\+?\d{3}|\d{309}")
#: What other languages write, and what JSON writes instead.
_FOREIGN_WORDS = {"True": "true", "False": "false", "None": "null", "undefined": "null", "nil": "null"}
_CONSTANTS = ("NaN", "Infinity", "-Infinity")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A parsed JSON document, its text, and the name of its file."""

    #: The file's name, as it should stand in sentences.
    origin: str
    text: str
    value: Json
    #: One sentence per key that appears twice in one object.
    warnings: tuple[str, ...] = ()

    def line_of(self, path: JsonPath) -> int:
        """The line of the value at a path; of the nearest value around it where there is none.

        A value in an object is at the line of its key.
        """
        start = at = _after_space(self.text, 0)
        for depth, part in enumerate(path):
            if path[:depth] not in self._members:
                self._members[path[:depth]] = dict(_read_members(self.text, at))
            if part not in self._members[path[:depth]]:
                break
            start, at = self._members[path[:depth]][part]
        return _line(self.text, start)

    def sentence(self, path: JsonPath, words: str, *, shown: JsonPath | None = None) -> str:
        """Say something about the value at a path: file, line, path (or what may be shown of it) and words."""
        shown = path if shown is None else shown
        where = f"{show_path(shown)}: " if shown else ""
        return printable(f"{self.origin}:{self.line_of(path)}: {where}{words}")

    @cached_property
    def _members(self) -> dict[JsonPath, dict[str | int, tuple[int, int]]]:
        """Of each object and list that was looked into: where its entries and their values start."""
        return {}


def read_document(text: str, origin: str) -> Document:
    """Parse a JSON document. A byte order mark at its start is passed over.

    Raises:
        SpecInvalid: the text is not JSON, with file, line, column and what was expected.
    """
    text = text.removeprefix("\ufeff")
    repeats = False
    # The hook is called for each object, which takes longer than all the rest. Tables that are
    # larger than this were written by a program, and programs repeat no key.
    watches = len(text) <= WATCHED_CHARACTERS_MAX

    def join(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
        nonlocal repeats
        joined = dict(pairs)
        repeats = repeats or len(joined) != len(pairs)
        return joined

    try:
        value: Json = json.loads(
            text, object_pairs_hook=join if watches else None, parse_constant=_refuse_constant
        )
    except _NotFiniteError:
        raise SpecInvalid(_not_finite(text, origin)) from None
    except json.JSONDecodeError as error:
        offset, words = _explain(text, error)
        raise SpecInvalid(_at(text, origin, offset, words)) from None
    except RecursionError:
        raise SpecInvalid(f"{origin}: the document is nested too deeply to be read") from None
    except ValueError:
        # Python refuses to read whole numbers of more than 4300 digits, as that takes quadratic time.
        raise SpecInvalid(f"{origin}: a whole number has too many digits to be read") from None
    if _MAYBE_INFINITE.search(text) and any(_is_infinite(match.group()) for _, _, match in _scan(text)):
        raise SpecInvalid(_not_finite(text, origin))
    return Document(
        origin=origin, text=text, value=value, warnings=_repeated_keys(text, origin) if repeats else ()
    )


def show_path(path: JsonPath) -> str:
    """Write a path as people do: ``computation.command[1]``."""
    shown = ""
    for part in path:
        if isinstance(part, int):
            shown += f"[{part}]"
        elif _PLAIN_KEY.fullmatch(part):
            shown += f".{part}" if shown else part
        else:
            shown += f"[{json.dumps(part, ensure_ascii=False)}]"
    return shown


def short(value: Json) -> str:
    """A value as JSON, cut where it is long."""
    if isinstance(value, list):
        return f"a list of {len(value)}" if value else "an empty list"
    if isinstance(value, dict):
        return f"an object with {len(value)} key{'s' * (len(value) != 1)}" if value else "an empty object"
    shown = json.dumps(value[: SHORT_CHARACTERS + 1] if isinstance(value, str) else value, ensure_ascii=False)
    if len(shown) <= SHORT_CHARACTERS:
        return shown
    return shown[: SHORT_CHARACTERS - 2].rstrip('"') + "…" + ('"' if isinstance(value, str) else "")


def found(value: Json) -> str:
    """What a value is, with the value: ``a number (3)``."""
    if isinstance(value, bool) or value is None:
        return short(value)
    if isinstance(value, (list, dict)):
        return short(value)
    return f"{kind(value)} ({short(value)})"


def kind(value: Json) -> str:
    """What a value is, without the value. For cells of a site's data."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a text"
    if isinstance(value, list):
        return "a list"
    return "an object" if isinstance(value, dict) else "null"


def did_you_mean(key: str, known: Iterable[str]) -> str:
    """A hint at a known key that looks like this one; empty where none does."""
    # Here, as it takes start-up time and is needed only after a mistake.
    from difflib import get_close_matches

    by_lower = {name.lower(): name for name in known}
    close = get_close_matches(key.lower(), by_lower, n=1, cutoff=0.75)
    return f'; did you mean "{by_lower[close[0]]}"?' if close else ""


def printable(sentence: str) -> str:
    r"""A sentence that every terminal and log can take: half a surrogate pair becomes ``\ud800``."""
    return sentence.encode("utf-8", "backslashreplace").decode()


class _NotFiniteError(Exception):
    """A constant such as NaN was met. It doesn't leave this module."""


def _refuse_constant(_: str) -> Json:
    raise _NotFiniteError


def _read_members(text: str, at: int) -> Iterator[tuple[str | int, tuple[int, int]]]:
    """The entries of the object or list that starts here. The values are passed over by Python's own reader."""
    if text[at] not in "{[":
        return
    decoder = json.JSONDecoder()
    in_object = text[at] == "{"
    position = 0
    at = _after_space(text, at + 1)
    while text[at] not in "}]":
        start = at
        key: str | int = position
        if in_object:
            key, at = decoder.raw_decode(text, at)
            at = _after_space(text, _after_space(text, at) + 1)
        yield key, (start, at)
        at = _after_space(text, decoder.raw_decode(text, at)[1])
        position += 1
        if text[at] == ",":
            at = _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    space = _SPACE.match(text, at)
    return space.end() if space else at


def _scan(text: str) -> Iterator[tuple[JsonPath, int, re.Match[str]]]:
    """Go through a JSON text: each value's path, where it (or its key) starts, and its first token."""
    # One entry per open container: the position in a list, or the latest key of an object.
    parts: list[str | int] = []
    expects_key = False
    key_offset = 0
    for match in _TOKEN.finditer(text):
        token = match.group()
        if token == ",":
            last = parts[-1]
            if isinstance(last, int):
                parts[-1] = last + 1
            else:
                expects_key = True
        elif token in ("}", "]"):
            parts.pop()
            expects_key = False
        elif expects_key:
            parts[-1] = json.loads(token)
            key_offset = match.start()
            expects_key = False
        elif token != ":":
            in_object = parts and isinstance(parts[-1], str)
            yield tuple(parts), key_offset if in_object else match.start(), match
            if token in ("{", "["):
                parts.append("" if token == "{" else 0)
                expects_key = token == "{"


def _not_finite(text: str, origin: str) -> str:
    """The fault of the first number of a text that JSON, or a 64-bit float, can't hold."""
    path, match = next((path, match) for path, _, match in _scan(text) if _is_infinite(match.group()))
    where = f"{show_path(path)}: " if path else ""
    if match.group() in _CONSTANTS:
        words = f"{match.group()} is not JSON; write a number, or null where there is none"
    else:
        words = f"{_cut(match.group())} is beyond what a 64-bit float holds; write a smaller number"
    return _at(text, origin, match.start(), where + words)


def _is_infinite(token: str) -> bool:
    if token in _CONSTANTS:
        return True
    # Whole numbers of any size are kept exact, so only those with a fraction or an exponent can overflow.
    return token[0] in "-0123456789" and not token.lstrip("-").isdigit() and math.isinf(float(token))


def _repeated_keys(text: str, origin: str) -> tuple[str, ...]:
    seen: set[JsonPath] = set()
    repeated: dict[JsonPath, int] = {}
    for path, offset, _ in _scan(text):
        # What is inside a repeated value is seen twice as well, and needs no sentence of its own.
        if path in seen and not any(path[:end] in repeated for end in range(1, len(path))):
            repeated[path] = _line(text, offset)
        seen.add(path)
    return tuple(
        printable(f"{origin}:{line}: {show_path(path)}: appears more than once; the last one counts")
        for path, line in repeated.items()
    )


def _explain(text: str, error: json.JSONDecodeError) -> tuple[int, str]:
    """Say in plain words what is not JSON, and where. Python's own words differ between versions."""
    offset = error.pos
    rest = text[offset:].lstrip()
    if rest.startswith(",") and rest[1:].lstrip()[:1] in ("}", "]"):
        # Python 3.13 points at the comma, earlier versions at what follows it.
        offset, rest = text.index(",", offset) + 1, rest[1:].lstrip()
    offset = max(offset, len(text) - len(rest)) if rest else offset
    before = text[:offset].rstrip()
    if error.msg.startswith("Unterminated string"):
        return error.pos, "the text that starts here has no closing quote"
    if error.msg.startswith("Invalid control character"):
        return error.pos, "a text holds a line break or a tab; write \\n or \\t"
    if error.msg.startswith("Invalid \\"):
        return error.pos, "a backslash in a text is followed by something unknown; write \\\\ for a backslash"
    if not text.strip():
        return 0, "expected a JSON document, found nothing"
    expected = _expected(error.msg, before)
    if not rest:
        return len(text.rstrip()), f"expected {expected}, found the end of the file"
    if rest[0] in "}]" and before.endswith(","):
        return len(before) - 1, f"the comma before {rest[0]!r} separates nothing; take it out"
    return offset, f"expected {expected}, found {_foreign(rest)}"


def _expected(message: str, before: str) -> str:
    if message.startswith("Expecting property name"):
        return "a key in double quotes"
    if message.startswith("Expecting ':'"):
        return "':' after the key"
    if message.startswith("Expecting ','"):
        return "',' or the closing bracket"
    if message.startswith("Extra data"):
        return "the end of the document"
    return "a value" if before else "a JSON document"


def _foreign(rest: str) -> str:
    """What stands where JSON was expected, with what to do where that is known."""
    if rest.startswith(("//", "/*", "#")):
        return "a comment; JSON has none, take it out"
    if rest.startswith("'"):
        return "a single quote; JSON writes texts in double quotes"
    word = re.match(r"\w+", rest)
    if word and word.group() in _FOREIGN_WORDS:
        return f"{word.group()}; JSON writes {_FOREIGN_WORDS[word.group()]}"
    return _cut(word.group() if word else rest[0])


def _cut(token: str) -> str:
    return token if len(token) <= SHORT_CHARACTERS else token[: SHORT_CHARACTERS - 1] + "…"


def _line(text: str, offset: int) -> int:
    return text.count("\n", 0, offset) + 1


def _at(text: str, origin: str, offset: int, words: str) -> str:
    """A sentence about a place in the text: file, line, column (from 1) and words."""
    column = offset - (text.rfind("\n", 0, offset) + 1) + 1
    return printable(f"{origin}:{_line(text, offset)}:{column}: {words}")
