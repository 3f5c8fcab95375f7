"""The engine that runs images is looked at. What an engine can say is played by a small server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiohttp import web

from atoll.node.doctor.containers import containers
from atoll.node.doctor.findings import Finding
from atoll.node.settings import NodeSettings
from atoll.runtimes.containers.settings import ContainerSettings

#: What a good engine says.
GOOD = {
    "ServerVersion": "4.3.1",
    "Rootless": True,
    "SecurityOptions": ["name=seccomp,profile=default"],
    "MemoryLimit": True,
    "PidsLimit": True,
    "CpuCfsQuota": True,
}


def looked(root: Path, told: Mapping[str, Any] | None, **more: Any) -> list[Finding]:
    """What is found of an engine that says this of itself; nothing: one that is broken."""

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/_ping"):
            return web.Response(text="OK", headers={"Libpod-API-Version": "4.3.1"})
        if request.path.endswith("/info") and told is not None:
            return web.json_response(told)
        return web.json_response({"message": "none"}, status=404 if told else 500)

    async def all_of_it() -> list[Finding]:
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        path = root / "engine"
        await web.UnixSite(runner, str(path)).start()
        try:
            return [one async for one in containers(settings(root, ContainerSettings(socket=path, **more)))]
        finally:
            await runner.cleanup()

    return asyncio.run(all_of_it())


def settings(root: Path, containers: ContainerSettings | None) -> NodeSettings:
    """Settings of a node that runs images, or none."""
    return NodeSettings(
        hub="http://localhost",
        key_file=root / "key",
        workspace=root,
        data_maps=root / "maps",
        runtime="inline",
        allow_unsandboxed=True,
        containers=containers,
    )


def brief(findings: list[Finding]) -> list[tuple[str, str]]:
    """Subjects and levels."""
    return [(finding.subject, finding.level.value) for finding in findings]


def test_an_engine_without_root_that_bounds_everything_is_fine(tmp_path: Path) -> None:
    found = looked(tmp_path, {**GOOD, "DockerRootDir": "/nowhere/at/all"})

    assert brief(found) == [("containers", "ok"), ("engine", "ok")]
    assert found[0].words == f"Podman 4.3.1, at {tmp_path}/engine"


def test_what_an_engine_can_not_do_is_told(tmp_path: Path) -> None:
    told = {
        **GOOD,
        "Rootless": False,
        "SecurityOptions": None,
        "MemoryLimit": False,
        "DockerRootDir": str(tmp_path),
    }

    found = looked(tmp_path, told, helper_image="python:3.11-slim")

    assert brief(found)[1:4] == [("engine", "warning"), ("bounds", "warning"), ("seccomp", "warning")]
    assert "can't bound memory" in found[2].words
    assert found[4].subject == "image store"
    assert (found[5].subject, found[5].remedy) == ("helper image", "fetch it: podman pull python:3.11-slim")


def test_an_engine_that_does_not_answer_is_a_fault(tmp_path: Path) -> None:
    assert brief(looked(tmp_path, None)) == [("containers", "fault")]


def test_a_node_without_containers_has_no_engine_to_look_at(tmp_path: Path) -> None:
    async def found(said: ContainerSettings | None) -> list[Finding]:
        return [one async for one in containers(settings(tmp_path, said))]

    assert asyncio.run(found(None)) == []
    assert asyncio.run(found(ContainerSettings(socket=tmp_path / "gone"))) == []
