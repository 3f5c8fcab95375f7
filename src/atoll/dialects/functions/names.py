"""What names stand for in Python source that is read and never run.

``Table`` may be `atoll_algorithm.Table` by any of Python's ways to import it. Names are followed
through imports, plain assignments and the modules of one algorithm. What only running would
show is not guessed.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

#: How many names may stand for one another in a row.
_HOPS_MAX = 20
#: A package whose names are known though it is not read, and those that matter.
_KNOWN = "atoll_algorithm"
_KNOWN_NAMES = (
    "central", "partial", "local", "remote", "all_reduce", "database", "Table", "Sites", "Parts",
)  # fmt: skip


class Unreadable(Exception):
    """A source is not Python as this version of Python knows it."""

    def __init__(self, line: int, words: str) -> None:
        super().__init__(words)
        self.line = line


@dataclass(frozen=True, kw_only=True)
class Source:
    """One module that was parsed."""

    #: The file, from where the algorithm is imported: ``v6_average/central.py``.
    file: str
    tree: ast.Module

    @cached_property
    def module(self) -> str:
        """The name that it is imported by."""
        parts = self.file.removesuffix(".py").split("/")
        return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)

    @cached_property
    def bound(self) -> Mapping[str, str]:
        """What its own names stand for, each as a name with dots."""
        found: dict[str, str] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for imported in node.names:
                    top = imported.name.partition(".")[0]
                    found[imported.asname or top] = imported.name if imported.asname else top
            elif isinstance(node, ast.ImportFrom):
                origin = self._origin(node)
                names = {alias.asname or alias.name: alias.name for alias in node.names}
                if origin == _KNOWN and "*" in names:
                    names = dict(zip(_KNOWN_NAMES, _KNOWN_NAMES, strict=True))
                found.update((own, f"{origin}.{name}") for own, name in names.items())
        for statement in executed(self.tree.body):
            if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found[statement.name] = f"{self.module}.{statement.name}"
            elif isinstance(statement, ast.Assign | ast.AnnAssign):
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                value = written(statement.value) if statement.value else None
                first = (value or "").partition(".")[0]
                for target in targets:
                    if not isinstance(target, ast.Name):
                        continue
                    if value and first in found and first != target.id:
                        found[target.id] = found[first] + value.removeprefix(first)
                    else:
                        found[target.id] = f"{self.module}.{target.id}"
        found.pop("*", None)
        return found

    @cached_property
    def stars(self) -> tuple[tuple[str, int], ...]:
        """The modules of which it takes every name, and in which line."""
        nodes = (node for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom))
        return tuple((self._origin(node), node.lineno) for node in nodes if node.names[0].name == "*")

    @cached_property
    def imported(self) -> frozenset[str]:
        """The modules that it may import, and names that may be modules."""
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                origin = self._origin(node)
                found |= {origin, *(f"{origin}.{alias.name}" for alias in node.names)}
        return frozenset(found)

    def _origin(self, node: ast.ImportFrom) -> str:
        if not node.level:
            return node.module or ""
        package = self.file.split("/")[:-1]
        base = package[: len(package) - node.level + 1]
        return ".".join([*base, *([node.module] if node.module else [])])


@dataclass(frozen=True, kw_only=True)
class Sources:
    """The modules of one algorithm."""

    by_module: Mapping[str, Source]
    #: Files that can't be read, each with the line and why.
    unreadable: tuple[tuple[str, int, str], ...] = field(default=())

    def name_of(self, source: Source, node: ast.expr | None) -> str:
        """What an expression in one of the modules names: ``pandas.DataFrame``; empty where it is no name."""
        name = None if node is None else written(node)
        if name is None:
            return ""
        return self.resolve(f"{source.module}.{name}") if self.binds(source, name) else name

    def binds(self, source: Source, name: str) -> bool:
        """Whether a module binds the first part of a name, by itself or with a star."""
        first = name.partition(".")[0]
        return any(first in self.by_module[module].bound for module in self._with_stars(source.module))

    def names_in(self, module: str) -> list[str]:
        """The names that a module binds, with those that it takes with a star."""
        found: dict[str, None] = {}
        for name in self._with_stars(module):
            found.update(dict.fromkeys(self.by_module[name].bound))
        return list(found)

    def resolve(self, name: str) -> str:
        """Follow a name through the algorithm's modules to where it comes from."""
        for _ in range(_HOPS_MAX):
            followed = self._hop(name)
            if followed == name:
                break
            name = followed
        return name

    def _hop(self, name: str) -> str:
        module = self.module_of(name)
        if module is None or module == name:
            return name
        first, dot, rest = name.removeprefix(f"{module}.").partition(".")
        for origin in self._with_stars(module):
            bound = self.by_module[origin].bound
            if first in bound:
                return bound[first] + dot + rest
        return name

    def _with_stars(self, module: str) -> list[str]:
        """A module, and those of the algorithm whose names it takes with a star: the last has the last word."""
        found: dict[str, None] = {}
        waiting = [module]
        while waiting:
            name = waiting.pop(0)
            if name in self.by_module and name not in found:
                found[name] = None
                waiting += [star for star, _ in reversed(self.by_module[name].stars)]
        return list(found)

    def module_of(self, name: str) -> str | None:
        """The algorithm's module that a name lies in, or is; None where it is somebody else's."""
        while name:
            if name in self.by_module:
                return name
            name = name.rpartition(".")[0]
        return None

    def loaded_from(self, module: str) -> list[str]:
        """The modules that are loaded with one, itself first."""
        found: dict[str, None] = {}
        waiting = [module]
        while waiting:
            name = waiting.pop(0)
            if name in found or name not in self.by_module:
                continue
            found[name] = None
            asked = sorted(self.by_module[name].imported)
            # With a module the packages around it are loaded.
            waiting += [part for one in asked for part in _with_packages(one)]
        return list(found)


def read_sources(texts: Mapping[str, str]) -> Sources:
    """Parse the files of an algorithm, by their names."""
    found: dict[str, Source] = {}
    unreadable: list[tuple[str, int, str]] = []
    for file, text in texts.items():
        try:
            source = Source(file=file, tree=parse(text))
        except Unreadable as error:
            unreadable.append((file, error.line, str(error)))
        else:
            found[source.module] = source
    return Sources(by_module=found, unreadable=tuple(unreadable))


def parse(text: str) -> ast.Module:
    """Parse one source.

    Raises:
        Unreadable: with the line.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # What its author should mend is not this reader's affair.
            return ast.parse(text)
    except (SyntaxError, ValueError) as error:  # The second where older versions find zero bytes.
        words = getattr(error, "msg", str(error))
        raise Unreadable(getattr(error, "lineno", None) or 1, f"is not Python: {words}") from None
    except (RecursionError, MemoryError):
        raise Unreadable(1, "is nested too deeply to be read") from None


def read_expression(text: str) -> ast.expr | None:
    """An annotation that is written as text; None where it is none."""
    try:
        (statement,) = parse(text.strip()).body
    except (Unreadable, ValueError):
        return None
    return statement.value if isinstance(statement, ast.Expr) else None


def executed(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that may run when a module is loaded: those within ``if`` and ``try`` too."""
    waiting = list(body)[::-1]
    while waiting:
        statement = waiting.pop()
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        inner: list[ast.stmt] = list(getattr(statement, "body", []))
        for part in (*getattr(statement, "handlers", []), *getattr(statement, "cases", [])):
            inner += part.body
        waiting += [*inner, *getattr(statement, "orelse", []), *getattr(statement, "finalbody", [])][::-1]


def written(node: ast.expr) -> str | None:
    """A name with dots as it is written; None for any other expression."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    return ".".join([node.id, *reversed(parts)])


def _with_packages(module: str) -> Iterator[str]:
    parts = module.split(".")
    for count in range(1, len(parts) + 1):
        yield ".".join(parts[:count])
