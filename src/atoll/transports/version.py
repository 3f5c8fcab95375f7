"""Whether two programs understand each other: the same major version, and minor ones side by side."""

from __future__ import annotations

import re

from atoll.model.errors import VersionMismatch

#: The header in which each side says its version.
HEADER = "Atoll-Version"

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})(?:[.\-+a-z]|$)")


def check(theirs: str | None, ours: str, *, they: str) -> None:
    """Refuse a program that is too far from this one.

    Args:
        theirs: the version that they say; None where they say none.
        ours: the version of this program.
        they: who they are, for the sentence: ``the hub``, ``this node``.

    Raises:
        VersionMismatch: they are more than one minor version, or a major one, apart.
    """
    if theirs is None:
        raise VersionMismatch(
            f"{they} doesn't say its version: expected a header {HEADER} such as {ours}. Is it Atoll?"
        )
    mine, other = _VERSION.match(ours), _VERSION.match(theirs)
    if other is None:
        raise VersionMismatch(f"{they} says that its version is {theirs[:40]!r}: expected one such as {ours}")
    assert mine is not None
    if mine[1] != other[1] or abs(int(mine[2]) - int(other[2])) > 1:
        newer = "it" if (int(mine[1]), int(mine[2])) > (int(other[1]), int(other[2])) else "this side"
        raise VersionMismatch(
            f"{they} has version {theirs[:40]}, and this side {ours}: expected the same major version, and minor "
            f"ones at most one apart. Bring {newer} up to date"
        )
