"""Statements that are met again are given to SQLite as text, and nothing else is different."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Boolean,
    Column,
    Executable,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from atoll.stores.sql.database import Database
from atoll.stores.sql.prepared import Statements

metadata = MetaData()
things = Table(
    "things",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("body", LargeBinary),
    Column("is_whole", Boolean),
    Column("made_by", Text, default="nobody"),
)
_ADD = insert(things)
_ROW = {"id": 1, "name": "a", "body": b"\0\xff", "is_whole": True, "made_by": "me"}
_FIND = select(things).where(things.c.id == bindparam("which"))
_SOME = select(things.c.id).where(things.c.id.in_(bindparam("ids", expanding=True))).order_by(things.c.id)
_NAME = (
    update(things)
    .where(things.c.id == bindparam("which"))
    .values(name=bindparam("new"), body=None)
    .returning(things.c.name, things.c.is_whole)
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Database]:
    database = Database(f"sqlite:///{folder / 'things.db'}")
    await database.make(metadata)
    yield database
    await database.close()


async def _twice(database: Database, statement: Executable, parameters: Any) -> Sequence[Any]:
    """What a statement gives when it is met first, and when it is met again."""
    found = []
    for _ in range(3):
        async with database.writing() as connection:
            answer = await connection.execute(statement, parameters)
            found.append(([tuple(row) for row in answer.rows], [row._asdict() for row in answer.rows]))
    return found


def test_a_prepared_statement_gives_the_rows_that_sqlalchemy_gives(folder: Path) -> None:
    async def work() -> None:
        async with opened(folder) as database:
            async with database.writing() as connection:
                await connection.execute(_ADD, _ROW)
            first, *later = await _twice(database, _FIND, {"which": 1})
            assert first == ([tuple(_ROW.values())], [_ROW])
            assert later == [first, first]

    asyncio.run(work())


def test_a_prepared_change_returns_what_it_has_changed(folder: Path) -> None:
    async def work() -> None:
        async with opened(folder) as database:
            async with database.writing() as connection:
                await connection.execute(_ADD, _ROW)
            found = await _twice(database, _NAME, {"which": 1, "new": "b"})
            assert found == [([("b", True)], [{"name": "b", "is_whole": True}])] * 3
            assert await _twice(database, _NAME, {"which": 2, "new": "b"}) == [([], [])] * 3

    asyncio.run(work())


@pytest.mark.parametrize("ids", [[], [2], [3, 1, 7], list(range(40))])
def test_a_list_may_have_any_length(folder: Path, ids: list[int]) -> None:
    async def work() -> None:
        async with opened(folder) as database:
            async with database.writing() as connection:
                await connection.execute(_ADD, [{**_ROW, "id": number} for number in range(1, 5)])
            there = [(number,) for number in range(1, 5) if number in ids]
            assert [rows for rows, _ in await _twice(database, _SOME, {"ids": ids})] == [there] * 3

    asyncio.run(work())


def test_many_rows_are_added_and_counted(folder: Path) -> None:
    async def work() -> None:
        async with opened(folder) as database, database.writing() as connection:
            for start in (0, 10, 20):
                rows = [{**_ROW, "id": start + number} for number in range(10)]
                assert (await connection.execute(_ADD, rows)).count == 10
            forget = delete(things)
            assert (await connection.execute(forget)).count == 30
            assert (await connection.execute(forget)).count == 0

    asyncio.run(work())


def test_what_the_driver_refuses_is_refused_by_sqlalchemy(folder: Path) -> None:
    async def work() -> None:
        async with opened(folder) as database:
            async with database.writing() as connection:
                await connection.execute(_ADD, _ROW)
            for _ in range(3):
                with pytest.raises(IntegrityError, match=r"things\.id"):
                    async with database.writing() as connection:
                        await connection.execute(_ADD, {**_ROW, "name": "again"})
            assert [rows for rows, _ in await _twice(database, select(things.c.name), None)] == [[("a",)]] * 3

    asyncio.run(work())


def test_a_value_that_sqlalchemy_makes_is_made(folder: Path) -> None:
    async def work() -> None:
        async with opened(folder) as database:
            for number in range(3):
                async with database.writing() as connection:
                    await connection.execute(_ADD, {"id": number, "name": "a"})
            made = select(things.c.made_by)
            assert [rows for rows, _ in await _twice(database, made, None)] == [[("nobody",)] * 3] * 3

    asyncio.run(work())


def test_a_statement_that_is_met_once_is_not_prepared(folder: Path) -> None:
    async def work() -> None:
        async with opened(folder) as database, database.writing() as connection:
            statements = Statements(connection._connection._connection.dialect)  # type: ignore[attr-defined]  # it is a file's
            cursor: Any = None  # It isn't asked.
            assert statements.execute(cursor, select(things), None) is None
            assert statements.execute(cursor, _FIND, {"which": 1}) is None

    asyncio.run(work())
