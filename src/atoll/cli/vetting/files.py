"""The files of an algorithm: the Python among them, and what can't be read."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from atoll.cli.vetting.findings import Finding, finding

#: Files that are read, and bytes of one. Published algorithms have tens of files, and a Python
#: file of more than four megabytes holds data.
_FILES_MAX = 2000
_BYTES_MAX = 4_000_000
_PASSED_OVER = frozenset({"__pycache__", ".git", "node_modules", "site-packages", "atoll-runs"})
#: Endings of programs in other languages, and of compiled ones.
_PROGRAMS = frozenset(
    ".r .js .mjs .ts .sh .bash .m .jl .pl .rb .java .scala .c .cc .cpp .h .rs .go .f90 .sas .ipynb".split()
)
_COMPILED = frozenset(".so .pyd .dll .dylib .pyc .pyo .o .a .exe .jar .class .wasm .whl .egg".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """What was read of an algorithm."""

    #: Texts of the Python files, by their paths from where it is imported.
    texts: Mapping[str, str]
    #: What those paths are relative to.
    base: Path
    #: About files that were not read.
    findings: tuple[Finding, ...]

    def shown(self, file: str) -> str:
        """A file as it can be opened from where the command was typed."""
        return shown(self.base / file)


def read_files(path: Path, *, base: Path, without: Collection[str] = ()) -> Files:
    """Read an algorithm's files.

    Args:
        path: its folder, or its only file.
        base: what the names of the files are relative to.
        without: parts of the folder that the algorithm doesn't see.
    """
    texts: dict[str, str] = {}
    findings: list[Finding] = []
    for file in [path] if path.is_file() else _walk(path, without):
        ending, name = file.suffix.lower(), shown(file)
        if ending == ".py":
            size = file.stat().st_size
            if len(texts) == _FILES_MAX:
                words = f"only the first {_FILES_MAX:,} Python files were read; this is the next"
                findings.append(finding("not-read", name, 0, words))
                break
            if size > _BYTES_MAX:
                findings.append(finding("not-read", name, 0, f"has {size:,} bytes, and was not read"))
            else:
                texts[file.relative_to(base).as_posix()] = file.read_text(encoding="utf-8", errors="replace")
        elif ending in _COMPILED:
            findings.append(finding("unreadable", name, 0, "is compiled code"))
        elif ending in _PROGRAMS:
            findings.append(finding("not-python", name, 0, "is a program in another language"))
    return Files(texts=texts, base=base, findings=tuple(findings))


def shown(path: Path) -> str:
    """A path as people type it: from where they are, where it lies below."""
    real, here = os.path.abspath(path), os.getcwd()
    return os.path.relpath(real, here) if real.startswith(f"{here}{os.sep}") else real


def _walk(folder: Path, without: Collection[str]) -> Iterator[Path]:
    left_out = {folder / part for part in without}
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if name not in _PASSED_OVER
            and Path(where, name) not in left_out
            and not os.path.exists(os.path.join(where, name, "pyvenv.cfg"))
        )
        for name in sorted(files):
            path = Path(where, name)
            if path not in left_out and path.is_file():
                yield path
