"""What a ``.dockerignore`` keeps out of an image, as Docker reads it.

Whoever has written one relies on it: what it names may be a secret. So it counts wherever an image is
made of its folder, with a Dockerfile of the author's or without.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from pathlib import Path

from atoll.algorithms.sources import read
from atoll.model.errors import SpecInvalid

_NAME = ".dockerignore"
#: What Python reads in a class of letters, and Docker doesn't.
_CLASS, _ESCAPED = re.compile(r"([\[&|~])"), r"\\\1"
#: Patterns of one file. Each is tried with each file.
_PATTERNS_MAX = 1_000


class Ignored:
    """Says which files are kept out.

    Args:
        lines: of a ``.dockerignore``.

    Raises:
        SpecInvalid: a pattern is none.
    """

    def __init__(self, lines: Iterable[str] = ()) -> None:
        self._patterns: list[tuple[bool, re.Pattern[str]]] = []
        for line in lines:
            text = line.strip()
            if not text or line.startswith("#"):
                continue
            keeps = text.startswith("!")
            # A pattern is of a path from the folder, with or without a stroke before it.
            path = posixpath.normpath(text.removeprefix("!").strip()).lstrip("/")
            if path == ".":
                continue
            try:
                self._patterns.append((keeps, re.compile(_expression(path))))
            except re.error:
                raise SpecInvalid(f"{_NAME} has {text[:80]!r}, which is no pattern of files") from None
        if len(self._patterns) > _PATTERNS_MAX:
            raise SpecInvalid(f"{_NAME} has {len(self._patterns)} patterns: expected at most {_PATTERNS_MAX}")

    def __call__(self, name: str) -> bool:
        """Whether a file is kept out, by its path from the folder: it, or a folder that it is in."""
        parts = name.split("/")
        paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
        found = False
        for keeps, pattern in self._patterns:
            if found is keeps and any(map(pattern.fullmatch, paths)):
                found = not keeps  # the last pattern that fits counts
        return found


def ignored(folder: Path, dockerfile: Path | None = None) -> Ignored:
    """What is kept out of an image of a folder.

    Args:
        folder: the folder.
        dockerfile: what the image is made by: beside it may lie a file for it alone, which counts then.

    Raises:
        SpecInvalid: the file can't be read, or has a pattern that is none.
    """
    own = [] if dockerfile is None else [dockerfile.with_name(f"{dockerfile.name}{_NAME}")]
    for file in (*own, folder / _NAME):
        if file.is_file():
            text = read(file, "patterns of files that are left out", "Remove it")
            return Ignored(text.removeprefix("\ufeff").splitlines())
    return Ignored()


def _expression(pattern: str) -> str:
    """A pattern as an expression: ``*`` stands for no stroke, and ``**`` for any folders."""
    found, at = "", 0
    while at < len(pattern):
        if pattern.startswith("**", at):
            at += 2
            if pattern.startswith("/", at):
                at += 1
                found += "(.*/)?"
            else:
                found += ".*"
            continue
        letter = pattern[at]
        at += 1
        if letter == "*":
            found += "[^/]*"
        elif letter == "?":
            found += "[^/]"
        elif letter == "[" and (end := pattern.find("]", at + 1)) > 0:
            inner = pattern[at:end]
            sign = "^" if inner[0] in "^!" else ""
            found += f"[{sign}{_CLASS.sub(_ESCAPED, inner[len(sign) :])}]"
            at = end + 1
        elif letter == "\\" and at < len(pattern):
            found += re.escape(pattern[at])
            at += 1
        else:
            found += re.escape(letter)
    return f"(?s:{found})"
