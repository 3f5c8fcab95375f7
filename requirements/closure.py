"""Copy a package out of an environment, with all that it asks for, and nothing else of there.

``python -m requirements.closure SITE_PACKAGES FOLDER PACKAGE…`` is how `.ci/engines` puts into an image
what a lock file names. An environment holds more than one algorithm needs, and an image should be small.
"""

import re
import shutil
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path

#: A requirement's name. What stands behind it was the resolver's affair.
_NAME = re.compile(r"[A-Za-z0-9._-]+")
#: What no algorithm imports, and what is a third of some packages.
_LEFT_OUT = {"tests"}


def closure(found: dict[str, Distribution], names: list[str]) -> list[Distribution]:
    """Some packages and all that they ask for, as far as it is there.

    What is asked for under a condition that doesn't hold was never installed.
    """
    taken: dict[str, Distribution] = {}
    while names:
        name = _plain(names.pop())
        if name in found and name not in taken:
            taken[name] = found[name]
            names += [
                asked[0]
                for one in found[name].requires or []
                if "extra ==" not in one and (asked := _NAME.match(one))
            ]
    return list(taken.values())


def copy(one: Distribution, site_packages: Path, folder: Path) -> None:
    """Copy a package's files, and what they were compiled to."""
    for listed in one.files or []:
        source = site_packages / listed
        if listed.parts[0] == ".." or _LEFT_OUT & set(listed.parts) or not source.exists():
            continue
        _put(source, folder / listed)
        if source.suffix == ".py":
            for compiled in source.parent.glob(f"__pycache__/{source.stem}.*.pyc"):
                _put(compiled, folder / compiled.relative_to(site_packages))


def _put(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # With its time of change: by it Python knows what belongs to what was compiled.
    shutil.copy2(source, target)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(site_packages: Path, folder: Path, names: list[str]) -> None:
    """Copy some packages of an environment into a folder."""
    found = {_plain(one.name): one for one in distributions(path=[str(site_packages)])}
    for name in names:
        if _plain(name) not in found:
            sys.exit(f"{site_packages} holds no {name}")
    for one in closure(found, list(names)):
        copy(one, site_packages, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
