"""Parts of a node's settings, read value by value: what is wrong is noted with its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, overload

from atoll.node.documents import kind, only

#: A number of bytes with a unit.
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?)?B?\Z")
_UNITS = {"K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4}
_UNITS |= {f"{name}i": 1024 ** (power + 1) for power, name in enumerate("KMGT")}


class Section:
    """A mapping of settings. Whoever has read all that it knows closes it: what is left is a fault.

    Args:
        given: what stands there; nothing stands for no settings.
        where: its place, for sentences.
        faults: gets what is wrong.
        folder: what paths are relative to.
    """

    def __init__(self, given: Any, where: str, faults: list[str], *, folder: Path) -> None:
        self.where = where
        self.faults = faults
        self.folder = folder
        self._known: list[str] = []
        if given is not None and not isinstance(given, dict):
            faults.append(f"{where} is {kind(given)}: expected settings, each with its value")
        self._given: dict[Any, Any] = given if isinstance(given, dict) else {}

    def close(self) -> None:
        """Note every key that nobody has asked for."""
        only(self._given, tuple(self._known), self.where, self.faults)

    def fault(self, key: str, words: str) -> None:
        """Note what is wrong with a value."""
        self.faults.append(f"{self.where}: {key} {words}")

    def has(self, key: str) -> bool:
        """Whether something stands there."""
        return self._given.get(key) is not None

    def take(self, key: str) -> Any:
        """A value as it stands there."""
        self._known.append(key)
        return self._given.get(key)

    def section(self, key: str) -> Section:
        """The settings within a key."""
        return Section(self.take(key), f"{self.where}: {key}", self.faults, folder=self.folder)

    def text(self, key: str, default: str) -> str:
        """A text."""
        return self.optional(key) or default

    def optional(self, key: str) -> str | None:
        """A text that may be missing."""
        value = self.take(key)
        if value is not None and (not isinstance(value, str) or not value):
            self.fault(key, f"is {kind(value)}: expected text; put it in quotes")
            return None
        return value

    def path(self, key: str, default: str) -> Path:
        """A path, relative to the document's folder."""
        return self.folder / self.text(key, default)

    def file(self, key: str) -> Path | None:
        """A file that is there, or nothing."""
        named = self.optional(key)
        if named is None:
            return None
        path = self.folder / named
        if not path.is_file():
            self.fault(key, f"names {path}, where no file is")
        return path

    def flag(self, key: str, *, default: bool) -> bool:
        """Yes or no."""
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.fault(key, f"is {kind(value)}: expected true or false")
            return default
        return value

    def choice(self, key: str, words: tuple[str, ...], default: str) -> str:
        """One of several words."""
        value = self.take(key)
        if value is None:
            return default
        if value not in words:
            self.fault(key, f"is {value!r}: expected one of {', '.join(words)}")
            return default
        return str(value)

    @overload
    def whole(self, key: str, default: int, *, least: int) -> int: ...
    @overload
    def whole(self, key: str, default: None, *, least: int) -> int | None: ...
    def whole(self, key: str, default: int | None, *, least: int) -> int | None:
        """A whole number."""
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self.fault(key, f"is {_shown(value)}: expected a whole number from {least}")
            return default
        return value

    def seconds(self, key: str, default: float) -> float:
        """A number of seconds."""
        value = self.take(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            self.fault(key, f"is {_shown(value)}: expected a number of seconds above 0")
            return default
        return float(value)

    def number(self, key: str) -> float | None:
        """A number above 0, or nothing."""
        value = self.take(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
            self.fault(key, f"is {_shown(value)}: expected a number above 0")
            return None
        return float(value)

    @overload
    def size(self, key: str, default: int) -> int: ...
    @overload
    def size(self, key: str, default: None) -> int | None: ...
    def size(self, key: str, default: int | None) -> int | None:
        """A number of bytes, with or without a unit."""
        value = self.take(key)
        if value is None:
            return default
        found = None if isinstance(value, bool) else bytes_of(str(value))
        if found is None:
            self.fault(
                key, f"is {_shown(value)}: expected a number of bytes, or one with a unit such as 4GiB"
            )
            return default
        return found

    def words(self, key: str) -> tuple[str, ...]:
        """A list of texts; one alone may stand without a list."""
        value = self.take(key)
        values = [] if value is None else value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) and each for each in values):
            self.fault(key, f"is {kind(value)} with what is no text: expected a list of texts, in quotes")
            return ()
        return tuple(values)

    def mapping(self, key: str) -> dict[str, Any]:
        """Texts, each with something."""
        value = self.take(key)
        if value is None:
            return {}
        if not isinstance(value, dict) or not all(isinstance(each, str) and each for each in value):
            self.fault(key, f"is {kind(value)}: expected texts as keys, in quotes, each with its value")
            return {}
        return value


def bytes_of(text: str) -> int | None:
    """A number of bytes, with or without a unit; None where it is none."""
    found = _SIZE.match(text)
    return None if found is None else int(float(found[1]) * _UNITS.get(found[2] or "", 1))


def _shown(value: Any) -> str:
    return repr(value) if isinstance(value, bool | int | float) else kind(value)
