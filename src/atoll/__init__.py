"""Atoll analyses data where it lives."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = ["Client", "Run", "Step", "__version__", "connect", "login"]


def __getattr__(name: str) -> Any:
    # The client is imported when it is first asked for: most commands need none of it.
    if name in __all__:
        # By its name: the floors below the client import this module, and never the client with it.
        return getattr(import_module("atoll.client"), name)
    raise AttributeError(f"module 'atoll' has no attribute {name!r}")
