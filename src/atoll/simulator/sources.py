"""Where the parts of a COINSTAC simulation lie on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.algorithms.sources import kept_runs
from atoll.dialects.coinstac import entry
from atoll.dialects.coinstac.convention import RUN_FOLDER
from atoll.model.errors import SpecInvalid
from atoll.model.work import Seat
from atoll.node.site_data import SiteData
from atoll.simulator.arguments import Arguments

_FIRST_SITE = "local0"
#: Where commands say that the algorithm lies.
_COMPUTATION = "/computation"


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
