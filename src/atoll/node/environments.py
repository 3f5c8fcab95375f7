"""The environments of a node, and which of them has what an algorithm requires.

Nothing is imported to find out: installed packages are looked for where an interpreter, or an image's own
Python, says that they lie.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

from atoll.engine.running import Image
from atoll.model.errors import AtollError, JobRefused, RuntimeUnavailable
from atoll.node.environment import Environment, NamedImage, no_image
from atoll.node.inventory import Inventory
from atoll.runtimes.interpreter import describe

#: Stands for vantage6's own tools of a generation.
_TOOLS = re.compile(r"vantage6-(\d+)\Z")
_OWN = "Atoll's own"
#: What code in Python needs of an image.
_PYTHON = "python"
_PYTHON_SHOWN = "Python 3.8 or later"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What an algorithm needs of an environment."""

    #: The algorithm's, for sentences.
    name: str
    #: What it says that it needs.
    requires: Sequence[str] = ()
    #: Those of them that are programs, and nothing that is imported.
    programs: Sequence[str] = ()
    #: Whether it is started by Python.
    python: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """What an algorithm's code runs in."""

    #: An interpreter of this machine. None: Atoll's own, if it is no image.
    python: Path | None = None
    image: Image | None = None


class Images(Protocol):
    """Knows the images that are environments."""

    @property
    def runs_code(self) -> bool:
        """Whether code runs with the interpreters of this machine, too."""
        ...

    @property
    def runtime(self) -> str:
        """What runs them, as node.yaml calls it."""
        ...

    async def pin(self, named: NamedImage) -> Image:
        """Which image is meant by a name.

        Raises:
            AtollError: that can't be said.
        """
        ...

    async def inventory(self, image: Image, waits: Callable[[str], None] | None) -> Inventory:
        """What an image has.

        Raises:
            AtollError: it can't be asked.
        """
        ...


async def choose(
    environments: Sequence[Environment],
    needs: Needs,
    images: Images,
    waits: Callable[[str], None] | None = None,
) -> Chosen:
    """What an algorithm's code runs in.

    An algorithm that requires nothing gets Atoll's own interpreter; else those that node.yaml names come
    first. Where images alone are run, there is no interpreter of Atoll's own.

    Args:
        environments: those that node.yaml names, in its order.
        needs: what the algorithm needs.
        images: knows those that are images.
        waits: is told what looking at an image waits for.

    Raises:
        JobRefused: none has it all.
        RuntimeUnavailable: one that comes before can't be looked at.
    """
    if images.runs_code and not needs.requires:
        return Chosen()
    lacks: dict[str, list[str]] = {}
    for each in environments:
        if each.image is None:
            missing = await asyncio.to_thread(_lacks, each, needs)
            found = Chosen(python=each.python)
        else:
            found, missing = await _in_image(each, each.image, needs, images, waits)
        if not missing:
            return found
        lacks[each.name] = missing
    if images.runs_code:
        lacks[_OWN] = await asyncio.to_thread(_lacks, None, needs)
        if not lacks[_OWN]:
            return Chosen()
    if not lacks:
        raise JobRefused(no_image(images.runtime))
    required = [*needs.requires] or [_PYTHON_SHOWN]
    known = "; ".join(f"{environment} lacks {', '.join(missing)}" for environment, missing in lacks.items())
    raise JobRefused(
        f"{needs.name!r} requires {', '.join(required)}, and no environment of this node has it all ({known}). Make "
        "one, and name it under 'environments' in node.yaml"
    )


async def _in_image(
    environment: Environment,
    named: NamedImage,
    needs: Needs,
    images: Images,
    waits: Callable[[str], None] | None,
) -> tuple[Chosen, list[str]]:
    """The image of an environment, and what it lacks."""
    wanted = [*([_PYTHON] if needs.python else []), *needs.requires]
    try:
        image = await images.pin(named)
        # What can't be known without a look: an image may be large, and far away.
        unknown = [what for what in wanted if what not in environment.provides]
        has = await images.inventory(image, waits) if unknown else Inventory()
    except AtollError as error:
        raise RuntimeUnavailable(
            f"the environment {environment.name!r} of this node can't be used: {error}"
        ) from None
    missing = [what for what in unknown if not _has_inside(has, what, program=what in needs.programs)]
    return Chosen(image=image), [_PYTHON_SHOWN if what == _PYTHON else what for what in missing]


def _has_inside(has: Inventory, what: str, *, program: bool) -> bool:
    if what == _PYTHON:
        return has.python is not None
    if program:
        return what in has.programs
    tools = _TOOLS.match(what)
    return has.tools == int(tools[1]) if tools is not None else what in has.modules


def _lacks(environment: Environment | None, needs: Needs) -> list[str]:
    return [what for what in needs.requires if not _provides(environment, what, needs)]


def _provides(environment: Environment | None, what: str, needs: Needs) -> bool:
    """Whether an interpreter of this machine has something; None for Atoll's own."""
    if environment is not None and what in environment.provides:
        return True
    if what in needs.programs:
        return shutil.which(what) is not None
    python = None if environment is None else environment.python
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
