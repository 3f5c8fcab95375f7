"""Signatures of images: who vouches for exactly this image under this name.

What is signed is a small JSON document, as cosign writes it: it names the repository, and the image's
digest. Two kinds of keys sign it: Ed25519, and ECDSA with the curve P-256, which cosign makes. It is
kept in the registry, where cosign keeps it, or in a file of a line each: a JSON object with ``payload``
and ``signature``, both in base64.

Nothing is asked on a network here. A key is a file at the node, and no certificate or log of others
is trusted beside it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from atoll.engine.running import Image
from atoll.model.errors import JobRefused, SpecInvalid
from atoll.runtimes.containers.reference import check_digest, identity_of, read_reference

PublicKey = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
#: What a signed document says that it is. Whoever signs other documents with the same key signs no image.
_TYPE = "cosign container image signature"
_ECDSA = ec.ECDSA(hashes.SHA256())
_KEYS = "an Ed25519 or ECDSA P-256 key in PEM"
#: More than a key ever has.
_KEY_BYTES_MAX = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A signature, and the document that it is of."""

    payload: bytes
    signature: bytes

    def line(self) -> str:
        """As it stands in a file of signatures, with the line's end."""
        parts = {"payload": self.payload, "signature": self.signature}
        return json.dumps({key: base64.b64encode(part).decode() for key, part in parts.items()}) + "\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Claim:
    """What a signed document says."""

    repository: str
    digest: str


def sign(private_key: Path, image: Image, *, password: bytes | None = None) -> Signed:
    """Vouch for an image.

    Args:
        private_key: a file with a private key.
        image: what is signed: its name without a tag, and its digest.
        password: opens the key, where it is encrypted as PKCS#8 is; cosign's own encryption isn't read.

    Raises:
        SpecInvalid: the file holds no key that can sign.
        JobRefused: the image's name or digest is none.
    """
    check_digest(image)
    critical = {
        "identity": {"docker-reference": identity_of(image)},
        "image": {"docker-manifest-digest": image.digest},
        "type": _TYPE,
    }
    payload = json.dumps({"critical": critical, "optional": None}, separators=(",", ":")).encode()
    try:
        key = load_pem_private_key(_read(private_key), password)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return Signed(payload=payload, signature=key.sign(payload))
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return Signed(payload=payload, signature=key.sign(payload, _ECDSA))
    raise SpecInvalid(
        f"{private_key} holds no private key that can be used: expected {_KEYS}, and its password"
    )


def read_keys(paths: Iterable[Path]) -> tuple[PublicKey, ...]:
    """Public keys, each of a file.

    Raises:
        SpecInvalid: with every file that holds none.
    """
    keys: list[PublicKey] = []
    faults = []
    for path in paths:
        try:
            key = load_pem_public_key(_read(path))
        except (ValueError, UnsupportedAlgorithm):
            key = None
        except SpecInvalid as error:
            faults.append(str(error))
            continue
        if isinstance(key, ed25519.Ed25519PublicKey) or (
            isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
        ):
            keys.append(key)
        else:
            faults.append(f"{path} holds no public key that can be used: expected {_KEYS}")
    if faults:
        raise SpecInvalid(*faults)
    return tuple(keys)


def read_lines(content: str) -> list[Signed]:
    """The signatures of a file. Lines that hold none are left out."""
    found = []
    for line in content.splitlines():
        try:
            parts = json.loads(line)
            payload, signature = (
                base64.b64decode(parts[key], validate=True) for key in ("payload", "signature")
            )
        except (ValueError, TypeError, KeyError, RecursionError):
            continue
        found.append(Signed(payload=payload, signature=signature))
    return found


def decoded(signature: str) -> bytes | None:
    """The bytes of a signature in base64; None where it isn't that."""
    try:
        return base64.b64decode(signature, validate=True)
    except (binascii.Error, ValueError):
        return None


def find_fault(signed: Signed, keys: Sequence[PublicKey], image: Image) -> str | None:
    """Why a signature doesn't vouch for an image, as words behind "it is"; None where it does."""
    if not any(_fits(signed, key) for key in keys):
        return "of another key"
    claim = _read_claim(signed.payload)
    if claim is None:
        return "of a document that is no image's"
    if claim.digest != image.digest:
        return f"for another image, {claim.digest[:80]}"
    if claim.repository != identity_of(image):
        return f"for another name, {claim.repository[:255]!r}"
    return None


def _fits(signed: Signed, key: PublicKey) -> bool:
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signed.signature, signed.payload)
        else:
            key.verify(signed.signature, signed.payload, _ECDSA)
    except InvalidSignature:
        return False
    return True


def _read_claim(payload: bytes) -> _Claim | None:
    """What a document says; None where it isn't about an image."""
    try:
        critical: Any = json.loads(payload)["critical"]
        kind, digest = critical["type"], critical["image"]["docker-manifest-digest"]
        name = critical["identity"]["docker-reference"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    if kind != _TYPE or not isinstance(digest, str) or not isinstance(name, str):
        return None
    # A file's name is no registry's: it stands there as it is.
    if "/" not in name:
        return _Claim(repository=name, digest=digest)
    try:
        return _Claim(repository=read_reference(name).repository, digest=digest)
    except JobRefused:
        return None


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_KEY_BYTES_MAX)
    except OSError as error:
        raise SpecInvalid(f"{path} can't be read ({error.strerror}): expected {_KEYS}") from None
