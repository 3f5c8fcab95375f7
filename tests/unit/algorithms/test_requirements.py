"""What an algorithm's own files say it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.algorithms.requirements import Requirements, read_requirements, read_version
from atoll.model.errors import SpecInvalid


def test_a_requirements_file_is_read_without_its_comments(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("# for arrays\nnumpy>=2\n\n  Pandas_Extra[x]<3\n")
    found = read_requirements(tmp_path)

    assert ("numpy>=2", "Pandas_Extra[x]<3") == found.lines
    assert {"numpy", "pandas-extra"} == found.names


def test_a_project_says_what_it_depends_on_and_its_version(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "1.2"\ndependencies = ["numpy"]\n')

    assert Requirements(lines=("numpy",), version="1.2") == read_requirements(tmp_path)


def test_a_setup_script_is_read_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "setup.py").write_text(
        "import setuptools\nraise SystemExit('it was run')\n"
        "setuptools.setup(name='a', version='3.0', install_requires=['vantage6-algorithm-tools'])\n"
    )

    assert Requirements(lines=("vantage6-algorithm-tools",), version="3.0") == read_requirements(tmp_path)


def test_a_file_that_is_named_counts_before_those_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\n")
    (tmp_path / "other.txt").write_text("scipy\n")

    assert ("scipy",) == read_requirements(tmp_path, tmp_path / "other.txt").lines


def test_a_pyproject_that_is_for_tools_alone_leaves_it_to_the_setup_script(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[build-system]\nrequires = ["setuptools"]\n[tool.black]\n')
    assert Requirements() == read_requirements(tmp_path)

    (tmp_path / "setup.py").write_text("from setuptools import setup\nsetup(install_requires=['numpy'])\n")
    assert ("numpy",) == read_requirements(tmp_path).lines


def test_who_says_nothing_needs_nothing(tmp_path: Path) -> None:
    assert (Requirements(), "") == (read_requirements(tmp_path), read_version(tmp_path))


def test_a_version_is_found_wherever_the_requirements_stand(tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text("numpy\n")
    (tmp_path / "pyproject.toml").write_text("[project]\ndynamic = ['version', 'dependencies']\n")
    (tmp_path / "setup.py").write_text("from setuptools import setup\nsetup(version='0.3')\n")

    assert "0.3" == read_version(tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("requirements.txt", "numpy\n-r more.txt\n", "names another file, '-r more.txt'"),
        ("requirements.txt", "-e .\n", "names another file, '-e .'"),
        ("requirements.txt", "./wheels/a.whl\n", "names another file"),
        ("pyproject.toml", "[project\n", "is no TOML"),
        ("pyproject.toml", '[project]\ndependencies = "numpy"\n', "no list of texts"),
        ("pyproject.toml", '[project]\ndynamic = ["dependencies"]\n', "found out while it is built"),
        ("setup.py", "setup(install_requires=read())\n", "works out what it needs"),
        ("setup.py", "setup(\n", "is no Python"),
    ],
)
def test_what_can_t_be_read_is_refused_with_a_remedy(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(SpecInvalid) as refused:
        read_requirements(tmp_path)

    assert (True, True) == (said in str(refused.value), "--requirements" in str(refused.value))


def test_a_file_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match=r"nowhere\.txt is not there"):
        read_requirements(tmp_path, tmp_path / "nowhere.txt")
