"""Atoll analyses data where it lives."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
#: What is had from the client. It is imported when it is first asked for: most commands need none of it.
_OF_THE_CLIENT = ("Client", "Run", "Step", "connect", "login")
__all__ = ["Client", "Run", "Step", "__version__", "connect", "login"]


def __getattr__(name: str) -> Any:
    if name in _OF_THE_CLIENT:
        # Late, as said above.
        from atoll import client

        return getattr(client, name)
    raise AttributeError(f"module 'atoll' has no attribute {name!r}")
