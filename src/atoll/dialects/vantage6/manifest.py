"""What a package of vantage6 functions offers, read from its source. Nothing of it is run.

Only what the package's own ``__init__`` holds can be called, so that imports are followed from
there: to a function's definition, and from its decorators to vantage6.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atoll.dialects.vantage6.body import Action

_Definition = ast.FunctionDef | ast.AsyncFunctionDef

#: Modules that only one generation has.
_MARKS = {
    "vantage6.algorithm.decorator": 5,
    "vantage6.algorithm.data_extraction": 5,
    "vantage6.algorithm.preprocessing": 5,
    "vantage6.algorithm.mock": 5,
    "vantage6.algorithm.tools.decorators": 4,
    "vantage6.algorithm.tools.wrappers": 4,
    "vantage6.algorithm.tools.mock_client": 4,
    "vantage6.algorithm.tools.preprocessing": 4,
}
_ACTIONS = {
    "central": Action.CENTRAL_COMPUTE,
    "federated": Action.FEDERATED_COMPUTE,
    "preprocessing": Action.PREPROCESSING,
    "data_extraction": Action.DATA_EXTRACTION,
    "omop_data_extraction": Action.DATA_EXTRACTION,
}
#: Decorators that put one argument before the caller's, which is no table.
_ONE_ARGUMENT = frozenset(("algorithm_client", "metadata", "data_extraction"))
_DECORATORS = (
    _ACTIONS.keys()
    | _ONE_ARGUMENT
    | {"data", "dataframe", "dataframes", "database_connection", "handle_data_errors", "handle_pandas_errors"}
)
#: An argument of `dataframe` that stands for a dictionary of tables.
_SEVERAL = "multiple"


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """What a caller gives a function."""

    name: str
    required: bool
    #: As it is written; empty where there is none.
    annotation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """A function that can be called."""

    name: str
    #: vantage6's decorators, outermost first.
    decorators: tuple[str, ...]
    #: Generation 5.
    action: Action | None
    #: For each table that it is given: whether that is a dictionary of several.
    tables: tuple[bool, ...]
    #: Whether it can make tasks.
    takes_client: bool
    #: What is left for the caller.
    arguments: tuple[Argument, ...]
    #: Whether it takes arguments by any name.
    open: bool
    #: Where it is defined.
    file: str
    line: int
    #: The first line of its documentation.
    summary: str = ""

    @property
    def central(self) -> bool:
        """Whether it combines what it asks others for."""
        return self.takes_client if self.action is None else self.action is Action.CENTRAL_COMPUTE


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a package offers."""

    #: 4 or 5; None where its source doesn't tell.
    generation: int | None
    #: In the order in which the package names them.
    functions: tuple[Function, ...]
    #: Files that are no Python, or of another version of it.
    unreadable: tuple[str, ...] = ()


@dataclass(kw_only=True)
class _Module:
    name: str
    file: str
    tree: ast.Module
    #: What each name stands for: a definition here, or a name elsewhere.
    names: dict[str, _Definition | str] = field(default_factory=dict)
    #: What the first words of a definition's decorators stood for where it was made. Its own name
    #: may be one of them.
    decorating: dict[_Definition, dict[str, _Definition | str | None]] = field(default_factory=dict)
    #: Modules of others all of whose names are here.
    stars: list[str] = field(default_factory=list)

    @property
    def is_package(self) -> bool:
        return self.file.endswith("__init__.py")


def read_manifest(package: str, sources: Mapping[str, str]) -> Manifest:
    """Read what a package offers.

    Args:
        package: its name, as it is imported.
        sources: the texts of its files, by their paths from the folder that holds the package:
            ``v6_average/__init__.py``.
    """
    modules: dict[str, _Module] = {}
    unreadable = []
    for file, text in sources.items():
        name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        if name != package and not name.startswith(f"{package}."):
            continue
        try:
            modules[name] = _Module(name=name, file=file, tree=ast.parse(text))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            unreadable.append(file)
    reader = _Reader(modules)
    generation = _generation(modules)
    functions = [reader.describe(name, *found) for name, found in reader.functions(package)]
    if generation == 5:
        functions = [one for one in functions if one.action is not None]
    return Manifest(generation=generation, functions=tuple(functions), unreadable=tuple(unreadable))


class _Reader:
    """Follows names from module to module."""

    def __init__(self, modules: Mapping[str, _Module]) -> None:
        self._modules = modules
        self._bound: set[str] = set()

    def functions(self, package: str) -> Iterator[tuple[str, tuple[_Module, _Definition]]]:
        """The functions that a package's own module holds."""
        if package not in self._modules:
            return
        for name in self._names(package):
            found = self._follow(f"{package}.{name}")
            if not isinstance(found, str) and not name.startswith("_"):
                yield name, found

    def describe(self, name: str, module: _Module, definition: _Definition) -> Function:
        """A function's facts."""
        decorators = list(self._decorators(module, definition))
        tables = tuple(several for each, call in decorators for several in _tables(each, call))
        before = len(tables) + sum(_others_before(each, call) for each, call in decorators)
        actions = [_ACTIONS[each] for each, _ in decorators if each in _ACTIONS]
        documentation = ast.get_docstring(definition) or ""
        return Function(
            name=name,
            decorators=tuple(each for each, _ in decorators),
            action=actions[0] if actions else None,
            tables=tables,
            takes_client=any(each == "algorithm_client" for each, _ in decorators),
            arguments=tuple(_arguments(definition.args, before)),
            open=definition.args.kwarg is not None,
            file=module.file,
            line=definition.lineno,
            summary=documentation.partition("\n")[0],
        )

    def _names(self, name: str) -> Mapping[str, _Definition | str]:
        """The names of a module, bound in the order of its statements."""
        module = self._modules[name]
        if name not in self._bound:
            self._bound.add(name)  # Before its imports are followed: they may come back here.
            for statement in _executed(module.tree.body):
                self._bind(module, statement)
        return module.names

    def _bind(self, module: _Module, statement: ast.stmt) -> None:
        if isinstance(statement, _Definition):
            words = [_words(decorator)[0] for decorator in statement.decorator_list]
            module.decorating[statement] = {word: module.names.get(word) for word in words}
            module.names[statement.name] = statement
        elif isinstance(statement, ast.Import):
            for alias in statement.names:
                top = alias.name.partition(".")[0]
                module.names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(statement, ast.ImportFrom):
            source = _source(module, statement)
            for alias in statement.names:
                if alias.name != "*":
                    module.names[alias.asname or alias.name] = f"{source}.{alias.name}"
                elif source in self._modules:
                    public = [one for one in self._names(source) if not one.startswith("_")]
                    module.names |= {one: f"{source}.{one}" for one in public}
                else:
                    module.stars.append(source)

    def _follow(self, name: str) -> tuple[_Module, _Definition] | str:
        """What a full name stands for: a function of the package, or a name of somebody else's."""
        seen: set[str] = set()
        while name not in seen:
            seen.add(name)
            source, _, last = name.rpartition(".")
            if source not in self._modules:
                return name
            bound = self._names(source).get(last)
            if bound is None:
                return name
            if not isinstance(bound, str):
                return self._modules[source], bound
            name = bound
        return name

    def _decorators(self, module: _Module, definition: _Definition) -> Iterator[tuple[str, ast.Call | None]]:
        """vantage6's decorators of a function, with what they are called with."""
        for decorator in definition.decorator_list:
            words = _words(decorator)
            for full in self._meant(module, words, module.decorating[definition][words[0]]):
                last = full.rpartition(".")[2]
                if full.startswith("vantage6.") and last in _DECORATORS:
                    yield last, decorator if isinstance(decorator, ast.Call) else None
                    break

    def _meant(self, module: _Module, words: Sequence[str], bound: _Definition | str | None) -> Sequence[str]:
        """The full names that dotted words may stand for, of which the first is bound so."""
        if bound is None:
            return [".".join((star, *words)) for star in module.stars]
        followed = self._follow(".".join((bound, *words[1:]))) if isinstance(bound, str) else bound
        return [followed] if isinstance(followed, str) else []


def _words(decorator: ast.expr) -> list[str]:
    """The words of a decorator's name."""
    return ast.unparse(decorator.func if isinstance(decorator, ast.Call) else decorator).split(".")


def _generation(modules: Mapping[str, _Module]) -> int | None:
    """Which generation's modules are imported. What only the fifth has decides."""
    imported = {name for module in modules.values() for name in _imported(module)}
    marks = {
        generation
        for mark, generation in _MARKS.items()
        if any(name == mark or name.startswith(f"{mark}.") for name in imported)
    }
    return max(marks, default=None)


def _imported(module: _Module) -> Iterator[str]:
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = _source(module, node)
            yield from (f"{source}.{alias.name}" for alias in node.names)


def _source(module: _Module, statement: ast.ImportFrom) -> str:
    """The full name of the module that is imported from."""
    if not statement.level:
        return statement.module or ""
    parts = module.name.split(".")
    up = statement.level - (1 if module.is_package else 0)
    return ".".join([*parts[: len(parts) - up], *([statement.module] if statement.module else [])])


def _executed(body: Sequence[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements that run when a module is imported, whichever way its conditions go."""
    for statement in body:
        yield statement
        for name in ("body", "orelse", "handlers", "finalbody"):
            if not isinstance(statement, _Definition | ast.ClassDef):
                inner = getattr(statement, name, [])
                yield from _executed([each for each in inner if isinstance(each, ast.stmt)])
                for handler in (each for each in inner if isinstance(each, ast.ExceptHandler)):
                    yield from _executed(handler.body)


def _tables(decorator: str, call: ast.Call | None) -> Iterator[bool]:
    """The tables that a decorator gives, each with whether it is several."""
    if decorator == "preprocessing":
        yield False
    elif decorator == "dataframes":
        yield True
    elif decorator == "data":
        count = (*_values(call, "number_of_databases"), 1)[0]
        yield from [False] * (count if isinstance(count, int) else 1)
    elif decorator == "dataframe":
        for source in _values(call, None) or (1,):
            if isinstance(source, int):
                yield from [False] * source
            else:
                yield str(source).lower() == _SEVERAL


def _others_before(decorator: str, call: ast.Call | None) -> int:
    """How many arguments a decorator gives that are no tables."""
    if decorator in _ONE_ARGUMENT:
        return 1
    if decorator not in ("database_connection", "omop_data_extraction"):
        return 0
    described = (_values(call, "include_metadata", positional=False) or (True,))[0] is not False
    types = _values(call, "types")[:1] if decorator == "database_connection" else ()
    count = len(types[0]) if types and isinstance(types[0], list | tuple) else 1
    return count * (2 if described else 1)


def _values(call: ast.Call | None, keyword: str | None, *, positional: bool = True) -> tuple[Any, ...]:
    """The constant arguments of a decorator; None in the place of one that isn't constant."""
    if call is None:
        return ()
    named = [each.value for each in call.keywords if each.arg == keyword and keyword]
    return tuple(_constant(each) for each in (*(call.args if positional else ()), *named))


def _constant(node: ast.expr) -> Any:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _arguments(arguments: ast.arguments, before: int) -> Iterator[Argument]:
    """What is left for the caller, behind what decorators give."""
    by_place = [*arguments.posonlyargs, *arguments.args]
    first_optional = len(by_place) - len(arguments.defaults)
    for place, one in list(enumerate(by_place))[before:]:
        yield _argument(one, required=place < first_optional)
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _argument(one, required=default is None)


def _argument(one: ast.arg, *, required: bool) -> Argument:
    annotation = "" if one.annotation is None else ast.unparse(one.annotation)
    return Argument(name=one.arg, required=required, annotation=annotation)
