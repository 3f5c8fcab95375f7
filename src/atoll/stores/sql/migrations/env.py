"""What Alembic runs the steps with: the connection that `migrating` holds, and its transaction."""

from __future__ import annotations

from alembic import context

from atoll.stores.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite, too, changes its tables in a transaction: all steps are made, or none.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
