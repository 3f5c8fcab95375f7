"""One database, SQLite or PostgreSQL, and its transactions.

SQLite is a file of this machine, where a statement is executed at once (see `file`).
PostgreSQL is asked over a network, and the event loop goes on meanwhile. What uses a database sees
no difference.

A transaction that writes holds SQLite's only writer's place; on PostgreSQL it locks the rows that it
reads with ``with_for_update``, which SQLite has no need of and leaves out.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import msgspec
import sqlalchemy
from sqlalchemy import Executable, Row, make_url

from atoll.model.errors import Unusable
from atoll.stores.sql.file import File, Open, json_text

#: Connections that a hub holds to PostgreSQL. Its server allows a hundred by default.
_CONNECTIONS_MAX = 16

T = TypeVar("T")
Parameters = Mapping[str, Any] | Sequence[Mapping[str, Any]] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement gave."""

    rows: Sequence[Row[*tuple[Any, ...]]]
    #: Rows that it changed.
    count: int

    @property
    def first(self) -> Row[*tuple[Any, ...]] | None:
        """The first row, if there is one."""
        return self.rows[0] if self.rows else None


class Connection(Protocol):
    """An open transaction."""

    async def execute(self, statement: Executable, parameters: Parameters = None) -> Answer:
        """Execute one statement; with a list of parameters, once for each."""
        ...


class _Here:
    """A connection to a file."""

    def __init__(self, connection: Open) -> None:
        self._connection = connection

    async def execute(self, statement: Executable, parameters: Parameters = None) -> Answer:
        return Answer(*self._connection.execute(statement, parameters))


class _There:
    """A connection to a server."""

    def __init__(self, connection: Any) -> None:  # an `AsyncConnection`, which needs an extra
        self._connection = connection

    async def execute(self, statement: Executable, parameters: Parameters = None) -> Answer:
        result = await self._connection.execute(statement, parameters)
        return Answer(result.all() if result.returns_rows else (), result.rowcount)


class Database:
    """A hub's database.

    Args:
        url: ``sqlite:///PATH`` or ``postgresql://…``.

    Raises:
        Unusable: the address is of another kind.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self._address = parsed.set(drivername="postgresql").render_as_string(hide_password=False)
        self._file: File | None = None
        #: An `AsyncEngine`, which only who has a server imports.
        self._server: Any = None
        self._writing = asyncio.Lock()
        self._current: ContextVar[Connection | None] = ContextVar("connection", default=None)
        self._is_writing: ContextVar[bool] = ContextVar("is_writing", default=False)
        kind = parsed.get_backend_name()
        if kind == "sqlite" and parsed.database:
            self._file = File(Path(parsed.database))
        elif kind == "postgresql":
            # Imported here: it needs greenlet, which comes with the extra `postgres`.
            from sqlalchemy.ext.asyncio import create_async_engine

            self._server = create_async_engine(
                parsed.set(drivername="postgresql+psycopg"),
                pool_size=_CONNECTIONS_MAX,
                max_overflow=0,
                pool_pre_ping=True,
                hide_parameters=True,  # An error is logged; what was to be kept is nobody's business.
                json_serializer=json_text,
                json_deserializer=msgspec.json.decode,
            )
        else:
            raise Unusable(
                f"the database {parsed.render_as_string(hide_password=True)!r} is of no known kind: expected "
                "sqlite:///PATH or postgresql://USER@HOST/NAME"
            )

    @property
    def is_server(self) -> bool:
        """Whether several hubs may use it at a time."""
        return self._server is not None

    @property
    def address(self) -> str:
        """Where the server is, with a password if it asks for one: for a connection, never for a log."""
        return self._address

    @property
    def is_writing(self) -> bool:
        """Whether whoever asks is within a transaction that writes: what it reads, it may change."""
        return self._is_writing.get()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A transaction that may write. Within another that writes it is a part of that one."""
        outer = self._current.get()
        if outer is not None and self._is_writing.get():
            yield outer
            return
        marked = self._is_writing.set(True)
        try:
            async with self._transaction(writes=True) as connection:
                kept = self._current.set(connection)
                try:
                    yield connection
                finally:
                    self._current.reset(kept)
        finally:
            self._is_writing.reset(marked)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        """A transaction that only reads. Within another it is a part of that one."""
        outer = self._current.get()
        if outer is not None:
            yield outer
            return
        async with self._transaction(writes=False) as connection:
            kept = self._current.set(connection)
            try:
                yield connection
            finally:
                self._current.reset(kept)

    async def ask(self, statement: Executable, parameters: Parameters = None) -> Answer:
        """Read with a single statement, which needs no transaction around it to be of one moment."""
        outer = self._current.get()
        if outer is None and self._file is not None:
            return Answer(*self._file.ask(statement, parameters))
        async with self.reading() as connection:
            return await connection.execute(statement, parameters)

    @asynccontextmanager
    async def _transaction(self, *, writes: bool) -> AsyncIterator[Connection]:
        if self._server is not None:
            async with self._server.connect() as there, there.begin():
                yield _There(there)
            return
        assert self._file is not None
        if not writes:
            with self._file.transaction(writes=False) as here:
                yield _Here(here)
            return
        async with self._writing:
            with self._file.transaction(writes=True) as here:
                yield _Here(here)

    async def change(self, do: Callable[[sqlalchemy.Connection], T]) -> T:
        """Do something to the tables themselves, in a transaction of its own, with SQLAlchemy's connection."""
        if self._server is not None:
            async with self._server.begin() as there:
                return cast("T", await there.run_sync(do))
        assert self._file is not None
        async with self._writing:
            return self._file.change(do)

    async def make(self, tables: sqlalchemy.MetaData) -> None:
        """Make tables that are not there, as they are now: for tests. A hub's are made by migrations."""
        await self.change(tables.create_all)

    async def close(self) -> None:
        """Give all connections back."""
        if self._server is not None:
            await self._server.dispose()
        if self._file is not None:
            self._file.close()
