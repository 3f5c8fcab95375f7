"""Folders that were made to harm whoever looks at them, or runs what is in them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from atoll.algorithms.code import find_code
from atoll.algorithms.image import dockerfile_of, read_dockerfile
from atoll.model.errors import SpecInvalid
from atoll.simulator.arguments import Arguments
from atoll.simulator.dialects import prepare
from atoll.simulator.federation import read_federation

#: Processor seconds. What is read in proportion to its length takes hundredths, what isn't takes minutes.
SECONDS_MAX = 5.0

FUNCTION = "from atoll_algorithm import partial\n\n\n@partial\ndef count() -> int:\n    return 1\n"


@pytest.mark.parametrize(
    "text",
    [
        *("\n" * 300_000, "ENV\n" * 100_000, "CMD x" + " " * 300_000 + "y", "ENV PKG_NAME" + "=\t" * 100_000),
        "CMD " + "[" * 100_000,
    ],
)
def test_a_dockerfile_is_read_in_proportion_to_its_length(text: str, tmp_path: Path) -> None:
    """Blanks are many ways to find nothing."""
    (tmp_path / "Dockerfile").write_text(text)
    (tmp_path / "mean.py").write_text(FUNCTION)
    started = time.process_time()

    read_dockerfile(dockerfile_of(tmp_path))
    find_code(tmp_path, None)

    assert time.process_time() - started < SECONDS_MAX


def test_source_is_read_in_proportion_to_its_length(tmp_path: Path) -> None:
    """Empty lines are many places at which vantage6 could be imported, and is not."""
    (tmp_path / "mean.py").write_text("\n" * 300_000 + FUNCTION)
    started = time.process_time()

    prepared = prepare(Arguments(path=tmp_path))

    assert prepared.dialect == "functions"
    assert time.process_time() - started < SECONDS_MAX


def test_of_a_dockerfile_without_end_only_the_beginning_is_read(tmp_path: Path) -> None:
    """It may have a size that nothing stands behind."""
    with (tmp_path / "Dockerfile").open("wb") as file:
        file.write(b'CMD ["Rscript", "mean.R"]\n')
        file.truncate(2**40)

    assert read_dockerfile(dockerfile_of(tmp_path)).command == ("Rscript", "mean.R")


# --- A federation.yaml that came with the algorithm -------------------------------------------


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with a federation.yaml of its own, which names a file of somebody else's."""
    folder = tmp_path / "mean"
    folder.mkdir()
    (folder / "__init__.py").write_text(FUNCTION)
    (folder / "own.csv").write_text("age\n1\n")
    (tmp_path / "diary.csv").write_text("day\n1\n")
    sites = "sites: {alpha: {databases: {own: own.csv}}, beta: {databases: {a: ../diary.csv}}}"
    (folder / "federation.yaml").write_text(sites)
    return folder


def test_it_shows_no_file_of_the_machine_without_a_warning(package: Path) -> None:
    """Whoever runs an algorithm has not read what lies beside it."""
    (warning,) = prepare(Arguments(path=package)).warnings

    assert "beta" in warning
    assert str(package.parent / "diary.csv") in warning
    assert "alpha" not in warning


def test_it_shows_no_file_of_the_machine_at_all_where_warnings_are_errors(package: Path) -> None:
    with pytest.raises(SpecInvalid, match="elsewhere on this machine"):
        prepare(Arguments(path=package, strict=True))


def test_one_that_was_named_may_lead_anywhere(package: Path) -> None:
    named = Arguments(path=package, federation=package / "federation.yaml", strict=True)

    assert () == prepare(named).warnings


def test_earlier_runs_that_lie_in_a_package_are_hidden(package: Path) -> None:
    """They hold what every site has answered."""
    run = package / "kept" / "first"
    run.mkdir(parents=True)
    (run / "events.jsonl").touch()
    (run / "calls.jsonl").touch()

    (installed,) = prepare(Arguments(path=package)).plan.installed.values()

    assert "kept/first" in installed.masked


# --- A small federation.yaml that is large once it is written out -----------------------------

SHARED = "[&a [x, x, x, x], " + ", ".join(
    f"&{name} [*{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}, *{of}]"
    for of, name in zip("abcdefghi", "bcdefghij", strict=True)
)


@pytest.mark.parametrize(
    "text",
    [
        f"sites: {{alpha: {{databases: {{own: {{uri: own.csv, query: {SHARED}]}}}}}}}}",
        f"? {SHARED}]\n: 1\nsites: {{alpha: }}",
        "sites: {alpha: {databases: {own: {uri: own.csv, query: &a [*a]}}}}",
    ],
    ids=["value", "key", "itself"],
)
def test_what_is_shared_a_billion_times_is_refused(text: str, tmp_path: Path) -> None:
    """It would be written out where an algorithm is told of its databases."""
    (tmp_path / "own.csv").touch()
    (tmp_path / "federation.yaml").write_text(text)
    started = time.process_time()

    with pytest.raises(SpecInvalid, match=r"federation\.yaml"):
        read_federation(tmp_path / "federation.yaml")

    assert time.process_time() - started < SECONDS_MAX
