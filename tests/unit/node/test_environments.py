"""An algorithm gets an interpreter that has what it requires, or a sentence."""

from __future__ import annotations

import subprocess
import sys

import pytest

from atoll.model.errors import JobRefused
from atoll.node.environments import choose
from atoll.node.settings import Environment


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An interpreter with a few packages that are only there by name."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    library = next(folder.glob("lib/python3*/site-packages"))
    (library / "islands").mkdir()
    (library / "single.py").write_text("")
    (library / "compiled.cpython-311-x86_64-linux-gnu.so").write_text("")
    (library / "vantage6_algorithm_tools-4.13.1.dist-info").mkdir()
    return Environment(name="bare", python=folder / "bin/python", provides=("CUDA",))


@pytest.mark.parametrize("what", ["islands", "single", "compiled", "vantage6-4", "CUDA"])
def test_what_an_environment_has_is_found_without_running_it(bare: Environment, what: str) -> None:
    assert choose([bare], [what], name="mean") == bare.python


def test_what_requires_nothing_gets_atolls_own(bare: Environment) -> None:
    assert choose([bare], [], name="mean") is None


def test_atolls_own_comes_last(bare: Environment) -> None:
    assert choose([bare], ["yaml"], name="mean") is None


def test_a_program_is_looked_for_among_programs(bare: Environment) -> None:
    assert choose([bare], ["sh"], programs=["sh"], name="mean") == bare.python
    with pytest.raises(JobRefused):
        choose([bare], ["sh"], name="mean")


def test_what_no_environment_has_is_told_with_what_each_lacks(bare: Environment) -> None:
    with pytest.raises(JobRefused) as refused:
        choose([bare], ["islands", "vantage6-5", "no_such_thing"], name="mean")

    assert str(refused.value) == (
        "'mean' requires islands, vantage6-5, no_such_thing, and no environment of this node has it all (bare lacks "
        "vantage6-5, no_such_thing; Atoll's own lacks islands, vantage6-5, no_such_thing). Make one, and name it under "
        "'environments' in node.yaml"
    )
