"""What node.yaml says of environments: interpreters of this machine, and images that code runs in.

An environment's image is named by the site's own people. So nobody has to have signed it, and no policy
has to list it; its digest says which one it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from atoll.algorithms.manifest import is_image_name
from atoll.engine.running import ImageKind
from atoll.node.containers import ENGINES
from atoll.node.sections import Section

#: The runtimes that run nothing but images.
IMAGES_ALONE = (*ENGINES, "apptainer", "kubernetes")
#: Those that run images which are files.
OF_FILES = ("bubblewrap", "apptainer", "slurm")
#: What stands before the name of a container engine's image, and before the path of a file that is one.
_OF_ENGINE, _OF_FILE = "docker:", "sif:"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_EXPECTED = (
    "expected one such as registry.example/stats@sha256:… (with the 64 digits of its digest), stats:2026 for one that "
    "this machine's engine has, or sif:stats.sif for a file"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedImage:
    """An image, as node.yaml names it."""

    kind: ImageKind
    #: As a container engine and a registry call it; of a file its path.
    name: str
    #: What it must be. None: whatever has that name on this machine when a run first needs it.
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """What algorithms run in that need what is installed there: an interpreter of this machine, or an image."""

    name: str
    #: The interpreter; None where it is an image.
    python: Path | None = None
    image: NamedImage | None = None
    #: What it provides beside what is found installed there: ``vantage6-4``, names of packages.
    provides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.python is None) == (self.image is None):
            raise ValueError(
                f"the environment {self.name!r} is an interpreter or an image: expected one of them"
            )


def no_image(runtime: str) -> str:
    """Why code can't be run where only images are, and no environment is one: a sentence, with the remedy."""
    return (
        f"runtime {runtime} runs images, and this algorithm is code without one. This site's people can name an image "
        "for code in node.yaml, one with Python 3.8 or later and what such code needs: 'environments: {stats: {image: "
        "registry.example/stats@sha256:…}}'. Or submit an image of the algorithm (atoll image build)"
    )


def read_environments(
    section: Section, runtime: str, *, runs_code: bool, contained: bool, files: bool
) -> tuple[Environment, ...]:
    """The environments.

    Args:
        section: the settings in which they stand.
        runtime: the node's.
        runs_code: whether it runs code with interpreters of this machine.
        contained: whether the node runs a container engine's images.
        files: whether it runs images that are files.
    """
    found = []
    for name, described in section.mapping("environments").items():
        inner = Section(
            {"python": described} if isinstance(described, str) else described,
            f"{section.where}: environment {name!r}",
            section.faults,
            folder=section.folder,
        )
        python, image = inner.file("python"), _image(inner)
        provides = inner.words("provides")
        if inner.has("python") == inner.has("image"):
            inner.fault(
                "python or image",
                f"is {'missing' if not inner.has('image') else 'one too many'}: expected the path of an interpreter "
                "such as venv/bin/python, or the name of an image",
            )
        elif python is not None and not runs_code:
            inner.fault(
                "python",
                f"is an interpreter of this machine, and runtime {runtime} runs images alone: expected 'image'",
            )
        elif image is not None:
            _check_kind(inner, image, runtime, contained=contained, files=files)
        if (python is None) != (image is None):
            found.append(Environment(name=name, python=python, image=image, provides=provides))
        inner.close()
    return tuple(found)


def _image(section: Section) -> NamedImage | None:
    text = section.optional("image")
    if text is None:
        return None
    name, at, digest = text.partition("@")
    if at and not _DIGEST.match(digest):
        section.fault("image", f"has no digest behind its @: {_EXPECTED}")
        return None
    if name.startswith(_OF_FILE):
        path = section.folder / name.removeprefix(_OF_FILE)
        if not path.exists():
            section.fault("image", f"names {path}, which is not there")
            return None
        return NamedImage(kind=ImageKind.SIF, name=str(path), digest=digest or None)
    name = name.removeprefix(_OF_ENGINE)
    if not is_image_name(name):
        # It may be an address with somebody's password in it, and isn't quoted.
        section.fault("image", f"is no name of an image: {_EXPECTED}")
        return None
    return NamedImage(kind=ImageKind.OCI, name=name, digest=digest or None)


def _check_kind(section: Section, image: NamedImage, runtime: str, *, contained: bool, files: bool) -> None:
    """Note an image that nothing here could run."""
    if image.kind is ImageKind.SIF:
        if not files:
            section.fault(
                "image",
                f"is a file, and runtime {runtime} runs no such images here: expected one of a container engine, or "
                f"a runtime that is one of {', '.join(OF_FILES)}",
            )
    elif runtime == "kubernetes":
        if image.digest is None:
            section.fault("image", "has no digest, by which a cluster is told of it: expected NAME@sha256:…")
    elif not contained:
        section.fault(
            "image",
            "is one of a container engine, and this node has none: expected a section 'containers' beside it, "
            "or sif: and the path of a file",
        )
