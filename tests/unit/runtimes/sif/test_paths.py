"""Paths within a root lead where a process in that root would come to, and never out of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.sif import write_tree

from atoll.engine.limits import ROOT_TEXT_BYTES_MAX
from atoll.runtimes.sif.paths import locate, read, resolve


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("not yours")
    return write_tree(
        tmp_path / "root",
        {
            "/usr/bin/tool": "here",
            "/bin": "-> usr/bin",
            "/opt/absolute": "-> /usr/bin",
            "/opt/out": "-> ../../../../secret",
            "/opt/far": "-> /../../secret",
            "/opt/host": f"-> {tmp_path}/secret",
            "/opt/chain": "-> absolute/tool",
            "/opt/around": "-> around",
            "/opt/one": "-> two/x",
            "/opt/two": "-> one",
        },
    )


@pytest.mark.parametrize(
    ("inner", "leads_to"),
    [
        ("/bin/tool", "/usr/bin/tool"),
        ("/opt/absolute/tool", "/usr/bin/tool"),
        ("opt/chain", "/usr/bin/tool"),
        ("/opt/./absolute/../lib", "/usr/lib"),
        ("/opt/out", "/secret"),
        ("/opt/far", "/secret"),
        ("/../../etc", "/etc"),
        ("/no/such/../thing", "/no/thing"),
        ("/", "/"),
    ],
)
def test_a_path_is_followed_inside(root: Path, inner: str, leads_to: str) -> None:
    assert resolve(root, inner) == leads_to


@pytest.mark.parametrize(
    "inner", ["/opt/out", "/opt/far", "/opt/host", "/../secret", "/opt/around", "/opt/one"]
)
def test_nothing_outside_is_read(root: Path, inner: str) -> None:
    assert read(root, inner) is None


def test_links_in_a_circle_are_an_error(root: Path) -> None:
    with pytest.raises(OSError, match="symbolic links"):
        locate(root, "/opt/two")


def test_only_files_of_a_sensible_size_are_read(root: Path) -> None:
    os.mkfifo(root / "pipe")
    with (root / "huge").open("wb") as file:
        file.truncate(ROOT_TEXT_BYTES_MAX + 1)

    assert [read(root, inner) for inner in ("/usr", "/pipe", "/huge", "/bin/tool")] == [
        None,
        None,
        None,
        b"here",
    ]
