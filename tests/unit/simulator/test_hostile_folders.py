"""Folders that were made to harm whoever looks at them, or runs what is in them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from atoll.simulator.arguments import Arguments
from atoll.simulator.code import find_code
from atoll.simulator.dialects import prepare
from atoll.simulator.image import dockerfile_of, read_dockerfile

#: Processor seconds. What is read in proportion to its length takes hundredths, what isn't takes minutes.
SECONDS_MAX = 5.0

FUNCTION = "from atoll_algorithm import partial\n\n\n@partial\ndef count() -> int:\n    return 1\n"


@pytest.mark.parametrize(
    "text",
    ["\n" * 300_000, "ENV\n" * 100_000, "CMD x" + " " * 300_000 + "y", "ENV PKG_NAME" + "=\t" * 100_000],
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
