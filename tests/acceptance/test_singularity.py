"""A COINSTAC computation of type ``singularity``, whole commands, on a machine that no container engine is asked of."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests import apptainer_stand_in, sif

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(180),
    pytest.mark.needs("bubblewrap"),
    pytest.mark.needs("mksquashfs"),
]

SUM = Path(__file__).resolve().parents[2] / "examples" / "coinstac" / "sum"


@pytest.fixture
def computation(tmp_path: Path) -> Path:
    """The guide's example as a computation of this type: its scripts are in an image, beside its specification."""
    folder = tmp_path / "sum"
    shutil.copytree(SUM, folder)
    document = json.loads((folder / "compspec.json").read_text())
    for part in (document["computation"], document["computation"]["remote"]):
        part |= {"type": "singularity", "dockerImage": "atoll-test/sum"}
    (folder / "compspec.json").write_text(json.dumps(document))
    scripts = {f"/computation/{name}.py": (folder / f"{name}.py").read_text() for name in ("local", "remote")}
    sif.make_image(folder / "atoll-test_sum_latest.sif", dict(scripts))
    for name in ("local", "remote"):
        (folder / f"{name}.py").unlink()
    return folder


def simulate(folder: Path, *words: str | Path, programs: Path | None = None) -> dict[str, Any]:
    """What ``atoll simulate --json`` tells, where the engines' programs and sockets are out of reach."""
    path = f"{sys.prefix}/bin:/usr/bin:/bin"
    done = subprocess.run(
        [sys.executable, "-m", "atoll", "simulate", *words, "-c", "2", "--json", "--output", "run"],
        cwd=folder,
        env={
            "PATH": path if programs is None else f"{programs}:{path}",
            "HOME": os.environ["HOME"],
            "XDG_CACHE_HOME": str(sif.ROOTS.parent),
            "DOCKER_HOST": "unix:///nowhere",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    document = json.loads(done.stdout)
    assert document["status"] == "done", (document["error"], done.stderr)
    return dict(document)


def record(folder: Path) -> dict[str, Any]:
    """What a run has written of how it was run."""
    return dict(json.loads((folder / "run" / "run.json").read_text()))


def test_its_file_runs_by_its_path(computation: Path) -> None:
    told = simulate(computation, ".", "--image", "sif:atoll-test_sum_latest.sif")

    assert told["results"]["local0"] == {"sum": 5}
    assert record(computation)["runtime"] == "bubblewrap"


def test_its_file_is_found_by_the_name_of_its_image(computation: Path, tmp_path: Path) -> None:
    """As COINSTAC finds it; what runs it is a stand-in for Apptainer."""
    apptainer_stand_in.install(tmp_path, sif.ROOTS)

    told = simulate(computation, ".", "--runtime", "apptainer", programs=tmp_path)

    assert told["results"]["local1"] == {"sum": 5}
    assert record(computation)["runtime"] == "apptainer"
