"""Every kind of store of runs, opened for a test, and one event loop for all that the test asks of it.

A connection to a server belongs to the loop that opened it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy
from tests.postgres import Postgres

from atoll.engine.ports import RunStore
from atoll.stores.memory import MemoryRunStore
from atoll.stores.sql.database import Database
from atoll.stores.sql.run_tables import event_cursor
from atoll.stores.sql.runs import SqlRunStore
from atoll.stores.sql.tables import metadata

T = TypeVar("T")

#: The kinds of database.
DATABASES = ("sqlite", pytest.param("postgresql", marks=pytest.mark.needs("postgresql")))
#: The kinds of store.
STORES = ("memory", *DATABASES)

#: The loop of the test that runs.
_runners: list[asyncio.Runner] = []


def wait(awaitable: Awaitable[T]) -> T:
    """Wait for one answer of a store."""

    async def answer() -> T:
        return await awaitable

    return _runners[-1].run(answer()) if _runners else asyncio.run(answer())


@contextmanager
def waiting() -> Iterator[None]:
    """One loop for everything that is waited for within."""
    with asyncio.Runner() as runner:
        _runners.append(runner)
        try:
            yield
        finally:
            _runners.pop()


@contextmanager
def opened(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty database of a kind, with all tables."""
    with waiting():
        if kind == "sqlite":
            database = Database(f"sqlite:///{folder / 'hub.db'}")
            wait(database.make(metadata))
        else:
            server: Postgres = request.getfixturevalue("postgres")
            database = Database(server.made("atoll"))
            # It is the same one for all tests: making it takes longer than most of them.
            wait(database.change(_emptied))
        try:
            yield database
        finally:
            wait(database.close())


def _emptied(connection: sqlalchemy.Connection) -> None:
    if not sqlalchemy.inspect(connection).get_table_names():
        metadata.create_all(connection)
        return
    for table in reversed(metadata.sorted_tables):
        if table is not event_cursor:
            connection.execute(table.delete())
    connection.execute(event_cursor.update().values(value=0, gone=0))


@contextmanager
def stored(kind: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[RunStore]:
    """An empty store of a kind."""
    if kind == "memory":
        yield MemoryRunStore()
    else:
        with opened(kind, folder, request) as database:
            yield SqlRunStore(database)
