"""Where the code of an algorithm that is written as functions lies: a module, a package, a folder."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from atoll.algorithms.image import dockerfile_of
from atoll.algorithms.sources import digest_of
from atoll.model.errors import SpecInvalid

#: Folders of a repository that hold no algorithm.
_NOT_PACKAGES = frozenset({"test", "tests", "docs", "doc", "utils", "build", "dist", "examples", "scripts"})
#: Python files of a folder that are not what it is for.
_NO_MODULE = re.compile(r"(?:setup|conftest|noxfile|__main__|test_.*|.*_test)\.py")
#: The modules that a line imports.
_IMPORT = re.compile(r"^[ \t]*(?:import[ \t]+([\w., \t]+)|from[ \t]+(\w[\w.]*)[ \t]+import\b)", re.MULTILINE)
_PKG_NAME = re.compile(
    r"^[ \t]*(?:ENV|ARG)[ \t]+PKG_NAME[= \t]+[\"']?([\w.-]+)", re.IGNORECASE | re.MULTILINE
)
#: Bytes of a source file that are read.
_SOURCE_BYTES_MAX = 4_000_000
_SOURCES_MAX = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """An algorithm's code, and what of it an algorithm sees."""

    #: The module's file, the package's folder, or a folder of files that belong together.
    path: Path
    #: Where it appears in ``/computation``; None where the folder itself is that.
    name: str | None
    #: What is imported or started: ``mean.py`` or ``v6_average_py``, relative to ``/computation``.
    target: str
    #: Parts of the folder that the algorithm must not see.
    masked: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """The name under which it is imported."""
        return self.target.removesuffix(".py")

    def digest(self) -> str:
        """A digest of its files."""
        if self.path.is_file():
            return f"sha256:{hashlib.sha256(self.path.read_bytes()).hexdigest()}"
        return digest_of(self.path, self.masked)

    def sources(self) -> dict[str, str]:
        """The texts of its Python files, by their names from where it is imported."""
        base = self.path.parent if self.name is not None else self.path
        texts: dict[str, str] = {}
        for path in _python_files(self.path, self.masked):
            if len(texts) < _SOURCES_MAX and path.stat().st_size <= _SOURCE_BYTES_MAX:
                texts[path.relative_to(base).as_posix()] = path.read_text(encoding="utf-8", errors="replace")
        return texts


def find_code(path: Path, package: str | None) -> Code:
    """The code that a path names.

    Args:
        path: a module's file, a package's folder, or a folder that holds either.
        package: the name of the package, where there is more than one.

    Raises:
        SpecInvalid: there is none, or more than one.
    """
    if not path.exists():
        raise SpecInvalid(f"{path} is not there: expected a Python file, a package, or a folder with either")
    path = path.resolve()
    if path.is_file():
        if path.suffix != ".py":
            raise SpecInvalid(f"{path} is no Python file: expected one, a package, or a folder with either")
        # What it imports lies beside it, as where Python is given the file.
        return (
            _code(path, path.parent) if _beside(path) else Code(path=path, name=path.name, target=path.name)
        )
    if (path / "__init__.py").is_file() and package in (None, path.name):
        return Code(path=path, name=path.name, target=path.name, masked=_hidden(path))
    return _in_folder(path, package)


def _in_folder(folder: Path, package: str | None) -> Code:
    named = _PKG_NAME.search(dockerfile_of(folder))
    wanted = package or (named[1] if named else None)
    packages = [path for root in (folder, folder / "src") if root.is_dir() for path in _packages(root)]
    modules = [path for path in sorted(folder.glob("*.py")) if not _NO_MODULE.fullmatch(path.name)]
    if wanted is not None:
        fitting = [path for path in (*packages, *modules) if wanted in (path.name, path.stem)]
        if not fitting:
            there = ", ".join(path.name for path in (*packages, *modules)) or "nothing that is Python"
            raise SpecInvalid(
                f"{folder} has no package {wanted!r} (it has {there}): name the one that holds the functions "
                "with --package"
            )
        return _code(fitting[0], folder)
    if len(packages) == 1:
        return _code(packages[0], folder)
    parts = {name for module in modules for name in _beside(module)} if len(modules) > 1 else set()
    whole = [module for module in modules if module.stem not in parts]
    if not packages and len(whole) == 1:
        return _code(whole[0], folder)
    if not packages and not modules:
        raise SpecInvalid(
            f"{folder} holds no algorithm: expected a compspec.json, a Python package or a Python file"
        )
    several = ", ".join(path.name for path in (packages or modules))
    raise SpecInvalid(
        f"{folder} holds several: {several}. Name the one that holds the functions with --package"
    )


def _code(path: Path, folder: Path) -> Code:
    if path.is_dir():
        return Code(path=path, name=path.name, target=path.name, masked=_hidden(path))
    # The module may import those beside it; what is not Python there may be data.
    others = tuple(
        sorted(
            entry.name
            for entry in folder.iterdir()
            if entry.suffix != ".py"
            and not ((entry / "__init__.py").is_file() and entry.name not in _NOT_PACKAGES)
        )
    )
    return Code(path=folder, name=None, target=path.name, masked=others)


def _beside(module: Path) -> set[str]:
    """The names of modules and packages in its folder that a module imports."""
    with module.open("rb") as file:
        text = file.read(_SOURCE_BYTES_MAX).decode("utf-8", errors="replace")
    names = {
        first[0]
        for match in _IMPORT.finditer(text)
        for name in (match[1] or match[2]).split(",")
        if (first := re.match(r"\w+", name.strip()))
    }
    folder = module.parent
    return {
        name
        for name in names - {module.stem}
        if (folder / f"{name}.py").is_file() or (folder / name / "__init__.py").is_file()
    }


def _packages(root: Path) -> list[Path]:
    return [
        path
        for path in sorted(root.iterdir())
        if (path / "__init__.py").is_file()
        and path.name not in _NOT_PACKAGES
        and not path.name.startswith(".")
    ]


def _hidden(package: Path) -> tuple[str, ...]:
    there = ("test", "tests", "atoll-runs", ".git")
    return tuple(name for name in there if (package / name).exists())


def _python_files(path: Path, masked: tuple[str, ...]) -> list[Path]:
    if path.is_file():
        return [path]
    found: list[Path] = []
    left_out = {path / part for part in masked}
    for where, folders, files in os.walk(path):
        folders[:] = sorted(
            name for name in folders if name != "__pycache__" and Path(where, name) not in left_out
        )
        inner = (Path(where, name) for name in sorted(files) if name.endswith(".py"))
        found += [file for file in inner if file.is_file() and file not in left_out]
    return found
