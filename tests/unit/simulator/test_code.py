"""The code of functions is found in a module, a package or the repository around one."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from atoll.algorithms import code as codes
from atoll.algorithms.code import Code, find_code
from atoll.model.errors import SpecInvalid


def write(root: Path, *names: str, **texts: str) -> Path:
    """A folder with files of these names, most of them empty."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, text in texts.items():
        (root / name).write_text(text)
    return root


def found(path: Path, package: str | None = None) -> tuple[str, str | None, str]:
    """What is shown of a path, under which name, and what is started."""
    code = find_code(path, package)
    return code.path.name, code.name, code.target


def refusal(path: Path, package: str | None = None) -> str:
    """Why there is no code at a path."""
    with pytest.raises(SpecInvalid) as refused:
        find_code(path, package)
    return str(refused.value).removeprefix(str(path.resolve())).strip()


# --- Where it is ------------------------------------------------------------------------------


def test_a_module_is_shown_alone(tmp_path: Path) -> None:
    write(tmp_path, "mean.py", "other.py", "data.csv")

    assert ("mean.py", "mean.py", "mean.py") == found(tmp_path / "mean.py")
    assert "mean" == find_code(tmp_path / "mean.py", None).package


def test_a_package_is_shown_under_its_name(tmp_path: Path) -> None:
    write(tmp_path / "average", "__init__.py", "central.py", "tests/test_x.py", "test/data.csv")

    assert ("average", "average", "average") == found(tmp_path / "average")
    assert ("test", "tests") == find_code(tmp_path / "average", None).masked


@pytest.mark.parametrize("below", [".", "src"])
def test_a_repository_has_one_package_beside_what_is_none(tmp_path: Path, below: str) -> None:
    write(
        tmp_path,
        "setup.py",
        "noxfile.py",
        "tests/__init__.py",
        "test/__init__.py",
        "docs/__init__.py",
        "utils/__init__.py",
        "build/__init__.py",
        ".hidden/__init__.py",
        "data/a.csv",
        f"{below}/average/__init__.py",
    )

    assert ("average", "average", "average") == found(tmp_path)


def test_a_repositorys_package_is_taken_before_its_modules(tmp_path: Path) -> None:
    write(tmp_path, "run.py", "average/__init__.py")

    assert ("average", "average", "average") == found(tmp_path)


def test_a_folder_with_one_module_shows_the_python_beside_it_and_no_data(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "mean",
        "mean.py",
        "conftest.py",
        "alpha.csv",
        "federation.yaml",
        "images/scan.nii",
        "tests/__init__.py",
        ".git/HEAD",
    )

    code = find_code(folder, None)

    assert (folder, None, "mean.py") == (code.path, code.name, code.target)
    assert (".git", "alpha.csv", "federation.yaml", "images", "tests") == code.masked


def test_of_several_modules_one_is_named_and_may_import_the_others(tmp_path: Path) -> None:
    write(tmp_path, "mean.py", "shared.py", "a.csv")

    assert (tmp_path.name, None, "mean.py") == found(tmp_path, "mean")
    assert (tmp_path.name, None, "shared.py") == found(tmp_path, "shared.py")
    assert ("a.csv",) == find_code(tmp_path, "mean").masked


@pytest.mark.parametrize(
    "line",
    [
        "import shared",
        "from shared import total",
        "import os, shared as s",
        "    from shared.deep import total",
    ],
)
def test_a_module_brings_those_beside_it_that_it_imports(tmp_path: Path, line: str) -> None:
    write(
        tmp_path, "shared.py", "test_mean.py", "mean_test.py", "a.csv", **{"mean.py": f"import os\n{line}\n"}
    )

    expected = (tmp_path.name, None, "mean.py")
    assert [expected, expected] == [found(tmp_path), found(tmp_path / "mean.py")]
    assert ("a.csv",) == find_code(tmp_path / "mean.py", None).masked
    # Which imports nothing from beside it.
    assert ("shared.py", "shared.py", "shared.py") == found(tmp_path / "shared.py")


def test_modules_that_import_each_other_or_nothing_are_several(tmp_path: Path) -> None:
    write(tmp_path, **{"one.py": "import two", "two.py": "import one"})
    assert refusal(tmp_path).startswith("holds several: one.py, two.py.")

    write(tmp_path, **{"one.py": "# import two", "two.py": "import three, .. , .one\nfrom . import one"})
    assert refusal(tmp_path).startswith("holds several: one.py, two.py.")


def test_of_several_packages_one_is_named_also_by_the_dockerfile(tmp_path: Path) -> None:
    write(tmp_path, "one/__init__.py", "src/two/__init__.py", "three.py")

    assert ("two", "two", "two") == found(tmp_path, "two")
    (tmp_path / "Dockerfile").write_text('FROM x\nARG PKG_NAME="one"\nENV PKG_NAME=${PKG_NAME}\n')
    assert ("one", "one", "one") == found(tmp_path)
    # Who names one wins.
    assert ("two", "two", "two") == found(tmp_path, "two")


@pytest.mark.parametrize(
    "line",
    [
        "ENV PKG_NAME=one",
        "ENV PKG_NAME one",
        "  env PKG_NAME='one'",
        'ARG PKG_NAME="one"',
        "ARG PKG_NAME =one",
        "ENV PKG_NAME=${PKG_NAME}\nENV PKG_NAME=one",
        "# ENV PKG_NAME=two\nENV PKG_NAME=one",
    ],
)
def test_a_dockerfile_names_its_package_in_one_of_several_ways(tmp_path: Path, line: str) -> None:
    write(tmp_path, "one/__init__.py", "two/__init__.py", Dockerfile=f"FROM x\n{line}\nCMD python\n")

    assert ("one", "one", "one") == found(tmp_path)


@pytest.mark.parametrize("line", ["RUN echo PKG_NAME=one", "#ARG PKG_NAME=one", "ENV OTHER_PKG_NAME=one"])
def test_what_only_looks_like_a_packages_name_is_none(tmp_path: Path, line: str) -> None:
    write(tmp_path, "one/__init__.py", "two/__init__.py", Dockerfile=f"FROM x\n{line}\n")

    assert refusal(tmp_path).startswith("holds several: one, two.")


def test_a_package_within_a_package_is_found_by_its_name(tmp_path: Path) -> None:
    write(tmp_path / "outer", "__init__.py", "inner/__init__.py")

    assert ("outer", "outer", "outer") == found(tmp_path / "outer", "outer")
    assert ("inner", "inner", "inner") == found(tmp_path / "outer", "inner")


def test_a_link_leads_to_the_code_and_its_name(tmp_path: Path) -> None:
    write(tmp_path, "real/mean.py")
    (tmp_path / "link.py").symlink_to(tmp_path / "real" / "mean.py")

    assert ("mean.py", "mean.py", "mean.py") == found(tmp_path / "link.py")


# --- Where it is not --------------------------------------------------------------------------


def test_what_is_no_code_is_told(tmp_path: Path) -> None:
    write(tmp_path, "mean.R", "empty/.keep", "repo/one/__init__.py", "repo/two/__init__.py", "repo/x.py")
    write(tmp_path / "modules", "a.py", "b.py")

    assert "expected a Python file, a package, or a folder with either" in refusal(tmp_path / "gone")
    assert refusal(tmp_path / "mean.R") == (
        "is no Python file: expected one, a package, or a folder with either"
    )
    assert refusal(tmp_path / "empty") == (
        "holds no algorithm: expected a compspec.json, a Python package or a Python file"
    )
    assert refusal(tmp_path / "repo") == (
        "holds several: one, two. Name the one that holds the functions with --package"
    )
    assert refusal(tmp_path / "modules") == (
        "holds several: a.py, b.py. Name the one that holds the functions with --package"
    )


def test_a_package_that_is_not_there_is_told_with_those_that_are(tmp_path: Path) -> None:
    write(tmp_path, "one/__init__.py", "src/two/__init__.py", "x.py")
    write(tmp_path / "empty", ".keep")

    assert refusal(tmp_path, "three") == (
        "has no package 'three' (it has one, two, x.py): name the one that holds the functions with --package"
    )
    assert "(it has nothing that is Python)" in refusal(tmp_path / "empty", "three")
    (tmp_path / "Dockerfile").write_text("ENV PKG_NAME=gone\n")
    assert "has no package 'gone'" in refusal(tmp_path)


# --- What is in it ----------------------------------------------------------------------------


def test_its_sources_are_named_from_where_it_is_imported(tmp_path: Path) -> None:
    package = write(
        tmp_path / "average", "__init__.py", "sub/inner.py", "tests/test_x.py", "__pycache__/x.py", "a.csv"
    )
    (package / "central.py").write_text("é = 1\n")
    (package / "latin.py").write_bytes(b"# caf\xe9\n")
    (package / "folder.py").mkdir()
    os.mkfifo(package / "pipe.py")
    (package / "dangling.py").symlink_to("nowhere.py")

    sources = find_code(package, None).sources()

    assert ["average/__init__.py", "average/central.py", "average/latin.py", "average/sub/inner.py"] == list(
        sources
    )
    assert "é = 1\n" == sources["average/central.py"]
    assert "# caf\ufffd\n" == sources["average/latin.py"]


def test_the_sources_of_a_module_are_its_own_or_those_beside_it(tmp_path: Path) -> None:
    write(tmp_path, "mean.py", "shared.py", "tests/x.py")

    assert ["mean.py"] == list(find_code(tmp_path / "mean.py", None).sources())
    assert ["mean.py", "shared.py"] == list(find_code(tmp_path, "mean").sources())


def test_only_so_much_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codes, "_SOURCES_MAX", 3)
    monkeypatch.setattr(codes, "_SOURCE_BYTES_MAX", 5)
    write(tmp_path, "a.py", "b.py", "c.py", "d.py")
    (tmp_path / "b.py").write_text("x = 12")

    assert ["a.py", "c.py", "d.py"] == list(find_code(tmp_path, "a").sources())


def test_its_digest_changes_with_its_code_and_not_with_what_is_masked(tmp_path: Path) -> None:
    write(tmp_path / "average", "__init__.py", "tests/test_x.py")

    def digest() -> str:
        return find_code(tmp_path / "average", None).digest()

    first = digest()
    (tmp_path / "average" / "tests" / "test_x.py").write_text("x = 1")
    same = digest()
    (tmp_path / "average" / "__init__.py").write_text("x = 1")

    assert first == same != digest()
    assert first.startswith("sha256:")
    (tmp_path / "mean.py").write_text("x = 1")
    expected = f"sha256:{hashlib.sha256(b'x = 1').hexdigest()}"
    assert expected == find_code(tmp_path / "mean.py", None).digest()


def test_code_is_imported_under_the_name_of_what_is_started() -> None:
    for target, package in (("mean.py", "mean"), ("average", "average"), ("my.py.py", "my.py")):
        assert package == Code(path=Path(), name=None, target=target).package
