"""What a bundle says of itself: how the algorithm in it is called, and what it needs.

An algorithm that is an image is a bundle, too: one that holds nothing but this, with the image's
digest in it. So whoever knows bundles knows images, and the bundle's digest covers the image's.

It is a part of the bundle, so that its digest covers it. Whoever reads it believes it as little
as the code beside it: it says how that code is started, and nothing about what it may do.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from atoll.algorithms.ports import port_faults
from atoll.engine.limits import BUNDLE_MANIFEST_BYTES_MAX
from atoll.engine.peers import Port
from atoll.engine.running import ImageKind
from atoll.model.errors import JobRefused, SpecInvalid

#: What a bundle's own description is called in it.
MANIFEST = "atoll-bundle.json"
#: The only version of the format so far.
FORMAT = 1
DIALECTS = ("coinstac", "functions", "vantage6")
#: What a bundle brings: the algorithm's files, or the name of the image that has them.
KINDS = ("bundle", "image")
#: What code lies under, and is imported as.
_NAME = re.compile(r"[^\W][\w.-]{0,99}\Z")
#: What stands at the node for its own interpreter.
_PYTHON = re.compile(r"python(?:3(?:\.[0-9]+)?)?\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
#: A registry, or none; a path; a tag, or none. There is no place for a user or a password in it.
_IMAGE = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::[0-9]{1,5})?/)?"
    r"[a-z0-9]+(?:(?:\.|_{1,2}|-+|/)[a-z0-9]+)*(?::\w[\w.-]{0,127})?\Z",
    re.ASCII,
)
_IMAGE_NAME_MAX = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedArgument:
    """What a caller gives a function."""

    name: str
    #: Whether it may be left out.
    optional: bool = False
    #: As written; empty where there is none.
    annotation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfferedFunction:
    """A function that can be called."""

    name: str
    #: As its decorator says: ``central``, ``partial``, …; of vantage6 5 its action, of 4 empty.
    style: str = ""
    #: Whether it combines what it asks others for: it runs at one site.
    central: bool = False
    #: The first line of its documentation.
    summary: str = ""
    arguments: tuple[OfferedArgument, ...] = ()
    #: Whether it takes arguments by any name.
    takes_any: bool = False
    #: Parameters that the site fills.
    filled: tuple[str, ...] = ()
    #: Of those, the ones that get a site's data and can't do without.
    databases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNamed:
    """An image, by name and digest."""

    kind: ImageKind = ImageKind.OCI
    #: Where it is found: ``registry.example/group/name:tag``; of a file its name, without a folder.
    name: str
    #: What it must be: ``sha256:`` and 64 hexadecimal digits.
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """An algorithm, as its bundle describes it."""

    format: int = FORMAT
    #: ``coinstac``, ``functions`` or ``vantage6``.
    dialect: str
    #: For people: what the algorithm calls itself.
    name: str
    #: ``bundle``, or ``image``: then the code is in the image, and the bundle has no other file.
    kind: str = "bundle"
    #: What it runs in. Beside code: the environment of that code.
    image: ImageNamed | None = None
    #: COINSTAC: what it runs in at the aggregator, where that is another image.
    aggregator_image: ImageNamed | None = None
    #: What is imported: ``mean.py``, or the package's name. Empty where a command says all.
    target: str = ""
    #: Where the code lies within what algorithms see as ``/computation``; None: that is the code itself.
    code_name: str | None = None
    #: What is started: at the sites, or, of a vantage6 algorithm in another language, for each call.
    command: tuple[str, ...] = ()
    #: COINSTAC: what is started at the aggregator. Empty where each site works for itself.
    aggregator_command: tuple[str, ...] = ()
    #: COINSTAC: whether an aggregator combines what sites send, though no command says what it
    #: starts: its image starts by itself.
    aggregated: bool = False
    #: COINSTAC: whether one process serves all calls (protocol 2).
    serves: bool = False
    #: vantage6: 4 or 5.
    generation: int | None = None
    functions: tuple[OfferedFunction, ...] = ()
    #: COINSTAC: the text of the compspec.json.
    compspec: str | None = None
    #: What a node's environment must have: names that are imported (``numpy``), programs that are
    #: started (``Rscript``), and ``vantage6-4`` or ``vantage6-5``.
    requires: tuple[str, ...] = ()
    #: Libraries that calls import beside those that the code names.
    libraries: tuple[str, ...] = ()
    #: At which it listens for others of its run.
    ports: tuple[Port, ...] = ()

    @property
    def decentralized(self) -> bool:
        """Whether an aggregator combines what the sites send."""
        return bool(self.aggregator_command) or self.aggregated

    @property
    def images(self) -> tuple[ImageNamed, ...]:
        """The images that it runs in."""
        return tuple(one for one in (self.image, self.aggregator_image) if one is not None)

    def encode(self) -> bytes:
        """The manifest as JSON, the same bytes for the same manifest.

        Raises:
            SpecInvalid: it is too long.
        """
        # What is empty is left out, so that fields of later versions don't change what hasn't any.
        text = msgspec.json.format(msgspec.json.encode(_filled(msgspec.to_builtins(self))), indent=1)
        if len(text) > BUNDLE_MANIFEST_BYTES_MAX:
            raise SpecInvalid(
                f"the description of {self.name} has {len(text)} bytes: expected at most {BUNDLE_MANIFEST_BYTES_MAX}. "
                "Is its specification that long?"
            )
        return text + b"\n"


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _filled(one) for name, one in value.items() if one not in (None, "", [], (), False)}
    return [_filled(one) for one in value] if isinstance(value, list | tuple) else value


_DECODER = msgspec.json.Decoder(Manifest)


def decode(text: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        JobRefused: it is none, or of a version or dialect that is not known here.
    """
    try:
        manifest = _DECODER.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise JobRefused(f"the bundle's {MANIFEST} is not what it should be: {error}") from None
    if manifest.format != FORMAT:
        raise JobRefused(
            f"the bundle has format {manifest.format}, and format {FORMAT} is known here: update Atoll"
        )
    faults = list(_faults(manifest))
    if faults:
        raise JobRefused(f"the bundle's {MANIFEST} is not what it should be: {'; '.join(faults)}")
    return manifest


def programs(manifest: Manifest) -> tuple[str, ...]:
    """The programs that it starts, but for Python."""
    words = [command[0] for command in (manifest.command, manifest.aggregator_command) if command]
    return tuple(dict.fromkeys(word for word in words if not is_python(word)))


def needs_python(manifest: Manifest) -> bool:
    """Whether its code is started by Python, or imported by it."""
    words = [command[0] for command in (manifest.command, manifest.aggregator_command) if command]
    return not words or any(map(is_python, words))


def is_python(word: str) -> bool:
    """Whether a command's first word stands for the interpreter that is at hand."""
    return bool(_PYTHON.match(word))


def _faults(manifest: Manifest) -> list[str]:
    faults = []
    if manifest.dialect not in DIALECTS:
        faults.append(f"the dialect {manifest.dialect!r} is none of {', '.join(DIALECTS)}")
    if manifest.dialect == "vantage6" and manifest.generation not in (4, 5):
        faults.append(f"there is no generation {manifest.generation} of vantage6")
    starts_itself = manifest.kind == "image" and manifest.serves
    if manifest.dialect == "coinstac" and (
        manifest.compspec is None or not (manifest.command or starts_itself)
    ):
        faults.append("a COINSTAC computation needs a command and its compspec")
    if manifest.dialect == "functions" and not manifest.target:
        faults.append("functions need a target")
    for what, name in (("target", manifest.target), ("code_name", manifest.code_name)):
        if name and not _NAME.match(name):
            faults.append(f"the {what} {name!r} is no plain name")
    if manifest.code_name == "":
        faults.append("the code_name is empty")
    if any("\0" in word for word in (*manifest.command, *manifest.aggregator_command)):
        faults.append("a command holds a zero byte")
    faults += port_faults(manifest.ports)
    return [*faults, *_image_faults(manifest)]


def _image_faults(manifest: Manifest) -> list[str]:
    faults = []
    if manifest.kind not in KINDS:
        faults.append(f"the kind {manifest.kind!r} is none of {', '.join(KINDS)}")
    if manifest.kind == "image" and manifest.image is None:
        faults.append("it is an image's, and names none")
    if manifest.image is None and manifest.aggregator_image is not None:
        faults.append("only the aggregator has an image")
    for image in manifest.images:
        if not is_image_name(image.name, image.kind):
            faults.append(f"{image.name[:80]!r} is no name of an image")
        if not _DIGEST.match(image.digest):
            faults.append(
                f"the image {image.name[:80]!r} has no digest: expected sha256: and 64 hexadecimal digits"
            )
    return faults


def is_image_name(name: str, kind: ImageKind = ImageKind.OCI) -> bool:
    """Whether an image can have a name, which has no secret and no digest in it."""
    if kind is ImageKind.SIF:
        return bool(_NAME.match(name))
    return len(name) <= _IMAGE_NAME_MAX and bool(_IMAGE.match(name)) and not _DIGEST.match(name)
