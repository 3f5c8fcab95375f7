"""The exceptions that a site's log tells of, for the person who simulates that site.

What leaves a site never has them: their words may hold data. In a simulation all sites are one
person's, and the last line of a traceback is what that person looks for first.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

#: Bytes at a log's end that are read, exceptions that are told, and characters of each.
_READ_BYTES_MAX = 65_536
_TOLD_MAX = 3
_CHARACTERS_MAX = 300

_TRACEBACK = "Traceback (most recent call last):"
#: How the line begins that ends a traceback of Python.
_RAISED = re.compile(r"[^\W\d][\w.]*(?::|$)")
#: An error in a program of another language: ``Error in sum(x) :``, ``TypeError: …``.
_ERROR = re.compile(r"(?:Uncaught )?\w*Error(?: in |: )")


def exceptions(log: Path) -> list[str]:
    """The last exceptions in a log, the latest last and each once; none where it can't be read."""
    found: deque[str] = deque(maxlen=_TOLD_MAX)
    lines = _tail(log).splitlines()
    is_open = False
    for place, line in enumerate(lines):
        if line.startswith(_TRACEBACK):
            is_open = True
        elif _ERROR.match(line) or (is_open and _RAISED.match(line)):
            is_open = False
            # R writes the words below, where there is no room beside the call.
            below = lines[place + 1 : place + 2] if line.rstrip().endswith(":") else []
            words = " ".join(part.strip() for part in (line, *below))
            words = words if len(words) <= _CHARACTERS_MAX else f"{words[: _CHARACTERS_MAX - 1]}…"
            if words in found:
                found.remove(words)
            found.append(words)
    return list(found)


def _tail(log: Path) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _READ_BYTES_MAX))
            return file.read(_READ_BYTES_MAX).decode("utf-8", errors="replace")
    except OSError:
        return ""
