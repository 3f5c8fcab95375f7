"""What a Dockerfile says of an algorithm that runs here without its image."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

#: Where an algorithm's folder appears.
_CODE = "/computation"
_INSTRUCTION = re.compile(r"\s*(CMD|ENTRYPOINT|WORKDIR|COPY|ADD)\s+(\S.*)", re.IGNORECASE)
#: Characters of a Dockerfile that are read.
_CHARACTERS_MAX = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What is started in an image."""

    command: tuple[str, ...]

    @property
    def program(self) -> str:
        """The name of what is started."""
        return posixpath.basename(self.command[0]) if self.command else ""


def starts_itself(path: Path) -> bool:
    """Whether a folder's Dockerfile starts a program of another language than Python."""
    program = read_dockerfile(dockerfile_of(path)).program
    return bool(program) and not program.startswith(("python", "pip", "uv"))


def dockerfile_of(folder: Path) -> str:
    """The text of a folder's Dockerfile; empty where it has none."""
    path = folder / "Dockerfile"
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(_CHARACTERS_MAX)


def read_dockerfile(text: str) -> Image:
    """The command of an image, with its paths as they are where its folder is ``/computation``."""
    words: dict[str, tuple[str, ...]] = {"CMD": (), "ENTRYPOINT": ()}
    folder, copied = "/", ""
    for line in text.replace("\\\n", " ").splitlines():
        if not (match := _INSTRUCTION.match(line)):
            continue
        instruction, rest = match[1].upper(), match[2].rstrip()
        if instruction == "WORKDIR":
            folder = posixpath.join(folder, rest)
        elif instruction in ("COPY", "ADD"):
            parts = [part for part in _words(rest) if not part.startswith("--")]
            if len(parts) > 1 and parts[0] in (".", "./"):
                copied = posixpath.normpath(posixpath.join(folder, parts[-1]))
        else:
            words[instruction] = _words(rest)
    command = (*words["ENTRYPOINT"], *words["CMD"])
    return Image(command=tuple(_here(word, copied) for word in command))


def _here(word: str, copied: str) -> str:
    if copied and copied != "/" and (word == copied or word.startswith(f"{copied}/")):
        return _CODE + word.removeprefix(copied)
    return word


def _words(rest: str) -> tuple[str, ...]:
    try:
        words = json.loads(rest)
    except (ValueError, RecursionError):
        try:
            return tuple(shlex.split(rest))
        except ValueError:
            return ()
    return tuple(words) if isinstance(words, list) and all(isinstance(word, str) for word in words) else ()
