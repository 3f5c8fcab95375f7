"""``atoll simulate --runtime``: a runtime that another package brings, and one that nobody does."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from atoll.cli import simulate

EXAMPLE = Path(__file__).parents[3] / "examples" / "coinstac" / "sum"
MODULE = """
from atoll.runtimes.process import ProcessRuntime

class Moored(ProcessRuntime):
    name = "moored"

    def __init__(self, context):
        super().__init__(python=context.python)
        assert context.owner and context.roots

    def caveats(self):
        return ("it lies at its moorings",)
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution on the import path that brings a runtime."""
    (tmp_path / "moored.py").write_text(MODULE)
    information = tmp_path / "moored-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: moored\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text("[atoll.runtimes]\nmoored = moored:Moored\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "moored", raising=False)


def test_installed_runtime_runs_a_simulation(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """It is named like one of Atoll's own, and what it doesn't enforce is told."""
    status = simulate.command(
        EXAMPLE, runtime="moored", clients=2, output=tmp_path / "out", as_json=True, max_iterations=10
    )

    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert (0, "done") == (status, document["status"]), printed.err
    assert "it lies at its moorings" in document["warnings"]
    assert "moored" == json.loads((tmp_path / "out" / "run.json").read_text())["runtime"]


def test_runtime_that_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """With the words that would have been understood."""
    status = simulate.command(EXAMPLE, runtime="sunken", output=tmp_path / "out")

    said = " ".join(capsys.readouterr().err.split())
    assert 2 == status
    assert (
        "there is no runtime 'sunken': expected auto, inline, process, bubblewrap, docker, podman, apptainer, moored, "
        in said
    )
    assert not (tmp_path / "out").exists()
