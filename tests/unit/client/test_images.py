"""Which image is meant, where no engine on this machine says it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from atoll.algorithms.manifest import ImageNamed
from atoll.client.images import Looked, Looker
from atoll.engine.running import ImageKind
from atoll.model.errors import RuntimeUnavailable, SpecInvalid
from atoll.runtimes.containers.settings import ContainerSettings
from atoll.runtimes.facts import ImageFacts

DIGEST = f"sha256:{'1' * 64}"
MEAN = ImageNamed(name="example/mean:1", digest=DIGEST)


@pytest.fixture
def looker(tmp_path: Path) -> Looker:
    """One whose engine is not there."""
    return Looker(ContainerSettings(socket=tmp_path / "no-engine"))


def test_an_image_with_its_digest_needs_no_engine(looker: Looker) -> None:
    looked = asyncio.run(looker.look(f"docker:{MEAN.name}@{DIGEST}"))

    assert Looked(image=MEAN, facts=None) == looked
    assert () == looked.warnings()
    manifest = asyncio.run(looker.describe(looked, "vantage6-5"))
    assert ("vantage6", 5, MEAN) == (manifest.dialect, manifest.generation, manifest.image)


def test_a_name_alone_needs_an_engine_that_says_its_digest(looker: Looker) -> None:
    with pytest.raises(SpecInvalid, match="name it with its digest: example/mean:1@sha256:"):
        asyncio.run(looker.look(MEAN.name))


def test_an_engine_that_has_gone_meanwhile_is_told(looker: Looker) -> None:
    facts = ImageFacts(kind=ImageKind.OCI, name=MEAN.name, id=DIGEST)
    looked = Looked(image=MEAN, facts=facts)

    assert "never pushed" in looked.warnings()[0]
    with pytest.raises(RuntimeUnavailable, match="that has example/mean:1 answers no more"):
        asyncio.run(looker.describe(looked, "auto"))
