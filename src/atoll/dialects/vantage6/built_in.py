"""The functions that come with generation 5: readers of databases, and preparers of dataframes.

They are part of what an algorithm's environment holds, and work on data that stay at the site.
"""

from __future__ import annotations

from typing import Any

from atoll.engine.ports import Database
from atoll.model.errors import InputMissing

#: The package of the readers.
READERS = "vantage6.algorithm.data_extraction"
#: By the type of the database: the reader, and which options of the database it takes.
_READER_OF = {
    "csv": ("read_csv", ()),
    "parquet": ("read_parquet", ()),
    "excel": ("read_excel", ("sheet_name",)),
    "sql": ("read_sql_database", ("query",)),
    "sparql": ("read_sparql_database", ("query",)),
}
_PREPARERS = "vantage6.algorithm.preprocessing"
_PREPARERS_IN = {
    "aggregation": ("collapse", "group_statistics"),
    "column": ("rename_columns", "assign_column", "redefine_column", "change_column_type"),
    "datetime": ("to_datetime", "to_timedelta", "timedelta", "calculate_age"),
    "encoding": (
        *("min_max_scale", "standard_scale", "one_hot_encode", "encode", "discretize_column"),
        *("extract_from_string", "impute"),
    ),
    "filtering": ("select_rows", "filter_range", "select_columns", "drop_columns", "filter_by_date"),
}
#: By the function that prepares a dataframe: the package that holds it.
PACKAGE_OF_PREPARER = {
    function: f"{_PREPARERS}.{module}"
    for module, functions in _PREPARERS_IN.items()
    for function in functions
}
#: What may be called though it is no function of the algorithm's own.
PACKAGES = frozenset((READERS, *PACKAGE_OF_PREPARER.values()))


def default_extraction(database: Database) -> tuple[str, str, dict[str, Any]]:
    """The package, the function and the arguments that read a database.

    Raises:
        InputMissing: there is no reader for its type, or it needs a query and the site has none.
    """
    if (found := _READER_OF.get(database.type.lower())) is None:
        raise InputMissing(
            f"no reader comes with vantage6 for database {database.label!r} of type {database.type!r}: it has "
            f"readers for {', '.join(_READER_OF)}. Name a function of the algorithm that extracts data from it"
        )
    method, options = found
    arguments = {name: database.options[name] for name in options if database.options.get(name) is not None}
    if "query" in options and not arguments:
        raise InputMissing(
            f"database {database.label!r} of type {database.type!r} is read with a query, and none is given: "
            "expected one among the arguments of the extraction, or set for the database at this site"
        )
    return READERS, method, arguments
