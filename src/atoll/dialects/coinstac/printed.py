"""Finding a script's answer in what it printed.

Standard output is the answer, but libraries greet there too. The answer is the last JSON
object on it with an `output` or a `success`; else the first that has a `cache`, or whose lines
hold nothing else. Where there is none, the error shows what was printed.
"""

from __future__ import annotations

import json
import re
from typing import Any

from atoll.dialects.coinstac import values
from atoll.model.errors import ReplyInvalid

#: Braces that are tried as the start of an answer. A banner holds a few; a script that prints
#: a table of braces must not cost hours.
_STARTS_MAX = 10_000
#: Characters that are read in vain, beside some lengths of the print: braces within braces would
#: each be read to the end.
_VAIN_CHARACTERS_MAX = 10_000_000
_VAIN_LENGTHS_MAX = 2
#: Characters of each end of the print that an error shows.
_SHOWN_CHARACTERS = 300
_LINE_END = re.compile(r"[ \t\r]*(\n|\Z)")


def answer_in(printed: bytes) -> tuple[dict[str, Any], str | None]:
    """The JSON object that a script answered with, and a warning where it printed more.

    Raises:
        ReplyInvalid: there is no JSON object, or it holds what JSON can't.
    """
    try:
        text = printed.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ReplyInvalid(
            f"what was printed on standard output is not UTF-8 (at byte {error.start}): "
            "expected one JSON object"
        ) from error
    if not text.strip():
        raise ReplyInvalid(
            'nothing was printed on standard output: expected one JSON object, such as {"output": {}}'
        )
    try:
        document = values.read(text, what="the answer")
    except json.JSONDecodeError:
        document, noise = _told_apart(text)
        return document, noise
    if not isinstance(document, dict):
        raise ReplyInvalid(
            f"{_kind(document)} was printed on standard output ({_shown(text)}): "
            'expected one JSON object, such as {"output": {}}'
        )
    return document, None


def _told_apart(text: str) -> tuple[dict[str, Any], str]:
    found: tuple[int, int] | None = None
    decoder = json.JSONDecoder()
    position = tries = 0
    vain = _VAIN_CHARACTERS_MAX + _VAIN_LENGTHS_MAX * len(text)
    while tries < _STARTS_MAX and vain > 0 and (start := text.find("{", position)) >= 0:
        tries += 1
        try:
            document, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:  # Not JSON, an integer that is too long, or too deep.
            vain -= error.pos - start if isinstance(error, json.JSONDecodeError) else 0
            position = start + 1
            continue
        answers = "output" in document or "success" in document
        if answers or (found is None and ("cache" in document or _has_its_lines(text, start, end))):
            found = (start, end)
        position = end
    if found is None:
        raise ReplyInvalid(
            "standard output holds no JSON object that could be the answer. It printed: "
            f'{_shown(text)}. Expected one JSON object, such as {{"output": {{}}}}; '
            "print everything else to standard error"
        )
    start, end = found
    document = values.read(text[start:end], what="the answer")
    rest = f"{text[:start]} {text[end:]}"
    return document, (
        f"printed more than its answer on standard output ({_shown(rest)}); "
        "the last JSON object was taken as the answer. Print everything else to standard error"
    )


def _has_its_lines(text: str, start: int, end: int) -> bool:
    """Whether nothing stands beside it. A piece of a dictionary as Python shows it is no answer."""
    if not _LINE_END.match(text, end):
        return False
    return not text[text.rfind("\n", 0, start) + 1 : start].strip()


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list"}
    return kinds[type(value)]


def _shown(text: str) -> str:
    text = re.sub(r"\s+", " ", text.strip())
    if len(text) > 2 * _SHOWN_CHARACTERS:
        text = f"{text[:_SHOWN_CHARACTERS]} … {text[-_SHOWN_CHARACTERS:]}"
    return repr(text)
