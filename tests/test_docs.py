"""The documentation says what the code does, or a test fails."""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import commands

from atoll.engine import limits
from atoll.model import errors, work

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"

#: The words of the project, each for one idea. A new word is a decision: it changes this list.
WORDS = (
    *("hub", "node", "organization", "collaboration", "site", "aggregator", "algorithm", "dialect"),
    *("run", "step", "round", "job", "ticket", "outcome", "session", "message", "blob", "database"),
    "dataframe",
)


def _page(name: str) -> str:
    return (DOCS / name).read_text()


def _rows(text: str) -> Iterator[list[str]]:
    """The rows of every table of a page, as their cells."""
    for line in text.splitlines():
        if line.startswith("| ") and line.endswith("|"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


# --- Limits -----------------------------------------------------------------------------------


def _bounds(module: object) -> dict[str, float]:
    return {
        name: value
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, int | float)
    }


def test_every_limit_is_listed_with_its_value() -> None:
    named = {name: value for name, value in _bounds(work).items() if name.endswith("_MAX")}
    rows = [row for row in _rows(_page("reference/limits.md")) if re.fullmatch("`[A-Z_]+`", row[0])]
    listed = {row[0].strip("`"): float(row[1].replace(" ", "")) for row in rows}

    assert listed == _bounds(limits) | named


def test_every_limit_has_its_reason_beside_it() -> None:
    lines = inspect.getsource(limits).splitlines()
    bare = [
        name
        for name in _bounds(limits)
        for number, line in enumerate(lines)
        if line.startswith(f"{name} =") and not lines[number - 1].startswith("#: ")
    ]

    assert bare == []


# --- Errors -----------------------------------------------------------------------------------


def _error_classes() -> list[type[errors.AtollError]]:
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.AtollError)
    ]


def test_every_error_is_listed_once() -> None:
    listed = [
        row[0].strip("`")
        for row in _rows(_page("reference/errors.md"))
        if re.fullmatch("`[A-Za-z]+`", row[0])
    ]

    assert sorted(listed) == sorted(error.__name__ for error in _error_classes())


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    drawn: dict[str, str | None] = {}
    above: dict[int, str] = {}
    for indent, name in re.findall(r"^( *)[*-] (\w+)", errors.__doc__ or "", re.MULTILINE):
        drawn[name] = above.get(len(indent) - 2)
        above[len(indent)] = name

    assert drawn == {
        error.__name__: error.__base__.__name__ if error.__base__ is not Exception else None
        for error in _error_classes()
        if error.__base__
    }


# --- Words ------------------------------------------------------------------------------------


def test_the_glossary_explains_each_word_of_the_project() -> None:
    rows = [row for row in _rows(_page("glossary.md")) if row[0].startswith("**")]

    assert [row[0].strip("*") for row in rows] == list(WORDS)
    assert [row[0] for row in rows if not row[1].endswith(".")] == []


# --- Verbs and options ------------------------------------------------------------------------


def _run(*command: str, cwd: Path = ROOT, timeout_s: float = 15) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        # Tools of the environment that runs the tests come first, and help isn't folded.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "200",
        "NO_COLOR": "1",
        "TERM": "dumb",
    }
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=timeout_s
    )


def test_every_verb_of_make_is_explained_to_contributors() -> None:
    verbs = set(re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    explained = set(
        re.findall(r"^\| `make ([a-z]+)` \|", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    )

    assert explained == verbs


def test_the_quick_start_is_two_commands() -> None:
    start = (ROOT / "README.md").read_text().partition("## Quick start")[2].partition("\n## ")[0]
    commands = re.findall(r"^\$ (.+)$", start, re.MULTILINE)

    assert commands == ["sudo apt install python3 python3-venv make bubblewrap", "make demo", "make test"]


def test_every_option_of_simulate_is_documented_and_no_other() -> None:
    done = _run(sys.executable, "-m", "atoll", "simulate", "--help")
    assert done.returncode == 0, done.stderr
    options = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", done.stdout))
    page = _page("reference/command-line.md").partition("## atoll simulate")[2].partition("\n## ")[0]
    documented = {
        option for row in _rows(page) for option in re.findall(r"`(?:-[a-zA-Z], )?(--[a-z][a-z-]+)", row[0])
    }

    assert documented | {"--help"} == options | {"--help"}


def test_every_command_is_on_the_page_of_commands() -> None:
    """If not: ``python -m tests.commands`` writes it anew."""
    assert commands.page() == commands.PAGE.read_text()


# --- Examples that run ------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str
    #: The file that it shows, relative to the reader's folder, or nothing.
    title: str
    text: str

    def commands(self) -> list[str]:
        """What the reader types: lines after a prompt, with what continues them."""
        joined = self.text.replace("\\\n", " ")
        return [line[2:] for line in joined.splitlines() if line.startswith("$ ")]


def _blocks(page: str) -> list[Block]:
    fenced = re.compile(r"^( *)```(\w+)([^\n]*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
    return [
        Block(
            kind=kind,
            title=(re.search(r'title="([^"]+)"', info) or [None, ""])[1] or "",
            text=re.sub(f"^{indent}", "", text, flags=re.MULTILINE),
        )
        for indent, kind, info, text in fenced.findall(page)
    ]


def _tutorials() -> list[str]:
    return sorted(path.name for path in (DOCS / "tutorials").glob("*.md"))


@pytest.mark.acceptance
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", _tutorials())
def test_a_tutorial_works_when_it_is_followed(name: str, tmp_path: Path) -> None:
    """Files that a page shows with a title are written, and its commands are typed, in order."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    typed = 0
    for block in _blocks(_page(f"tutorials/{name}")):
        if block.title:
            shown = tmp_path / block.title
            shown.parent.mkdir(parents=True, exist_ok=True)
            shown.write_text(block.text)
        if block.kind != "console":
            continue
        for command in block.commands():
            if command.startswith(("make ", "source ", "sudo ", "git ")):
                continue  # What comes before Atoll is there.
            done = _run("bash", "-euc", command, cwd=tmp_path, timeout_s=120)
            assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
            typed += 1

    assert typed > 0


def test_blocks_are_read_as_a_reader_reads_them() -> None:
    page = 'Text.\n\n```python title="a/b.py"\nx = 1\n```\n\n```console\n$ one \\\n  more\nsaid\n$ two\n```\n'

    shown, typed = _blocks(page)

    assert (shown.title, shown.text) == ("a/b.py", "x = 1\n")
    assert typed.commands() == ["one    more", "two"]


def test_python_that_is_shown_is_python() -> None:
    for path in sorted(DOCS.rglob("*.md")):
        for block in _blocks(path.read_text()):
            if block.kind == "python":
                ast.parse(block.text, filename=str(path))
