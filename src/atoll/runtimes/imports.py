"""Which installed libraries an algorithm's code imports, so that a warm parent can be ahead of it.

The code is read, never run. What is found is a guess that may only cost time: the parent
tries each import and forgets those that fail.
"""

from __future__ import annotations

import ast
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from atoll.runtimes.interpreter import Interpreter

_log = logging.getLogger(__name__)

_State = tuple[int, int, int, int, int]

#: Files that are read. Published computations have tens; a folder with more holds data, or
#: libraries of its own, and only the imports of the rest are then not ahead.
_FILES_MAX = 400
#: Bytes of a file that is read. Larger Python files hold tables.
_FILE_BYTES_MAX = 1_000_000
_DEPTH_MAX = 6
#: Answers that are remembered until a file or a folder changes: a node starts the same few algorithms
#: again and again.
_REMEMBERED_MAX = 4_000
_SKIPPED = {"__pycache__", "node_modules", "site-packages", "build", "dist"}
#: What the folders of installed libraries are called. Others that are on an interpreter's import
#: path may hold the algorithm itself, whose code must not run before it is walled in.
_INSTALLED = {"site-packages", "dist-packages"}


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
    for path in _python_files(code, {os.path.normpath(code / part) for part in masked}):
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


def _state(path: Path) -> _State:
    """What is another when a file or a folder has changed."""
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=_REMEMBERED_MAX)
def _read(path: Path, _: _State) -> tuple[frozenset[str], int | None]:
    """What a file imports, and the line on which it changes the environment too early."""
    tree = ast.parse(path.read_bytes())
    return frozenset(_imported(tree)), _environment_change(tree)


def _python_files(code: Path, masked: set[str]) -> Iterator[Path]:
    if code.is_file():
        if code.suffix == ".py" and code.stat().st_size <= _FILE_BYTES_MAX:
            yield code
        return
    count = 0
    for folder, folders, files in os.walk(code):
        depth = len(Path(folder).relative_to(code).parts)
        folders[:] = sorted(
            name
            for name in folders
            if depth < _DEPTH_MAX
            and name not in _SKIPPED
            and not name.startswith(".")
            and os.path.normpath(os.path.join(folder, name)) not in masked
            and not os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
        for name in sorted(files):
            path = Path(folder, name)
            if not name.endswith(".py") or os.path.normpath(path) in masked or not path.is_file():
                continue
            if path.stat().st_size > _FILE_BYTES_MAX:
                continue
            count += 1
            if count > _FILES_MAX:
                _log.debug(
                    "only the first %d Python files of %s are read for their imports", _FILES_MAX, code
                )
                return
            yield path


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            # Each may be a module of its own, or a name within; the parent finds out.
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name != "*")


def _environment_change(tree: ast.Module) -> int | None:
    """The line that changes ``os.environ`` before the module's last import, if there is one."""
    statements = list(_executed(tree.body))
    imports = [node.lineno for node in statements if isinstance(node, ast.Import | ast.ImportFrom)]
    last = max(imports, default=0)
    for statement in statements:
        if statement.lineno < last and not isinstance(statement, ast.Import | ast.ImportFrom):
            for node in _shallow(statement):
                if _changes_environment(node):
                    return statement.lineno
    return None


def _executed(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, those within ``if`` and ``try`` too."""
    for statement in body:
        yield statement
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            children = (child for child in ast.walk(statement) if child is not statement)
            inner = [child for child in children if isinstance(child, ast.Import | ast.ImportFrom)]
            yield from inner


def _shallow(statement: ast.stmt) -> Iterator[ast.AST]:
    """A statement's nodes, without those of functions that it only defines."""
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        return
    waiting: list[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        ]


def _changes_environment(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
        return _names(node.value, "environ")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        if node.func.attr in ("update", "setdefault", "pop", "clear", "popitem"):
            return _names(node.func.value, "environ")
        return node.func.attr in ("putenv", "unsetenv")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in ("putenv", "unsetenv")
    return isinstance(node, ast.AugAssign) and _names(node.target, "environ")


def _names(node: ast.AST, name: str) -> bool:
    return (isinstance(node, ast.Attribute) and node.attr == name) or (
        isinstance(node, ast.Name) and node.id == name
    )


def _is_installed(name: str, folders: Iterable[Path]) -> bool:
    having = [folder for folder in folders if _has(folder, name)]
    return bool(having) and all(folder.name in _INSTALLED for folder in having)


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
