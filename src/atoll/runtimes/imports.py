"""Which installed libraries an algorithm's code imports, so that a warm parent can be ahead of it.

The code is read, never run. What is found is a guess that may only cost time: the parent
tries each import and forgets those that fail.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from atoll.runtimes.guest.scan import INSTALLED, python_files, read_imports
from atoll.runtimes.interpreter import Interpreter

_log = logging.getLogger(__name__)

_State = tuple[int, int, int, int, int]

#: Answers that are remembered until a file or a folder changes: a node starts the same few algorithms
#: again and again.
_REMEMBERED_MAX = 4_000


def find_libraries(
    code: Path,
    masked: Sequence[str],
    interpreter: Interpreter,
    *,
    name: str | None = None,
    beside: Iterable[str] = (),
    without: Iterable[str] = (),
) -> tuple[str, ...]:
    """The installed modules that an algorithm's Python files import, sorted.

    Args:
        code: their folder, or the only file.
        masked: parts of it that are not looked at.
        interpreter: whose libraries count as installed.
        name: what the code itself is imported as, where it is one package or module.
        beside: names that count as if a file imported them.
        without: top-level names that are never imported ahead.

    Returns:
        Names such as ``numpy`` and ``sklearn.linear_model``. None where a file changes the
        process's environment before its last import: libraries read theirs when they are imported.
    """
    names: set[str] = set(beside)
    own: set[str] = set(without)
    if name is not None:
        own.add(Path(name).stem)
    for path in map(Path, python_files(str(code), {os.path.normpath(code / part) for part in masked})):
        # A folder's own name is not one that its scripts import. A package's parts have its name.
        if name is None:
            own |= {path.stem} if path.parent == code else {path.stem, path.parent.name}
        try:
            imported, line = _read(path, _state(path))
        except (OSError, SyntaxError, ValueError, RecursionError, MemoryError) as error:
            _log.debug("%s is not read for its imports: %s", path, error)
            continue
        if line is not None:
            _log.debug(
                "nothing is imported ahead for %s: %s changes the environment on line %d", code, path, line
            )
            return ()
        names |= imported
    installed: dict[str, bool] = {}
    for top in {name.partition(".")[0] for name in names} - own:
        installed[top] = _is_installed(top, interpreter.libraries)
    return tuple(sorted(name for name in names if installed.get(name.partition(".")[0])))


def modules_of(package: Path) -> Iterator[str]:
    """The names of a package that is lent, and of its own modules but the one that is its program."""
    yield package.stem
    for file in sorted(package.glob("*.py")):
        if not file.stem.startswith("__"):
            yield f"{package.name}.{file.stem}"


def _state(path: Path) -> _State:
    """What is another when a file or a folder has changed."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=_REMEMBERED_MAX)
def _read(path: Path, _: _State) -> tuple[frozenset[str], int | None]:
    """What a file imports, and the line on which it changes the environment too early."""
    return read_imports(path.read_bytes())


def _is_installed(name: str, folders: Iterable[Path]) -> bool:
    having = [folder for folder in folders if _has(folder, name)]
    return bool(having) and all(folder.name in INSTALLED for folder in having)


def _has(folder: Path, name: str) -> bool:
    try:
        return _holds(folder, name, _state(folder))
    except OSError:
        return False


@lru_cache(maxsize=_REMEMBERED_MAX)
def _holds(folder: Path, name: str, _: _State) -> bool:
    if (folder / name).is_dir() or (folder / f"{name}.py").is_file():
        return True
    return any(folder.glob(f"{name}.*.so")) or (folder / f"{name}.so").is_file()
