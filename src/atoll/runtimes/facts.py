"""What an image says of itself, whoever keeps it: an engine, or a file.

Nothing of an image is started to find it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from atoll.engine.running import ImageKind


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """An image's own description."""

    kind: ImageKind = ImageKind.OCI
    #: What its keeper calls it: ``sha256:`` and 64 hexadecimal digits, of its configuration or its file.
    id: str
    #: What registries call it: ``registry.example/group/name@sha256:…``, one for each that it is from.
    digests: tuple[str, ...] = ()
    #: As it was asked for: ``registry.example/group/name:tag``, or a file's path.
    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    #: What it starts: the two after each other.
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    #: Where that is started.
    working_directory: str = "/"
    labels: Mapping[str, str] = field(default_factory=dict)
    #: Ports at which it says that it listens.
    exposed_ports: tuple[int, ...] = ()
    #: Folders that it says are written to.
    volumes: tuple[str, ...] = ()
    #: As whom; empty for root.
    user: str = ""
    #: Of the processor that it is for: ``amd64``; empty where it doesn't say.
    architecture: str = ""

    @property
    def started(self) -> tuple[str, ...]:
        """The whole command that it starts by itself."""
        return (*self.entrypoint, *self.command)


class ImageFiles(Protocol):
    """Reads files of an image."""

    async def __call__(self, path: str, /) -> bytes | None:
        """The content of a file, by its absolute path; None where there is none, or none that can be read."""
        ...
