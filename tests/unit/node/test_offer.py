"""What a site offers appears under its label, whatever the label is, and can't be changed."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from hypothesis import given
from hypothesis import strategies as st

from atoll.engine.ports import Database
from atoll.node.offer import Offer, Source

labels = st.text(min_size=1, max_size=20) | st.sampled_from(
    ["a", "a.csv", "_1", "database0", "database1", "..", "/etc/passwd", "a/b", "é", "名前", "-", "x" * 200]
)


def shown(offer: Offer) -> Mapping[str, str]:
    """Where an isolated algorithm sees what lies at the site, by the label."""
    places = {mount.source: mount.target for mount in offer.mounts()}
    return {label: database.uri for label, database in offer.seen(lambda path: places[path]).items()}


def test_files_and_folders_are_mounted_read_only_under_their_labels(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "patients.CSV").write_text("")
    (tmp_path / "plain").write_text("")
    offer = Offer(
        databases={
            "default": Source(type="csv", path=tmp_path / "patients.CSV"),
            "images-1.0": Source(type="folder", path=tmp_path / "folder"),
            "other": Source(type="other", path=tmp_path / "plain"),
            "sql": Source(type="sql", url="postgresql://somewhere/db"),
        }
    )

    assert {
        "default": "/databases/default.CSV",
        "images-1.0": "/databases/images-1.0",
        "other": "/databases/other",
        "sql": "postgresql://somewhere/db",
    } == shown(offer)
    assert not any(mount.writable for mount in offer.mounts())
    assert 3 == len(offer.mounts())


def test_a_label_that_is_no_files_name_stands_for_one(tmp_path: Path) -> None:
    for name in ("one.csv", "two.csv"):
        (tmp_path / name).write_text("")
    offer = Offer(
        databases={
            "é": Source(type="csv", path=tmp_path / "one.csv"),
            "../../etc": Source(type="csv", path=tmp_path / "two.csv"),
        }
    )

    assert {"é": "/databases/database0.csv", "../../etc": "/databases/database1.csv"} == shown(offer)


def test_no_database_takes_the_place_of_another(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    for name in ("one.csv", "two.csv", "three"):
        (tmp_path / name).write_text("")
    offer = Offer(
        databases={
            "é": Source(type="csv", path=tmp_path / "one.csv"),
            "database0": Source(type="csv", path=tmp_path / "two.csv"),
            "database0.csv": Source(type="folder", path=tmp_path / "a.csv"),
            "_1": Source(type="other", path=tmp_path / "three"),
        }
    )

    assert 4 == len(set(shown(offer).values()))


@given(st.lists(st.tuples(labels, st.sampled_from(["", ".csv", ".parquet"]), st.booleans()), max_size=8))
def test_whatever_its_label_is_a_database_has_a_place_of_its_own(
    given_: list[tuple[str, str, bool]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        databases = {}
        for number, (label, suffix, is_folder) in enumerate(given_):
            path = Path(folder, f"{number}{suffix}")
            if is_folder:
                path.mkdir()
            else:
                path.write_text("")
            databases[label] = Source(type="folder" if is_folder else "csv", path=path)
        offer = Offer(databases=databases)
        places = shown(offer)

    assert list(databases) == list(places)
    assert len(places) == len(set(places.values()))
    for place in places.values():
        # One part below the folder of all databases, so that none lies within another.
        assert PurePosixPath("/databases") == PurePosixPath(place).parent
        assert PurePosixPath(place).name not in ("", ".", "..")


def test_an_algorithm_sees_types_options_and_tables() -> None:
    table = object()
    offer = Offer(
        databases={
            "rows": Source(type="table", table=table),
            "sql": Source(type="sql", url="sqlite://", options={"query": "SELECT 1"}),
        }
    )

    assert {
        "rows": Database(label="rows", type="table", table=table),
        "sql": Database(label="sql", type="sql", uri="sqlite://", options={"query": "SELECT 1"}),
    } == offer.seen(str)
    assert [] == offer.mounts()
    assert {} == Offer().seen(str)
