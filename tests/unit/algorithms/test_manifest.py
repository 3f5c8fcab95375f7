"""A manifest says what its code is started by."""

from __future__ import annotations

import pytest

from atoll.algorithms.manifest import Manifest, needs_python, programs

R = ("Rscript", "/computation/local.R")
PYTHON = ("python3.11", "/computation/local.py")


@pytest.mark.parametrize(
    ("command", "aggregator", "started", "python"),
    [
        ((), (), (), True),  # It is imported.
        (PYTHON, (), (), True),
        (R, (), ("Rscript",), False),
        (R, R, ("Rscript",), False),
        (R, PYTHON, ("Rscript",), True),
    ],
)
def test_code_needs_python_unless_other_programs_start_all_of_it(
    command: tuple[str, ...], aggregator: tuple[str, ...], started: tuple[str, ...], *, python: bool
) -> None:
    manifest = Manifest(dialect="coinstac", name="mean", command=command, aggregator_command=aggregator)

    assert programs(manifest) == started
    assert needs_python(manifest) is python
