"""What an image is called: the registry, the repository in it, and a tag.

One image has one name here, however it was written: ``ubuntu`` is ``docker.io/library/ubuntu``, and a
host is in lower case. So a site's pattern fits an image, or it doesn't.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address

from atoll.engine.running import Image, ImageKind
from atoll.model.errors import JobRefused

#: The registry of names that name none, and how else it is written.
DOCKER = "docker.io"
_DOCKER_TOO = ("index.docker.io", "registry-1.docker.io", "registry.hub.docker.com")
_CHARACTERS_MAX = 255
_LABEL = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_HOST = re.compile(r"(?P<name>\[[^\]]*\]|[^:\[\]]*)(:(?P<port>[0-9]{1,5}))?")
#: The end of a name that some read as a number: of version 4, in whatever writing.
_NUMBER = re.compile(r"(.*\.)?(0x[0-9a-f]*|[0-9]+)")
#: The port that a registry has where none is named.
_HTTPS, _PORT_MAX = 443, 65_535
_PART = r"[a-z0-9]+((\.|_{1,2}|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What an image is called."""

    #: The registry's host, and its port where it has one.
    host: str
    #: The repository's path within the registry.
    path: str
    #: Empty where none is named.
    tag: str = ""

    @property
    def repository(self) -> str:
        """The name without a tag, as policies and signatures have it."""
        return f"{self.host}/{self.path}"

    def at(self, digest: str) -> str:
        """The name of exactly one image, whatever its tag says by now."""
        return f"{self.repository}@{digest}"


def canonical_host(written: str) -> str | None:
    """The one name of a registry's host, with its port where that isn't the usual one; None for what is none."""
    found = _HOST.fullmatch(written.lower())
    if found is None:
        return None
    name, port = found["name"], int(found["port"] or _HTTPS)
    address = name.strip("[]")
    if name.startswith("[") or _NUMBER.fullmatch(name):
        try:
            whole = ip_address(address)
        except ValueError:
            return None
        if "%" in address or (whole.version == 6) != name.startswith("["):
            return None
        name = f"[{whole}]" if whole.version == 6 else str(whole)
    elif not _NAME.fullmatch(name):
        return None
    if not 0 < port <= _PORT_MAX:
        return None
    if name in _DOCKER_TOO:
        name = DOCKER
    return name if port == _HTTPS else f"{name}:{port}"


def read_reference(name: str) -> Reference:
    """Read an image's name. A digest behind it is left out: what counts is the one beside it.

    Raises:
        JobRefused: no image can have this name.
    """
    whole, at, digest = name.partition("@")
    first, slash, rest = whole.partition("/")
    if slash and ("." in first or ":" in first or first.lower() == "localhost"):
        host, path = canonical_host(first), rest
    else:
        host, path = DOCKER, whole
    path, colon, tag = path.partition(":")
    if host == DOCKER and "/" not in path:
        path = f"library/{path}"
    is_sound = (
        len(whole) <= _CHARACTERS_MAX
        and _PATH.fullmatch(path)
        and (not colon or _TAG.fullmatch(tag))
        and (not at or _DIGEST.fullmatch(digest))
    )
    if host is None or not is_sound:
        raise JobRefused(
            f"{name[:_CHARACTERS_MAX]!r} names no image: expected a name such as registry.example/group/name:tag"
        )
    return Reference(host=host, path=path, tag=tag)


def identity_of(image: Image) -> str:
    """By what name an image is known to policies and signatures.

    A file or folder is known by its own name: where it lies is each site's business.

    Raises:
        JobRefused: no image can have this name.
    """
    if image.kind is ImageKind.SIF:
        return image.name.rstrip("/").rpartition("/")[2]
    return read_reference(image.name).repository


def check_digest(image: Image) -> None:
    """See that an image's digest is one.

    Raises:
        JobRefused: it isn't.
    """
    if not _DIGEST.fullmatch(image.digest):
        raise JobRefused(
            f"the image {image.name[:_CHARACTERS_MAX]!r} is named with {image.digest[:80]!r}: expected its digest, "
            "sha256: and 64 hexadecimal digits"
        )
