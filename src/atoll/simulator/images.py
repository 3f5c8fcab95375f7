"""Images in a simulation: who is asked about them, and what was found."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from atoll.algorithms.manifest import ImageNamed, Manifest
from atoll.engine.running import Runtime
from atoll.runtimes.facts import ImageFacts, ImageFiles


class ImageRuntime(Runtime, Protocol):
    """A runtime that knows images."""

    async def facts(self, name: str) -> ImageFacts | None:
        """What an image says of itself; None where it isn't on this machine."""
        ...

    def files(self, facts: ImageFacts, /) -> AbstractAsyncContextManager[ImageFiles]:
        """Reads files of an image, for as long as the context lasts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """The images of what was asked for."""

    #: What the image holds, where PATH is one.
    manifest: Manifest | None = None
    #: By what a specification calls them.
    images: Mapping[str, ImageNamed] = field(default_factory=dict)
    #: What the code of a folder runs in, where it holds no specification that names one.
    around: ImageNamed | None = None


def digest_of(manifest: Manifest) -> str:
    """What tells an algorithm in an image from all others."""
    return f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"
