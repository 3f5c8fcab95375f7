"""A served process: what it remembers is there at the next call."""

from __future__ import annotations

import os
import sys
from typing import Any

import coinstac  # type: ignore[import-not-found]  # the runtime gives it to served processes

_heard: list[Any] = []


def local(data: Any) -> Any:
    """Remember, and tell all that was remembered."""
    if data == "raise":
        raise ValueError("as asked")
    if data == "leave":
        os._exit(9)
    _heard.append(data)
    print("heard", data, file=sys.stderr)
    return _heard


coinstac.start(local, local)
