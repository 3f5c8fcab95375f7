"""Statements that are asked again and again of a file, prepared once.

For a statement whose work takes SQLite ten microseconds, SQLAlchemy needs a hundred to find the text
that it has made of it before, and to wrap what comes back. A statement that is met a second time is
therefore kept as text, with the order of its parameters, and given to the driver as it is. It has the
same rows, and the same errors: what the driver refuses is given to SQLAlchemy, which refuses it in
its own words.

What isn't plain is left to SQLAlchemy: values that it makes itself, and long lists.
"""

from __future__ import annotations

import sqlite3
from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self
from weakref import WeakKeyDictionary

from sqlalchemy import Dialect, Executable, Row
from sqlalchemy.sql import Select
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase

Processor = Callable[[Any], Any]
One = Mapping[str, Any]

#: Makes classes of tuples whose names are known only when they come.
_named: Any = namedtuple  # noqa: PYI024 -- a class statement takes no names that come so late
#: The longest list for which a text is kept.
_LIST_MAX = 16


class Prepared:
    """A statement as text, for parameters of certain names.

    Args:
        text: the statement.
        binds: its parameters in their order: the name, the place where it is in a list, and what is made
            of its value.
        fixed: the parameters that are part of it.
        results: what is made of each column that comes back.
    """

    def __init__(
        self,
        text: str,
        binds: Sequence[tuple[str, int | None, Processor | None]],
        fixed: One,
        results: Sequence[Processor | None],
    ) -> None:
        self._text = text
        self._binds = [(name, make) for name, _, make in binds]
        #: Where a parameter comes from that is in a list.
        self._places = (
            [place for _, place, _ in binds] if any(place is not None for _, place, _ in binds) else None
        )
        self._fixed = fixed
        self._results = results if any(results) else None
        self.gives_rows = bool(results)
        #: Makes a row of the columns that come back, once some have.
        self._row: Callable[[Sequence[Any]], Any] | None = None

    def execute(self, cursor: sqlite3.Cursor, parameters: One) -> Sequence[Row[Any]]:
        """Execute it once; what came back."""
        cursor.execute(self._text, self._values(parameters))
        return () if cursor.description is None else self._rows(cursor)

    def execute_for_each(self, cursor: sqlite3.Cursor, parameters: Sequence[One]) -> None:
        """Execute it once for each."""
        cursor.executemany(self._text, [self._values(one) for one in parameters])

    def _values(self, parameters: One) -> tuple[Any, ...]:
        given = {**self._fixed, **parameters} if self._fixed else parameters
        if self._places is None:
            return tuple([given[name] if make is None else make(given[name]) for name, make in self._binds])
        found = [
            given[name] if place is None else given[name][place]
            for (name, _), place in zip(self._binds, self._places, strict=True)
        ]
        return tuple(
            [
                value if make is None else make(value)
                for value, (_, make) in zip(found, self._binds, strict=True)
            ]
        )

    def _rows(self, cursor: sqlite3.Cursor) -> Sequence[Row[Any]]:
        found = cursor.fetchall()
        if not found:
            return ()
        if self._results is not None:
            found = [
                tuple(
                    [
                        value if make is None else make(value)
                        for value, make in zip(row, self._results, strict=True)
                    ]
                )
                for row in found
            ]
        if self._row is None:
            names = [column[0] for column in cursor.description]
            # To who reads it, it is what SQLAlchemy's is: a tuple with names.
            self._row = _named("Row", names, rename=True)._make
        return list(map(self._row, found))


class Statements:
    """The statements that one hub asks a file.

    Args:
        dialect: SQLAlchemy's for this file.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        #: By the names of the parameters. None: it isn't plain. Nothing: the statement was met once.
        self._known: WeakKeyDictionary[Executable, dict[tuple[str, ...], _Shape | None]] = WeakKeyDictionary()

    def execute(
        self, cursor: sqlite3.Cursor, statement: Executable, parameters: One | Sequence[One] | None
    ) -> tuple[Sequence[Row[Any]], int] | None:
        """Execute a statement that was met before.

        Returns:
            What came back, and how many rows it changed; None where SQLAlchemy is to be asked.

        Raises:
            sqlite3.Error: the driver refused it.
        """
        known = self._known.get(statement)
        if known is None:
            # Most statements that are met once are made for one question, and are never met again.
            self._known[statement] = {}
            return None
        many: Sequence[One] | None = None
        if parameters is None or isinstance(parameters, Mapping):
            one = parameters or {}
        elif parameters:
            one, many = parameters[0], parameters
        else:
            return None
        names = tuple(one)
        if names not in known:
            known[names] = _Shape.of(self._dialect, statement, names)
        shape = known[names]
        prepared = None if shape is None else shape.prepared(one)
        if prepared is None:
            return None
        if many is None:
            return prepared.execute(cursor, one), cursor.rowcount
        if prepared.gives_rows:
            return None
        prepared.execute_for_each(cursor, many)
        return (), cursor.rowcount


class _Shape:
    """A statement for parameters of certain names, prepared for each length of the list among them.

    Args:
        compiled: the statement.
        dialect: SQLAlchemy's.
        results: what is made of each column that comes back.
        fixed: the parameters that are part of it.
    """

    def __init__(
        self, compiled: SQLCompiler, dialect: Dialect, results: Sequence[Processor | None], fixed: One
    ) -> None:
        self._compiled = compiled
        self._dialect = dialect
        self._results = results
        self._fixed = fixed
        self._list = next((name for name, bind in compiled.binds.items() if bind.expanding), None)
        #: By the length of the list; 0 where there is none.
        self._prepared: dict[int, Prepared] = {}

    @classmethod
    def of(cls, dialect: Dialect, statement: Executable, names: Sequence[str]) -> Self | None:
        """The shape of a statement; None where it isn't plain."""
        if not isinstance(statement, (Select, UpdateBase)):
            return None
        changes = isinstance(statement, UpdateBase)
        # Asked for many at a time, it doesn't ask for the key of a new row.
        compiled = dialect.statement_compiler(
            dialect, statement, column_keys=list(names), for_executemany=changes
        )
        if compiled.insert_prefetch or compiled.update_prefetch:
            return None
        binds = compiled.binds
        lists = [name for name, bind in binds.items() if bind.expanding]
        own = {name: bind for name, bind in binds.items() if name not in names}
        if any(bind.required or bind.callable for bind in own.values()):
            return None
        if len(lists) > 1 or not set(lists) <= set(names):
            return None
        columns = statement.selected_columns if isinstance(statement, Select) else statement.exported_columns
        results = [
            column.type.dialect_impl(dialect).result_processor(dialect, None) for column in list(columns)
        ]
        return cls(compiled, dialect, results, {name: bind.value for name, bind in own.items()})

    def prepared(self, parameters: One) -> Prepared | None:
        """The statement for these parameters; None where their list is too long, or empty."""
        length = 0
        if self._list is not None:
            length = len(parameters[self._list])
            if not 0 < length <= _LIST_MAX:
                return None
        found = self._prepared.get(length)
        if found is None:
            found = self._prepared[length] = self._prepare(length)
        return found

    def _prepare(self, length: int) -> Prepared:
        sample: dict[str, Any] = {**dict.fromkeys(self._compiled.binds), **self._fixed}
        if self._list is not None:
            sample[self._list] = [None] * length
        state = self._compiled.construct_expanded_state(sample)
        of_list = {
            each: (name, place)
            for name, expanded in state.parameter_expansion.items()
            for place, each in enumerate(expanded)
        }
        binds: list[tuple[str, int | None, Processor | None]] = []
        for each in state.positiontup or ():
            name, place = of_list.get(each, (each, None))
            bind = self._compiled.binds[name]
            binds.append((name, place, bind.type.dialect_impl(self._dialect).bind_processor(self._dialect)))
        return Prepared(state.statement, binds, self._fixed, self._results)
