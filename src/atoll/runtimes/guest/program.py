"""Become a program, whatever it is written in: the last thing that a Python process does."""

# ruff: noqa: FA100, UP006, UP007, UP035, UP045 -- this runs on Python 3.8

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import Any, Dict, List, NoReturn

#: What starts a text that doesn't say what it is written in.
_SHELL = "/bin/sh"


def become(task: Dict[str, Any]) -> NoReturn:
    """Become what a call's task names, in its working directory and with its environment."""
    try:
        os.chdir(task["cwd"])
        start(task["command"], task["environment"])
    except OSError as error:
        sys.stderr.write("%s can't be started: %s\n" % (task["command"][0], error.strerror))
        sys.stderr.flush()
        os._exit(127)


def start(command: List[str], environment: Dict[str, str]) -> NoReturn:
    """Become a command whose first word is a path, or a name on its own path.

    Raises:
        OSError: it can't be started.
    """
    # Python ignores these, and a program would inherit that.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    path = command[0] if "/" in command[0] else _find(command[0], environment.get("PATH", os.defpath))
    try:
        os.execve(path, command, environment)  # noqa: S606 -- it is what was asked for
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    os.execve(_SHELL, [_SHELL, path, *command[1:]], environment)  # noqa: S606 -- as every shell does


def _find(word: str, folders: str) -> str:
    """Where a program lies; its name again where that can't be found."""
    for folder in folders.split(os.pathsep):
        path = os.path.join(folder or ".", word)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return word
