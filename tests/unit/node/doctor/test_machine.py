"""The machine and the databases are looked at; of what is in them nothing is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.node import choosing, guarded
from atoll.node.doctor import data, doctor, machine
from atoll.node.doctor.findings import Finding, Level
from atoll.node.network import squid
from atoll.node.network.permitted import Domain, NetworkRules, Permitted, Service
from atoll.node.offer import Offer, Source
from atoll.node.settings import Limits, NodeSettings


def settings(root: Path) -> NodeSettings:
    """Settings that say little."""
    return NodeSettings(
        hub="http://localhost", key_file=root / "k", workspace=root / "work", data_maps=root / "m"
    )


def told(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """Subjects and levels."""
    return [(finding.subject, finding.level.value) for finding in findings]


def test_a_place_to_write_with_room_is_fine(tmp_path: Path) -> None:
    small = replace(settings(tmp_path), limits=Limits(disk_free=1))

    assert told(machine.workspace(small)) == [("workspace", "ok"), ("disk", "ok")]


def test_a_full_disk_is_a_fault_and_one_that_fills_is_told(tmp_path: Path) -> None:
    full = replace(settings(tmp_path), limits=Limits(disk_free=1 << 62))
    filling = replace(settings(tmp_path), limits=Limits(disk_free=guarded.free_bytes(tmp_path) // 5))

    assert told(machine.workspace(full))[1] == ("disk", "fault")
    assert told(machine.workspace(filling))[1] == ("disk", "warning")


def test_a_workspace_that_others_can_enter_is_told(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir(mode=0o755)

    assert told(machine.workspace(settings(tmp_path)))[0] == ("workspace", "warning")


def test_a_place_where_nothing_can_be_written_is_a_fault(tmp_path: Path) -> None:
    assert told(machine.workspace(replace(settings(tmp_path), workspace=Path("/proc/x")))) == [
        ("workspace", "fault")
    ]


def test_a_runtime_that_does_not_work_is_a_fault_and_one_without_walls_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_ = replace(settings(tmp_path), runtime="process", allow_unsandboxed=True)
    assert told(machine.runtime(open_)) == [("runtime", "warning")]
    assert told(machine.runtime(replace(open_, allow_unsandboxed=False))) == [("runtime", "fault")]

    monkeypatch.setattr("atoll.runtimes.bubblewrap.probe", lambda: "there is no bwrap")
    (finding,) = machine.runtime(settings(tmp_path))
    assert finding.level is Level.FAULT
    assert "apt install bubblewrap" in finding.remedy
    monkeypatch.setattr(machine, "why_not", lambda _: None)
    assert told(machine.runtime(settings(tmp_path))) == [("runtime", "ok")]
    assert choosing.why_not(settings(tmp_path)) is not None


def look(root: Path, **sources: Source) -> list[Finding]:
    """What is found of databases."""

    async def all_of_them() -> list[Finding]:
        asked = replace(settings(root), offer=Offer(databases=sources), runtime="process")
        return [finding async for finding in data.databases(asked)]

    return asyncio.run(all_of_them())


def test_databases_that_can_be_reached_are_fine(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("secret")
    findings = look(
        tmp_path,
        file=Source(type="csv", path=tmp_path / "a.csv"),
        folder=Source(type="folder", path=tmp_path),
        server=Source(type="sql", url="sqlite://"),
        graph=Source(type="sparql", url="http://graph"),
    )

    assert {level for _, level in told(findings)} == {"ok"}
    assert "secret" not in str(findings)


def test_databases_that_cannot_be_reached_are_faults_without_a_word_of_their_secrets(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "a.duckdb").write_text("no database")
    findings = look(
        tmp_path,
        gone=Source(type="csv", path=tmp_path / "gone.csv"),
        empty=Source(type="csv", path=tmp_path / "empty.csv"),
        duck=Source(type="duckdb", path=tmp_path / "a.duckdb"),
        server=Source(type="sql", url="nosuchdriver://ada:hidden@host/x"),
        broken=Source(type="sql", url=f"sqlite:///{tmp_path}/no/such/folder/x.db"),
    )

    assert [level for _, level in told(findings)] == ["fault", "warning", "fault", "fault", "fault"]
    assert "hidden" not in str(findings)


def test_a_server_without_a_port_is_out_of_a_sandboxs_reach(tmp_path: Path) -> None:
    databases = {
        "graph": Source(type="sparql", url="http://graph"),
        "lake": Source(type="other", url="lake://bucket/table"),
    }
    asked = replace(settings(tmp_path), offer=Offer(databases=databases))

    async def all_of_them() -> list[Finding]:
        return [finding async for finding in data.databases(asked)]

    assert told(asyncio.run(all_of_them())) == [
        ("database graph", "ok"),
        ("database lake", "ok"),
        ("database lake", "warning"),
    ]


def test_a_site_without_databases_is_told(tmp_path: Path) -> None:
    assert told(look(tmp_path)) == [("databases", "warning")]


def test_a_fault_at_one_place_does_not_keep_the_others_from_being_looked_at(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("- 1")
    asked = replace(settings(tmp_path), hub="http://hub.example.org", workspace=Path("/proc/x"))

    async def all_of_them() -> list[Finding]:
        return [finding async for finding in doctor.examine(asked)]

    subjects = dict(told(asyncio.run(all_of_them())))

    assert subjects["workspace"] == subjects["data maps"] == subjects["hub address"] == "fault"
    (tmp_path / "m").unlink()
    assert dict(told(asyncio.run(all_of_them())))["data maps"] == "ok"
    assert Finding(subject="a", level=Level.OK, words="b").document()["level"] == "ok"


def test_what_algorithms_may_reach_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is missing is a fault, and a runtime that keeps nothing back is told."""
    rules = NetworkRules(permitted=Permitted(domains=(Domain(name="x.example.org", ports=(443,)),)))
    asked = replace(settings(tmp_path), network=rules)
    monkeypatch.setattr(squid, "_program", lambda: "/usr/sbin/squid")
    assert told(machine.reach(asked)) == [("allowed network", "ok")]
    assert told(machine.reach(replace(asked, runtime="process"))) == [("allowed network", "warning")]
    monkeypatch.setattr(squid, "_program", lambda: None)
    assert told(machine.reach(asked)) == [("allowed network", "fault")]
    assert told(machine.reach(settings(tmp_path))) == [("allowed network", "ok")]


def test_services_that_algorithms_may_reach_are_looked_for(tmp_path: Path) -> None:
    async def all_of_them() -> list[Finding]:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        unused = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        gone = unused.sockets[0].getsockname()[1]
        unused.close()
        services = (
            Service(alias="omop", host="127.0.0.1", port=port),
            Service(alias="gone", host="127.0.0.1", port=gone),
        )
        asked = replace(settings(tmp_path), network=NetworkRules(permitted=Permitted(services=services)))
        found = [finding async for finding in data.services(asked)]
        server.close()
        return found

    assert told(asyncio.run(all_of_them())) == [("service omop", "ok"), ("service gone", "warning")]
