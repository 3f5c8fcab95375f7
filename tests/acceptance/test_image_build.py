"""``atoll image build`` with Docker and with Podman: images that run, and say what is in them."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests import registry as registries
from tests.engines import BOOKWORM, BUSYBOX, TRIXIE, VANTAGE6_4, Engine

from atoll.algorithms.images import describe
from atoll.algorithms.manifest import Manifest
from atoll.cli.exits import DONE, FAILED, UNUSABLE
from atoll.cli.image import image_app
from atoll.runtimes.containers import engine as engines

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(180)]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
Build = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def name(engine: Engine, request: pytest.FixtureRequest) -> Iterator[str]:
    """What this test's image is called, if it makes one."""
    name = f"atoll-test-build-{abs(hash(request.node.name)):x}-{os.getpid()}"
    yield name
    engine.ask(f"/images/{quote(name)}?force=1", "DELETE")


@pytest.fixture
def build(engine: Engine, name: str, capsys: pytest.CaptureFixture[str]) -> Build:
    """The command, in this process: its exit status, and the document that it prints."""

    def build(path: Path, *words: str | Path) -> tuple[int, dict[str, Any]]:
        options = ["--tag", name, "--socket", engine.socket, "--json", *words]
        status = image_app(["build", str(path), *map(str, options)], standalone_mode=False)
        return status, json.loads(capsys.readouterr().out)

    return build


def run(engine: Engine, image: str, *words: str) -> str:
    """What a command says in a container of an image."""
    command = ["docker", "-H", engine.url, "run", "--rm", "--network", "none", image, *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def described(engine: Engine, image: str) -> Manifest:
    """What an image says of itself, as who wants to run it reads it."""

    async def read() -> Manifest:
        asked = engines.Engine(engine.socket)
        try:
            facts = await asked.facts(image)
            assert facts is not None
            async with asked.files(image) as files:
                return await describe(facts, files)
        finally:
            await asked.close()

    return asyncio.run(read())


def test_a_computation_becomes_an_image(engine: Engine, build: Build, name: str) -> None:
    status, document = build(EXAMPLES / "coinstac" / "sum", "--base", BOOKWORM)
    said = run(engine, name, "python", "-c", "import os; print(os.getuid(), sorted(os.listdir()))")
    manifest = described(engine, name)

    assert (DONE, name, engine.name, "coinstac") == (
        status,
        document["name"],
        document["engine"],
        document["dialect"],
    )
    assert f"atoll simulate docker:{name} --inputspec inputspec.json" in " ".join(document["simulate"])
    assert "65532 ['Dockerfile', 'README.md', 'compspec.json', 'local.py', 'remote.py']" == said
    assert ("image", ("python", "/computation/local.py"), "Decentralized sum") == (
        manifest.kind,
        manifest.command,
        manifest.name,
    )


def test_functions_become_an_image_with_what_they_need(
    engine: Engine, build: Build, name: str, tmp_path: Path
) -> None:
    needed = tmp_path / "needed.txt"
    # It is there, so nothing has to be fetched.
    needed.write_text("pip\n")
    status, document = build(EXAMPLES / "functions" / "mean", "--base", TRIXIE, "--requirements", needed)
    said = run(engine, name, "python", "-c", "import atoll_algorithm, os; print(os.getcwd(), os.listdir())")

    assert (DONE, True) == (status, document["size_bytes"] > 0)
    assert "/computation ['mean.py']" == said
    assert "pip" == run(engine, name, "cat", "/opt/atoll/requirements.txt")
    assert ["moments", "mean"] == [function.name for function in described(engine, name).functions]


def test_an_algorithm_of_vantage6_becomes_an_image_that_its_wrapper_starts(
    engine: Engine, build: Build, name: str
) -> None:
    status, _ = build(EXAMPLES / "vantage6" / "average-4", "--base", VANTAGE6_4)
    document = json.loads(engine.ask(f"/images/{name}/json")[1])["Config"]
    called = """printf '{"method": "nothing"}' >/tmp/input; echo a.b.c >/tmp/token; python -c "$0" || true"""
    files = [f"{what}_FILE=/tmp/{what.lower()}" for what in ("INPUT", "TOKEN", "OUTPUT")]
    said = run(engine, name, "env", *files, "sh", "-c", called, document["Cmd"][-1])

    assert (DONE, ["PKG_NAME=averages", "PYTHONPATH=/computation"]) == (status, sorted(document["Env"])[-2:])
    # The package was found and loaded, and has no such function.
    assert "error > " in said
    assert "nothing" in said
    assert (4, "averages") == (described(engine, name).generation, described(engine, name).target)


def test_a_dockerfile_of_the_author_s_is_used_and_a_long_specification_comes_out_as_it_went_in(
    engine: Engine, build: Build, name: str, tmp_path: Path
) -> None:
    spec = json.loads((EXAMPLES / "coinstac" / "sum" / "compspec.json").read_text())
    spec["meta"]["description"] = 'A $HOME of \\ and "quotes" # and é. ' * 2000
    (tmp_path / "compspec.json").write_text(json.dumps(spec))
    (tmp_path / "Own").write_text(f"FROM {BUSYBOX}\nCOPY compspec.json /somewhere/\nUSER 1234\n")
    status, document = build(tmp_path, "--dockerfile", tmp_path / "Own")

    assert (DONE, None) == (status, document["base"])
    assert "1234 /somewhere/compspec.json" == run(engine, name, "sh", "-c", "echo $(id -u) /somewhere/*")
    assert json.dumps(spec) == described(engine, name).compspec


def test_a_step_that_fails_is_told_with_its_last_words(build: Build, tmp_path: Path) -> None:
    (tmp_path / "Own").write_text(f"FROM {BUSYBOX}\nRUN echo all is lost; exit 3\n")
    status, document = build(EXAMPLES / "coinstac" / "sum", "--dockerfile", tmp_path / "Own")
    error = document["error"]

    assert (FAILED, "BuildFailed") == (status, error["type"])
    assert "\nall is lost\n" in error["message"]


def test_a_base_that_can_t_be_had_is_named(build: Build) -> None:
    status, document = build(EXAMPLES / "coinstac" / "sum", "--base", "127.0.0.1:1/nothing:1")

    assert (UNUSABLE, "RuntimeUnavailable") == (status, document["error"]["type"])
    assert "the base 127.0.0.1:1/nothing:1 is not on this machine: " in document["error"]["message"]


@pytest.mark.needs("docker-registry")
@pytest.mark.needs("htpasswd")
def test_an_image_is_pushed_by_who_may(engine: Engine, build: Build, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.write_text(registries.PASSWORD)
    password.chmod(0o600)
    with registries.serving() as registry:
        names = [f"{registry.host}/atoll-test-build/sum:{tag}" for tag in (1, 2)]
        words = (EXAMPLES / "coinstac" / "sum", "--base", BUSYBOX, "--push", "--tag")
        try:
            refused, error = build(*words, names[0])
            known = ("--username", registries.USER, "--password-file", password)
            status, document = build(*words, names[1], *known)
            found = registry.ask("HEAD", f"/v2/atoll-test-build/sum/manifests/{document['digest']}")
        finally:
            for pushed in names:
                engine.ask(f"/images/{quote(pushed)}?force=1", "DELETE")

    assert (FAILED, "BuildFailed", DONE) == (refused, error["error"]["type"], status)
    assert document["digest"] in {value for key, value in found.items() if key == "Docker-Content-Digest"}
