"""Where the parts of a COINSTAC simulation lie on this machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from atoll.dialects.coinstac import entry
from atoll.dialects.coinstac.convention import RUN_FOLDER
from atoll.model.errors import SpecInvalid
from atoll.model.work import Seat
from atoll.node.desk import SiteData
from atoll.simulator.arguments import Arguments

#: What is never part of an algorithm's digest: caches, and the sites' data.
_NOT_CODE = frozenset({"__pycache__", "test", "atoll-runs", "node_modules"})
#: Folders that hold thousands of files and no run.
_NO_RUNS = frozenset({"__pycache__", ".git", "node_modules", "site-packages"})
_FIRST_SITE = "local0"
#: Where commands say that the algorithm lies.
_COMPUTATION = "/computation"
#: Files of an algorithm that are digested by content; beyond it, by name and size alone.
_DIGESTED_BYTES_MAX = 1024 * 1024


def read(path: Path, what: str, remedy: str) -> str:
    """The text of a document.

    Raises:
        SpecInvalid: the file is not there, or can't be read.
    """
    try:
        if path.exists() and not path.is_file():  # a device has no end
            raise SpecInvalid(f"{path} is no file: expected {what}. {remedy}")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise SpecInvalid(f"{path} is not there: expected {what}. {remedy}") from None
    except UnicodeDecodeError as error:
        raise SpecInvalid(f"{path} is not UTF-8 (at byte {error.start}): expected {what}") from None
    except OSError as error:
        raise SpecInvalid(f"{path} can't be read ({error.strerror}): expected {what}. {remedy}") from None


def directory_of(asked: Arguments, first: Path) -> Path:
    """Where the sites' files lie: as named, or the test folder that has them, or may have.

    Args:
        asked: what was asked for.
        first: the folder of the first computation.

    Raises:
        SpecInvalid: the folder that was named is not there.
    """
    if asked.directory is not None:
        if not asked.directory.is_dir():
            raise SpecInvalid(f"--directory {asked.directory} is not a folder")
        return asked.directory
    base = asked.path if asked.path.is_dir() else asked.path.parent
    candidates = [
        base / "test",
        *([asked.pipeline.parent / "test"] if asked.pipeline else []),
        first / "test",
    ]
    marks = (f"input/{_FIRST_SITE}", _FIRST_SITE, "inputspec.json", ".")
    there = (folder for mark in marks for folder in candidates if (folder / mark).exists())
    return next(there, candidates[-1])


def site_folder(directory: Path, seat: str) -> tuple[Path | None, str | None]:
    """The folder with a seat's files, in either of the layouts, and a warning where both are there."""
    layouts = [directory / "input" / seat / RUN_FOLDER, directory / seat / RUN_FOLDER]
    there = [folder for folder in layouts if folder.is_dir()]
    warning = None
    if len(there) > 1:
        warning = f"{seat} has files in {there[0]} and in {there[1]}; the first folder is taken"
    return (there[0] if there else None), warning


def leading_out(directory: Path, folders: Mapping[Seat, SiteData]) -> list[str]:
    """A warning for each seat whose files lie outside of the folder that holds the test folder.

    Test folders come with computations. A link in one may be a researcher's, to a large file; or an
    author's, to what is no algorithm's business.
    """
    around = directory.parent.resolve()
    warnings = []
    for seat, data in folders.items():
        there = [str(path) for path in (data.folder, *data.outside) if not path.is_relative_to(around)]
        if there:
            named = ", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
            warnings.append(
                f"links in {directory} show {seat} files from elsewhere on this machine: {named}. If that is "
                "meant, name the folder with --directory"
            )
    return warnings


def masked(
    code: Path, directory: Path, runs: Path, seats: Sequence[str], inputspecs: Sequence[Path] = ()
) -> tuple[str, ...]:
    """What an algorithm must not see of its own folder: other sites' data, all runs, history.

    Args:
        code: the algorithm's folder.
        directory: where the sites' files lie.
        runs: the folder of this run, or one that holds it.
        seats: the seats of the run.
        inputspecs: documents that may hold what each site was asked.
    """
    parts = {"test", "atoll-runs", ".git"}
    inner, outer = directory.resolve(), code.resolve()
    if inner == outer:
        parts |= {"input", "output", *seats}
    paths = (inner, runs.resolve(), *(path.resolve() for path in inputspecs), *kept_runs(outer))
    hidden = [path for path in paths if outer in path.parents]
    parts |= {path.relative_to(outer).as_posix() for path in hidden}
    there = {part for part in parts if (outer / part).exists()}
    return tuple(sorted(part for part in there if not any(part.startswith(f"{other}/") for other in there)))


def kept_runs(code: Path) -> Iterator[Path]:
    """The folders of earlier runs, which hold what every site has said."""
    for where, folders, files in os.walk(code):
        if {"calls.jsonl", "events.jsonl"} <= set(files):
            folders.clear()
            yield Path(where)
        else:
            folders[:] = [name for name in folders if name not in _NO_RUNS]


def code_folder(compspec: Path, asked: Arguments, command: Sequence[str]) -> Path:
    """A computation's folder: its compspec's, unless only the folder that was asked for has its scripts.

    That may be so for a compspec that was named by itself. Each step of a pipeline lies in its own.
    """
    beside = compspec.parent.resolve()
    if compspec != asked.compspec:
        return beside
    words = [word.removeprefix(f"{_COMPUTATION}/") for word in (*command, "Dockerfile", entry.DEFAULT)]
    scripts = [word for word in words if not word.startswith("/")]

    def has_script(folder: Path) -> bool:
        return any(os.path.isfile(folder / script) for script in scripts)

    named = asked.path.resolve()
    return named if has_script(named) and not has_script(beside) else beside


def entry_scripts(codes: Sequence[Path], named: str | None) -> Mapping[Path, str]:
    """The entry scripts of protocol-2 computations, each relative to its folder.

    Args:
        codes: their folders.
        named: the script that was asked for; it is that of each computation that has it.

    Raises:
        SpecInvalid: a computation has none, or none has the one that was asked for.
    """
    asked = {} if named is None else {code: _named_script(code, named) for code in codes}
    if asked and not any(asked.values()):
        raise SpecInvalid(
            f"--entry {named} is not a file in {codes[0]}: expected the script that calls coinstac.start"
        )
    return {code: asked.get(code) or _own_script(code) for code in codes}


def _named_script(code: Path, named: str) -> str | None:
    path = code / named if (code / named).exists() else Path(named)
    if not path.is_file() or not path.resolve().is_relative_to(code.resolve()):
        return None
    return path.resolve().relative_to(code.resolve()).as_posix()


def _own_script(code: Path) -> str:
    dockerfile = code / "Dockerfile"
    started = entry.started_by(dockerfile.read_text(errors="replace")) if dockerfile.is_file() else None
    if started is not None and (code / started).is_file():
        return started
    for path in sorted(code.rglob(entry.DEFAULT), key=lambda found: (len(found.parts), found)):
        if not _NOT_CODE & set(path.relative_to(code).parts):
            return path.relative_to(code).as_posix()
    raise SpecInvalid(
        f"{code} has no entry script: a protocol-2 computation is started by what its Dockerfile starts, "
        f"or by {entry.DEFAULT}. Name it with --entry"
    )


def digest_of(code: Path, without: Iterable[str] = ()) -> str:
    """A digest of an algorithm's folder without the sites' data: names and content of its files.

    Args:
        code: the folder.
        without: parts of it that are no part of the algorithm, relative to it.
    """
    digest = hashlib.sha256()
    left_out = {str(code / part) for part in without}
    for where, folders, files in os.walk(code):
        kept = (name for name in folders if name not in _NOT_CODE and not name.startswith("."))
        folders[:] = sorted(name for name in kept if os.path.join(where, name) not in left_out)
        for name in sorted(files):
            path = Path(where, name)
            if path.is_symlink() or not path.is_file() or str(path) in left_out:
                continue
            size_bytes = path.stat().st_size
            digest.update(f"{path.relative_to(code)}\0{size_bytes}\0".encode(errors="surrogateescape"))
            # What can't be read here can't be read by the algorithm either.
            if size_bytes <= _DIGESTED_BYTES_MAX and os.access(path, os.R_OK):
                digest.update(path.read_bytes())
    return f"sha256:{digest.hexdigest()}"
