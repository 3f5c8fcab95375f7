"""A site's files as a table of numbers: complete rows only, one 0/1 column per level.

Refuses what would say something about a single row: a level that only a few rows have (its
column would pick them out of every sum), almost as many columns as rows (their products would
give the rows away), and messages that quote a value.
"""

import os

import pandas as pd

#: A level that a site has at all, it must have in so many rows.
SMALLEST_GROUP = 5
#: Fewer complete rows than this are no aggregate.
FEWEST_ROWS = 10
#: So many complete rows there must be for each column of numbers.
ROWS_PER_COLUMN = 3


def complete_rows(folder, files, columns, levels):
    """Read the files; leave out rows in which any of the columns is missing."""
    as_text = {name: str for name in columns if name in levels}
    tables = [pd.read_csv(os.path.join(folder, name), usecols=columns, dtype=as_text) for name in files]
    table = pd.concat(tables, ignore_index=True)[columns]
    rows = table.dropna()
    if len(rows) < FEWEST_ROWS:
        raise ValueError(f"fewer than {FEWEST_ROWS} complete rows: too few to share their sums")
    return rows, len(table) - len(rows)


def numeric(rows, columns, levels):
    """Turn each column into numbers; the first of its levels is the reference."""
    table = {}
    for name in columns:
        if name not in levels:
            table[name] = numbers(rows[name])
            continue
        groups = rows[name].value_counts()
        if not groups.index.isin(levels[name]).all():
            raise ValueError(f"column {name!r} has a level that is none of {levels[name]}")
        if (groups < SMALLEST_GROUP).any():
            raise ValueError(f"column {name!r} has a level with fewer than {SMALLEST_GROUP} rows")
        for level in levels[name][1:]:
            table[f"{name}={level}"] = (rows[name] == level).astype(float)
    if len(rows) < ROWS_PER_COLUMN * len(table):
        raise ValueError(
            f"fewer than {ROWS_PER_COLUMN} complete rows per column: too few to share their products"
        )
    return pd.DataFrame(table)


def numbers(column):
    """The column as floating-point numbers. The error quotes no value, as pandas' would."""
    converted = pd.to_numeric(column, errors="coerce")
    if converted.isna().any():
        raise ValueError(f"column {column.name!r} holds something that is not a number")
    return converted.astype(float)
