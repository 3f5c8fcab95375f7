"""Which of vantage6's packages an interpreter has."""

from __future__ import annotations

import re
from pathlib import Path

from atoll.model.errors import RuntimeUnavailable, SpecInvalid
from atoll.runtimes.interpreter import describe

#: What generation 4 asks for, and 5.
_NEEDED = {
    4: "'vantage6-algorithm-tools>=4,<5' 'pandas<3'",
    5: "'vantage6-algorithm-tools>=5,<6'",
}
_VERSION = re.compile(r"vantage6_algorithm_tools-(\d+)\.([\w.]+)\.dist-info\Z")


def installed_generation(python: Path | None) -> int | None:
    """The generation of the tools that an interpreter has; None where it has none.

    Raises:
        RuntimeUnavailable: it is no interpreter.
    """
    for folder in describe(python).libraries:
        for path in folder.glob("vantage6_algorithm_tools-*.dist-info"):
            if (match := _VERSION.search(path.name)) is not None:
                return int(match[1])
    return None


def check_tools(python: Path | None, name: str, written_for: int | None) -> int:
    """The generation that an algorithm is run as.

    Args:
        python: the interpreter that was named; None for Atoll's own.
        name: the algorithm's.
        written_for: the generation that its code is written for, where that can be told.

    Raises:
        RuntimeUnavailable: the interpreter has no tools, or those of another generation.
        SpecInvalid: the generation is not one that is known.
    """
    there = installed_generation(python)
    wanted = written_for or there or 4
    if wanted not in _NEEDED:
        raise SpecInvalid(f"{name} is written for vantage6 {wanted}: generations 4 and 5 are known")
    if there == wanted:
        return wanted
    which = "Atoll's own interpreter" if python is None else str(python)
    has = "has none of vantage6's tools" if there is None else f"has vantage6's tools of generation {there}"
    raise RuntimeUnavailable(
        f"{name} is written for vantage6 {wanted}, and {which} {has}. Make an environment for it and name it:\n"
        f"  python3 -m venv vantage6-{wanted}\n"
        f"  vantage6-{wanted}/bin/pip install {_NEEDED[wanted]}\n"
        f"  atoll simulate … --python vantage6-{wanted}/bin/python"
    )
