"""A site maps its data to a computation once, and finds it again."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.model.errors import SpecInvalid
from atoll.model.work import Algorithm
from atoll.node.data_maps import DataMap, changed, map_for, read_maps, write_maps

CODE = Algorithm(dialect="coinstac", digest="sha256:1", name="Ridge")


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    maps = (
        DataMap(computation="ridge", inputs={"covariates": [["a.csv", True]], "ü": None}, folder=tmp_path),
        DataMap(computation="ridge", digest="sha256:1", inputs={"lambda": 0.5}),
    )
    path = tmp_path / "data-maps.yaml"

    write_maps(path, maps)

    assert read_maps(path) == maps
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_site_without_a_file_has_mapped_nothing(tmp_path: Path) -> None:
    assert read_maps(tmp_path / "data-maps.yaml") == ()


def test_a_map_for_the_very_code_goes_before_one_for_its_name() -> None:
    by_name, exact = DataMap(computation="ridge"), DataMap(computation="RIDGE", digest="sha256:1")
    other = DataMap(computation="ridge", digest="sha256:2")

    assert map_for((other, by_name, exact), CODE) is exact
    assert map_for((other, by_name), CODE) is by_name
    assert map_for((other, DataMap(computation="lasso")), CODE) is None


def test_mapping_anew_adds_to_what_was_mapped(tmp_path: Path) -> None:
    first = DataMap(computation="ridge", inputs={"a": 1, "b": 2}, folder=tmp_path)

    (merged,) = changed((first,), DataMap(computation="Ridge", inputs={"b": 3}))

    assert merged == DataMap(computation="ridge", inputs={"a": 1, "b": 3}, folder=tmp_path)
    assert len(changed((first,), DataMap(computation="lasso"))) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: 1", "expected a list"),
        ("- inputs: {a: 1}", "computation is missing"),
        ("- {computation: ridge, folder: nowhere}", "where no folder is"),
        ("- {computation: ridge, imputs: {}}", "Did you mean 'inputs'"),
        ("- 5", "map 1 is a number"),
        (b"\xff", "can't be read"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, text: str | bytes, words: str) -> None:
    path = tmp_path / "data-maps.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)

    with pytest.raises(SpecInvalid, match=words):
        read_maps(path)
