"""``atoll image sign``: what it signs, and what it can't."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    PublicFormat,
)

from atoll.cli.exits import DONE, FAILED, UNUSABLE
from atoll.cli.image import image_app
from atoll.engine.running import Image, ImageKind
from atoll.runtimes.containers.signatures import find_fault, read_keys, read_lines

DIGEST = "sha256:" + 64 * "a"
IMAGE = f"registry.example/group/mean:v1@{DIGEST}"


@pytest.fixture
def author(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with somebody's keys, which is where the command is typed."""
    monkeypatch.chdir(tmp_path)
    key = ed25519.Ed25519PrivateKey.generate()
    password = tmp_path / "password"
    password.write_text("open sesame\n")
    password.chmod(0o600)
    encrypted = BestAvailableEncryption(b"open sesame")
    (tmp_path / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encrypted))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "public").write_bytes(public)
    return tmp_path


def sign(*words: str) -> int:
    """Run the command in this process; its exit status."""
    status = image_app(["sign", *words], standalone_mode=False)
    assert isinstance(status, int)
    return status


def test_a_signature_lies_where_nodes_look_for_it(author: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = sign(IMAGE, "--key", "key", "--key-password-file", "password", "--json")
    document = json.loads(capsys.readouterr().out)

    name = f"sha256-{64 * 'a'}.sig"
    assert status == DONE
    assert {
        "name": "registry.example/group/mean:v1",
        "digest": DIGEST,
        "file": name,
        "pushed": False,
    } == document
    image = Image(kind=ImageKind.OCI, name="registry.example/group/mean", digest=DIGEST)
    (made,) = read_lines((author / name).read_text())
    assert find_fault(made, read_keys([author / "public"]), image) is None


def test_a_file_is_signed_as_it_is_and_signatures_are_gathered(
    author: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (author / "mean.sif").write_bytes(b"an image")
    for _ in range(2):
        words = ("--key", "key", "--key-password-file", "password", "--output", "all.sig")
        assert sign(str(author / "mean.sif"), *words) == DONE

    told = capsys.readouterr().out
    assert "the signature is in all.sig" in told
    digest = told.partition("digest ")[2].split()[0]
    image = Image(kind=ImageKind.SIF, name="elsewhere/mean.sif", digest=digest)
    faults = [
        find_fault(made, read_keys([author / "public"]), image)
        for made in read_lines(Path("all.sig").read_text())
    ]
    assert [None, None] == faults


@pytest.mark.usefixtures("author")
@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["registry.example/mean:v1"], UNUSABLE, "A name alone may mean another image tomorrow"),
        (["registry.example/mean@sha256:a"], FAILED, "expected its digest"),
        ([f"registry.example/UPPER@{DIGEST}"], FAILED, "names no image"),
        ([IMAGE, "--username", "ada"], UNUSABLE, "belong together"),
        (["public", "--push"], UNUSABLE, "is a file, which has no registry"),
        ([IMAGE, "--output", "nowhere/x"], UNUSABLE, "name another with --output"),
    ],
)
def test_what_can_t_be_signed_is_refused(
    words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status == sign(*words, "--key", "key", "--key-password-file", "password")
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("key", ["public", "nowhere"])
@pytest.mark.usefixtures("author")
def test_a_file_that_holds_no_private_key_is_named(key: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert sign(IMAGE, "--key", key) == UNUSABLE
    assert f"error: {key} " in capsys.readouterr().err
