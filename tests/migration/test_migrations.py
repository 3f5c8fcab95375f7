"""A hub's tables come to be as the code has them, step by step, from any release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from tests.postgres import Postgres
from tests.run_stores import DATABASES, wait, waiting

from atoll.model.errors import Unusable
from atoll.model.work import RunId, RunStatus
from atoll.stores.sql import tables
from atoll.stores.sql.database import Database
from atoll.stores.sql.migrating import migrate
from atoll.stores.sql.runs import SqlRunStore
from atoll.stores.sql.tables import metadata

RELEASES = Path(__file__).parent / "releases"


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of each kind without any table."""
    with waiting():
        if request.param == "sqlite":
            opened = Database(f"sqlite:///{tmp_path / 'hub.db'}")
        else:
            server: Postgres = request.getfixturevalue("postgres")
            opened = Database(server.make("migrating"))
        try:
            yield opened
        finally:
            wait(opened.close())


def differences(database: Database) -> list[object]:
    """What the tables have that the code doesn't, and the other way round."""

    def compare(connection: sqlalchemy.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    return wait(database.change(compare))


def indexes(database: Database) -> dict[str, str]:
    """Every index as the database has it, with the rows that it is limited to; and tables without row ids."""
    asked = (
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL UNION "
        "SELECT name, 'WITHOUT ROWID' FROM sqlite_master WHERE type = 'table' AND sql LIKE '%WITHOUT ROWID%'"
    )
    if database.is_server:
        asked = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"

    def read(connection: sqlalchemy.Connection) -> dict[str, str]:
        rows = connection.execute(text(asked)).all()
        return {name: words for name, words in rows if "alembic" not in name}

    return wait(database.change(read))


def step_of(database: Database) -> str | None:
    """The last step that was made."""

    def read(connection: sqlalchemy.Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    return wait(database.change(read))


def test_all_tables_are_known_to_the_migrations() -> None:
    folder = Path(tables.__file__).parent
    modules = {path.stem for path in folder.glob("*_tables.py")}

    assert modules == {module.__name__.rpartition(".")[2] for module in tables.MODULES}


def test_the_steps_make_what_the_code_expects(database: Database) -> None:
    wait(migrate(database))
    made = indexes(database)
    found = differences(database)
    wait(database.change(metadata.drop_all))
    wait(database.make(metadata))

    assert [] == found
    # Alembic doesn't compare which rows an index is limited to.
    assert indexes(database) == made


def test_a_database_that_is_as_it_should_be_is_left_alone(database: Database) -> None:
    wait(migrate(database))
    step = step_of(database)
    wait(migrate(database))

    assert step is not None
    assert step == step_of(database)


def test_a_database_that_a_newer_version_has_used_is_refused(database: Database) -> None:
    wait(migrate(database))

    def grow(connection: sqlalchemy.Connection) -> None:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))

    wait(database.change(grow))

    with pytest.raises(
        Unusable, match=r"^the database is at step '9999', which this version of Atoll doesn't"
    ):
        wait(migrate(database))
    assert "9999" == step_of(database)


def test_a_step_that_fails_leaves_nothing_behind(database: Database) -> None:
    def stand_in_the_way(connection: sqlalchemy.Connection) -> None:
        connection.execute(text("CREATE TABLE jobs (id INTEGER)"))

    wait(database.change(stand_in_the_way))

    with pytest.raises(sqlalchemy.exc.DBAPIError):
        wait(migrate(database))
    assert step_of(database) is None

    def names(connection: sqlalchemy.Connection) -> list[str]:
        return sqlalchemy.inspect(connection).get_table_names()

    assert ["jobs"] == wait(database.change(names))


@pytest.mark.parametrize("release", sorted(path.name for path in RELEASES.iterdir()))
def test_what_a_release_has_kept_is_there_after_the_upgrade(database: Database, release: str) -> None:
    """Each release's tables, as its own steps made them, and some rows."""
    kind = "postgresql" if database.is_server else "sqlite"
    words = [(RELEASES / release / f"{name}.sql").read_text() for name in (kind, "rows")]

    def go_back(connection: sqlalchemy.Connection) -> None:
        for statement in ";\n".join(words).split(";\n"):
            if statement.strip():
                connection.exec_driver_sql(statement.replace("%", "%%"))

    wait(database.change(go_back))
    wait(migrate(database))

    run = wait(SqlRunStore(database).get(RunId("run_kept")))
    assert [] == differences(database)
    assert (RunStatus.DONE, ("Biscoe", "Dream"), 4) == (run.status, run.sites, run.job_count)
