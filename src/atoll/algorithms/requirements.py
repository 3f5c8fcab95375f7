"""What the author of an algorithm says must be installed for it: read from the files that say so.

Nothing is run for that. A ``setup.py`` says it only where it says so plainly.
"""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.algorithms.sources import read
from atoll.model.errors import SpecInvalid

#: Where it is looked for, in this order. The first file that is there counts; a pyproject.toml that only
#: tells tools what to do, beside a setup.py, doesn't.
FILES = ("requirements.txt", "pyproject.toml", "setup.py")
#: The name that a line asks for.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: A line about something that lies beside the file.
_ELSEWHERE = re.compile(r"-[rce]\b|--(requirement|constraint|editable)\b|\.{0,2}/|\.{1,2}$|file:")
_REMEDY = "Write a requirements.txt, and name it with --requirements"


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """What must be installed."""

    #: Lines as pip reads them.
    lines: tuple[str, ...] = ()
    #: The version that the algorithm says it has; empty where it says none.
    version: str = ""

    @property
    def names(self) -> frozenset[str]:
        """The packages that are asked for, by their plain names."""
        found = (_NAME.match(line) for line in self.lines)
        return frozenset(re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match)


def read_requirements(folder: Path, file: Path | None = None) -> Requirements:
    """What an algorithm needs.

    Args:
        folder: the algorithm's.
        file: the file that says it. Default: the first of `FILES` in the folder.

    Raises:
        SpecInvalid: a file can't be read, or doesn't say it in a way that can be read.
    """
    if file is None:
        there = (folder / name for name in FILES if (folder / name).is_file())
        file = next((one for one in there if one.suffix != ".toml" or _describes_project(one)), None)
    if file is None:
        return Requirements()
    text = read(file, "what an algorithm needs, such as a requirements.txt", _REMEDY)
    if file.suffix == ".toml":
        return _of_pyproject(text, file)
    return _of_setup(text, file) if file.suffix == ".py" else _of_text(text, file)


def read_version(folder: Path) -> str:
    """The version that an algorithm's own files say it has; empty where they say none."""
    readers = {"pyproject.toml": _of_pyproject, "setup.py": _of_setup}
    for name in (name for name in readers if (folder / name).is_file()):
        try:
            text = read(folder / name, "a version", _REMEDY)
            found = readers[name](text, folder / name).version
        except SpecInvalid:
            continue  # What is needed may be said elsewhere, and this is about a label alone.
        if found:
            return found
    return ""


def _of_text(text: str, file: Path) -> Requirements:
    stripped = (line.strip() for line in text.splitlines())
    lines = tuple(line for line in stripped if line and not line.startswith("#"))
    for line in lines:
        if _ELSEWHERE.match(line):
            raise SpecInvalid(
                f"{file} names another file, {line!r}, which is not in the image: expected packages alone. {_REMEDY}"
            )
    return Requirements(lines=lines)


def _describes_project(file: Path) -> bool:
    text = read(file, "what an algorithm needs", _REMEDY)
    return "project" in _toml(text, file) or not (file.parent / "setup.py").is_file()


def _toml(text: str, file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SpecInvalid(f"{file} is no TOML: {error}. {_REMEDY}") from None


def _of_pyproject(text: str, file: Path) -> Requirements:
    project = _toml(text, file).get("project", {})
    project = project if isinstance(project, dict) else {}
    found, version = project.get("dependencies", []), project.get("version")
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise SpecInvalid(f"{file} has dependencies that are no list of texts: expected one. {_REMEDY}")
    if "dependencies" in project.get("dynamic", ()):
        raise SpecInvalid(f"{file} says that its dependencies are found out while it is built. {_REMEDY}")
    return Requirements(lines=tuple(found), version=version if isinstance(version, str) else "")


def _of_setup(text: str, file: Path) -> Requirements:
    found: dict[str, Any] = {}
    for word in _setup_words(text, file):
        if word.arg in ("install_requires", "version"):
            try:
                found[word.arg] = ast.literal_eval(word.value)
            except ValueError:
                found[word.arg] = None
    lines, version = found.get("install_requires", []), found.get("version")
    if not isinstance(lines, list | tuple) or not all(isinstance(one, str) for one in lines):
        raise SpecInvalid(
            f"{file} works out what it needs: expected install_requires to be a list of texts. {_REMEDY}"
        )
    return Requirements(lines=tuple(lines), version=version if isinstance(version, str) else "")


def _setup_words(text: str, file: Path) -> list[ast.keyword]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise SpecInvalid(f"{file} is no Python that can be read. {_REMEDY}") from None
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return [word for call in calls if _called(call) == "setup" for word in call.keywords]


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else str(getattr(call.func, "attr", ""))
