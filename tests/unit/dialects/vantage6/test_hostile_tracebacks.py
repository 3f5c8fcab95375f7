"""What an algorithm calls its files leaves the site only where it is a name."""

from __future__ import annotations

from atoll.dialects.vantage6.failing import why

LOG = """\
Traceback (most recent call last):
  File "/computation/v6_mean/__init__.py", line 7, in central
  File "/computation/\x1b[2Jpatient 4711: yes", line 3, in Smith's
ValueError: something
"""


def test_text_in_the_place_of_a_files_name_stays_in_the_log() -> None:
    """Code that is made while it runs, such as a template's, may say anything there."""
    told = why(1, function="central", package="v6_mean", log=LOG, printed="")

    assert "central failed with ValueError" in told
    assert "v6_mean/__init__.py:7 in central" in told
    assert "4711" not in told
    assert "\x1b" not in told
    assert "Smith" not in told
