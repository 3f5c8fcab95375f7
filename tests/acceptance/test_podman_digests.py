"""Podman names a digest for whatever has a registry's name; what travels is the registry's own."""

from __future__ import annotations

import asyncio
import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import aiodocker
import pytest
from tests import engines
from tests.registry import Registry, serving

from atoll.client.images import Looked, Looker
from atoll.runtimes.containers.engine import Engine
from atoll.runtimes.containers.making import make_image, push_image
from atoll.runtimes.containers.settings import ContainerSettings

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(120),
    pytest.mark.needs("docker-registry"),
]
_REGISTRIES = '[[registry]]\nprefix = "127.0.0.1"\nlocation = "127.0.0.1"\ninsecure = true\n'


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with serving(auth={}) as running:
        yield running


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    engines.require("podman")
    known = tmp_path_factory.mktemp("podman") / "registries.conf"
    known.write_text(_REGISTRIES)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CONTAINERS_REGISTRIES_CONF", str(known))
        with engines.podman_serving() as path:
            yield path


def context() -> io.BytesIO:
    """What an image is built from that nobody has built before."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, content in (("Dockerfile", b"FROM scratch\nCOPY it /it\n"), ("it", os.urandom(1_000))):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    target.seek(0)
    return target


def test_an_image_of_podman_is_known_by_what_its_registry_has(registry: Registry, podman: Path) -> None:
    """Nobody who pushes has to have a name, where the registry asks for none."""
    name = f"{registry.host}/atoll-test-walls/pushed:1"

    async def go() -> tuple[Looked, str, Looked, Looked]:
        engine, looker = Engine(podman), Looker(ContainerSettings(socket=podman))
        made = await make_image(engine, context(), "Dockerfile", name, {}, hear=lambda _: None)
        try:
            before = await looker.look(name)
            digest = await push_image(engine, name, credentials=None, hear=lambda _: None)
            after = await looker.look(name)
            return before, digest, after, await looker.look(f"{name}@{digest}")
        finally:
            client: aiodocker.Docker = await engine.open()
            await client.images.delete(made.id, force=True)
            await engine.close()

    before, digest, after, named = asyncio.run(go())

    assert before.facts is not None
    assert before.image.digest == before.facts.id
    assert "was never pushed to a registry" in before.warnings()[0]
    assert (after.image.digest, after.warnings()) == (digest, ())
    assert named.image.digest == digest
