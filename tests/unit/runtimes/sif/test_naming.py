"""A computation names an image as engines do, and means a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.sif import write_tree

from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.sif.naming import find_image


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("coinstac/ridge", "coinstac_ridge.sif"),
        ("coinstac/ridge:1.0", "coinstac_ridge_1.0.sif"),
        ("coinstac/ridge:9.9", "coinstac_ridge.sif"),
        ("lasso-without", "lasso-without-ending"),
        ("lasso", "other_lasso-v2.simg"),
        ("unpacked", "unpacked"),
        ("coinstac/root", "coinstac_root_latest"),
        ("coinstac_ridge_1.0.sif", "coinstac_ridge_1.0.sif"),
    ],
)
def test_the_file_is_found_by_a_part_of_its_name(tmp_path: Path, name: str, file: str) -> None:
    write_tree(
        tmp_path,
        {
            "/lasso-without-ending": bytes(32) + b"SIF_MAGIC\0",
            "/coinstac_ridge.sif": "",
            "/coinstac_ridge_1.0.sif": "",
            "/coinstac_ridge_notes.txt": "",
            "/other_lasso-v2.simg": "",
            "/unpacked/usr/x": "",
            "/coinstac_root_latest/.singularity.d/runscript": "",
        },
    )

    assert find_image(tmp_path, name) == tmp_path / file


def test_what_is_not_there_is_told_with_what_is(tmp_path: Path) -> None:
    write_tree(tmp_path, {"/other.sif": "", "/coinstac_ridge.txt": ""})

    with pytest.raises(
        RuntimeUnavailable, match=r"'coinstac_ridge', such as coinstac_ridge.sif. There is other.sif"
    ):
        find_image(tmp_path, "coinstac/ridge")
    with pytest.raises(RuntimeUnavailable, match="There are no images"):
        find_image(tmp_path / "none", "coinstac/ridge")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "../secret.sif", "sub/../../secret.sif", "sub/inner.sif"]
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    folder = write_tree(tmp_path / "images", {"/sub/inner.sif": "", "/other.sif": ""})
    write_tree(tmp_path, {"/secret.sif": "", "/usr/x": "", "/etc/x": ""})

    for each in (name, f"{tmp_path}/{name}"):
        with pytest.raises(RuntimeUnavailable, match="no image"):
            find_image(folder, each)
