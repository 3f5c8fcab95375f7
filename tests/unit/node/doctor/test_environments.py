"""Environments are looked at: interpreters are asked what they are, and images whether they are there."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from atoll.engine.running import Image, ImageKind
from atoll.node.doctor import environments as looking
from atoll.node.doctor.environments import environments
from atoll.node.doctor.findings import Finding
from atoll.node.environment import Environment, NamedImage
from atoll.node.inventory import Inventory
from atoll.node.settings import NodeSettings
from atoll.runtimes.containers.settings import ContainerSettings, Pull

DIGEST, OWN = "sha256:" + 64 * "a", "sha256:" + 64 * "b"
STATS = Inventory(python=(3, 11), modules=frozenset({"pandas"}))


@pytest.fixture(autouse=True)
def works(monkeypatch: pytest.MonkeyPatch) -> None:
    """What node.yaml names as runtime works here."""
    monkeypatch.setattr(looking, "why_not", lambda _: None)


def settings(root: Path, *named: Environment, **more: Any) -> NodeSettings:
    """Settings of a node with these environments."""
    (root / "work" / "images").mkdir(parents=True, exist_ok=True)
    return NodeSettings(
        hub="http://localhost",
        key_file=root / "key",
        workspace=root / "work",
        data_maps=root / "maps",
        environments=named,
        **more,
    )


def of_image(name: str, digest: str | None = None, kind: ImageKind = ImageKind.OCI) -> Environment:
    """An environment that is an image."""
    return Environment(name="stats", image=NamedImage(kind=kind, name=name, digest=digest))


def remember(root: Path, digest: str, inventory: Inventory) -> None:
    """Write down what an image has, as a node does that has asked it."""
    folder = root / "work" / "images" / "inventories"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{digest.removeprefix('sha256:')}.json").write_bytes(msgspec.json.encode(inventory))


def found(asked: NodeSettings, has: Mapping[str, Mapping[str, Any]] | None = None) -> list[Finding]:
    """What is found; the engine has these images, by their names."""

    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/_ping"):
            return web.Response(text="OK")
        name = request.path.partition("/images/")[2].removesuffix("/json")
        told = (has or {}).get(name)
        return web.json_response(told or {"message": "none"}, status=404 if told is None else 200)

    async def all_of_it() -> list[Finding]:
        app = web.Application()
        app.router.add_route("*", "/{any:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.UnixSite(runner, str(asked.key_file)).start()
        try:
            return [finding async for finding in environments(asked)]
        finally:
            await runner.cleanup()

    contained = asked.containers and replace(asked.containers, socket=asked.key_file)
    asked = replace(asked, containers=contained)
    return asyncio.run(all_of_it())


def brief(findings: list[Finding]) -> list[tuple[str, str]]:
    """Subjects and levels."""
    return [(finding.subject, finding.level.value) for finding in findings]


def test_interpreters_are_asked_what_they_are(tmp_path: Path) -> None:
    named = (
        Environment(name="own", python=Path(sys.executable)),
        Environment(name="none", python=tmp_path / "python"),
    )

    assert brief(found(settings(tmp_path, *named))) == [
        ("environment own", "ok"),
        ("environment none", "fault"),
    ]


def test_where_images_alone_run_and_none_is_for_code_that_is_told(tmp_path: Path) -> None:
    (finding,) = found(settings(tmp_path, runtime="docker", containers=ContainerSettings()))

    assert (finding.level.value, finding.words.endswith("and refuses code")) == ("ok", True)


def test_an_image_that_is_there_is_told_with_its_python(tmp_path: Path) -> None:
    remember(tmp_path, DIGEST, STATS)
    remember(tmp_path, OWN, Inventory(programs=frozenset({"Rscript"})))
    named = (of_image("registry.example/stats:1", DIGEST), of_image("shell"))
    has = {
        f"registry.example/stats@{DIGEST}": {"Id": OWN},
        "shell": {"Id": OWN},
    }

    first, second = found(settings(tmp_path, *named, containers=ContainerSettings()), has)

    assert (first.level.value, first.words) == (
        "ok",
        f"Python 3.11 with 1 modules: registry.example/stats:1 ({DIGEST[:19]}…)",
    )
    assert (second.level.value, second.words.partition(":")[0]) == (
        "warning",
        "no Python 3.8 or later, and 1 programs",
    )


@pytest.mark.parametrize(
    ("digest", "pull", "level", "words"),
    [
        (DIGEST, Pull.MISSING, "warning", "it is fetched when it is first needed"),
        (DIGEST, Pull.NEVER, "fault", "this node fetches none (pull: never)"),
        (None, Pull.MISSING, "fault", "stats is not on this machine"),
    ],
)
def test_an_image_that_is_not_there_is_told(
    tmp_path: Path, digest: str | None, pull: Pull, level: str, words: str
) -> None:
    asked = settings(tmp_path, of_image("stats", digest), containers=ContainerSettings(pull=pull))

    (finding,) = found(asked)

    assert (finding.level.value, finding.words.endswith(words)) == (level, True)
    assert "docker pull" in finding.remedy


def test_an_engine_that_does_not_answer_is_a_fault(tmp_path: Path) -> None:
    asked = settings(tmp_path, of_image("stats"), containers=ContainerSettings())

    async def all_of_it() -> list[Finding]:
        gone = replace(asked, containers=ContainerSettings(socket=tmp_path / "gone"))
        return [finding async for finding in environments(gone)]

    assert brief(asyncio.run(all_of_it())) == [("environment stats", "fault")]


def test_a_file_is_told_with_its_python_where_asking_takes_no_queue(tmp_path: Path) -> None:
    (tmp_path / "stats.sif").write_bytes(b"hsqs")
    file = of_image(str(tmp_path / "stats.sif"), DIGEST, ImageKind.SIF)
    remember(tmp_path, DIGEST, STATS)

    (here,) = found(settings(tmp_path, file))
    (there,) = found(settings(tmp_path, file, runtime="slurm"))

    assert here.words.startswith("Python 3.11 with 1 modules")
    assert there.words.endswith("what it has is asked when it is first needed")


def test_what_a_cluster_fetches_is_not_looked_at(tmp_path: Path) -> None:
    (finding,) = found(settings(tmp_path, of_image("stats", DIGEST), runtime="kubernetes"))

    assert "which the cluster fetches" in finding.words


def test_images_are_left_out_where_nothing_could_run_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "why_not", lambda _: "there is no engine")

    assert found(settings(tmp_path, of_image("stats"))) == []


def test_what_is_asked_before_a_workspace_is_there_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Image] = []

    async def ask(image: Image, *_: Any) -> Inventory:
        asked.append(image)
        return STATS

    monkeypatch.setattr("atoll.node.inventory.ask", ask)
    fresh = settings(tmp_path, of_image("stats"), containers=ContainerSettings())
    fresh = replace(fresh, workspace=tmp_path / "none")

    (finding,) = found(fresh, {"stats": {"Id": OWN}})

    assert finding.level.value == "ok"
    assert [image.digest for image in asked] == [OWN]
    assert not (tmp_path / "none").exists()
