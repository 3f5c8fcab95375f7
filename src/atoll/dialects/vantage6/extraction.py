"""How a database becomes a dataframe where nobody says how: the readers of generation 5."""

from __future__ import annotations

from typing import Any

from atoll.dialects.vantage6.body import READERS
from atoll.engine.ports import Database
from atoll.model.errors import InputMissing

#: By the type of the database: the reader, and which options of the database it takes.
_READERS = {
    "csv": ("read_csv", ()),
    "parquet": ("read_parquet", ()),
    "excel": ("read_excel", ("sheet_name",)),
    "sql": ("read_sql_database", ("query",)),
    "sparql": ("read_sparql_database", ("query",)),
}


def default_extraction(database: Database) -> tuple[str, str, dict[str, Any]]:
    """The package, the function and the arguments that read a database.

    Raises:
        InputMissing: there is no reader for its type, or it needs a query and the site has none.
    """
    if (found := _READERS.get(database.type.lower())) is None:
        raise InputMissing(
            f"no reader comes with vantage6 for database {database.label!r} of type {database.type!r}: it has "
            f"readers for {', '.join(_READERS)}. Name a function of the algorithm that extracts data from it"
        )
    method, options = found
    arguments = {name: database.options[name] for name in options if database.options.get(name) is not None}
    if "query" in options and not arguments:
        raise InputMissing(
            f"database {database.label!r} of type {database.type!r} is read with a query, and none is given: "
            "expected one among the arguments of the extraction, or set for the database at this site"
        )
    return READERS, method, arguments
