"""Returns that hand out rows are found; what is made from many rows isn't taken for them."""

from __future__ import annotations

import ast
import textwrap

import pytest

from atoll.cli.vetting.rows import returned_rows
from atoll.dialects.functions.names import read_sources

BEFORE = """
import json
import numpy as np
import pandas as pd

def clean(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    return frame.dropna()

def fit(frame: pd.DataFrame) -> dict:
    return {}
"""


def _rows(body: str) -> list[str]:
    source = f"{BEFORE}\ndef f(data, labs, column):\n{textwrap.indent(textwrap.dedent(body), '    ')}"
    sources = read_sources({"a.py": source})
    definition = sources.by_module["a"].tree.body[-1]
    assert isinstance(definition, ast.FunctionDef)
    return [text for _, text in returned_rows(definition, ["data", "labs"], sources.by_module["a"], sources)]


@pytest.mark.parametrize(
    "body",
    [
        "return data",
        "return labs[column]",
        "return data[data.age > 40].head(10)",
        "return data.to_dict('records')",
        "return data[column].values.tolist()",
        "return data.loc[3, column]",
        "return data[column].unique()",
        "return list(data[column])",
        "return list(sorted(set(data[column])))",
        "return json.dumps(data.to_dict())",
        "return np.asarray(data[column])",
        "return pd.DataFrame(data)",
        "return [value for value in data[column]]",
        "return {'n': len(data), 'first': data.iloc[0].to_dict()}",
        "return [1, (2, data)]",
        "return {*data[column]}",
        "return data if column else None",
        "rows = data.dropna()\nreturn rows",
        "rows = other = data[[column]]\nrest = other.sort_values(column)\nreturn rest",
        "if column:\n    for x in y:\n        with z:\n            return data\nreturn 1",
        "try:\n    rows = data\nexcept KeyError:\n    return labs\nreturn 3",
        "match column:\n    case 'a':\n        return data",
        "return clean(data, column)",
        "rows = clean(data.copy(), column)\nreturn rows[column].tolist()",
    ],
)
def test_a_return_of_rows_is_found(body: str) -> None:
    assert 1 == len(_rows(body))


@pytest.mark.parametrize(
    "body",
    [
        "return",
        "return None",
        "return column",
        "return len(data)",
        "return data.shape",
        "return list(data.columns)",
        "return data[column].mean()",
        "return {'sum': float(data[column].sum()), 'n': len(data)}",
        "return data.groupby(column).size().to_dict()",
        "return data[column].value_counts()",
        "return fit(data)",
        "return unknown(data)",
        "return clean(column, data=data)",
        "return np.sum(np.asarray(data))",
        "return [value * 2 for value in data[column]]",
        "return [value for key in data for value in key]",
        "return list()",
        "return dict(n=len(data))",
        "rows = data\nrows = len(rows)\nreturn rows",
        "rows.x = data\nreturn rows",
        "def inner(data):\n    return data\nreturn inner",
        "return (lambda: data)",
        "return module.clean(data)",
    ],
)
def test_what_is_made_from_many_rows_is_not(body: str) -> None:
    assert [] == _rows(body)


def test_what_is_returned_is_quoted_and_cut() -> None:
    assert ["data.to_dict()"] == _rows("return data.to_dict()")
    (text,) = _rows(f"return data[['{'x' * 100}']]")
    assert 60 == len(text)
