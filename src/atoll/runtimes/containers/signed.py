"""Whether an image is signed by whom the site trusts with it: looked at before it is pulled or started.

A signature is looked for in the files that the site was given, among those that were fetched before,
and in the image's registry. It is checked with the keys as they are now, each time that the image is
asked for; so that an image runs on where no registry is reached, and a key that is taken away ends that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from atoll.engine.limits import REGISTRY_ANSWER_BYTES_MAX, SIGNATURES_MAX
from atoll.engine.running import Image, ImageKind
from atoll.model.errors import JobRefused, RuntimeUnavailable
from atoll.runtimes.containers import signatures
from atoll.runtimes.containers.image_settings import ImageSettings, Registry, Signer
from atoll.runtimes.containers.reference import check_digest, identity_of, read_reference
from atoll.runtimes.containers.registry import Repository
from atoll.runtimes.containers.signatures import PublicKey, Signed


class SignatureCheck:
    """Looks whether images are signed as the site wants it.

    Args:
        settings: what the site wants.
        folder: keeps what was fetched; None to fetch it each time.
    """

    def __init__(self, settings: ImageSettings, folder: Path | None) -> None:
        self._settings = settings
        self._folder = folder

    async def check(self, image: Image) -> None:
        """See that an image is signed by whom the site trusts with it.

        Raises:
            JobRefused: it isn't.
            RuntimeUnavailable: its registry can't be asked.
            SpecInvalid: a file holds no key.
        """
        check_digest(image)
        identity = identity_of(image)
        signer = self._signer_of(identity)
        if signer is None:
            return
        keys = await asyncio.to_thread(signatures.read_keys, signer.keys)
        if not keys:
            raise JobRefused(
                f"the image {identity} is one of {signer.pattern!r}, which this site doesn't run"
            )
        faults: list[str] = []
        for signed in await asyncio.to_thread(self._at_hand, image.digest):
            if not _note_fault(signed, keys, image, faults):
                return
        if image.kind is ImageKind.OCI:
            for signed in await self._fetched(image):
                if not _note_fault(signed, keys, image, faults):
                    await asyncio.to_thread(self._keep, image.digest, signed)
                    return
        raise JobRefused(_refusal(image, identity, signer, faults))

    def _signer_of(self, identity: str) -> Signer | None:
        for signer in self._settings.signers:
            if fnmatchcase(identity, signer.pattern):
                return signer
        return None

    def _at_hand(self, digest: str) -> list[Signed]:
        """The signatures that are in files of this machine."""
        found = []
        for folder in (self._settings.signatures, self._folder):
            if folder is None:
                continue
            try:
                with _file_of(folder, digest).open(encoding="utf-8", errors="replace") as file:
                    found += signatures.read_lines(file.read(REGISTRY_ANSWER_BYTES_MAX))[:SIGNATURES_MAX]
            except FileNotFoundError:
                continue
            except OSError as error:
                raise RuntimeUnavailable(
                    f"the signatures of an image can't be read from {folder} ({error.strerror}): let this user read it"
                ) from None
        return found

    async def _fetched(self, image: Image) -> list[Signed]:
        reference = read_reference(image.name)
        registry = self._settings.registries.get(reference.host, Registry())
        async with Repository(reference, registry, proxy=self._settings.proxy) as repository:
            return await repository.signatures_of(image.digest)

    def _keep(self, digest: str, signed: Signed) -> None:
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = _file_of(self._folder, digest)
        aside = path.with_suffix(".new")
        aside.write_text(signed.line())
        aside.replace(path)


def _note_fault(signed: Signed, keys: Sequence[PublicKey], image: Image, faults: list[str]) -> bool:
    """Whether a signature doesn't vouch for an image. Notes why not."""
    fault = signatures.find_fault(signed, keys, image)
    if fault is not None and fault not in faults:
        faults.append(fault)
    return fault is not None


def _refusal(image: Image, identity: str, signer: Signer, faults: Sequence[str]) -> str:
    keys = ", ".join(path.name for path in signer.keys)
    if faults:
        what = f"has signatures, and none that counts: one is {'; one is '.join(faults[:3])}"
    else:
        what = "is not signed"
    return (
        f"the image {identity} with the digest {image.digest} {what}. This site runs images of {signer.pattern!r} "
        f"only where the owner of one of the keys {keys} has signed exactly this one: have it signed"
    )


def _file_of(folder: Path, digest: str) -> Path:
    return folder / f"{digest.replace(':', '-')}.sig"
