"""Programs one minor version apart understand each other."""

from __future__ import annotations

import pytest

from atoll import __version__
from atoll.model.errors import VersionMismatch
from atoll.transports import version


@pytest.mark.parametrize("theirs", ["1.4.0", "1.3.9", "1.5.0.dev1", "1.4", "1.5.0rc1", "1.5-local"])
def test_neighbours_understand_each_other(theirs: str) -> None:
    version.check(theirs, "1.4.2", they="the hub")


@pytest.mark.parametrize("theirs", ["1.2.9", "1.6.0", "2.4.0", "0.4.0"])
def test_who_is_further_away_gets_a_sentence_with_both_versions(theirs: str) -> None:
    with pytest.raises(VersionMismatch, match="the hub has version") as refused:
        version.check(theirs, "1.4.2", they="the hub")

    assert theirs in str(refused.value)
    assert "1.4.2" in str(refused.value)


def test_the_older_one_is_to_be_brought_up_to_date() -> None:
    with pytest.raises(VersionMismatch, match="Bring it up to date"):
        version.check("1.2.0", "1.4.0", they="the node")
    with pytest.raises(VersionMismatch, match="Bring this side up to date"):
        version.check("1.6.0", "1.4.0", they="the node")


@pytest.mark.parametrize("theirs", ["", "one", "1", "1.x", "99999999.1", "1.4;drop"])
def test_what_is_no_version_is_refused(theirs: str) -> None:
    with pytest.raises(VersionMismatch, match="expected one such as"):
        version.check(theirs, "1.4.2", they="the hub")


def test_who_says_no_version_is_refused() -> None:
    with pytest.raises(VersionMismatch, match="Is it Atoll"):
        version.check(None, "1.4.2", they="the hub")


def test_this_version_understands_itself() -> None:
    version.check(__version__, __version__, they="the hub")
