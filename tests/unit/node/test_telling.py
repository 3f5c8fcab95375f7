"""What leaves a site of a failed call is its kind and its lines of code, and no word of its data."""

from __future__ import annotations

from atoll.model.errors import AlgorithmFailed, JobRefused
from atoll.node.telling import frames_only

TRACEBACK = """\
Traceback (most recent call last):
  File "/computation/local.py", line 12, in <module>
    main()
  File "/usr/lib/python3/site-packages/pandas/core.py", line 9, in read
    raise ValueError(name)
ValueError: could not convert 'Jane Doe'
"""


def test_a_sentence_is_told_as_it_is() -> None:
    assert frames_only(JobRefused("not on Fridays")) == "not on Fridays"


def test_of_a_traceback_the_type_and_the_lines_are_told() -> None:
    error = AlgorithmFailed(
        f"python local.py ended with exit status 1. The end of its standard error:\n{TRACEBACK}"
    )

    assert frames_only(error) == (
        "python local.py ended with exit status 1, with ValueError (local.py:12 in <module>). What it wrote is in "
        "this site's log"
    )


def test_of_any_other_text_nothing_is_told() -> None:
    error = AlgorithmFailed(
        "Rscript a.R ended with exit status 1. The end of its standard error:\nJane Doe, 47"
    )

    assert frames_only(error) == "Rscript a.R ended with exit status 1. What it wrote is in this site's log"


def test_where_no_line_is_the_algorithms_the_innermost_is_told() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/usr/lib/python3/site-packages/x.py", line 3, in f\nKeyError: 7\n'
    )

    assert "with KeyError (x.py:3 in f)" in frames_only(AlgorithmFailed(f"it failed:\n{text}"))
