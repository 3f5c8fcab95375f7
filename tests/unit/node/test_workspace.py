"""A workspace belongs to one node; what belongs to a run is private, and goes with it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.federation import make_ticket

from atoll.engine.ports import Folder
from atoll.model.errors import SpecInvalid
from atoll.model.work import RunId, Seat, Ticket
from atoll.node.workspace import Workspace


def opened(root: Path, **how: float) -> Workspace:
    """A workspace that a node works in."""
    workspace = Workspace(root, **({"now": lambda: how["now"]} if how else {}))
    workspace.open()
    return workspace


def of_run(run_id: str, seat: str = "alpha") -> Ticket:
    """A ticket of a run."""
    ticket = make_ticket(Seat(seat))
    return replace(ticket, job=replace(ticket.job, run_id=RunId(run_id)))


def test_two_nodes_do_not_share_a_workspace(tmp_path: Path) -> None:
    first = opened(tmp_path)

    assert Workspace(tmp_path).is_taken()
    with pytest.raises(SpecInvalid, match="another node works in"):
        opened(tmp_path)
    first.close()
    assert not Workspace(tmp_path).is_taken()
    opened(tmp_path).close()
    assert not Workspace(tmp_path / "nowhere").is_taken()


def test_a_place_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(SpecInvalid, match="can't be used"):
        Workspace(tmp_path / "file").open()


def test_a_runs_folders_are_private_and_go_with_it_but_for_what_is_for_the_site(tmp_path: Path) -> None:
    workspace = opened(tmp_path)
    desk = workspace.desk(of_run("run_1"))
    desk.make(Folder.BASE)
    (desk.make(Folder.OUTPUT) / "kept").write_text("")

    assert workspace.runs() == workspace.kept_runs() == [RunId("run_1")]
    assert (tmp_path / "runs/run_1").stat().st_mode & 0o077 == 0
    assert not desk.revived
    assert Workspace(tmp_path).desk(of_run("run_1")).revived

    desk.remove()
    workspace.remove(RunId("run_1"))

    assert workspace.runs() == []
    assert (tmp_path / "outputs/run_1/alpha/kept").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "ä" * 300, "x\0"])
def test_no_name_leads_out_of_the_workspace(tmp_path: Path, name: str) -> None:
    workspace = opened(tmp_path / "inner")

    desk = workspace.desk(of_run(name or "run", name))

    assert desk.folders[Folder.BASE].is_relative_to(tmp_path / "inner" / "runs")
    assert ".." not in desk.folders[Folder.BASE].parts
    assert [path.name for path in tmp_path.iterdir()] == ["inner"]
    if "\0" not in name:
        assert workspace.runs() == [RunId(name or "run")]


def test_half_a_run_is_removed_at_the_next_start(tmp_path: Path) -> None:
    workspace = opened(tmp_path)
    (tmp_path / "runs/half").mkdir()

    assert workspace.runs() == []
    assert not (tmp_path / "runs/half").exists()


def test_old_outputs_and_logs_are_removed_but_not_those_of_living_runs(tmp_path: Path) -> None:
    workspace = opened(tmp_path)
    for run_id in ("old", "living"):
        workspace.desk(of_run(run_id)).make(Folder.OUTPUT)
    later = Workspace(tmp_path, now=lambda: (tmp_path / "outputs/old").stat().st_mtime + 3 * 86_400)

    later.sweep(keep_days=4, living=[])
    assert (tmp_path / "outputs/old").exists()
    later.sweep(keep_days=2, living=[RunId("living")])

    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == ["living"]
    assert sorted(path.name for path in (tmp_path / "logs").iterdir()) == ["living"]
