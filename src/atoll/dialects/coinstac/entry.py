"""Finding the entry script of a protocol-2 computation, whose spec does not name it.

An image starts it by its Dockerfile's last ``CMD`` or ``ENTRYPOINT``; without one, the
convention is a file named ``entry.py``.
"""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Sequence

#: What an entry script is called where nothing says otherwise.
DEFAULT = "entry.py"

_INSTRUCTION = re.compile(r"^\s*(CMD|ENTRYPOINT|WORKDIR)\s+(.+?)\s*$", re.IGNORECASE)


def started_by(dockerfile: str) -> str | None:
    """The Python script that a Dockerfile starts, relative to the computation's folder.

    None where it starts none, or one that lies somewhere else in the image.
    """
    folder = "/computation"
    started: str | None = None
    for line in dockerfile.replace("\\\n", " ").splitlines():
        if match := _INSTRUCTION.match(line):
            instruction, rest = match[1].upper(), match[2]
            if instruction == "WORKDIR":
                folder = posixpath.join(folder, rest)
            elif script := _script_of(_words(rest)):
                started = posixpath.normpath(posixpath.join(folder, script))
    prefix = "/computation/"
    return started.removeprefix(prefix) if started and started.startswith(prefix) else None


def _words(rest: str) -> Sequence[str]:
    try:
        words = json.loads(rest)
    except json.JSONDecodeError:
        try:
            return shlex.split(rest)
        except ValueError:
            return ()
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else ()


def _script_of(words: Sequence[str]) -> str | None:
    return next((word for word in words if word.endswith(".py")), None)
