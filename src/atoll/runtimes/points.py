"""Where the folders and files of this machine appear to an algorithm."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from atoll.runtimes.interpreter import within_any


class Points:
    """What is shown of this machine, and where.

    Args:
        shown: each folder or file, and its place inside.
        whose: for whoever is told that something isn't shown.
    """

    def __init__(self, shown: Iterable[tuple[Path, str]], whose: str) -> None:
        self._points = [(Path(os.path.realpath(source)), target) for source, target in shown]
        self._whose = whose
        #: Asked for a few folders at every call, and none of them moves.
        self._known: dict[Path, str] = {}

    @property
    def sources(self) -> list[Path]:
        """What is shown, without links in its paths."""
        return [source for source, _ in self._points]

    def inside(self, path: Path) -> str:
        """Where a path is found inside.

        Raises:
            ValueError: it isn't.
        """
        if path not in self._known:
            self._known[path] = self._find(path)
        return self._known[path]

    def _find(self, path: Path) -> str:
        real = Path(os.path.realpath(path))
        fitting = [(source, target) for source, target in self._points if within_any(real, [source])]
        if not fitting:
            raise ValueError(f"{path} is not shown to the algorithm of {self._whose}")
        source, target = max(fitting, key=lambda pair: len(pair[0].parts))
        return os.path.normpath(os.path.join(target, real.relative_to(source)))
