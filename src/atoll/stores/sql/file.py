"""A database in a file of this machine: SQLite, and its transactions.

A statement takes microseconds there, and is executed where it stands. Connections are kept with what
they have prepared, and Atoll says itself where a transaction begins and ends.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

import msgspec
import sqlalchemy
from sqlalchemy import Engine, Executable, Row, event
from sqlalchemy.exc import DataError
from sqlalchemy.pool import NullPool

from atoll.stores.sql.prepared import Statements

#: Seconds that a writer waits for another process which writes to the same file.
_BUSY_SECONDS = 10.0
#: Connections that are kept. Few are used at a time: only who waits within a transaction holds one.
_KEPT_MAX = 8
#: Says that SQLAlchemy is to begin a transaction by itself.
_WRITES = "atoll_writes"

T = TypeVar("T")


class Open:
    """A connection to a file.

    Args:
        connection: SQLAlchemy's.
        statements: those that were prepared.
    """

    def __init__(self, connection: sqlalchemy.Connection, statements: Statements) -> None:
        self._connection = connection
        self._statements = statements
        self._raw = cast("sqlite3.Connection", connection.connection.dbapi_connection)
        self._cursor = self._raw.cursor()

    def execute(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    ) -> tuple[Sequence[Row[Any]], int]:
        """Execute a statement: what came back, and how many rows it changed."""
        try:
            if (found := self._statements.execute(self._cursor, statement, parameters)) is not None:
                return found
        except (sqlite3.Error, OverflowError):
            pass  # SQLAlchemy meets the same, and says it in its own words.
        try:
            result = self._connection.execute(statement, parameters)
        except OverflowError as error:  # A number that no column holds: a server has this name for it.
            raise DataError(None, None, error) from None
        return result.all() if result.returns_rows else (), result.rowcount

    def begin(self, *, writes: bool) -> None:
        """Begin a transaction."""
        # Who will write says so at once: a reader that becomes a writer may be refused half-way.
        self._say("BEGIN IMMEDIATE" if writes else "BEGIN")

    def commit(self) -> None:
        """End it, and keep what it changed."""
        self._say("COMMIT")
        self.settle()

    def roll_back(self) -> None:
        """End it, and keep nothing of it."""
        self._raw.rollback()
        self.settle()

    def close(self) -> None:
        """Close the connection."""
        self._cursor.close()
        self._connection.close()

    def _say(self, text: str) -> None:
        try:
            self._cursor.execute(text)
        except sqlite3.Error:
            self._connection.exec_driver_sql(text)  # As above.

    def settle(self) -> None:
        """Let SQLAlchemy forget that it was asked: it takes that for a transaction of its own."""
        if self._connection.in_transaction():
            self._connection.rollback()


class File:
    """A database in a file.

    Args:
        path: the file. It is made where there is none, for its owner alone.
    """

    def __init__(self, path: Path) -> None:
        self._engine = _engine(path)
        self._statements = Statements(self._engine.dialect)
        self._idle: list[Open] = []

    @contextmanager
    def transaction(self, *, writes: bool) -> Iterator[Open]:
        """A transaction."""
        here = self._idle.pop() if self._idle else Open(self._engine.connect(), self._statements)
        try:
            here.begin(writes=writes)
            try:
                yield here
                here.commit()
            except BaseException:
                here.roll_back()
                raise
        finally:
            if len(self._idle) < _KEPT_MAX:
                self._idle.append(here)
            else:
                here.close()

    def ask(
        self, statement: Executable, parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None
    ) -> tuple[Sequence[Row[Any]], int]:
        """Read with a single statement."""
        if not self._idle:
            with self.transaction(writes=False) as here:
                return here.execute(statement, parameters)
        here = self._idle[-1]
        try:
            return here.execute(statement, parameters)
        finally:
            here.settle()

    def change(self, do: Callable[[sqlalchemy.Connection], T]) -> T:
        """Do something to the tables themselves, in a transaction of SQLAlchemy's."""
        # What is prepared may be of tables that are others now.
        self._close_idle()
        with self._engine.connect().execution_options(**{_WRITES: True}) as connection, connection.begin():
            return do(connection)

    def close(self) -> None:
        """Close all connections."""
        self._close_idle()
        self._engine.dispose()

    def _close_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()


def _engine(path: Path) -> Engine:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        path.touch(mode=0o600)
    engine = sqlalchemy.create_engine(
        f"sqlite:///{path}",
        poolclass=NullPool,
        hide_parameters=True,  # An error is logged; what was to be kept is nobody's business.
        json_serializer=json_text,
        json_deserializer=msgspec.json.decode,
        connect_args={"timeout": _BUSY_SECONDS, "check_same_thread": False},
    )

    @event.listens_for(engine, "connect")
    def _connected(raw: Any, _: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-16000"):
            raw.execute(f"PRAGMA {pragma}").close()
        # Atoll says itself where a transaction begins.
        raw.isolation_level = None

    @event.listens_for(engine, "begin")
    def _begun(connection: sqlalchemy.Connection) -> None:
        if connection.get_execution_options().get(_WRITES, False):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def json_text(value: Any) -> str:
    """A value as JSON."""
    return msgspec.json.encode(value).decode()
