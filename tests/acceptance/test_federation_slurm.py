"""A data station on a cluster: hub, node and client as their people start them, and a real Slurm of one machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.acceptance.pooling import COLUMN, mean_of
from tests.slurm import Cluster
from tests.stage import EXAMPLES, federation, hub_program, until

from atoll.client.runs import Run

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.needs("slurm"),
    pytest.mark.needs("bubblewrap"),
    pytest.mark.timeout(120),
]

ISLAND = "Biscoe"
WAIT = 60.0


def told(run: Run) -> str:
    """What the run's first job waits for, as its submitter is told."""
    return next((one.text or "" for one in run.waiting_for), "")


def test_a_run_waits_in_the_queue_and_then_runs_on_the_cluster(slurm: Cluster, tmp_path: Path) -> None:
    settings = {
        "runtime": "slurm",
        "slurm": {"conf": str(slurm.conf), "address": "127.0.0.1"},
    }
    with federation(tmp_path, [hub_program(tmp_path / "hub")], islands=[ISLAND], settings=settings) as there:
        with slurm.filled():
            run = there.submit(
                EXAMPLES / "functions" / "mean", args={"column": COLUMN}, databases=["penguins"]
            )
            until(lambda: "(reason: " in told(run), "the run's submitter sees that it is queued")
            queued = told(run)
            assert slurm.jobs("PENDING") == [queued.partition("as job ")[2].partition(" ")[0]]
        result = run.wait(WAIT).result
        said = there.nodes[ISLAND].said

    assert queued.startswith("queued in Slurm as job ")
    assert pytest.approx(mean_of(ISLAND), rel=1e-12) == result
    assert queued in said
    assert "runs in Slurm as job " in said
    assert slurm.jobs() == []
