"""Which versions of Atoll understand each other."""

from __future__ import annotations

import re

from atoll import __version__
from atoll.model.errors import VersionMismatch

_VERSION = re.compile(r"(\d{1,6})\.(\d{1,6})\.\d{1,6}(?:[.+-]?[0-9A-Za-z.+-]{0,40})?")
#: Paths that answer every version, so that whoever is too old can find out.
_ALWAYS = ("/v1/health", "/v1/version")


def check(path: str, other: str) -> None:
    """Refuse a version that the hub is too far apart from.

    Raises:
        VersionMismatch: it is another major version, or more than one minor version apart.
    """
    if path in _ALWAYS:
        return
    theirs = _VERSION.fullmatch(other)
    ours = _VERSION.fullmatch(__version__)
    assert ours is not None
    if theirs is None:
        raise VersionMismatch(f"the header Atoll-Version names no version: expected one like {__version__}")
    if theirs[1] != ours[1] or abs(int(theirs[2]) - int(ours[2])) > 1:
        raise VersionMismatch(
            f"this hub is Atoll {__version__} and the other side is {other[:60]}: they understand each other where "
            "the first number is the same and the second differs by at most one; update the older one"
        )
