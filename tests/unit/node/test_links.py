"""Copied links to a site's own files become files; all others stay what they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from atoll.node import guarded
from atoll.node.links import become_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that an algorithm has written to, beside what a site keeps."""
    (tmp_path / "own").write_text("own")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "root" / "sub").mkdir(parents=True)
    return tmp_path / "root"


def test_a_link_that_stands_for_a_file_becomes_that_file(root: Path) -> None:
    for name in ("a", "sub/b"):
        (root / name).symlink_to("/site/own")

    become_files(root, {"/site/own": root.parent / "own"}.get)

    assert [False, False] == [(root / name).is_symlink() for name in ("a", "sub/b")]
    assert ["own", "own"] == [(root / name).read_text() for name in ("a", "sub/b")]
    assert ["a", "sub"] == sorted(path.name for path in root.iterdir())


def test_other_links_stay_and_are_not_followed(root: Path) -> None:
    (root / "file").symlink_to(root.parent / "secret")
    (root / "folder").symlink_to(root.parent)
    (root / "nowhere").symlink_to("/site/gone")
    (root / "plain").write_text("plain")

    become_files(root, {"/site/gone": root.parent / "gone"}.get)

    links = {path.name: os.readlink(path) for path in root.iterdir() if path.is_symlink()}
    expected = {"file": str(root.parent / "secret"), "folder": str(root.parent), "nowhere": "/site/gone"}
    assert expected == links
    assert "plain" == (root / "plain").read_text()
    assert {"root", "own", "secret"} == {path.name for path in root.parent.iterdir()}


def test_what_lies_too_deep_is_left_and_costs_nothing_more(root: Path) -> None:
    """An algorithm may nest folders deeper than Python calls functions."""
    handle = os.open(root, os.O_RDONLY)
    for _ in range(2000):
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    (root / "e").symlink_to("/site/own")
    try:
        become_files(root, {"/site/own": root.parent / "own"}.get)

        assert "own" == (root / "e").read_text()
    finally:
        guarded.empty(root)


def test_links_to_a_large_file_do_not_fill_the_disk(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.node.links.FILE_BYTES_PER_CALL_MAX", 7)
    for name in "abc":
        (root / name).symlink_to("/site/own")

    become_files(root, {"/site/own": root.parent / "own"}.get)

    assert [False, False, True] == [(root / name).is_symlink() for name in "abc"]
