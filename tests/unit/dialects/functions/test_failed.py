"""A failure is told by names and lines of code. What could hold data is not repeated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.dialects.functions.failed import told_of
from atoll.model.work import Seat

ALPHA = Seat("alpha")


def test_a_failure_names_the_function_the_exception_and_the_lines_of_code() -> None:
    said = {
        "type": "KeyError",
        "message": None,
        "frames": [["mean.py", 12, "moments"], ["mean.py", 3, "<lambda>"]],
    }

    assert (
        "moments failed with KeyError, at mean.py:12 in moments > mean.py:3 in <lambda>. "
        "Its message may hold data, and stays at alpha, in its log"
    ) == told_of(said, "moments", ALPHA)


def test_words_that_the_author_vouches_for_are_repeated() -> None:
    said = {"type": "Stop", "message": " fewer than 10 rows\n", "frames": [["mean.py", 12, "moments"]]}

    assert "moments failed, at mean.py:12 in moments: Stop: fewer than 10 rows" == told_of(
        said, "moments", ALPHA
    )


def test_long_words_are_cut() -> None:
    told = told_of({"type": "Stop", "message": "x" * 5000, "frames": []}, "f", ALPHA)

    assert f"f failed: Stop: {'x' * 2000}…" == told


def test_of_a_deep_traceback_the_innermost_lines_are_named() -> None:
    frames = [["deep.py", line, "down"] for line in range(1, 40)]

    told = told_of({"type": "RecursionError", "message": "", "frames": frames}, "f", ALPHA)

    assert told.startswith("f failed with RecursionError, at deep.py:32 in down > ")
    assert 8 == told.count("deep.py")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"type": 3, "message": 4, "frames": 5},
        {"type": "patient 4711", "frames": [["a/../b.py", 1, "f"], ["a.py", "1", "f"], ["a.py", 1]]},
        {"type": "E" * 81, "frames": [["a.py", 1, "f x"], "a.py", None]},
        {"type": "3e", "frames": {"a.py": 1}},
    ],
)
def test_what_is_no_name_is_left_out(said: dict[str, Any]) -> None:
    assert (
        "f failed with an exception. Its message may hold data, and stays at alpha, in its log"
    ) == told_of(said, "f", ALPHA)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=10,
)


@given(st.fixed_dictionaries({"type": ANYTHING, "message": ANYTHING, "frames": ANYTHING}))
def test_whatever_is_said_a_sentence_is_told(said: dict[str, Any]) -> None:
    assert told_of(said, "f", ALPHA).startswith("f failed")
