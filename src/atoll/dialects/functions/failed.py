"""What is told of a function that failed: its name, the exception's type, and the lines of code.

Whoever asked reads it, at another site. An exception's words may hold values of data, and stay
in the site's log, unless the function's author or its library vouches for them. What comes here
was said by the algorithm's process, so that even names are checked to be names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from atoll.model.work import Seat

#: Lines of code that are named: the innermost.
FRAMES_MAX = 8
#: A file of more lines is none that a person wrote.
LINES_MAX = 10_000_000
#: Characters of a message that its author vouches for.
MESSAGE_CHARACTERS_MAX = 2000

_NAME = re.compile(r"[^\W\d]\w{0,79}|<\w{1,20}>")
_FILE = re.compile(r"[\w.+-]{1,80}")


def told_of(said: Mapping[str, Any], function: str, seat: Seat) -> str:
    """One sentence or two about a failure.

    Args:
        said: the frame's head: ``type``, ``message`` and ``frames``.
        function: that was called.
        seat: where.
    """
    kind = raised(said) or "an exception"
    frames = list(_frames(said.get("frames")))
    where = f", at {' > '.join(frames)}" if frames else ""
    message = said.get("message")
    if isinstance(message, str) and message.strip():
        words = message.strip()
        if len(words) > MESSAGE_CHARACTERS_MAX:
            words = f"{words[:MESSAGE_CHARACTERS_MAX]}…"
        return f"{function} failed{where}: {kind}: {words}"
    return f"{function} failed with {kind}{where}. Its message may hold data, and stays at {seat}, in its log"


def raised(said: Mapping[str, Any]) -> str | None:
    """The class name of what a function raised; None where it is no name.

    Args:
        said: the frame's head.
    """
    kind = said.get("type")
    return kind if isinstance(kind, str) and _NAME.fullmatch(kind) else None


def _frames(frames: Any) -> Iterator[str]:
    """The lines of code, outermost first: ``mean.py:12 in moments``."""
    for frame in (frames if isinstance(frames, list) else [])[-FRAMES_MAX:]:
        match frame:
            case [str(file), int(line), str(name)] if _FILE.fullmatch(file) and _NAME.fullmatch(name):
                if 0 <= line < LINES_MAX:
                    yield f"{file}:{line} in {name}"
