"""How a person writes what is asked for: as options of a command, or as arguments in Python.

What is wrong is told in the words of whoever asked, so that the remedy can be typed as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """How options are written."""

    python: bool

    def option(self, name: str) -> str:
        """An option: ``--function``, or ``function=…``."""
        return f"{name}=…" if self.python else f"--{name}"

    def given(self, name: str, value: str) -> str:
        """An option as it was given: ``--at beta``."""
        return f"{name}={value!r}" if self.python else f"--{name} {value}"

    def argument(self, name: str) -> str:
        """An argument of a function: ``--arg column=…``."""
        return f"args={{{name!r}: …}}" if self.python else f"--arg {name}=…"

    def arguments(self, names: list[str]) -> str:
        """Several of them."""
        if self.python:
            return f"args={{{', '.join(f'{name!r}: …' for name in names)}}}"
        return " ".join(map(self.argument, names))


COMMAND = Words(python=False)
PYTHON = Words(python=True)
