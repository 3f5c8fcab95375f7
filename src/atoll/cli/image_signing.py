"""How the command signs an image: what is signed, with which key, and where the signature goes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.cli.escape import escape
from atoll.engine.running import Image, ImageKind
from atoll.model.errors import SpecInvalid
from atoll.runtimes.containers.reference import check_digest, read_reference
from atoll.runtimes.containers.registry import Repository, read_password
from atoll.runtimes.containers.settings import Registry
from atoll.runtimes.containers.signatures import Signed, sign


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command was asked for."""

    image: str
    key: Path
    key_password_file: Path | None
    output: Path | None
    push: bool
    username: str | None
    password_file: Path | None
    ca_file: Path | None
    plain: bool


def signed(wish: Wish) -> dict[str, Any]:
    """Sign an image, and bring the signature where it is asked for.

    Raises:
        SpecInvalid: something can't be used.
        JobRefused: no image has this name or digest.
        RuntimeUnavailable: the registry doesn't take it.
    """
    if (wish.username is None) != (wish.password_file is None):
        raise SpecInvalid("--username and --password-file belong together: name both, or none")
    image = _image(wish.image)
    if wish.push and image.kind is not ImageKind.OCI:
        raise SpecInvalid(f"{wish.image} is a file, which has no registry: leave --push out")
    password = read_password(wish.key_password_file).encode() if wish.key_password_file else None
    made = sign(wish.key, image, password=password)
    if wish.push:
        asyncio.run(_push(wish, image, made))
    output = wish.output
    if output is None and not wish.push:
        output = Path(f"{image.digest.replace(':', '-')}.sig")
    if output is not None:
        _add(output, made)
    return {
        "name": image.name,
        "digest": image.digest,
        "file": None if output is None else str(output),
        "pushed": wish.push,
    }


def _image(named: str) -> Image:
    """The image that is meant."""
    path = Path(named)
    if path.is_file():
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return Image(kind=ImageKind.SIF, name=named, digest=f"sha256:{digest}")
    name, at, digest = named.rpartition("@")
    if not at:
        raise SpecInvalid(
            f"{named!r} names no image by its digest: expected NAME@sha256:…, or a file that is there. A name alone "
            "may mean another image tomorrow"
        )
    image = Image(kind=ImageKind.OCI, name=name, digest=digest)
    check_digest(image)
    return image


async def _push(wish: Wish, image: Image, made: Signed) -> None:
    known = Registry(
        username=wish.username or "", password_file=wish.password_file, plain=wish.plain, ca_file=wish.ca_file
    )
    async with Repository(read_reference(image.name), known) as repository:
        await repository.publish(image.digest, made)


def _add(output: Path, made: Signed) -> None:
    """Add a signature to those in a file."""
    try:
        with output.open("a", encoding="utf-8") as file:
            file.write(made.line())
    except OSError as error:
        raise SpecInvalid(
            f"{output} can't be written ({error.strerror}): name another with --output"
        ) from None


def tell(document: Mapping[str, Any]) -> None:
    """Tell a person what was signed."""
    print(f"signed {escape(document['name'])} with the digest {document['digest']}")
    if document["pushed"]:
        print("the signature is in its registry")
    if document["file"]:
        print(f"the signature is in {escape(document['file'])}")
