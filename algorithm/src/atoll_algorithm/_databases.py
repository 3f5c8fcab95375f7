"""Databases as the tables that functions ask for.

What was read is kept in the process: a function that is called a hundred times reads its
file once. Each call gets a table of its own all the same.
"""

from __future__ import annotations

import importlib
import os
import threading
from collections import OrderedDict
from typing import Any, Dict, Optional, Tuple

from atoll_algorithm._annotations import DATABASES
from atoll_algorithm.errors import DatabaseUnusable

#: So much of what was read is kept; the newest always. A site's machine has memory for its
#: data, and a process that serves many sites shouldn't hold the tables of all of them.
KEPT_BYTES_MAX = 1 << 30
#: The options of a csv database that are handed to its reader.
_CSV_OPTIONS = ("sep", "encoding", "decimal", "thousands", "quotechar", "header", "skiprows", "na_values")
_LIBRARIES = {"pandas": "pandas.DataFrame", "pyarrow": "pyarrow.Table", "polars": "polars.DataFrame"}

_kept: "OrderedDict[Tuple[Any, ...], Tuple[Any, int]]" = OrderedDict()
_lock = threading.Lock()


def table_of(database: Dict[str, Any], kind: str) -> Any:
    """A database as ``pandas``, ``pyarrow``, ``polars``, or its ``path``.

    Args:
        database: As the node describes it; in one process, with the frame itself under ``table``.
        kind: What was asked for.

    Raises:
        DatabaseUnusable: It can't be read as that.
    """
    label, type_name = database.get("label"), database.get("type") or "csv"
    assert kind in DATABASES
    if "table" in database:
        if kind == "path":
            raise DatabaseUnusable("database %r is a table in memory, and has no path" % (label,))
        return _own(_convert(database["table"], kind, label))
    uri = str(database.get("uri") or "")
    if kind == "path":
        if "://" in uri:
            raise DatabaseUnusable("database %r of type %r has an address, and no path" % (label, type_name))
        import pathlib  # an algorithm without paths doesn't pay for it

        return pathlib.Path(uri)
    key = _key(uri, type_name, database.get("options") or {}, kind)
    with _lock:
        kept = _kept.get(key) if key else None
        if key and kept is not None:
            _kept.move_to_end(key)
    if kept is not None:
        return _own(kept[0])
    table = _read(label, uri, type_name, database.get("options") or {}, kind)
    if key:
        _keep(key, table)
    return _own(table)


def _key(uri: str, type_name: str, options: Dict[str, Any], kind: str) -> Optional[Tuple[Any, ...]]:
    """What a table that was read is kept under; None: what lies behind can change unseen."""
    stamps = []
    # A sqlite database in use writes to the file beside it first.
    file = _sqlite_path(uri) or uri
    for path in (file, file + "-wal"):
        try:
            status = os.stat(path)
        except OSError:
            stamps.append((0, 0, 0))
        else:
            stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
    if not any(stamps[0]):
        return None
    return (uri, type_name, repr(sorted(options.items())), kind, *stamps)


def _keep(key: Tuple[Any, ...], table: Any) -> None:
    with _lock:
        _kept[key] = (table, _bytes_of(table))
        while len(_kept) > 1 and sum([size for _, size in _kept.values()]) > KEPT_BYTES_MAX:
            _kept.popitem(last=False)


def _bytes_of(table: Any) -> int:
    if hasattr(table, "memory_usage"):
        return int(table.memory_usage(deep=True).sum())
    return int(table.nbytes if hasattr(table, "nbytes") else table.estimated_size())


def _own(table: Any) -> Any:
    """A table that may be changed without changing the one that is kept."""
    if type(table).__module__.partition(".")[0] != "pandas":
        return table  # those of pyarrow and polars can't be changed in place
    pandas = importlib.import_module("pandas")
    lazy = int(pandas.__version__.partition(".")[0]) >= 3
    if not lazy:
        try:
            lazy = pandas.get_option("mode.copy_on_write") is True
        except KeyError:  # a pandas before 1.5
            lazy = False
    return table.copy(deep=not lazy)


def _library(name: str, label: Any) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DatabaseUnusable(
            "database %r is asked for as a %s, and %s isn't installed here" % (label, _LIBRARIES[name], name)
        ) from None


def _read(label: Any, uri: str, type_name: str, options: Dict[str, Any], kind: str) -> Any:
    readers = {
        "csv": _read_csv,
        "parquet": _read_parquet,
        "excel": _read_excel,
        "sql": _read_sql,
        "duckdb": _read_duckdb,
    }
    reader = readers.get(type_name)
    if reader is None:
        raise DatabaseUnusable(
            "database %r is of type %r, which is no table: a parameter annotated pathlib.Path takes it. "
            "Tables are of type %s" % (label, type_name, ", ".join(readers))
        )
    _library(kind, label)
    if type_name in ("sql", "duckdb") and not options.get("query"):
        raise DatabaseUnusable("database %r is of type %r, and has no option 'query'" % (label, type_name))
    try:
        return reader(uri, options, kind)
    except DatabaseUnusable:
        raise
    except Exception as error:  # each reader raises its own, and the words may hold data
        raise DatabaseUnusable(
            "database %r of type %r can't be read (%s): the site's log says more"
            % (label, type_name, type(error).__name__)
        ) from error


def _read_csv(uri: str, options: Dict[str, Any], kind: str) -> Any:
    chosen = {name: options[name] for name in _CSV_OPTIONS if name in options}
    if kind != "pandas" and not chosen:
        if kind == "polars":
            return importlib.import_module("polars").read_csv(uri)
        return importlib.import_module("pyarrow.csv").read_csv(uri)
    return _convert(importlib.import_module("pandas").read_csv(uri, **chosen), kind, None)


def _read_parquet(uri: str, options: Dict[str, Any], kind: str) -> Any:
    if kind == "polars":
        return importlib.import_module("polars").read_parquet(uri)
    if kind == "pyarrow":
        return importlib.import_module("pyarrow.parquet").read_table(uri)
    return importlib.import_module("pandas").read_parquet(uri)


def _read_excel(uri: str, options: Dict[str, Any], kind: str) -> Any:
    frame = importlib.import_module("pandas").read_excel(uri, sheet_name=options.get("sheet_name", 0))
    return _convert(frame, kind, None)


def _sqlite_path(uri: str) -> Optional[str]:
    """The path of a sqlite database, or None: it is another one's address."""
    if uri.startswith("sqlite:///"):
        return uri[len("sqlite:///") :]
    return None if "://" in uri else uri


def _read_sql(uri: str, options: Dict[str, Any], kind: str) -> Any:
    pandas = importlib.import_module("pandas")
    path = _sqlite_path(uri)
    if path is None:
        return _convert(pandas.read_sql(options["query"], uri), kind, None)
    import sqlite3  # some builds of Python come without it, and most algorithms need none

    if not os.path.exists(path):
        raise FileNotFoundError(path)  # sqlite would make an empty database
    connection = sqlite3.connect(path)
    try:
        connection.execute("PRAGMA query_only = ON")
        return _convert(pandas.read_sql_query(options["query"], connection), kind, None)
    finally:
        connection.close()


def _read_duckdb(uri: str, options: Dict[str, Any], kind: str) -> Any:
    try:
        duckdb = importlib.import_module("duckdb")
    except ImportError:
        raise DatabaseUnusable("a database is of type 'duckdb', and duckdb isn't installed here") from None
    # Whoever asks may write the query: it reads this file, and no other.
    connection = duckdb.connect(uri, read_only=True, config={"enable_external_access": "false"})
    try:
        found = connection.sql(options["query"])
        if kind == "pandas":
            return found.df()
        return _convert(found.to_arrow_table(), kind, None)
    finally:
        connection.close()


def _convert(table: Any, kind: str, label: Any) -> Any:
    """A table as one of another library."""
    has = type(table).__module__.partition(".")[0]
    if has == kind:
        return table
    if has not in _LIBRARIES:
        raise DatabaseUnusable("database %r is a %s in memory, and no table" % (label, type(table).__name__))
    target = _library(kind, label)
    if kind == "pandas":
        return table.to_pandas()
    if kind == "pyarrow":
        return table.to_arrow() if has == "polars" else target.Table.from_pandas(table)
    return target.from_arrow(table) if has == "pyarrow" else target.from_pandas(table)
