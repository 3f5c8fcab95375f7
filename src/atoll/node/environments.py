"""The interpreters of a node, and which of them has what an algorithm requires.

Nothing is imported to find out: installed packages are looked for where the interpreter says that
they lie.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from atoll.model.errors import JobRefused
from atoll.node.settings import Environment
from atoll.runtimes.interpreter import describe

#: Stands for vantage6's own tools of a generation.
_TOOLS = re.compile(r"vantage6-(\d+)\Z")
_OWN = "Atoll's own"


def choose(
    environments: Sequence[Environment], requires: Sequence[str], *, programs: Sequence[str] = (), name: str
) -> Path | None:
    """The interpreter for an algorithm; None for Atoll's own.

    An algorithm that requires nothing gets Atoll's own; else those that node.yaml names come first.

    Args:
        environments: those that node.yaml names, in its order.
        requires: what the algorithm says that it needs.
        programs: those of them that are programs, and nothing that is imported.
        name: the algorithm's, for the sentence.

    Raises:
        JobRefused: none has it all.
    """
    own = Environment(name=_OWN, python=Path())
    candidates = [*environments, own] if requires else [own]
    missing: dict[str, list[str]] = {}
    for each in candidates:
        lacks = [what for what in requires if not _provides(each, what, program=what in programs)]
        if not lacks:
            return None if each is own else each.python
        missing[each.name] = lacks
    known = "; ".join(f"{environment} lacks {', '.join(lacks)}" for environment, lacks in missing.items())
    raise JobRefused(
        f"{name!r} requires {', '.join(requires)}, and no environment of this node has it all ({known}). Make one, "
        "and name it under 'environments' in node.yaml"
    )


def _provides(environment: Environment, what: str, *, program: bool) -> bool:
    if what in environment.provides:
        return True
    if program:
        return shutil.which(what) is not None
    python = None if environment.name == _OWN else environment.python
    tools = _TOOLS.match(what)
    if tools is not None:
        return _generation(python) == int(tools[1])
    return _has(python, what)


@cache
def _has(python: Path | None, module: str) -> bool:
    """Whether an interpreter finds a module of this name among its libraries."""
    for folder in describe(python).libraries:
        if (folder / module).is_dir() or (folder / f"{module}.py").is_file():
            return True
        if any(folder.glob(f"{_escaped(module)}.*.so")):
            return True
    return False


@cache
def _generation(python: Path | None) -> int | None:
    """The generation of vantage6's tools that an interpreter has."""
    for folder in describe(python).libraries:
        for path in folder.glob("vantage6_algorithm_tools-*.dist-info"):
            return int(path.name.partition("-")[2].partition(".")[0])
    return None


def _escaped(text: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", text)
