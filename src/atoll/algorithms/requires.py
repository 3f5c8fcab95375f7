"""What an algorithm's Python code imports and doesn't bring along, read from its source.

Names are those that are imported: ``sklearn``, and not the name of the package that brings it.
What stands in a ``try`` or within a function may be missing: only what every start of the code
imports is told.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping

#: What nodes have in any case, and what an algorithm's generation stands for.
_AT_HAND = frozenset({"atoll_algorithm", "coinstac", "vantage6", "__future__"})


def required_imports(sources: Mapping[str, str]) -> tuple[str, ...]:
    """The top-level names that the files import, sorted.

    Args:
        sources: texts by the files' names, relative to the algorithm's folder.
    """
    names: set[str] = set()
    own: set[str] = set()
    for file, text in sources.items():
        parts = file.removesuffix(".py").split("/")
        own.update(parts)
        try:
            names.update(_imported(ast.parse(text).body))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue  # What it imports shows when it is run.
    return tuple(sorted(names - own - _AT_HAND - sys.stdlib_module_names))


def _imported(body: Iterable[ast.stmt]) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom) and statement.level == 0 and statement.module:
            yield statement.module.partition(".")[0]
        elif isinstance(statement, ast.ClassDef | ast.With):
            yield from _imported(statement.body)
