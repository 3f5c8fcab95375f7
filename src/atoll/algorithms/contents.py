"""Which files of a folder an algorithm's bundle holds: its code, and nothing of anybody's data.

Left out are tests, sites' files, kept runs, caches, virtual environments, what a version control
keeps, hidden files, and whatever a file that describes a federation names. Nothing outside of
the folder is ever taken, nor what is left out of it by another name: a link that leads to either is
refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from atoll.algorithms.sources import kept_runs
from atoll.engine.limits import BUNDLE_BYTES_MAX, BUNDLE_FILES_MAX
from atoll.model.errors import SpecInvalid

#: Folders that are none of the algorithm's, wherever they lie.
_FOLDERS = frozenset({"__pycache__", "atoll-runs", "site-packages"})
#: Folders and files at the top that are for tests alone.
_TESTS = frozenset({"test", "tests"})
_SUFFIXES = (".pyc", ".pyo", ".egg-info", ".dist-info")
#: What the folders of simulated sites are called.
_SITE = re.compile(r"local[0-9]+\Z")
#: Bytes of a file that may describe a federation. Longer ones don't.
_FEDERATION_BYTES_MAX = 1024**2


def files_of(folder: Path, without: Iterable[str] = ()) -> list[str]:
    """The names of the files of an algorithm's folder, sorted.

    Args:
        folder: its folder.
        without: parts of it that are left out, relative to it.

    Raises:
        SpecInvalid: something of it can't be passed on, or there is too much of it.
    """
    root = folder.resolve()
    left_out = {root / part for part in without} | set(kept_runs(root)) | set(of_federations(root))
    left_out |= {root / name for name in _TESTS} | set(_of_sites(root))
    left_out |= {path.resolve() for path in left_out}
    names: list[str] = []
    total = 0
    for path in _walked(root, left_out):
        size = path.stat().st_size
        total += size
        names.append(path.relative_to(root).as_posix())
        if len(names) > BUNDLE_FILES_MAX or total > BUNDLE_BYTES_MAX:
            raise SpecInvalid(
                f"{folder} is too large for a bundle: expected at most {BUNDLE_FILES_MAX} files and "
                f"{BUNDLE_BYTES_MAX // 1024**2} MiB without tests and data. Name the folder of the algorithm itself, "
                "or make an image of it"
            )
    return sorted(names, key=os.fsencode)


def _walked(root: Path, left_out: set[Path]) -> Iterator[Path]:
    for where, folders, files in os.walk(root):
        here = Path(where)
        kept = []
        for name in sorted(folders):
            path = here / name
            if not _is_part(path, left_out) or name in _FOLDERS or (path / "pyvenv.cfg").exists():
                continue
            if path.is_symlink():
                raise SpecInvalid(
                    f"{path} is a link to a folder: a bundle holds files alone. Put a folder in its place"
                )
            kept.append(name)
        folders[:] = kept
        for name in files:
            path = here / name
            if not _is_part(path, left_out):
                continue
            if not path.is_file() or (path.is_symlink() and not _leads_to_part(path, root, left_out)):
                raise SpecInvalid(
                    f"{path} can't be in a bundle: expected a file, and no link that leads out of {root} or to what is "
                    "left out there, such as tests and data. Remove it, or put the file itself in its place"
                )
            yield path


def _leads_to_part(link: Path, root: Path, left_out: set[Path]) -> bool:
    target = link.resolve()
    if not target.is_relative_to(root):
        return False
    names = target.relative_to(root).parts
    on_the_way = [root.joinpath(*names[:count]) for count in range(1, len(names) + 1)]
    return not _FOLDERS & set(names) and all(_is_part(path, left_out) for path in on_the_way)


def _is_part(path: Path, left_out: set[Path]) -> bool:
    return not path.name.startswith(".") and not path.name.endswith(_SUFFIXES) and path not in left_out


def _of_sites(root: Path) -> Iterator[Path]:
    """The folders of simulated sites, where they lie beside the code."""
    for folder in (root, root / "input", root / "output"):
        if folder.is_dir():
            found = [path for path in folder.iterdir() if _SITE.match(path.name) and path.is_dir()]
            yield from found
            if found and folder != root:
                yield folder


def of_federations(root: Path) -> Iterator[Path]:
    """Files at the top that describe a federation, and the databases that they name."""
    for path in (*root.glob("*.yaml"), *root.glob("*.yml")):
        if path.is_file() and path.stat().st_size <= _FEDERATION_BYTES_MAX:
            try:
                document = yaml.safe_load(path.read_bytes())
            except (yaml.YAMLError, ValueError, RecursionError):
                continue
            if isinstance(document, dict) and isinstance(document.get("sites"), dict):
                yield path
                for uri in _uris(document["sites"]):
                    yield Path(os.path.normpath(root / uri))


def _uris(sites: dict[Any, Any]) -> Iterator[str]:
    for site in sites.values():
        databases = site.get("databases") if isinstance(site, dict) else None
        for database in databases.values() if isinstance(databases, dict) else ():
            uri = database.get("uri") if isinstance(database, dict) else database
            if isinstance(uri, str) and "://" not in uri and "\0" not in uri:
                yield uri
