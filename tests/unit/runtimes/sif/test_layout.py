"""Where an image's file system lies in its file, and how a file is refused that is none, or is damaged."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from tests.sif import Part, write_sif

from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.sif.layout import Layout, read_layout

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]


def squashfs(size: int = 4096, *, major: int = 4, used: int | None = None) -> bytes:
    """What begins as a squashfs does."""
    start = struct.pack("<4sI20xHH8xQ", b"hsqs", 3, major, 0, size if used is None else used)
    return start.ljust(size, b"\0")


def read(path: Path) -> Layout:
    with path.open("rb") as file:
        return read_layout(file, "the-image.sif")


def refusal(path: Path) -> str:
    with pytest.raises(RuntimeUnavailable) as refused:
        read(path)
    return str(refused.value)


def test_the_primary_system_is_found_among_other_parts(tmp_path: Path) -> None:
    data, overlay = (Part(content=squashfs(), role=role) for role in (3, 4))
    text = Part(kind=0x4001, content=b"bootstrap: docker")
    path = write_sif(tmp_path / "a.sif", text, data, Part(content=squashfs(8192)), overlay)

    layout = read(path)

    assert path.read_bytes()[layout.offset :][:4] == b"hsqs"
    assert (layout.size, layout.architecture, layout.configuration) == (8192, ARCHITECTURE, None)


def test_the_configuration_of_the_container_image_is_found(tmp_path: Path) -> None:
    other = Part(kind=0x4006, content=b"{}", name="inspect-metadata.json")
    configuration = Part(kind=0x4006, content=b'{"Cmd": ["x"]}', name="oci-config.json")
    path = write_sif(tmp_path / "a.sif", Part(content=squashfs()), other, configuration)

    assert read(path).configuration == b'{"Cmd": ["x"]}'


def test_a_bare_squashfs_is_an_image(tmp_path: Path) -> None:
    path = tmp_path / "a.squashfs"
    path.write_bytes(squashfs())

    assert read(path) == Layout(offset=0, size=4096)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        (Part(content=squashfs(), file_system=5), "encrypted"),
        (Part(content=squashfs(), file_system=2), "ext3"),
        (Part(content=squashfs(), file_system=77), r"of an unknown kind (77)"),
        (Part(content=squashfs(), role=1), "0 primary system partitions"),
        (Part(content=squashfs(), role=3), "0 primary system partitions"),
        (Part(content=squashfs(), architecture=b"11"), f"is for s390x, and this machine is {ARCHITECTURE}"),
        (Part(content=b"x" * 4096), "there is no squashfs at byte 32768"),
        (Part(content=b""), "there is no squashfs at byte 32768"),
        (Part(content=squashfs(major=3)), "squashfs in the-image.sif is of version 3"),
        (Part(content=squashfs(used=5000)), "5000 bytes, of which 4096 are there"),
    ],
)
def test_what_cannot_be_run_is_refused_with_its_reason(tmp_path: Path, part: Part, words: str) -> None:
    assert words in refusal(write_sif(tmp_path / "a.sif", part))


def test_two_primary_systems_are_one_too_many(tmp_path: Path) -> None:
    part = Part(content=squashfs())

    assert "2 primary system partitions" in refusal(write_sif(tmp_path / "a.sif", part, part))


def test_another_version_of_the_format_is_refused(tmp_path: Path) -> None:
    path = write_sif(tmp_path / "a.sif", Part(content=squashfs()), version=b"02")

    assert "version '02' of the SIF format" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"#!/bin/sh\n", b"PK\x03\x04" + bytes(500), bytes(4096)])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.sif"
    path.write_bytes(content)

    assert "begins neither as a SIF file nor as a squashfs" in refusal(path)


@pytest.mark.parametrize("size", [100, 4000, 5000, 34000])
def test_a_file_that_ends_too_early_is_damaged(tmp_path: Path, size: int) -> None:
    path = write_sif(tmp_path / "a.sif", Part(content=squashfs()))
    os.truncate(path, size)

    assert "the image the-image.sif is damaged" in refusal(path)


@pytest.mark.parametrize(
    ("field", "value"),
    [(3, -1), (3, 0), (3, 2**40), (4, -5), (4, 0), (4, 2**62)],
    ids=["parts<0", "parts=0", "parts>>0", "at<0", "at=0", "at>>0"],
)
def test_a_table_that_lies_elsewhere_is_damage(tmp_path: Path, field: int, value: int) -> None:
    """The header's numbers from byte 64 on: created, modified, free, total, at, size."""
    path = write_sif(tmp_path / "a.sif", Part(content=squashfs()))
    with path.open("r+b") as file:
        file.seek(64 + 8 * field)
        file.write(struct.pack("<q", value))

    assert "the image the-image.sif is damaged" in refusal(path)


@pytest.mark.parametrize(("field", "value"), [(17, -1), (17, 2**62), (25, -1), (25, 2**62)])
def test_a_part_that_lies_outside_is_damage(tmp_path: Path, field: int, value: int) -> None:
    """A descriptor's numbers: where its part begins, and how long it is."""
    path = write_sif(tmp_path / "a.sif", Part(content=squashfs()))
    with path.open("r+b") as file:
        file.seek(4096 + field)
        file.write(struct.pack("<q", value))

    assert "the image the-image.sif is damaged" in refusal(path)
