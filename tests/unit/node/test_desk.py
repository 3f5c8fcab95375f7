"""A seat's desk: its own files stay as they are, and a step leaves nothing to the next."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from tests.federation import REMOTE, FunctionRuntime, Room, installed, make_desk, make_ticket

from atoll.engine.limits import CallLimits
from atoll.engine.ports import Folder
from atoll.engine.running import Mount
from atoll.model.work import Role
from atoll.node import guarded
from atoll.node.desk import Desk
from atoll.node.site_data import SiteData, look_at

#: What a computation has at its seat.
FOLDERS = (Folder.BASE, Folder.OUTPUT, Folder.TRANSFER, Folder.TEMPORARY)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """The files of a site, which nobody may change."""
    folder = tmp_path / "site"
    (folder / "sub" / "deep").mkdir(parents=True)
    (folder / "empty").mkdir()
    (folder / "a.csv").write_text("own a")
    (folder / "sub" / "deep" / "b.csv").write_text("own b")
    return folder


def idle(_request: Any, _room: Room) -> dict[str, Any]:
    """An algorithm that does nothing."""
    return {}


def sit_down(desk: Desk, runtime: FunctionRuntime, *, step: int = 0, role: Role = Role.SITE) -> None:
    """Begin a step at this desk."""

    async def begin() -> None:
        await desk.turn_to(step)
        ticket = make_ticket(desk.seat, step=step, role=role)
        chair = await desk.sit_down(ticket, installed(Path("code")), runtime, CallLimits())
        chair.stand_up()

    asyncio.run(begin())


def laid_out(tmp_path: Path, data: SiteData) -> Path:
    """The base folder of a seat that brings these files."""
    desk = make_desk(tmp_path, data=data)
    sit_down(desk, FunctionRuntime(idle))
    return desk.folders[Folder.BASE]


# --- The site's own files ---------------------------------------------------------------------


def test_a_sites_files_appear_in_its_base_folder_as_links(tmp_path: Path, site: Path) -> None:
    base = laid_out(tmp_path, look_at(site))

    assert "own a" == (base / "a.csv").read_text()
    assert "own b" == (base / "sub" / "deep" / "b.csv").read_text()
    assert (base / "a.csv").is_symlink()
    assert (base / "sub" / "deep" / "b.csv").is_symlink()
    assert (base / "empty").is_dir()
    assert not (base / "sub").is_symlink()


def test_a_received_file_takes_the_name_of_an_own_one_and_leaves_the_original(
    tmp_path: Path, site: Path
) -> None:
    base = laid_out(tmp_path, look_at(site))

    for name in ("a.csv", "sub/deep/b.csv", "empty/c.csv"):
        with guarded.creating(base, name) as file:
            file.write(b"received")

    assert "received" == (base / "a.csv").read_text()
    assert "received" == (base / "sub" / "deep" / "b.csv").read_text()
    assert "own a" == (site / "a.csv").read_text()
    assert "own b" == (site / "sub" / "deep" / "b.csv").read_text()
    assert [] == list((site / "empty").iterdir())


def test_what_leads_out_of_a_sites_folder_is_found_with_where_it_leads(tmp_path: Path, site: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "scan").write_text("scan")
    (site / "archive").symlink_to(archive)
    (site / "sub" / "scan").symlink_to("../../archive/scan")
    (site / "inner").symlink_to(site / "a.csv")
    (site / "dangling").symlink_to("/nowhere/at/all")

    data = look_at(site)

    assert {archive, archive / "scan"} == set(data.outside)
    assert {"archive": archive, "sub/scan": archive / "scan", "inner": site / "a.csv"} == data.links


def test_links_that_lead_out_lead_to_what_is_mounted_for_them(tmp_path: Path, site: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "scan").write_text("scan")
    (site / "archive").symlink_to(archive)
    (site / "sub" / "scan").symlink_to("../../archive/scan")
    (site / "inner").symlink_to("sub/deep")
    (site / "dangling").symlink_to("/nowhere/at/all")

    base = laid_out(tmp_path, look_at(site))

    assert "scan" == (base / "archive" / "scan").read_text()
    assert "scan" == (base / "sub" / "scan").read_text()
    assert str(archive) == os.readlink(base / "archive")
    assert "own b" == (base / "inner" / "b.csv").read_text()
    assert not (base / "dangling").exists()


def test_an_algorithm_may_write_to_its_own_folders_and_read_its_sites(tmp_path: Path, site: Path) -> None:
    (tmp_path / "x").write_text("x")
    (site / "x").symlink_to(tmp_path / "x")
    desk = make_desk(tmp_path, data=look_at(site))
    runtime = FunctionRuntime(idle)

    sit_down(desk, runtime)

    (launch,) = runtime.launches
    assert [
        Mount(source=desk.folders[Folder.BASE], target="/input/local0/simulatorRun", writable=True),
        Mount(source=desk.folders[Folder.OUTPUT], target="/output/local0/simulatorRun", writable=True),
        Mount(source=desk.folders[Folder.TRANSFER], target="/transfer/local0/simulatorRun", writable=True),
        Mount(source=site, target="/site/local0"),
        Mount(source=tmp_path / "x", target="/site/linked/0"),
    ] == list(launch.mounts)
    assert desk.folders[Folder.TEMPORARY] == launch.temporary


def test_the_aggregators_own_files_give_way_to_what_was_sent_first(tmp_path: Path) -> None:
    """What sites send is there before the aggregator's first call."""
    own = tmp_path / "own"
    (own / "local0" / "sub").mkdir(parents=True)
    (own / "local0" / "model").write_text("own model")
    (own / "local0" / "sub" / "kept").write_text("own kept")
    desk = make_desk(tmp_path, REMOTE, look_at(own))
    asyncio.run(desk.turn_to(0))
    with guarded.creating(desk.make(Folder.BASE), "local0/model") as file:
        file.write(b"sent model")

    sit_down(desk, FunctionRuntime(idle), role=Role.AGGREGATOR)

    base = desk.folders[Folder.BASE]
    assert "sent model" == (base / "local0" / "model").read_text()
    assert "own kept" == (base / "local0" / "sub" / "kept").read_text()
    assert "own model" == (own / "local0" / "model").read_text()


def test_a_seat_without_files_has_an_empty_base_folder(tmp_path: Path) -> None:
    desk = make_desk(tmp_path)

    sit_down(desk, FunctionRuntime(idle))

    assert guarded.is_empty(desk.folders[Folder.BASE])


# --- From step to step ------------------------------------------------------------------------


def test_a_step_has_one_session(tmp_path: Path) -> None:
    desk, runtime = make_desk(tmp_path), FunctionRuntime(idle)

    for _ in range(3):
        sit_down(desk, runtime)

    assert 1 == len(runtime.launches)
    assert [] == runtime.closed


def test_a_step_starts_without_the_memory_the_session_and_the_temporary_files_of_the_one_before(
    tmp_path: Path, site: Path
) -> None:
    desk, runtime = make_desk(tmp_path, data=look_at(site)), FunctionRuntime(idle)
    sit_down(desk, runtime)
    desk.cache["a"] = b"1"
    desk.outputs[0] = b"{}"
    for folder in FOLDERS:
        (desk.folders[folder] / "left").write_text("left")
    (desk.folders[Folder.TEMPORARY] / "sub").mkdir()
    (desk.folders[Folder.BASE] / "a.csv").unlink()

    sit_down(desk, runtime, step=1)

    assert {} == desk.cache
    assert {0: b"{}"} == desk.outputs
    assert ["local0"] == runtime.closed
    assert 2 == len(runtime.launches)
    assert guarded.is_empty(desk.folders[Folder.TEMPORARY])
    # What the step before did in the other folders is as it left it.
    assert all((desk.folders[folder] / "left").exists() for folder in (Folder.BASE, Folder.OUTPUT))
    assert not (desk.folders[Folder.BASE] / "a.csv").exists()


def test_what_a_run_received_ends_with_it_and_its_output_and_log_stay(tmp_path: Path, site: Path) -> None:
    desk, runtime = make_desk(tmp_path, data=look_at(site)), FunctionRuntime(idle)
    sit_down(desk, runtime)
    for folder in FOLDERS:
        (desk.folders[folder] / "file").write_text("content")
    desk.log.write_text("log")

    asyncio.run(desk.close())
    asyncio.run(desk.close())
    desk.remove()
    desk.remove()

    assert ["local0"] == runtime.closed
    assert not desk.folders[Folder.BASE].exists()
    assert not desk.folders[Folder.TRANSFER].exists()
    assert not desk.folders[Folder.TEMPORARY].exists()
    assert "content" == (desk.folders[Folder.OUTPUT] / "file").read_text()
    assert "log" == desk.log.read_text()
    assert "own a" == (site / "a.csv").read_text()
