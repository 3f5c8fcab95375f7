"""What a run leaves as tables, and as text in a notebook."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.client.results import frame, read_results, shown, table
from atoll.model.errors import AtollError


@pytest.mark.parametrize(
    ("value", "columns", "rows"),
    [
        ({"n": [1, 2], "mean": [0.5, 1.5]}, ["n", "mean"], 2),
        ([{"n": 1}, {"n": 2}], ["n"], 2),
        ([["n", "mean"], [1, 0.5]], ["n", "mean"], 1),
        ({"n": 1, "of": {"mean": 0.5}}, ["n", "of.mean"], 1),
    ],
)
def test_what_is_a_table_becomes_a_data_frame(value: Any, columns: list[str], rows: int) -> None:
    pytest.importorskip("pandas")

    found = frame(value)

    assert (list(found.columns), len(found)) == (columns, rows)


@pytest.mark.parametrize("value", [1, "text", [], {}, [1, 2], {"n": [1], "m": [1, 2]}, None])
def test_what_is_no_table_is_refused(value: Any) -> None:
    pytest.importorskip("pandas")

    with pytest.raises(AtollError, match="is no table"):
        frame(value)


def test_a_run_without_results_has_none() -> None:
    step = {"aggregated": True, "role": "site"}

    results = read_results({"steps": [step], "sites": ["a"]}, "coinstac", {})

    assert (results.result, results.results) == (None, {})


def test_a_local_computation_has_a_result_for_each_site() -> None:
    step = {"aggregated": False, "role": "site"}

    results = read_results({"steps": [step], "sites": ["a", "b"]}, "coinstac", {"b": b"2", "a": b"1"})

    assert (results.result, list(results.results.items())) == (None, [("a", 1), ("b", 2)])


def test_html_is_text_and_ends_somewhere() -> None:
    assert shown({"x": "<i>"}) == "<pre>{\n &quot;x&quot;: &quot;&lt;i&gt;&quot;\n}</pre>"
    assert len(shown(["x" * 100_000])) < 5_000
    assert table([("a", "<i>"), ("empty", None)]) == (
        "<table><tr><th style='text-align:left'>a</th><td>&lt;i&gt;</td></tr></table>"
    )
