"""Brings a hub's tables to the state that this version needs.

All steps that are missing are made in one transaction, or none is. Of several hubs that start on one
PostgreSQL, one makes them and the others wait. A database that a newer version has been at is left
alone: what that has changed, this one can't know.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy
from sqlalchemy import text

from atoll.model.errors import Unusable
from atoll.stores.sql.database import Database

FOLDER = Path(__file__).parent / "migrations"
#: Any number will do that nothing else in the database locks with: the letters of "atoll".
_LOCK = text("SELECT pg_advisory_xact_lock(418531699820)")


async def migrate(database: Database, target: str = "head") -> None:
    """Bring the tables of a database to the state that this version needs.

    Args:
        database: the hub's.
        target: the last step that is made; another than the last only in tests.

    Raises:
        Unusable: a newer version of Atoll has used the database.
    """

    def do(connection: sqlalchemy.Connection) -> None:
        if database.is_server:
            connection.execute(_LOCK)
        upgrade(connection, target)

    await database.change(do)


def upgrade(connection: sqlalchemy.Connection, target: str) -> None:
    """Make the steps that are missing, on a connection whose transaction holds everybody else off.

    Raises:
        Unusable: a newer version of Atoll has used the database.
    """
    # Imported here: a hub needs Alembic when it starts, and whoever asks for help never.
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    # Alembic takes a percent sign in a setting for the beginning of another's name.
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    steps = ScriptDirectory.from_config(config)
    known = [step.revision for step in steps.walk_revisions()]
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in known:
        raise Unusable(
            f"the database is at step {found!r}, which this version of Atoll doesn't know: its last is {known[0]!r}. "
            "A newer version has used it. Start that one, or put back the copy that was made before the upgrade"
        )
    if found != steps.get_current_head() or target != "head":
        command.upgrade(config, target)
