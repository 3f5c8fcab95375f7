"""Who waits for a run sees how far it is."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.client import progress
from atoll.client.records import Event, Waiting


def drawn(capsys: pytest.CaptureFixture[str], *events: tuple[str, dict[str, Any]]) -> str:
    """What is drawn of these events."""
    progress.show(Event(cursor=None, kind=kind, form=form) for kind, form in events)
    return capsys.readouterr().err


def round_of(name: str, jobs: int, still_open: int) -> tuple[str, dict[str, Any]]:
    """A round with so many jobs."""
    form = {"name": name, "role": "site", "step": 0, "iteration": 5, "job_count": jobs}
    return "round", {**form, "open_count": still_open}


@pytest.mark.parametrize(("status", "bar"), [("done", "3/3"), ("failed", "2/3")])
def test_a_run_that_is_done_has_nothing_left_to_do(
    capsys: pytest.CaptureFixture[str], status: str, bar: str
) -> None:
    ended = ("run", {"name": "Sum", "status": status})

    shown = drawn(capsys, round_of("", 3, 1), ended)

    assert f"Sum: {status}" in shown
    assert bar in shown


def test_what_a_site_waits_for_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    queued = {"seat": "alpha", "status": "active", "text": "queued in Slurm as job 7 (reason: Resources)"}

    assert "alpha: queued in Slurm as job 7 (reason: Resources)" in drawn(capsys, ("job", queued))


def test_what_was_waited_for_before_is_told_first(capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [
        Waiting(id="1", seat="alpha", node="alpha", status="active", online=True, text="queued as job 7"),
        Waiting(id="2", seat="beta", node="beta", status="queued", online=False),
        Waiting(id="3", seat="gamma", node="gamma", status="queued", online=True),
    ]

    progress.show([], jobs)

    shown = capsys.readouterr().err
    assert "alpha: queued as job 7\nbeta: its node is away\n" in shown
    assert "gamma" not in shown
