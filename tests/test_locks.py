"""What is installed is what was chosen: every package by its version and its files' digests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from requirements import environments, lock

ROOT = Path(__file__).resolve().parent.parent
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


def test_every_lock_file_is_one_that_is_made() -> None:
    assert sorted(made.path for made in lock.LOCKS) == LOCKS


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_a_lock_file_holds_digests_and_no_addresses(path: Path) -> None:
    """Where packages come from is the installing machine's business."""
    lines = path.read_text().splitlines()
    packages = [line for line in lines if re.match(r"[a-z0-9]", line)]

    assert [] == [line for line in lines if re.search(r"://| @ |--(extra-)?index|--find-links", line)]
    assert [] == [
        line for line in packages if not re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+ (; .+ )?\\$", line)
    ]
    assert len(packages) <= sum("--hash=sha256:" in line for line in lines)


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
def test_no_lock_file_names_what_this_repository_makes(path: Path) -> None:
    assert re.search(r"^pydantic==|^pandas==", path.read_text(), re.MULTILINE)
    assert not re.search(r"^atoll", path.read_text(), re.MULTILINE)


def test_a_lock_file_is_stale_once_something_else_is_asked_for() -> None:
    fresh = lock.LOCKS[0]
    other = lock.Lock(name=fresh.name, sources=fresh.sources, options=fresh.options, python="3.12")

    assert fresh.is_fresh
    assert not other.is_fresh


def test_an_environment_is_stale_once_its_lock_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "ROOT", tmp_path)
    monkeypatch.setattr(environments, "FOLDER", tmp_path)
    (tmp_path / "some.txt").write_text("pandas==2.3.3\n")
    folder = environments.python_of("some").parent.parent
    folder.mkdir(parents=True)
    assert not environments.is_stamped("some")

    environments.stamp("some")
    assert environments.is_stamped("some")
    assert not environments.is_fresh("some")

    (tmp_path / "some.txt").write_text("pandas==2.3.4\n")
    assert not environments.is_stamped("some")
