"""What a Python interpreter needs around it, so that it works where little else is."""

from __future__ import annotations

import ast
import os
import site
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes import environment

#: Folders that every sandbox has.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
#: Seconds that an interpreter may take to describe itself. It takes hundredths; but a cold
#: network drive may hold it.
_SECONDS_MAX = 60.0
#: Links that lead to one file. The system itself follows no more.
_LINKS_MAX = 40

_QUESTION = """\
import os, sys
print(repr((sys.version_info[:2], sys.executable,
            [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix],
            [os.path.dirname(os.__file__)] + sys.path[1:])))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """A Python interpreter of this machine."""

    executable: Path
    version: tuple[int, int]
    #: Its prefixes and whatever else its imports come from, without links in their paths;
    #: nothing that lies within another or within a system's folder.
    folders: tuple[Path, ...]
    #: Links that lead to the executable and the folders from outside of them: where, and to what.
    links: tuple[tuple[Path, str], ...]
    #: Where installed libraries lie.
    libraries: tuple[Path, ...]


_known: dict[Path | None, Interpreter] = {}


def describe(python: Path | None) -> Interpreter:
    """Describe an interpreter; None is Atoll's own. It is asked once.

    Raises:
        RuntimeUnavailable: it doesn't run, or isn't Python.
    """
    if python is not None:
        # Not resolved: a virtual environment's link says where its libraries are.
        python = Path(os.path.abspath(python))
        if python == Path(sys.executable):
            python = None
    if python not in _known:
        answer = _describe_own() if python is None else _ask(python)
        _known[python] = _understand(*answer)
    return _known[python]


_Answer = tuple[tuple[int, int], str, list[str], list[str]]


def _describe_own() -> _Answer:
    """What a fresh start of this very interpreter would say; its `sys.path` may have changed since."""
    prefixes = [sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    installed = [path for path in [*site.getsitepackages(), site.getusersitepackages()] if path in sys.path]
    added = [path for folder in installed for path in _added_paths(Path(folder))]
    library = os.path.dirname(os.__file__)
    return sys.version_info[:2], sys.executable, prefixes, [library, *installed, *added]


def _added_paths(folder: Path) -> Iterable[str]:
    """The folders that ``.pth`` files add to the import path."""
    for file in sorted(folder.glob("*.pth")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            path = folder / line.strip()
            if line.strip() and not line.startswith(("#", "import ", "import\t")) and path.is_dir():
                yield str(path)


def _ask(python: Path) -> _Answer:
    try:
        asked = subprocess.run(
            [python, "-c", _QUESTION],
            env=environment.bare(),
            capture_output=True,
            timeout=_SECONDS_MAX,
            check=True,
        )
        version, executable, prefixes, paths = ast.literal_eval(asked.stdout.decode())
    except (OSError, subprocess.SubprocessError, ValueError, SyntaxError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise RuntimeUnavailable(
            f"{str(python)!r} can't be used as a Python interpreter: {reason}; expected the path of an "
            "executable such as /usr/bin/python3"
        ) from error
    if tuple(version) < (3, 8):
        raise RuntimeUnavailable(
            f"{str(python)!r} is Python {version[0]}.{version[1]}; Atoll runs algorithms on Python 3.8 or later"
        )
    # What a launcher such as pyenv's runs in the end is asked; what it says of itself is used.
    return tuple(version), executable or str(python), prefixes, paths


def _understand(
    version: tuple[int, int], executable: str, prefixes: Sequence[str], paths: Sequence[str]
) -> Interpreter:
    real: list[Path] = [Path(os.path.realpath(path)) for path in [*prefixes, *paths] if os.path.exists(path)]
    program = Path(os.path.realpath(executable))
    folders: list[Path] = []
    for path in sorted({*real, program}, key=lambda path: len(path.parts)):
        if path == Path("/"):
            raise RuntimeUnavailable(
                f"{executable!r} says that it is installed in '/', which can't be shown to an algorithm; "
                "install it in a folder of its own"
            )
        if not within_any(path, [*map(Path, SYSTEM), *folders]):
            folders.append(path)
    links: dict[Path, str] = {}
    for given in (executable, *prefixes, *paths):
        links.update(link_chain(Path(given)))
    outside = [
        (link, target)
        for link, target in links.items()
        if not within_any(link, [*map(Path, SYSTEM), *folders])
    ]
    libraries = [
        Path(path) for path in paths[1:] if os.path.isdir(path) and not path.endswith("/lib-dynload")
    ]
    # The standard library itself is always imported fast enough.
    libraries = [path for path in libraries if path != Path(paths[0])]
    return Interpreter(
        executable=Path(executable),
        version=version,
        folders=tuple(folders),
        links=tuple(outside),
        libraries=tuple(dict.fromkeys(libraries)),
    )


def within_any(path: Path, folders: Iterable[Path]) -> bool:
    """Whether a path is one of these folders, or lies in one."""
    text = f"{path}/"  # as text: a path's parents are ten times as dear, and this is asked for every seat
    return any(text.startswith(f"{str(folder).rstrip('/')}/") for folder in folders)


def link_chain(path: Path) -> dict[Path, str]:
    """Every symbolic link that is followed on the way to what a path names, with its target."""
    links: dict[Path, str] = {}
    done = Path("/")
    rest = [part for part in path.parts if part != "/"]
    followed = 0
    while rest and followed < _LINKS_MAX:
        part = rest.pop(0)
        if part == "..":
            done = done.parent
            continue
        step = done / part
        if step.is_symlink():
            target = os.readlink(step)
            links[step] = target
            followed += 1
            rest = [part for part in Path(target).parts if part != "/"] + rest
            done = Path("/") if target.startswith("/") else done
        else:
            done = step
    return links
