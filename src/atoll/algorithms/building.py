"""What goes into the image of an algorithm: its Dockerfile, its files, and what it says of itself.

An image holds what a bundle would: the algorithm's files, and nothing of anybody's data. The same files
give the same bytes, so whoever has the source can see what an image was made from. Nothing is built
here: an engine does that with what is written.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from atoll.algorithms import archive
from atoll.algorithms.archive import Member
from atoll.algorithms.bundle import CODE
from atoll.algorithms.contents import files_of
from atoll.algorithms.describing import Described, describe
from atoll.algorithms.ignored import ignored
from atoll.algorithms.images import LABEL
from atoll.algorithms.installing import sdk
from atoll.algorithms.manifest import Manifest, decode, is_image_name, programs
from atoll.algorithms.requirements import Requirements, read_requirements, read_version
from atoll.algorithms.sources import read
from atoll.dialects.vantage6.wrapping import WRAPPER
from atoll.engine.limits import IMAGE_LABEL_CHARACTERS_MAX
from atoll.model.errors import JobRefused, SpecInvalid

#: What images are made on where nobody says it. Generation 5 of vantage6 asks for Python 3.13.
BASE = "docker.io/library/python:3.11-slim"
BASE_OF_VANTAGE6_5 = "docker.io/library/python:3.13-slim"
#: Where the Dockerfile lies in what the engine is given. No file of an algorithm begins with a dot.
DOCKERFILE = ".atoll.Dockerfile"
#: Where algorithms find their code, and what they are lent.
_CODE, _LENT = "/computation", "/opt/atoll"
#: Nobody's user and group, on every machine.
_USER = "65532:65532"
#: What vantage6's tools of a generation are, for pip. Those of generation 4 were written for pandas 2.
_TOOLS = {4: ("vantage6-algorithm-tools>=4,<5", "pandas<3"), 5: ("vantage6-algorithm-tools>=5,<6",)}
#: Debian's own Python lets pip install only where it is told that this is meant.
_PIP = "PIP_BREAK_SYSTEM_PACKAGES=1 python -m pip install --no-cache-dir --disable-pip-version-check"
#: An image of the engine's own, without a name.
_ID = re.compile(r"sha256:[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """How an image is to be made."""

    #: What it is made on; None for what fits the algorithm.
    base: str | None = None
    #: A Dockerfile to use, instead of one that is written here.
    dockerfile: Path | None = None
    #: The file that says what must be installed; None for the one in the algorithm's folder.
    requirements: Path | None = None
    #: Whether what must be installed is installed. Else the base has it.
    installs: bool = True
    #: What the image is called; None for what the algorithm is called.
    name: str | None = None
    #: See `describe`.
    dialect: str = "auto"
    package: str | None = None
    entry: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that an engine needs to make an image."""

    manifest: Manifest
    #: What the image is called.
    name: str
    #: What it is made on; None where a Dockerfile of the author's says it.
    base: str | None
    dockerfile: str
    #: What the image says of itself.
    labels: Mapping[str, str]
    #: The other files, by their names in what the engine is given.
    files: Mapping[str, bytes | Path]
    #: What a person should know.
    notes: tuple[str, ...] = ()

    def write(self, target: BinaryIO) -> None:
        """Write what the engine is given: an archive, the same for the same files.

        Raises:
            SpecInvalid: a file has too long a name, or was changed meanwhile.
        """
        files: dict[str, bytes | Path] = {**self.files, DOCKERFILE: self.dockerfile.encode()}
        names = sorted(files, key=os.fsencode)
        archive.write(target, [(_member(name, files[name]), files[name]) for name in names])


def plan(path: Path, asked: Asked) -> Recipe:
    """Find out what goes into the image of the algorithm that lies at a path.

    Args:
        path: its folder, its module, or its compspec.json.
        asked: how the image is to be made.

    Raises:
        SpecInvalid: it is no algorithm, or no image can be made of it in this way.
    """
    described = describe(path, dialect=asked.dialect, package=asked.package, entry=asked.entry)
    try:
        decode(described.manifest.encode())
    except JobRefused as error:  # Its names stand in the Dockerfile as they are.
        raise SpecInvalid(f"{path} can't be packed: {error}") from None
    name = asked.name or _name(described.manifest)
    if not is_image_name(name):
        raise SpecInvalid(f"{name[:80]!r} is no name of an image: expected one such as example/mean:1.0")
    folder = (path if path.is_dir() else path.parent).resolve()
    if asked.dockerfile is not None:
        return _with_dockerfile(described, folder, name, asked.dockerfile)
    return _generated(described, folder, name, asked)


def _with_dockerfile(described: Described, folder: Path, name: str, dockerfile: Path) -> Recipe:
    text = read(dockerfile, "a Dockerfile", "Leave --dockerfile out, and one is written")
    names, left_out = files_of(folder), ignored(folder, dockerfile)
    return Recipe(
        manifest=described.manifest,
        name=name,
        base=None,
        dockerfile=text,
        labels=_labels(described.manifest, folder, None),
        files={file: folder / file for file in names if not left_out(file)},
        notes=tuple(_left_out(sum(map(left_out, names)))),
    )


def _generated(described: Described, folder: Path, name: str, asked: Asked) -> Recipe:
    manifest = described.manifest
    needed = read_requirements(folder, asked.requirements)
    lines = _installed(manifest, needed, asked) if asked.installs else ()
    _check_base(manifest, lines, asked)
    base = asked.base or (BASE_OF_VANTAGE6_5 if manifest.generation == 5 else BASE)
    if not (_ID.match(base) or is_image_name(base.partition("@")[0])):
        raise SpecInvalid(f"the base {base[:80]!r} is no name of an image: expected one such as {BASE}")
    left_out, placed = ignored(folder), dict(described.placed())
    files: dict[str, bytes | Path] = {
        name: file for name, file in placed.items() if not left_out(_within(folder, file))
    }
    kept_out = len(placed) - len(files)
    if manifest.dialect == "functions":
        files |= _sdk()
    if lines:
        files["requirements.txt"] = "".join(f"{line}\n" for line in lines).encode()
    return Recipe(
        manifest=manifest,
        name=name,
        base=base,
        dockerfile=_dockerfile(manifest, base, installs=bool(lines)),
        labels=_labels(manifest, folder, base),
        files=files,
        notes=(*_notes(manifest, folder, lines, asked), *_left_out(kept_out)),
    )


def _installed(manifest: Manifest, needed: Requirements, asked: Asked) -> tuple[str, ...]:
    """What is installed on top of the base, as pip reads it."""
    # A base that somebody has chosen has vantage6's tools: there are such bases.
    tools = _TOOLS[manifest.generation or 4] if _is_wrapped(manifest) and asked.base is None else ()
    missing = (line for line in tools if not Requirements(lines=(line,)).names <= needed.names)
    return (*needed.lines, *missing)


def _check_base(manifest: Manifest, lines: tuple[str, ...], asked: Asked) -> None:
    """See that the base has what the code starts and imports, as far as that is known."""
    if asked.base is not None:
        return
    started = programs(manifest)
    if started:
        raise SpecInvalid(
            f"{manifest.name} starts {' and '.join(started)}, which {BASE} doesn't have: name an image that has it "
            "with --base, or a Dockerfile with --dockerfile"
        )
    imported = _imports(manifest)
    if imported and asked.installs and not lines:
        raise SpecInvalid(
            f"{manifest.name} imports {', '.join(imported)}, and nothing says what has to be installed for that: put a "
            "requirements.txt into its folder, name one with --requirements, or name an image that has it with --base"
        )


def _notes(manifest: Manifest, folder: Path, lines: tuple[str, ...], asked: Asked) -> Iterator[str]:
    if (folder / "Dockerfile").is_file():
        yield f"{folder / 'Dockerfile'} is not used: a Dockerfile is written. To use it, name it with --dockerfile"
    imported = _imports(manifest)
    if imported and not lines:
        yield f"The code imports {', '.join(imported)}, and nothing is installed: {asked.base or BASE} has to have it"
    if manifest.serves:
        yield (
            "Atoll brings the module coinstac along. Where the image should run elsewhere, name coinstac in its "
            "requirements"
        )


def _left_out(count: int) -> Iterator[str]:
    if count:
        yield f"{count} {'file is' if count == 1 else 'files are'} left out, as .dockerignore says"


def _within(folder: Path, file: Path) -> str:
    """The path of a file from a folder, which has no links in it."""
    return os.path.relpath(file.parent.resolve() / file.name, folder)


def _imports(manifest: Manifest) -> list[str]:
    started = programs(manifest)
    return [name for name in manifest.requires if name.isidentifier() and name not in started]


def _is_wrapped(manifest: Manifest) -> bool:
    """Whether vantage6's own wrapper calls the algorithm."""
    return manifest.dialect == "vantage6" and not manifest.command


# --- What it is called, and what it says of itself --------------------------------------------------


def _name(manifest: Manifest) -> str:
    if manifest.compspec is not None:
        named = json.loads(manifest.compspec)["computation"].get("dockerImage")
        if isinstance(named, str) and is_image_name(named):
            return named
    return re.sub(r"[^a-z0-9]+", "-", manifest.name.lower()).strip("-") or "algorithm"


def _labels(manifest: Manifest, folder: Path, base: str | None) -> dict[str, str]:
    if manifest.compspec is not None:
        version = str(json.loads(manifest.compspec)["meta"].get("version") or "")
    else:
        version = read_version(folder)
    # In letters that every engine takes, and on one line.
    description = json.dumps(json.loads(manifest.encode()), separators=(",", ":"))
    if len(description) > IMAGE_LABEL_CHARACTERS_MAX:
        raise SpecInvalid(
            f"the description of {manifest.name} has {len(description)} characters: expected at most "
            f"{IMAGE_LABEL_CHARACTERS_MAX} for an image. Is its specification that long?"
        )
    labels = {
        LABEL: description,
        "org.opencontainers.image.title": manifest.name,
        "org.opencontainers.image.version": version,
        "org.opencontainers.image.base.name": base or "",
    }
    return {name: value for name, value in labels.items() if value}


# --- The Dockerfile and the files -------------------------------------------------------------------


def _dockerfile(manifest: Manifest, base: str, *, installs: bool) -> str:
    lines = ["# Written by atoll image build.", f"FROM {base}"]
    if installs:
        lines += [
            # A base may have a user that can't install.
            "USER 0:0",
            f"COPY requirements.txt {_LENT}/requirements.txt",
            f"RUN {_PIP} -r {_LENT}/requirements.txt",
        ]
    if manifest.dialect == "functions":
        lines += [f"COPY lib {_LENT}/lib", f"ENV PYTHONPATH={_LENT}/lib"]
    if _is_wrapped(manifest):
        lines += [f"ENV PKG_NAME={manifest.target} PYTHONPATH={_CODE}"]
    lines += [f"COPY {CODE} {_CODE}", f"WORKDIR {_CODE}", f"USER {_USER}"]
    command = _command(manifest)
    if command:
        lines += ["ENTRYPOINT []", f"CMD {json.dumps(command)}"]
    return "\n".join([*lines, ""])


def _command(manifest: Manifest) -> tuple[str, ...]:
    """What the image starts by itself. Nothing where each call says what it starts: then the base says it."""
    if manifest.dialect == "vantage6":
        return manifest.command or WRAPPER
    return manifest.command if manifest.serves else ()


def _sdk() -> dict[str, Path]:
    """The package that functions import. It needs no other, and so isn't installed from anywhere."""
    package = sdk()
    return {
        f"lib/{package.name}/{path.relative_to(package).as_posix()}": path for path in package.rglob("*.py")
    }


def _member(name: str, content: bytes | Path) -> Member:
    if isinstance(content, bytes):
        return Member(name=name, size_bytes=len(content))
    return Member.of(name, content)
