"""Which modules an algorithm's code imports: its files are read, never run.

The host reads folders that lie there, and a box's first process those that lie in its image.
"""

# ruff: noqa: FA100, UP006, UP007, UP035, UP045 -- this runs on Python 3.8

from __future__ import annotations

import ast
import os
from typing import Any, Dict, FrozenSet, Iterable, Iterator, List, Optional, Set, Tuple

#: Files that are read. Published computations have tens; a folder with more holds data, or
#: libraries of its own, and only the imports of the rest are then not ahead.
FILES_MAX = 400
#: Bytes of a file that is read. Larger Python files hold tables.
_FILE_BYTES_MAX = 1000000
_DEPTH_MAX = 6
_SKIPPED = {"__pycache__", "node_modules", "site-packages", "dist-packages", "build", "dist"}
#: What the folders of installed libraries are called. Others that are on an interpreter's import
#: path may hold the algorithm itself, whose code must not run before it is walled in.
INSTALLED = {"site-packages", "dist-packages"}


def libraries_of(wanted: Dict[str, Any]) -> List[str]:
    """The installed modules that code in this file system imports, sorted.

    Args:
        wanted: ``folders`` with code, ``packages`` that are installed and are code all the same,
            ``masked`` paths, names ``beside`` and ``without``, as `find_libraries` at the host has them,
            and ``lent`` modules, which are imported wherever they lie.
    """
    names: Set[str] = set(wanted["beside"])
    own: Set[str] = set(wanted["without"])
    roots: List[str] = list(wanted["folders"])
    for package in wanted["packages"]:
        own.add(package)
        roots += _folders_of(package)
    masked = {os.path.normpath(path) for path in wanted["masked"]}
    for root in roots:
        for path in python_files(root, masked):
            folder, name = os.path.split(path)
            own.add(name[:-3])
            if os.path.normpath(folder) != os.path.normpath(root):
                own.add(os.path.basename(folder))
            try:
                with open(path, "rb") as file:
                    imported, line = read_imports(file.read())
            except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
                continue
            if line is not None:
                return []
            names |= imported
    known: Dict[str, bool] = dict.fromkeys(wanted["lent"], True)
    names |= set(wanted["lent"])
    for top in {name.partition(".")[0] for name in names}:
        if top not in known:
            known[top] = top not in own and _is_installed(top)
    return sorted(name for name in names if known[name.partition(".")[0]])


def read_imports(text: bytes) -> Tuple[FrozenSet[str], Optional[int]]:
    """What a file imports, and the line on which it changes the environment too early."""
    tree = ast.parse(text)
    return frozenset(_imported(tree)), _environment_change(tree)


def python_files(root: str, masked: Set[str]) -> Iterator[str]:
    """The Python files of a folder, in order; `FILES_MAX` at most, and none that is very large."""
    if os.path.isfile(root):
        if root.endswith(".py") and os.path.getsize(root) <= _FILE_BYTES_MAX:
            yield root
        return
    count = 0
    for folder, folders, files in os.walk(root):
        relative = os.path.relpath(folder, root)
        depth = 0 if relative == "." else len(relative.split(os.sep))
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
            path = os.path.join(folder, name)
            if not name.endswith(".py") or os.path.normpath(path) in masked or not os.path.isfile(path):
                continue
            if os.path.getsize(path) > _FILE_BYTES_MAX:
                continue
            count += 1
            if count > FILES_MAX:
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


def _environment_change(tree: ast.Module) -> Optional[int]:
    """The line that changes ``os.environ`` before the module's last import, if there is one."""
    statements = list(_executed(tree.body))
    imports = [node.lineno for node in statements if isinstance(node, (ast.Import, ast.ImportFrom))]
    last = max(imports, default=0)
    for statement in statements:
        if statement.lineno < last and not isinstance(statement, (ast.Import, ast.ImportFrom)):
            for node in _shallow(statement):
                if _changes_environment(node):
                    return statement.lineno
    return None


def _executed(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, those within ``if`` and ``try`` too."""
    for statement in body:
        yield statement
        if not isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef)):
            children = (child for child in ast.walk(statement) if child is not statement)
            inner = [child for child in children if isinstance(child, (ast.Import, ast.ImportFrom))]
            yield from inner


def _shallow(statement: ast.stmt) -> Iterator[ast.AST]:
    """A statement's nodes, without those of functions that it only defines."""
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
        return
    waiting: List[ast.AST] = [statement]
    while waiting:
        node = waiting.pop()
        yield node
        waiting += [
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        ]


def _changes_environment(node: ast.AST) -> bool:
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
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


def _folders_of(package: str) -> List[str]:
    """Where an installed package, or a module, lies; it isn't imported for that."""
    import importlib.util  # noqa: PLC0415 -- only where code is a package of the image

    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError, AttributeError):
        return []
    if found is None:
        return []
    return list(found.submodule_search_locations or filter(None, [found.origin]))


def is_there(name: str) -> bool:
    """Whether a module is installed, wherever it lies."""
    import importlib.util  # noqa: PLC0415 -- as above

    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError, AttributeError):
        return False


def _is_installed(name: str) -> bool:
    import importlib.util  # noqa: PLC0415 -- as above

    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        return False
    places = [] if found is None else [*(found.submodule_search_locations or []), found.origin or ""]
    return any(part in INSTALLED for place in places for part in place.split(os.sep))
