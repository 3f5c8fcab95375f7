"""What a site offers to algorithms: its databases by label, and what it sets for them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.engine.ports import Database
from atoll.engine.running import Mount

#: Where an isolated algorithm sees the databases that are files or folders.
_DATABASES = "/databases"
#: A label that can be a file's name as it is.
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One database, as it lies at the site."""

    type: str
    #: A file or a folder of this machine; None for what is reached by a URL or held in memory.
    path: Path | None = None
    url: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The data themselves, for functions that run in Atoll's own process.
    table: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What a site offers to the algorithms of a run."""

    databases: Mapping[str, Source] = field(default_factory=dict)
    #: Variables that the site sets for algorithms.
    environment: Mapping[str, str] = field(default_factory=dict)

    def mounts(self) -> list[Mount]:
        """Where isolated algorithms find the databases: read-only."""
        mounts: dict[str, Mount] = {}
        for number, (label, source) in enumerate(self.databases.items()):
            if source.path is not None:
                name = label if _PLAIN.match(label) else f"database{number}"
                suffix = "" if source.path.is_dir() else source.path.suffix
                target = f"{_DATABASES}/{name}{suffix}"
                if target in mounts:  # ``a`` with a file a.csv, and ``a.csv`` with a folder
                    target = f"{_DATABASES}/_{number}{suffix}"
                mounts[target] = Mount(source=source.path, target=target)
        return list(mounts.values())

    def seen(self, inside: Callable[[Path], str]) -> dict[str, Database]:
        """The databases as an algorithm sees them.

        Args:
            inside: says where the algorithm sees a path.
        """
        return {
            label: Database(
                label=label,
                type=source.type,
                uri=source.url if source.path is None else inside(source.path),
                options=source.options,
                table=source.table,
            )
            for label, source in self.databases.items()
        }
