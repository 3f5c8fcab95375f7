"""Keeps the tables of a release as its own steps make them: ``python -m tests.migration.keep``.

Done once, when a version is released; what is kept of an earlier one never changes.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import sqlalchemy
from sqlalchemy import event
from tests.postgres import serving

from atoll import __version__
from atoll.stores.sql.database import Database
from atoll.stores.sql.migrating import upgrade

RELEASES = Path(__file__).parent / "releases"


async def written(url: str) -> str:
    """What the steps say to an empty database, in its own words."""
    database = Database(url)
    said: list[str] = []

    def listen(_: object, __: object, statement: str, parameters: object, *___: object) -> None:
        if statement.lstrip().upper().startswith(("CREATE", "INSERT", "UPDATE", "ALTER", "DROP")):
            assert not parameters, f"a step has to say its values itself: {statement}"
            said.append(statement.strip())

    def do(connection: sqlalchemy.Connection) -> None:
        event.listen(connection, "before_cursor_execute", listen)
        upgrade(connection, "head")

    await database.change(do)
    await database.close()
    return ";\n".join(said) + ";\n"


def keep() -> None:
    """Write what this version's steps make."""
    folder = RELEASES / __version__
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name, serving() as server:
        (folder / "sqlite.sql").write_text(asyncio.run(written(f"sqlite:///{name}/hub.db")))
        (folder / "postgresql.sql").write_text(asyncio.run(written(server.make("kept"))))


if __name__ == "__main__":
    keep()
