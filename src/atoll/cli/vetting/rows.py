"""Whether a function seems to return rows of the table that it is given.

A guess, and a careful one: a value counts as rows as long as nothing is done to it that could
make fewer numbers of many. What is summed, fitted or counted doesn't. Who returns rows in a
roundabout way is not found out here, but by the rules for what leaves a site.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

from atoll.dialects.functions.declared import TABLES
from atoll.dialects.functions.names import Source, Sources, executed

#: Methods and attributes that keep the rows of a table or the values of a column.
_KEEPING = frozenset(
    "to_dict to_json to_csv to_numpy tolist to_list to_records to_string to_html to_pandas to_pylist to_pydict "
    "to_arrow to_dicts rows head tail sample limit copy clone dropna fillna reset_index set_index sort_values "
    "sort_index sort astype rename drop drop_duplicates query filter select with_columns assign where mask round "
    "itertuples iterrows items unique values T loc iloc at iat array index str dt slice".split()
)
#: Functions that make the same values into something else.
_MAKING = frozenset(
    "list tuple dict set sorted enumerate zip numpy.array numpy.asarray numpy.ravel numpy.sort numpy.unique "
    "pandas.DataFrame pandas.Series json.dumps str repr".split()
)

Definition = ast.FunctionDef | ast.AsyncFunctionDef


def returned_rows(
    definition: Definition, tables: Iterable[str], source: Source, sources: Sources
) -> Iterator[tuple[int, str]]:
    """The returns that seem to hand out rows: the line, and what is returned.

    Args:
        definition: the function.
        tables: its parameters that hold the site's data.
        source: its module.
        sources: the modules beside it.
    """
    reader = _Reader(set(tables), source, sources)
    for statement in executed(definition.body):
        if isinstance(statement, ast.Assign) and reader.is_rows(statement.value):
            reader.rows |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.Assign):
            # The same name may stand for a sum further down.
            reader.rows -= {target.id for target in statement.targets if isinstance(target, ast.Name)}
        elif isinstance(statement, ast.Return) and statement.value is not None:
            for part in _parts(statement.value):
                if reader.is_rows(part):
                    yield statement.lineno, _text(part)


class _Reader:
    def __init__(self, rows: set[str], source: Source, sources: Sources) -> None:
        self.rows = rows
        self._source = source
        self._sources = sources

    def is_rows(self, node: ast.expr | None) -> bool:
        """Whether an expression is a table's rows, or a column's values."""
        while node is not None:
            match node:
                case ast.Name(id=name):
                    return name in self.rows
                case ast.Subscript(value=inner) | ast.Starred(value=inner):
                    node = inner
                case ast.Attribute(value=inner, attr=attribute) if attribute in _KEEPING:
                    node = inner
                case ast.Call():
                    node = self._made_of(node)
                case ast.ListComp(
                    elt=ast.Name(id=name),
                    generators=[ast.comprehension(target=ast.Name(id=each), iter=inner)],
                ) if name == each:
                    node = inner
                case _:
                    return False
        return False

    def _made_of(self, call: ast.Call) -> ast.expr | None:
        """What a call makes its value of, where that keeps the rows."""
        name = self._sources.name_of(self._source, call.func)
        if name in _MAKING:
            return call.args[0] if call.args else None
        if _returns_table(self._sources, name):
            # A function of the algorithm's own that makes one table of another: of the first that it is given.
            return next((argument for argument in call.args if self.is_rows(argument)), None)
        if isinstance(call.func, ast.Attribute) and call.func.attr in _KEEPING:
            return call.func.value
        return None


def _returns_table(sources: Sources, name: str) -> bool:
    """Whether a name is that of a function of the algorithm whose annotation says that it returns a table."""
    module = sources.module_of(name)
    if module is None:
        return False
    source = sources.by_module[module]
    return any(
        isinstance(statement, ast.FunctionDef)
        and f"{module}.{statement.name}" == name
        and sources.name_of(source, statement.returns) in TABLES
        for statement in executed(source.tree.body)
    )


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    """A value, or what stands in it where it is written as a dictionary, a list or a choice."""
    waiting = [node]
    while waiting:
        node = waiting.pop(0)
        match node:
            case ast.Dict(values=values):
                waiting += values
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                waiting += parts
            case ast.IfExp(body=one, orelse=other):
                waiting += [one, other]
            case _:
                yield node


def _text(node: ast.expr) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else f"{text[:59]}…"
