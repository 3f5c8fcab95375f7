"""What an author's command asks for, and how an interpreter is started for it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from atoll.engine.running import Launch
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable

#: The words of a command that stand for the interpreter which Atoll was given.
_PYTHON = re.compile(r"python(3(\.\d+)?)?\Z")
#: Options of Python that stand alone. Others are left to Python, which then starts cold.
_PLAIN_OPTION = re.compile(r"-[bBdEiIOPqRsSuv]+\Z")

#: Where an algorithm's code appears, or would appear.
CODE = "/computation"

#: Starts a program of the guest package: the folder that holds it is the first argument.
BOOT = "import sys;sys.path.insert(0,{here!r});from guest import {program};{program}.main({arguments})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A command for Python, taken apart."""

    #: ``script``, ``module`` (``-m``) or ``command`` (``-c``).
    kind: str
    #: The script's path, the module's name or the command's text.
    name: str
    arguments: tuple[str, ...]
    #: What stands before: options of the interpreter itself.
    options: tuple[str, ...] = ()

    @property
    def unbuffered(self) -> bool:
        """Whether the author asked for streams without a buffer."""
        return any("u" in option for option in self.options)

    @property
    def warm(self) -> bool:
        """Whether a process that was started without these options can run it."""
        return set(self.options) <= {"-u"}

    @property
    def original(self) -> tuple[str, ...]:
        """The command's words behind the first."""
        option = {"script": (), "module": ("-m",), "command": ("-c",)}[self.kind]
        return (*self.options, *option, self.name, *self.arguments)

    def seeded(self, here: str, seed: int) -> tuple[str, ...]:
        """The words behind the interpreter's that run the program with seeded generators."""
        boot = BOOT.format(here=here, program="script", arguments="sys.argv[1:]")
        return (*self.options, "-c", boot, str(seed), self.kind, self.name, *self.arguments)


def is_python(word: str) -> bool:
    """Whether a command's first word stands for the interpreter that Atoll was given."""
    return _PYTHON.match(word) is not None


def read_program(command: tuple[str, ...]) -> Program | None:
    """Take a command for Python apart; None where it isn't one, or not one that we understand."""
    if not command or not is_python(command[0]):
        return None
    options: list[str] = []
    words = list(command[1:])
    while words:
        word = words.pop(0)
        if word in ("-m", "-c"):
            if not words:
                return None
            kind = "module" if word == "-m" else "command"
            return Program(kind=kind, name=words[0], arguments=tuple(words[1:]), options=tuple(options))
        if not word.startswith("-"):
            return Program(kind="script", name=word, arguments=tuple(words), options=tuple(options))
        options.append(word)
        if word in ("-W", "-X"):
            if not words:
                return None
            options.append(words.pop(0))
        elif not (_PLAIN_OPTION.match(word) or word.startswith(("-W", "-X"))):
            return None
    return None


def code_at(launch: Launch) -> str:
    """Where the algorithm's code appears.

    Raises:
        AlgorithmFailed: it is to have a name that is none.
    """
    name = launch.code_name
    if name is None:
        return CODE
    if name in ("", ".", "..") or "/" in name:
        raise AlgorithmFailed(
            f"the code can't be shown to the algorithm under the name {name!r}: expected the name of a file or folder"
        )
    return f"{CODE}/{name}"


def code_of(launch: Launch) -> Path:
    """The algorithm's folder on this machine, for a runtime that knows no images.

    Raises:
        RuntimeUnavailable: it is packed in an image.
    """
    if launch.code is None or launch.image is not None:
        named = "an image" if launch.image is None else f"the image {launch.image.name}"
        raise RuntimeUnavailable(
            f"the algorithm is packed in {named}, and this runtime runs code that lies in a folder. Use a runtime "
            "for images, such as docker or podman"
        )
    return launch.code


def source_of(launch: Launch, word: str) -> Path | None:
    """What a path within ``/computation`` names, as it lies on this machine; None where it lies beside the code."""
    at = Path(code_at(launch))
    path = Path(os.path.normpath(os.path.join(CODE, word)))
    return code_of(launch) / path.relative_to(at) if path.is_relative_to(at) else None


def rewrite(command: tuple[str, ...], code: Path) -> tuple[str, ...]:
    """The command for a runtime that has no ``/computation``: the code lies where it lies."""
    return tuple(
        str(code) + word.removeprefix(CODE) if word == CODE or word.startswith(CODE + "/") else word
        for word in command
    )
