"""One function's declaration: its decorator, its parameters, and what leaves."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from atoll.dialects.functions.names import Source, Sources, executed, read_expression

STYLES = ("central", "partial", "local", "remote", "all_reduce")
#: What fills a parameter with a database, and the library that this takes, if any.
DATABASES = {"pandas": "pandas", "pyarrow": "pyarrow", "polars": "polars", "path": None}

#: The kinds of what may leave.
KINDS = frozenset({
    "frequencies", "linear_aggregations", "position", "endpoints", "mode", "shape", "correlation_coefficients",
    "hypothesis_tests", "survival_tables", "ratios", "concentration_ratios", "gini", "linked_tables", "clusters",
    "parameters",
})  # fmt: skip
#: Types of tables, by the names that annotations may have.
TABLES = frozenset({
    "atoll_algorithm.Table", "pandas.DataFrame", "pyarrow.Table", "polars.DataFrame",
    "Table", "DataFrame", "pd.DataFrame", "pa.Table", "pl.DataFrame",
})  # fmt: skip

_PACKAGE = "atoll_algorithm"
#: By the first and the last part of a type's name: what fills a parameter that is annotated with it.
_FILLERS = {
    (_PACKAGE, "Table"): "pandas",
    ("pandas", "DataFrame"): "pandas",
    ("pyarrow", "Table"): "pyarrow",
    ("polars", "DataFrame"): "polars",
    ("pathlib", "Path"): "path",
    ("pathlib", "PosixPath"): "path",
    (_PACKAGE, "Sites"): "sites",
    (_PACKAGE, "Parts"): "parts",
    ("numpy", "Generator"): "numpy",
    ("random", "Random"): "random",
}
#: Names that are never imported, as under TYPE_CHECKING, are known by how they are commonly written.
_WRITTEN = {
    "Table": "pandas", "DataFrame": "pandas", "pd.DataFrame": "pandas", "pandas.DataFrame": "pandas",
    "pa.Table": "pyarrow", "pyarrow.Table": "pyarrow", "pl.DataFrame": "polars", "polars.DataFrame": "polars",
    "Path": "path", "pathlib.Path": "path", "Sites": "sites", "Parts": "parts", "Random": "random",
    "np.random.Generator": "numpy", "numpy.random.Generator": "numpy", "random.Random": "random",
}  # fmt: skip
#: Characters of an expression that are shown.
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """What a caller gives a function."""

    name: str
    #: As written; empty where there is none.
    annotation: str = ""
    #: As written; None where the argument is needed.
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A parameter that the site fills."""

    name: str
    #: ``pandas``, ``pyarrow``, ``polars`` or ``path``: a database; ``sites``, ``parts``; ``numpy`` or
    #: ``random``: a generator.
    filler: str
    #: The label of a database that it takes whatever was asked for; None: the next that was asked for.
    label: str | None = None
    #: Whether it may be left out.
    optional: bool = False

    @property
    def is_database(self) -> bool:
        """Whether the site's data fill it."""
        return self.filler in DATABASES


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function that can be called."""

    name: str
    #: ``central``, ``partial``, ``local``, ``remote`` or ``all_reduce``.
    style: str
    file: str
    line: int
    #: The first line of its docstring.
    summary: str = ""
    arguments: tuple[Argument, ...] = ()
    #: Whether it takes arguments by any name.
    takes_any: bool = False
    filled: tuple[Filled, ...] = ()
    #: What leaves, as declared: one kind, or one for each key. Empty where nothing is declared.
    kinds: Mapping[str, str] | str = ""
    #: The annotation of what it returns, as written, and the type that it names.
    returns: str = ""
    returned_type: str = ""
    #: Of a remote function: its local half.
    local: str = ""

    @property
    def databases(self) -> tuple[Filled, ...]:
        """The parameters that get a site's data."""
        return tuple(filled for filled in self.filled if filled.is_database)

    @property
    def combines(self) -> bool:
        """Whether it asks other sites, rather than answering for one."""
        return self.style in ("central", "remote", "all_reduce")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """A place where the source doesn't say what only running would show."""

    file: str
    line: int
    words: str


_Definition = ast.FunctionDef | ast.AsyncFunctionDef


class Declarations:
    """The functions that one module declares."""

    def __init__(self, source: Source, sources: Sources) -> None:
        self._source = source
        self._sources = sources
        #: What can't be seen in this module, in the order in which it was met.
        self.unclear: list[Unclear] = []
        #: Uses of decorators that were understood.
        self._understood: set[int] = set()
        self._definitions = {
            statement.name: statement
            for statement in executed(source.tree.body)
            if isinstance(statement, _Definition)
        }

    def read(self) -> Iterator[tuple[str, Function]]:
        """The functions by the names with dots that they are bound to."""
        for definition in self._definitions.values():
            for decorator in definition.decorator_list:
                function = self._declared(definition, decorator)
                if function is not None:
                    yield f"{self._source.module}.{definition.name}", function
                    break
        yield from self._assigned()
        for node in ast.walk(self._source.tree):
            if isinstance(node, _Definition):
                for decorator in node.decorator_list:
                    self._note_inner(node, decorator)
            elif isinstance(node, ast.Call) and id(node) not in self._understood and self._style(node):
                self._note(
                    node.lineno,
                    f"what {self._style(node)}(...) makes a function of is known only when it runs",
                )

    def _note_inner(self, node: _Definition, decorator: ast.expr) -> None:
        if id(decorator) in self._understood or not self._style(decorator):
            return
        self._understood.add(id(decorator))
        self._note(
            node.lineno,
            f"{node.name} is declared within a function or a class: when that runs, and how, isn't seen",
        )

    def _assigned(self) -> Iterator[tuple[str, Function]]:
        """Functions that were declared as ``mean = central(_mean)``."""
        for statement in executed(self._source.tree.body):
            match statement:
                case ast.Assign(
                    targets=[ast.Name(id=name)], value=ast.Call(func=decorator, args=[ast.Name(id=inner)])
                ):
                    definition = self._definitions.get(inner)
                    function = None if definition is None else self._declared(definition, decorator)
                    if definition is not None and function is not None:
                        self._understood.add(id(statement.value))
                        yield f"{self._source.module}.{inner}", function
                        yield f"{self._source.module}.{name}", function

    def _style(self, decorator: ast.expr) -> str | None:
        """The style that a decorator stands for, called or not; None where it is none of ours."""
        name = self._name_of(decorator.func if isinstance(decorator, ast.Call) else decorator)
        first, _, last = name.partition(".")
        return last if first == _PACKAGE and last in STYLES else None

    def _declared(self, definition: _Definition, decorator: ast.expr) -> Function | None:
        style = self._style(decorator)
        if style is None:
            return None
        self._understood.add(id(decorator))
        options = {}
        local = ""
        if isinstance(decorator, ast.Call):
            options = {keyword.arg: keyword.value for keyword in decorator.keywords}
            half = options.get("local", decorator.args[0] if decorator.args else None)
            local = self._name_of(half).rpartition(".")[2]
        arguments, filled = self._parameters(definition, style)
        return Function(
            name=definition.name,
            style=style,
            file=self._source.file,
            line=definition.lineno,
            summary=(ast.get_docstring(definition) or "").partition("\n")[0],
            arguments=arguments,
            takes_any=definition.args.kwarg is not None,
            filled=filled,
            kinds=self._kinds(definition, options),
            returns=_text(definition.returns),
            returned_type=self._type_of(definition.returns),
            local=local if style == "remote" else "",
        )

    # --- What leaves --------------------------------------------------------------------------

    def _kinds(
        self, definition: _Definition, options: Mapping[str | None, ast.expr]
    ) -> Mapping[str, str] | str:
        value = options.get("kind")
        if isinstance(value, ast.Name):
            value = self._constant(value.id) or value
        match value:
            case None if None not in options:
                return ""
            case ast.Constant(value=None):
                return ""
            case ast.Constant(value=str(kind)):
                return kind
            case ast.Dict(keys=keys, values=values):
                pairs = [
                    (key.value, one.value)
                    for key, one in zip(keys, values, strict=True)
                    if isinstance(key, ast.Constant) and isinstance(one, ast.Constant)
                ]
                if len(pairs) == len(keys):
                    return {str(key): str(kind) for key, kind in pairs}
        self._note(
            definition.lineno, f"the kind of what {definition.name} returns is known only when it runs"
        )
        return ""

    def _constant(self, name: str) -> ast.expr | None:
        """What a name of this module is assigned, where that is done once."""
        values = [
            statement.value
            for statement in executed(self._source.tree.body)
            if isinstance(statement, ast.Assign)
            and any(isinstance(target, ast.Name) and target.id == name for target in statement.targets)
        ]
        return values[0] if len(values) == 1 else None

    # --- Parameters ---------------------------------------------------------------------------

    def _parameters(
        self, definition: _Definition, style: str
    ) -> tuple[tuple[Argument, ...], tuple[Filled, ...]]:
        given = definition.args
        named = [*given.posonlyargs, *given.args]
        defaults: dict[str, ast.expr] = {}
        if given.defaults:
            defaults = {
                each.arg: one for each, one in zip(named[-len(given.defaults) :], given.defaults, strict=True)
            }
        defaults |= {
            each.arg: one for each, one in zip(given.kwonlyargs, given.kw_defaults, strict=True) if one
        }
        arguments: list[Argument] = []
        filled: list[Filled] = []
        for parameter in (*named, *given.kwonlyargs):
            default = defaults.get(parameter.arg)
            label = self._label(parameter, default)
            filler = self._filler(parameter.annotation) or (None if label is None else "pandas")
            if filler is not None:
                optional = default is not None and label is None
                filled.append(Filled(name=parameter.arg, filler=filler, label=label, optional=optional))
            else:
                text = None if default is None else _text(default)
                arguments.append(
                    Argument(name=parameter.arg, annotation=_text(parameter.annotation), default=text)
                )
        if style == "remote" and arguments and not any(one.filler == "parts" for one in filled):
            filled.append(Filled(name=arguments.pop(0).name, filler="parts"))
        return tuple(arguments), tuple(filled)

    def _label(self, parameter: ast.arg, default: ast.expr | None) -> str | None:
        if not isinstance(default, ast.Call) or self._name_of(default.func) != f"{_PACKAGE}.database":
            return None
        match default:
            case ast.Call(args=[ast.Constant(value=str(label))], keywords=[]):
                return label
            case ast.Call(args=[], keywords=[ast.keyword(arg="label", value=ast.Constant(value=str(label)))]):
                return label
        self._note(parameter.lineno, f"which database {parameter.arg} takes is known only when it runs")
        return "?"

    def _filler(self, annotation: ast.expr | None) -> str | None:
        name = self._type_of(annotation)
        parts = name.split(".")
        filler = _FILLERS.get((parts[0], parts[-1]))
        return filler or (None if self._sources.binds(self._source, name) else _WRITTEN.get(name))

    def _type_of(self, annotation: ast.expr | None) -> str:
        """The type that an annotation names, without its ``| None`` and what stands in brackets; or nothing."""
        while annotation is not None:
            match annotation:
                case ast.Constant(value=str(text)):
                    annotation = read_expression(text)
                case ast.BinOp(left=inner, op=ast.BitOr(), right=ast.Constant(value=None)):
                    annotation = inner
                case ast.BinOp(left=ast.Constant(value=None), op=ast.BitOr(), right=inner):
                    annotation = inner
                case ast.Subscript(value=outer, slice=inner):
                    annotation = inner if self._name_of(outer) in ("typing.Optional", "Optional") else outer
                case _:
                    return self._name_of(annotation)
        return ""

    def _name_of(self, node: ast.expr | None) -> str:
        return self._sources.name_of(self._source, node)

    def _note(self, line: int, words: str) -> None:
        self.unclear.append(Unclear(file=self._source.file, line=line, words=words))


def _text(node: ast.expr | None) -> str:
    """An expression as it is written, cut where it is long."""
    if node is None:
        return ""
    try:
        text = ast.unparse(node)
    except RecursionError:
        return "…"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 1]}…"
