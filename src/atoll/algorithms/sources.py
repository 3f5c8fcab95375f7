"""What of a folder is an algorithm: its documents, its entry scripts, and what is never a part of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from atoll.dialects.coinstac import entry
from atoll.model.errors import SpecInvalid

#: What is never part of an algorithm's digest: caches, and the sites' data.
_NOT_CODE = frozenset({"__pycache__", "test", "atoll-runs", "node_modules"})
#: Folders that hold thousands of files and no run.
_NO_RUNS = frozenset({"__pycache__", ".git", "node_modules", "site-packages"})
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


def kept_runs(code: Path) -> Iterator[Path]:
    """The folders of earlier runs, which hold what every site has said."""
    for where, folders, files in os.walk(code):
        if {"calls.jsonl", "events.jsonl"} <= set(files):
            folders.clear()
            yield Path(where)
        else:
            folders[:] = [name for name in folders if name not in _NO_RUNS]


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
