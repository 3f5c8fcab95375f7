"""What `.ci/engines` copies out of an environment."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest
from requirements import closure

_HERE = Path(sysconfig.get_path("purelib"))


def test_a_package_comes_with_what_it_asks_for_and_nothing_else(tmp_path: Path) -> None:
    closure.main(_HERE, tmp_path, ["Pytest-Cov"])
    found = {path.name for path in tmp_path.iterdir()}

    assert ({"pytest_cov", "coverage", "pytest", "iniconfig"}, set()) == (
        found & {"pytest_cov", "coverage", "pytest", "iniconfig"},
        found & {"hypothesis", "mypy", "bin"},
    )


def test_what_was_compiled_comes_along_and_still_fits(tmp_path: Path) -> None:
    closure.main(_HERE, tmp_path, ["iniconfig"])
    copied = tmp_path / "iniconfig" / "__init__.py"

    assert (_HERE / "iniconfig" / "__init__.py").stat().st_mtime_ns == copied.stat().st_mtime_ns
    assert list((_HERE / "iniconfig").glob("__pycache__/__init__.*.pyc")) == [
        _HERE / path.relative_to(tmp_path) for path in tmp_path.glob("iniconfig/__pycache__/__init__.*.pyc")
    ]


def test_a_package_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no nothing"):
        closure.main(_HERE, tmp_path, ["nothing"])
