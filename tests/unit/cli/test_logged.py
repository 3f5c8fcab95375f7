"""Which exceptions a log tells of."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.cli.logged import exceptions

RAISED = """Traceback (most recent call last):
  File "mean.py", line 6, in moments
    values = data[column]
{words}
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("alpha: 3\nsums 7\n", []),
        (RAISED.format(words="KeyError: 'wt'"), ["KeyError: 'wt'"]),
        (RAISED.format(words="my.module.Odd"), ["my.module.Odd"]),
        (RAISED.format(words="ValueError: one\ntwo"), ["ValueError: one"]),
        # What vantage6's wrapper writes below it.
        (RAISED.format(words="KeyError: 'wt'") + "error > None\n", ["KeyError: 'wt'"]),
        (
            "Error in sum(x) : \n  'what' is no column\nExecution halted\n",
            ["Error in sum(x) : 'what' is no column"],
        ),
        ("    at x\nTypeError: x is no function\n    at y\n\nNode.js v20\n", ["TypeError: x is no function"]),
    ],
)
def test_the_line_that_ends_a_traceback_is_found(text: str, found: list[str], tmp_path: Path) -> None:
    log = tmp_path / "alpha.log"
    log.write_text(text)

    assert found == exceptions(log)


def test_each_is_told_once_and_the_last_are_told(tmp_path: Path) -> None:
    log = tmp_path / "alpha.log"
    log.write_text("".join(RAISED.format(words=f"E{number}: x") for number in (1, 2, 3, 4, 2)))

    assert ["E3: x", "E4: x", "E2: x"] == exceptions(log)


def test_only_the_end_of_a_long_log_and_the_beginning_of_long_words_are_told(tmp_path: Path) -> None:
    log = tmp_path / "alpha.log"
    log.write_text(
        RAISED.format(words="Old: x") + "x" * 70_000 + "\n" + RAISED.format(words="New: " + "y" * 500)
    )

    (words,) = exceptions(log)
    assert words == f"New: {'y' * 294}…"


def test_a_log_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    assert [] == exceptions(tmp_path / "none.log")
