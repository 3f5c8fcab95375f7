"""What a user installs works on Debian 13, and with the Python that generation 5 of vantage6 declares."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.environments import HERE, SRC, inside_trixie

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(240), pytest.mark.needs("trixie")]

Inside = Callable[..., str]


@pytest.fixture
def inside(tmp_path: Path) -> Inside:
    """Run a command there, in a folder of this test, and give back what it prints."""

    def run(*words: str | Path) -> str:
        command = inside_trixie(*words, folder=tmp_path)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_wheels_lie_beside_the_tools_of_generation_5_under_python_3_13(inside: Inside) -> None:
    code = """if True:
        import json, sys, atoll, atoll_algorithm, vantage6.algorithm.tools.wrap
        from importlib.metadata import version
        tools = version("vantage6-algorithm-tools")
        print(json.dumps([sys.version_info[:2], tools, atoll.__file__, atoll_algorithm.__file__]))
    """
    python, tools, *installed = json.loads(inside("python", "-c", code))

    assert python == [3, 13]
    assert tools.startswith("5.")
    assert all("/site-packages/" in path for path in installed)


def test_a_computation_runs_there(inside: Inside) -> None:
    example = SRC / "examples" / "coinstac" / "sum"
    printed = inside("atoll", "simulate", example, "--runtime", "process", "--json", "--output", HERE / "run")
    document = json.loads(printed)

    assert document["status"] == "done"
    assert document["iterations"] == 5
