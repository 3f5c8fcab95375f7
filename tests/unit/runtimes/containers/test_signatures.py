"""A signature vouches for exactly one image under one name."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from atoll.engine.running import Image, ImageKind
from atoll.model.errors import SpecInvalid
from atoll.runtimes.containers import signatures
from atoll.runtimes.containers.signatures import Signed, find_fault, read_keys, read_lines, sign

IMAGE = Image(kind=ImageKind.OCI, name="registry.example/group/mean:v1", digest="sha256:" + 64 * "a")
#: As cosign 2 writes it, with an annotation of whoever signed.
COSIGN = (
    '{"critical":{"identity":{"docker-reference":"registry.example/group/mean"},'
    f'"image":{{"docker-manifest-digest":"{IMAGE.digest}"}},'
    '"type":"cosign container image signature"},"optional":{"by":"the institute"}}'
).encode()

Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def _kept(folder: Path, key: Private, *, password: bytes | None = None) -> tuple[Path, Path]:
    """The files of a private key and its public one."""
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    private, public = folder / "signer.key", folder / "signer.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def _made(kind: str) -> Private:
    return (
        ed25519.Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())
    )


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
@pytest.mark.parametrize("password", [None, b"a password"])
def test_what_is_signed_with_a_key_is_known_by_its_public_one(
    kind: str, password: bytes | None, tmp_path: Path
) -> None:
    private, public = _kept(tmp_path, _made(kind), password=password)
    signed = sign(private, IMAGE, password=password)

    assert [signed] == read_lines("a line of something else\n" + signed.line())
    assert find_fault(signed, read_keys([public]), IMAGE) is None


def test_a_document_of_cosign_counts() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    signed = Signed(payload=COSIGN, signature=key.sign(COSIGN, signatures._ECDSA))

    assert find_fault(signed, [key.public_key()], IMAGE) is None


def test_what_is_signed_has_the_form_that_cosign_gives_it(tmp_path: Path) -> None:
    signed = sign(_kept(tmp_path, _made("ecdsa"))[0], IMAGE)

    assert json.loads(COSIGN)["critical"] == json.loads(signed.payload)["critical"]


@pytest.mark.needs("openssl")
def test_a_signature_of_openssl_counts(tmp_path: Path) -> None:
    private, public = _kept(tmp_path, _made("ed25519"))
    (tmp_path / "document").write_bytes(COSIGN)
    words = [
        "openssl",
        "pkeyutl",
        "-sign",
        "-rawin",
        "-inkey",
        str(private),
        "-in",
        str(tmp_path / "document"),
    ]
    made = subprocess.run(words, capture_output=True, check=True).stdout

    assert find_fault(Signed(payload=COSIGN, signature=made), read_keys([public]), IMAGE) is None


def test_one_of_several_keys_is_enough(tmp_path: Path) -> None:
    private, public = _kept(tmp_path, _made("ed25519"))
    others = (
        ec.generate_private_key(ec.SECP256R1()).public_key(),
        ed25519.Ed25519PrivateKey.generate().public_key(),
    )
    keys = [*others, *read_keys([public])]

    assert find_fault(sign(private, IMAGE), keys, IMAGE) is None
    assert "of another key" == find_fault(sign(private, IMAGE), keys[:2], IMAGE)


@pytest.mark.parametrize(
    ("other", "fault"),
    [
        (replace(IMAGE, digest="sha256:" + 64 * "b"), "for another image, sha256:aaaa"),
        (
            replace(IMAGE, name="registry.example/group/variance"),
            "for another name, 'registry.example/group/mean'",
        ),
        (replace(IMAGE, name="elsewhere.example/group/mean"), "for another name"),
        (replace(IMAGE, kind=ImageKind.SIF, name="/data/mean"), "for another name"),
    ],
)
def test_a_signature_of_something_else_does_not_count(other: Image, fault: str, tmp_path: Path) -> None:
    private, public = _kept(tmp_path, _made("ed25519"))

    assert (find_fault(sign(private, IMAGE), read_keys([public]), other) or "").startswith(fault)


def test_a_changed_document_or_signature_does_not_count() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    signature = key.sign(COSIGN)
    keys = [key.public_key()]

    assert find_fault(Signed(payload=COSIGN + b" ", signature=signature), keys, IMAGE) == "of another key"
    assert find_fault(Signed(payload=COSIGN, signature=signature[:-1]), keys, IMAGE) == "of another key"
    assert find_fault(Signed(payload=COSIGN, signature=b""), keys, IMAGE) == "of another key"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b"sha256:" + 64 * b"a",
        b"[" * 100_000,
        COSIGN.replace(b"cosign container", b"atomic container"),
        COSIGN.replace(b'"registry.example/group/mean"', b"7"),
        COSIGN.replace(b'"registry.example/group/mean"', b'"/../mean"'),
        b'{"critical": []}',
    ],
)
def test_a_signed_document_that_is_no_images_does_not_count(payload: bytes) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    signed = Signed(payload=payload, signature=key.sign(payload))

    assert "of a document that is no image's" == find_fault(signed, [key.public_key()], IMAGE)


def test_a_file_of_apptainers_is_signed_under_its_own_name(tmp_path: Path) -> None:
    private, public = _kept(tmp_path, _made("ed25519"))
    here = replace(IMAGE, kind=ImageKind.SIF, name="/home/author/mean.sif")
    there = replace(here, name="/data/images/mean.sif")

    assert find_fault(sign(private, here), read_keys([public]), there) is None


def test_a_file_without_a_usable_key_is_named_with_what_is_expected(tmp_path: Path) -> None:
    private, public = _kept(tmp_path, rsa.generate_private_key(65_537, 2_048))
    curve = tmp_path / "curve.pub"
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    curve.write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    (tmp_path / "text").write_text("no key")
    missing = tmp_path / "missing"

    with pytest.raises(SpecInvalid) as caught:
        read_keys([public, curve, tmp_path / "text", missing])

    faults = caught.value.faults
    assert [str(public), str(curve), str(tmp_path / "text"), str(missing)] == [
        each.split()[0] for each in faults
    ]
    assert all("expected an Ed25519 or ECDSA P-256 key in PEM" in each for each in faults)
    with pytest.raises(SpecInvalid, match="expected an Ed25519 or ECDSA P-256 key"):
        sign(private, IMAGE)


def test_an_encrypted_key_needs_its_password(tmp_path: Path) -> None:
    private, _ = _kept(tmp_path, _made("ed25519"), password=b"right")

    for password in (None, b"wrong"):
        with pytest.raises(SpecInvalid) as caught:
            sign(private, IMAGE, password=password)
        assert "wrong" not in str(caught.value)
