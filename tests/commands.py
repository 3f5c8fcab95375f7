"""The page of all commands, made from the commands themselves: ``python -m tests.commands`` writes it anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from atoll.cli.main import app

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "commands.md"
#: What these do is told at length elsewhere.
_TOLD = {"atoll simulate", "atoll check"}
_HEAD = """# All commands

What `--help` says, on one page. `atoll simulate` and `atoll check` have [a page of their own](command-line.md).

Exit statuses: 0 done, 1 failed or refused, 2 what was asked for is unusable, 130 interrupted. With `--json` one
document stands on standard output, and all else on standard error.
"""


def page() -> str:
    """The page as it should be."""
    return "\n".join([_HEAD, *_commands(typer.main.get_command(app), "atoll")])


def _commands(command: Any, name: str) -> Iterator[str]:
    inner = getattr(command, "commands", None)
    if inner:
        for word, each in inner.items():
            yield from _commands(each, f"{name} {word}")
    elif name not in _TOLD:
        yield f"## {name}\n\n{' '.join(_paragraphs(command.help or ''))}\n"
        rows = [f"| {option} | {meaning} |" for option, meaning in _rows(command)]
        if rows:
            yield "\n".join(["| option | meaning |", "|---|---|", *rows, ""])


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n")]


def _rows(command: Any) -> Iterator[tuple[str, str]]:
    for parameter in command.params:
        meaning = " ".join((parameter.help or "").split()).replace("|", "\\|")
        if parameter.param_type_name == "argument":
            yield f"`{parameter.name.upper()}`", meaning
        elif not parameter.hidden and "--help" not in parameter.opts:
            names = sorted(parameter.opts, key=lambda name: name.startswith("--"))
            value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
            told = f" In the environment: `{parameter.envvar}`." if parameter.envvar else ""
            yield f"`{', '.join(names)}{value}`".replace("|", "\\|"), f"{meaning}{told}"


if __name__ == "__main__":
    PAGE.write_text(page())
