"""A .dockerignore keeps out of an image what Docker would keep out."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.algorithms.ignored import Ignored, ignored
from atoll.model.errors import SpecInvalid

FILES = (
    *(
        "secret",
        "secrets/key",
        "a/secret",
        "a/b/secret",
        "a/b/key.pem",
        "mean.py",
        "README.md",
        "a/README.md",
    ),
    *("data/x.csv", "data/keep.csv", "x[1]", "x1"),
)


@pytest.mark.parametrize(
    ("text", "left_out"),
    [
        ("", []),
        ("# secret\n\n  \n.\n", []),
        ("secret", ["secret"]),
        ("/secret/", ["secret"]),
        (" ./secret ", ["secret"]),
        ("**/secret", ["secret", "a/secret", "a/b/secret"]),
        ("secret*", ["secret", "secrets/key"]),
        ("secrets", ["secrets/key"]),
        ("a/*", ["a/secret", "a/b/secret", "a/b/key.pem", "a/README.md"]),
        ("a/*/secret", ["a/b/secret"]),
        ("a/**/secret", ["a/secret", "a/b/secret"]),
        ("**/*.pem", ["a/b/key.pem"]),
        ("a/**", ["a/secret", "a/b/secret", "a/b/key.pem", "a/README.md"]),
        ("data\n!data/keep.csv", ["data/x.csv"]),
        ("!data/keep.csv\ndata", ["data/x.csv", "data/keep.csv"]),
        ("*\n!a\na/b", [name for name in FILES if not name.startswith("a/") or name.startswith("a/b/")]),
        ("?ean.py", ["mean.py"]),
        ("[a-m]ean.py", ["mean.py"]),
        ("[^m]ean.py", []),
        ("x[1]", ["x1"]),
        ("x\\[1]", ["x[1]"]),
        ("x[[1]", ["x1"]),
        ("../secret", []),
        ("readme.md", []),
        ("mean[py", []),
    ],
)
def test_what_docker_leaves_out_is_left_out(text: str, left_out: list[str]) -> None:
    assert left_out == list(filter(Ignored(text.splitlines()), FILES))


@pytest.mark.parametrize("text", ["[z-a]", "x\n" * 1_001])
def test_what_is_no_pattern_is_told(text: str) -> None:
    with pytest.raises(SpecInvalid, match=r"\.dockerignore has"):
        Ignored(text.splitlines())


def test_a_dockerfile_may_have_one_of_its_own(tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("\ufeffsecret\n")
    (tmp_path / "own.dockerfile.dockerignore").write_text("mean.py\n")

    assert ignored(tmp_path)("secret")
    assert ignored(tmp_path, tmp_path / "other.dockerfile")("secret")
    assert not ignored(tmp_path, tmp_path / "own.dockerfile")("secret")
    assert ignored(tmp_path, tmp_path / "own.dockerfile")("mean.py")
