"""All tables of a hub: whoever needs `metadata` whole takes it from here."""

from __future__ import annotations

from atoll.stores.sql import algorithm_tables, people_tables, run_tables, site_tables
from atoll.stores.sql.base import metadata

#: The modules that the tables stand in. Each adds its own to `metadata` when it is imported.
MODULES = (algorithm_tables, people_tables, run_tables, site_tables)

__all__ = ["MODULES", "metadata"]
