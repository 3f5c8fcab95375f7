"""The files that a site brings to a run, and the links among them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteData:
    """The files that a site brings to a run."""

    folder: Path
    #: Relative names of links in the folder, and what they lead to in the end.
    links: dict[str, Path] = field(default_factory=dict)

    @property
    def outside(self) -> tuple[Path, ...]:
        """What links lead to that lies outside of the folder: it needs mounts of its own."""
        return tuple(target for target in self.links.values() if not target.is_relative_to(self.folder))


def look_at(folder: Path) -> SiteData:
    """Find the links in a site's folder: where an algorithm is isolated, their paths mean nothing."""
    links: dict[str, Path] = {}
    real = folder.resolve()
    for where, folders, files in os.walk(real):
        for name in (*folders, *files):
            path = Path(where, name)
            if path.is_symlink():
                target = path.resolve()
                if target.exists():
                    links[path.relative_to(real).as_posix()] = target
    return SiteData(folder=real, links=links)
