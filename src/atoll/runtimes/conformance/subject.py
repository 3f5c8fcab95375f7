"""Whose promises are examined, and how it is said that one is not kept, or not made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from atoll.engine.running import Image
from atoll.runtimes.outside import Factory


class Broken(AssertionError):
    """What was promised is not so."""


class NotPromised(Exception):
    """The runtime says that it doesn't do this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A runtime that is examined."""

    name: str
    #: Makes it. An importable function: another interpreter makes one, too.
    make: Factory
    #: What an admin would say of it.
    options: Mapping[str, object] = field(default_factory=dict)
    #: What algorithms run in, where the runtime runs images: any with Python 3.8 or later, as
    #: ``python3``. None: it runs code of this machine.
    image: Image | None = None
    #: What it isn't asked to promise: the names of checks, and why.
    not_promised: Mapping[str, str] = field(default_factory=dict)
