"""How the calls of a launch are run in a box of its image."""

from __future__ import annotations

import os
import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from atoll.engine.running import Launch, Style
from atoll.model.errors import AlgorithmFailed
from atoll.runtimes import environment
from atoll.runtimes.boxes import Plan
from atoll.runtimes.command import CODE, code_at, is_python, read_program
from atoll.runtimes.facts import ImageFacts
from atoll.runtimes.imports import modules_of
from atoll.runtimes.places import Inside
from atoll.runtimes.points import Points
from atoll.runtimes.view import GUEST, MODULES, SERVED, TEMPORARY

#: What is tried where a command doesn't say which interpreter it means.
_PYTHONS = ("python3", "python")
#: How a shell is told a command in a Dockerfile.
_SHELLS = {"sh", "bash", "dash", "ash"}
#: What makes a shell do more than to start one program.
_SHELL_WORDS = re.compile(r"[$`\\*?~#\n]")
#: Programs that start what they are told, beside scripts of the image's own.
_PREPARES = {"tini", "dumb-init", "env", "entrypoint", "docker-entrypoint"}
#: Folders whose files are the system's and no algorithm's.
_SYSTEM = {"/", "/bin", "/sbin", "/usr", "/usr/bin", "/usr/local", "/usr/local/bin", "/root", "/home", "/opt"}


def plan_of(launch: Launch, facts: ImageFacts, user: tuple[int, int] | None) -> Plan:
    """How a launch's calls are run in its image.

    Args:
        launch: what to start.
        facts: of its image.
        user: of the box, where it isn't this process's.

    Raises:
        AlgorithmFailed: nothing says what is to be started.
    """
    command = unwrapped((*_around(facts), *launch.command) if launch.command else facts.started)
    if not command:
        raise AlgorithmFailed(
            f"the image {facts.name} starts nothing by itself, and the algorithm names no command. Give the image a "
            "CMD, or the algorithm's specification a command"
        )
    file = command[0]
    if is_python(posixpath.basename(file)):
        command = ("python", *command[1:])
        pythons: tuple[str, ...] = (file, *_PYTHONS)
    else:
        pythons = _PYTHONS
    folder = CODE if launch.code is not None else facts.working_directory or "/"
    served = (SERVED,) if launch.style is Style.SERVE else ()
    return Plan(
        launch=launch,
        inside=Inside(
            code=folder,
            guest=GUEST,
            path=(*served, MODULES) if launch.modules else served,
            environment=variables(launch, facts),
        ),
        command=command,
        file=file,
        points=Points(_points(launch), str(launch.seat)),
        pythons=tuple(dict.fromkeys(pythons)),
        scan={
            "folders": list(_folders(launch, command, folder)),
            "packages": [facts.environment["PKG_NAME"]] if facts.environment.get("PKG_NAME") else [],
            "masked": [f"{code_at(launch)}/{part}" for part in launch.masked] if launch.code else [],
            "beside": list(launch.libraries),
            "without": ["coinstac"],
            "lent": [name for module in launch.modules for name in modules_of(module)],
        },
        user=user,
        look_for=("coinstac",),
    )


def _around(facts: ImageFacts) -> tuple[str, ...]:
    """What an image puts in front of every command: a script that prepares the environment and starts it."""
    program = facts.entrypoint[0] if facts.entrypoint else ""
    prepares = program.endswith(".sh") or posixpath.basename(program) in _PREPARES
    return facts.entrypoint if prepares else ()


def served_plan(plan: Plan, facts: ImageFacts) -> Plan:
    """The plan of a box that runs what its image starts by itself.

    Raises:
        AlgorithmFailed: it starts nothing.
    """
    if not facts.started:
        raise AlgorithmFailed(f"the image {facts.name} starts no service by itself: give it a CMD")
    return replace(plan, command=facts.started, file=facts.started[0])


def variables(launch: Launch, facts: ImageFacts) -> dict[str, str]:
    """The environment of a launch's calls: the image's own, and what Atoll and the site set."""
    return {
        "PATH": environment.SYSTEM_PATH,
        "LANG": "C.UTF-8",
        **environment.numeric(),
        **facts.environment,
        "HOME": facts.environment.get("HOME", TEMPORARY),
        "TMPDIR": TEMPORARY,
        **launch.environment,
    }


def told_at_start(launch: Launch) -> dict[str, str]:
    """What the first process of a box has in its environment: nothing that a site may mean as a secret."""
    return {
        **environment.numeric(),
        "HOME": TEMPORARY,
        "TMPDIR": TEMPORARY,
        "LANG": "C.UTF-8",
        **environment.read_at_import(launch.environment),
    }


def unwrapped(command: tuple[str, ...]) -> tuple[str, ...]:
    """A command without the shell that only starts it: ``sh -c "python -m x"`` is ``python -m x``."""
    if len(command) != 3 or posixpath.basename(command[0]) not in _SHELLS or command[1] != "-c":
        return command
    text = command[2].removeprefix("exec ")
    if _SHELL_WORDS.search(text):
        return command
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = tuple(lexer)
    except ValueError:
        return command
    if not words or "=" in words[0] or any(word and set(word) <= set("();<>|&") for word in words):
        return command
    return words


def _points(launch: Launch) -> Iterator[tuple[Path, str]]:
    for mount in launch.mounts:
        yield mount.source, os.path.normpath(mount.target)
    yield launch.temporary, TEMPORARY
    if launch.code is not None:
        yield launch.code, code_at(launch)


def _folders(launch: Launch, command: tuple[str, ...], folder: str) -> Iterator[str]:
    """Where the algorithm's own code lies."""
    if launch.code is not None:
        yield code_at(launch)
        return
    program = read_program(command)
    if program is not None and program.kind == "script":
        lies_in = posixpath.normpath(posixpath.join(folder, posixpath.dirname(program.name)))
        if lies_in not in _SYSTEM:
            yield lies_in
    if folder not in _SYSTEM:
        yield folder
