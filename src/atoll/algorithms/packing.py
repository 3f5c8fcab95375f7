"""Making a bundle: from the folder of an algorithm, or of what is known of an image."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from atoll.algorithms import archive
from atoll.algorithms.archive import Member
from atoll.algorithms.bundle import Bundle, digest_of_file, look_into
from atoll.algorithms.describing import describe
from atoll.algorithms.manifest import MANIFEST, ImageNamed, Manifest, decode
from atoll.model.errors import JobRefused, SpecInvalid


def pack(
    path: Path,
    folder: Path,
    *,
    dialect: str = "auto",
    package: str | None = None,
    entry: str | None = None,
    image: ImageNamed | None = None,
) -> Bundle:
    """Pack the algorithm that lies at a path.

    Args:
        path: its folder, its module, or its compspec.json.
        folder: where the bundle is written, under its digest.
        dialect: how it is written; ``auto``: as its files say.
        package: the package that holds the functions, where there is more than one.
        entry: the script that a computation of protocol 2 is started by, where nothing else says it.
        image: what the code runs in, instead of an environment of the nodes'.

    Raises:
        SpecInvalid: it is no algorithm, or can't be passed on; with every fault that was found.
    """
    described = describe(path, dialect=dialect, package=package, entry=entry)
    manifest = described.manifest
    if image is not None:
        # What it requires is in the image.
        manifest = replace(manifest, image=image, requires=())
    return _pack(
        manifest, ((Member.of(name, file), file) for name, file in described.placed()), folder, str(path)
    )


def pack_image(manifest: Manifest, folder: Path) -> Bundle:
    """Make the bundle of an algorithm that is an image: it holds nothing but the manifest.

    Args:
        manifest: of the image.
        folder: where the bundle is written, under its digest.

    Raises:
        SpecInvalid: the manifest can't be passed on.
    """
    return _pack(manifest, (), folder, manifest.name)


def _pack(manifest: Manifest, members: Iterable[tuple[Member, Path]], folder: Path, what: str) -> Bundle:
    text = manifest.encode()
    try:
        decode(text)
    except JobRefused as error:
        raise SpecInvalid(f"{what} can't be packed: {error}") from None
    written = folder / f".{secrets.token_hex(8)}"
    try:
        with written.open("xb") as target:
            archive.write(target, [(Member(name=MANIFEST, size_bytes=len(text)), text), *members])
        digest = digest_of_file(written)
        bundle = folder / f"{digest.removeprefix('sha256:')}.tar"
        written.replace(bundle)
    finally:
        written.unlink(missing_ok=True)
    return look_into(bundle)
