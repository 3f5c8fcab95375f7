"""Whether an image is signed by whom the site trusts with it: looked at before it is pulled or started.

A signature is looked for in a folder of the node, and then in the image's registry. What was found
there once is kept in the folder, and an admin may put there what came another way. It is checked with
the keys as they are now, each time that the image is asked for; so that an image runs on where no
registry is reached, and a key that is taken away ends that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from atoll.engine.limits import REGISTRY_ANSWER_BYTES_MAX, SIGNATURES_MAX
from atoll.engine.running import Image, ImageKind
from atoll.model.errors import JobRefused, RuntimeUnavailable
from atoll.runtimes.containers import signatures
from atoll.runtimes.containers.reference import check_digest, identity_of, read_reference
from atoll.runtimes.containers.registry import Repository
from atoll.runtimes.containers.settings import Registry
from atoll.runtimes.containers.signatures import PublicKey, Signed
from atoll.runtimes.containers.sources import Sources


class SignatureCheck:
    """Looks whether images are signed as the site wants it.

    Args:
        signers: who must have signed which images: a pattern of names without tags, such as
            ``registry.example/trusted/*``, and files with public keys (PEM; Ed25519 or ECDSA P-256), of
            which one must fit. The first pattern that fits an image counts; an image that none fits needs
            no signature, and one whose pattern has no key is not run.
        registries: how the site speaks to registries, by their hosts.
        sources: the registries that are asked. None: any in the world, and those that are named here.
        folder: holds signatures; None for none, which are fetched each time.
        proxy: the way to registries; None for what the environment says.
    """

    def __init__(
        self,
        signers: Mapping[str, Sequence[Path]],
        *,
        registries: Mapping[str, Registry] | None = None,
        sources: Sources | None = None,
        folder: Path | None = None,
        proxy: str | None = None,
    ) -> None:
        self._signers = signers
        self._registries = registries or {}
        self._sources = sources or Sources(named=self._registries)
        self._folder = folder
        self._proxy = proxy

    async def check(self, image: Image) -> None:
        """See that an image is signed by whom the site trusts with it.

        Raises:
            JobRefused: it isn't.
            RuntimeUnavailable: its registry can't be asked.
            SpecInvalid: a file holds no key.
        """
        check_digest(image)
        identity = identity_of(image)
        pattern = next((each for each in self._signers if fnmatchcase(identity, each)), None)
        if pattern is None:
            return
        paths = self._signers[pattern]
        if not paths:
            raise JobRefused(f"the image {identity} is one of {pattern!r}, which this site doesn't run")
        keys = await asyncio.to_thread(signatures.read_keys, paths)
        faults: list[str] = []
        for signed in await asyncio.to_thread(self._at_hand, image.digest):
            if not _note_fault(signed, keys, image, faults):
                return
        if image.kind is ImageKind.OCI:
            for signed in await self._fetched(image):
                if not _note_fault(signed, keys, image, faults):
                    await asyncio.to_thread(self._keep, image.digest, signed)
                    return
        what = "is not signed"
        if faults:
            what = f"has signatures, and none that counts: one is {'; one is '.join(faults[:3])}"
        raise JobRefused(
            f"the image {identity} with the digest {image.digest} {what}. This site runs images of {pattern!r} only "
            f"where the owner of one of the keys {', '.join(path.name for path in paths)} has signed exactly this "
            "one: have it signed"
        )

    def _at_hand(self, digest: str) -> list[Signed]:
        """The signatures that are in a file of this machine."""
        if self._folder is None:
            return []
        try:
            with _file_of(self._folder, digest).open(encoding="utf-8", errors="replace") as file:
                return signatures.read_lines(file.read(REGISTRY_ANSWER_BYTES_MAX))[:SIGNATURES_MAX]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise RuntimeUnavailable(
                f"the signatures of an image can't be read from {self._folder} ({error.strerror}): let this user "
                "read it"
            ) from None

    async def _fetched(self, image: Image) -> list[Signed]:
        reference = read_reference(image.name)
        registry = self._registries.get(reference.host, Registry())
        async with Repository(reference, registry, proxy=self._proxy, sources=self._sources) as repository:
            return await repository.signatures_of(image.digest)

    def _keep(self, digest: str, signed: Signed) -> None:
        """Keep a signature, beside those that an admin has put there."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with _file_of(self._folder, digest).open("a", encoding="utf-8") as file:
            # What a node's death has left of a line is none, and must not spoil the next.
            file.write(f"\n{signed.line()}" if file.tell() else signed.line())


def _note_fault(signed: Signed, keys: Sequence[PublicKey], image: Image, faults: list[str]) -> bool:
    """Whether a signature doesn't vouch for an image. Notes why not."""
    fault = signatures.find_fault(signed, keys, image)
    if fault is not None and fault not in faults:
        faults.append(fault)
    return fault is not None


def _file_of(folder: Path, digest: str) -> Path:
    return folder / f"{digest.replace(':', '-')}.sig"
