"""Databases of every type become the table, or the path, that was asked for."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from atoll_algorithm import DatabaseUnusable
from atoll_algorithm._databases import _kept, table_of

FRAME = pd.DataFrame({"n": [1, 2], "name": ["a", "b"]})


def offered(uri: object, kind: str, **options: Any) -> dict[str, Any]:
    return {"label": "default", "uri": str(uri), "type": kind, "options": options}


@pytest.fixture(autouse=True)
def nothing_is_kept() -> None:
    _kept.clear()


def test_a_csv_file_is_read_with_its_options(tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "a.csv", sep=";", index=False)

    pd.testing.assert_frame_equal(FRAME, table_of(offered(tmp_path / "a.csv", "csv", sep=";"), "pandas"))
    assert tmp_path / "a.csv" == table_of(offered(tmp_path / "a.csv", "csv"), "path")


def test_a_query_is_asked_of_a_duckdb_file_and_of_no_other(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    file, elsewhere = tmp_path / "a.duckdb", tmp_path / "a.csv"
    FRAME.to_csv(elsewhere, index=False)
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE t AS SELECT 1::BIGINT AS n, 'a' AS name UNION ALL SELECT 2, 'b'")

    for kind in ("pandas", "pyarrow", "polars"):
        found = table_of(offered(file, "duckdb", query="SELECT * FROM t WHERE n > 1"), kind)
        rows = (
            found.to_dict("records")
            if kind == "pandas"
            else found.to_pylist()
            if kind == "pyarrow"
            else found.to_dicts()
        )
        assert [{"n": 2, "name": "b"}] == rows
    assert file == table_of(offered(file, "duckdb"), "path")
    with pytest.raises(DatabaseUnusable, match="type 'duckdb', and has no option 'query'"):
        table_of(offered(file, "duckdb"), "pandas")
    with pytest.raises(DatabaseUnusable, match=r"can't be read \(PermissionException\)"):
        table_of(offered(file, "duckdb", query=f"SELECT * FROM read_csv('{elsewhere}')"), "pandas")


def test_a_folder_is_a_path_and_no_table(tmp_path: Path) -> None:
    assert tmp_path == table_of(offered(tmp_path, "folder"), "path")
    with pytest.raises(
        DatabaseUnusable, match=r"type 'folder', which is no table: .* csv, parquet, excel, sql"
    ):
        table_of(offered(tmp_path, "folder"), "pandas")


def test_a_query_is_asked_of_a_sqlite_file_which_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE t (n INTEGER, name TEXT)")
        connection.executemany("INSERT INTO t VALUES (?, ?)", FRAME.itertuples(index=False))
    connection.close()

    for uri in (file, f"sqlite:///{file}"):
        found = table_of(offered(uri, "sql", query="SELECT * FROM t WHERE n > 1"), "pandas")
        assert [[2, "b"]] == found.to_numpy().tolist()
    with pytest.raises(DatabaseUnusable, match="has no option 'query'"):
        table_of(offered(file, "sql"), "pandas")
    with pytest.raises(DatabaseUnusable, match=r"type 'sql' can't be read \(DatabaseError\)"):
        table_of(offered(file, "sql", query="DELETE FROM t"), "pandas")
    with pytest.raises(DatabaseUnusable, match="has an address, and no path"):
        table_of(offered("postgresql://x/y", "sql"), "path")


def test_a_file_that_is_missing_is_told_of_without_its_path(tmp_path: Path) -> None:
    for kind in ("csv", "sql"):
        with pytest.raises(DatabaseUnusable) as caught:
            table_of(offered(tmp_path / "gone", kind, query="SELECT 1"), "pandas")

        assert (
            f"database 'default' of type '{kind}' can't be read (FileNotFoundError): the site's log says more"
            == (str(caught.value))
        )
        assert not (tmp_path / "gone").exists()


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.csv"
    FRAME.to_csv(file, index=False)
    read: list[object] = []
    original = pd.read_csv

    def read_csv(uri: str) -> pd.DataFrame:
        read.append(uri)
        return original(uri)

    monkeypatch.setattr(pd, "read_csv", read_csv)

    first = table_of(offered(file, "csv"), "pandas")
    first.loc[0, "n"] = 99
    second = table_of(offered(file, "csv"), "pandas")
    FRAME.head(1).to_csv(file, index=False)
    os.utime(file, ns=(1, 1))
    third = table_of(offered(file, "csv"), "pandas")

    assert [99, 1] == [int(first["n"].iloc[0]), int(second["n"].iloc[0])]
    assert 1 == len(third)
    assert 2 == len(read)


def test_tables_come_from_the_library_that_was_asked_for(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    polars = pytest.importorskip("polars")
    FRAME.to_csv(tmp_path / "a.csv", index=False)
    FRAME.to_parquet(tmp_path / "a.parquet")

    for name in ("csv", "parquet"):
        database = offered(tmp_path / f"a.{name}", name)
        assert isinstance(table_of(database, "pyarrow"), arrow.Table)
        assert isinstance(table_of(database, "polars"), polars.DataFrame)
        pd.testing.assert_frame_equal(FRAME, table_of(database, "pandas"))
    for kind in ("pandas", "pyarrow", "polars"):
        for held in (FRAME, arrow.Table.from_pandas(FRAME), polars.from_pandas(FRAME)):
            table = table_of({"label": "here", "table": held}, kind)
            assert [1, 2] == list(pd.DataFrame({"n": table["n"]})["n"])


def test_an_excel_sheet_is_read(tmp_path: Path) -> None:
    pytest.importorskip("openpyxl")
    with pd.ExcelWriter(tmp_path / "a.xlsx") as book:
        FRAME.to_excel(book, sheet_name="first", index=False)
        FRAME.head(1).to_excel(book, sheet_name="second", index=False)

    assert 2 == len(table_of(offered(tmp_path / "a.xlsx", "excel"), "pandas"))
    assert 1 == len(table_of(offered(tmp_path / "a.xlsx", "excel", sheet_name="second"), "pandas"))


def test_what_is_no_table_is_refused() -> None:
    with pytest.raises(DatabaseUnusable, match="is a list in memory, and no table"):
        table_of({"label": "here", "table": [1]}, "pandas")
