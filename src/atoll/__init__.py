"""Atoll analyses data where it lives."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
#: What is had from the client. It is imported when it is first asked for: most commands need none of it.
_OF_THE_CLIENT = ("Client", "Run", "Step", "connect", "login")
__all__ = ["Client", "Run", "Step", "__version__", "connect", "login"]


def __getattr__(name: str) -> Any:
    if name in _OF_THE_CLIENT:
        # By its name: the floors below the client import this module, and never the client with it.
        return getattr(import_module("atoll.client"), name)
    raise AttributeError(f"module 'atoll' has no attribute {name!r}")
