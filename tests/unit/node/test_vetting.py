"""An image that a site has listed is started as it says itself, whatever its submitter would have it do."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.federation import make_ticket
from tests.sif import make_image

from atoll.algorithms.manifest import ImageNamed, Manifest
from atoll.algorithms.packing import pack_image
from atoll.dialects.vantage6.wrapping import WRAPPER
from atoll.engine.running import ImageKind
from atoll.model.errors import JobRefused
from atoll.model.work import Algorithm, Role
from atoll.node.choosing import Runtimes
from atoll.node.library import BundleLibrary
from atoll.node.policies import admission, by_image
from atoll.node.settings import NodeSettings, Policies
from atoll.node.vetting import check, chooses

IMAGE = ImageNamed(name="registry.example/mean", digest="sha256:" + 64 * "1")
ALGORITHM = Algorithm(dialect="coinstac", digest="sha256:" + 64 * "2", name="mean")
HARM = ("python", "-c", "import os; os.system('…')")
COMPUTATION = Manifest(
    dialect="coinstac",
    name="mean",
    kind="image",
    image=IMAGE,
    command=("python", "/computation/local.py"),
    aggregator_command=("python", "/computation/remote.py"),
)
VANTAGE6 = Manifest(
    dialect="vantage6", name="mean", kind="image", image=IMAGE, target="averages", generation=4
)
FUNCTIONS = Manifest(dialect="functions", name="mean", kind="image", image=IMAGE, target="mean.py")


def refused(asked: Manifest, role: Role, told: Manifest | None) -> bool:
    try:
        check(ALGORITHM, asked, role, told)
    except JobRefused as error:
        assert ALGORITHM.digest in str(error)  # noqa: PT017 -- in each of the cases
        return True
    return False


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (COMPUTATION, COMPUTATION),
        (replace(COMPUTATION, name="other"), COMPUTATION),
        (FUNCTIONS, FUNCTIONS),
        (VANTAGE6, VANTAGE6),
        (replace(VANTAGE6, command=WRAPPER), VANTAGE6),
        (replace(VANTAGE6, target=""), VANTAGE6),
        (replace(VANTAGE6, target=""), None),
        (replace(COMPUTATION, command=(), aggregator_command=()), None),
    ],
)
def test_an_image_may_be_started_as_it_says_itself(asked: Manifest, told: Manifest | None) -> None:
    assert not refused(asked, Role.SITE, told)
    assert not refused(asked, Role.AGGREGATOR, told)


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (replace(COMPUTATION, command=HARM, aggregator_command=HARM), COMPUTATION),
        (replace(COMPUTATION, command=HARM, aggregator_command=HARM), replace(COMPUTATION, command=())),
        (COMPUTATION, None),
        (COMPUTATION, replace(VANTAGE6, command=COMPUTATION.command)),
        (replace(FUNCTIONS, target="os.py"), FUNCTIONS),
        (replace(VANTAGE6, target="subprocess"), VANTAGE6),
        (replace(VANTAGE6, target="subprocess", command=WRAPPER), VANTAGE6),
        (replace(VANTAGE6, target="", command=HARM), VANTAGE6),
    ],
)
def test_an_image_is_started_in_no_other_way(asked: Manifest, told: Manifest | None) -> None:
    assert refused(asked, Role.SITE, told)
    assert refused(asked, Role.AGGREGATOR, told)


def test_each_role_is_looked_at_by_itself() -> None:
    """The other's image need not be here."""
    asked = replace(COMPUTATION, aggregator_command=HARM)

    assert not refused(asked, Role.SITE, COMPUTATION)
    assert refused(asked, Role.AGGREGATOR, COMPUTATION)
    assert not chooses(replace(COMPUTATION, command=()), Role.SITE)


@pytest.mark.parametrize(
    ("rules", "asked"),
    [
        (Policies(algorithms=(IMAGE.name,)), True),
        (Policies(algorithms=(IMAGE.digest,)), True),
        (Policies(algorithms=(IMAGE.digest, ALGORITHM.digest)), False),
        (Policies(images="allow"), False),
        (Policies(images="allow", algorithms=("*",)), True),
        (Policies(images="allow", signers={"*": ()}), True),
        (Policies(images="allow", databases={IMAGE.name: ("patients",)}), True),
        (Policies(images="allow", peers="listed", peers_for=(IMAGE.name,)), True),
    ],
)
def test_a_site_that_has_listed_the_algorithm_itself_means_all_of_it(rules: Policies, *, asked: bool) -> None:
    assert by_image(rules)(ALGORITHM, COMPUTATION) is asked
    assert not by_image(rules)(ALGORITHM, replace(COMPUTATION, kind="bundle"))


def test_what_a_site_gives_to_an_image_is_for_what_that_starts_itself() -> None:
    assert by_image(Policies(images="allow"), gives_more=True)(ALGORITHM, COMPUTATION)


class Hub:
    """Has one bundle."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    async def get_bundle(self, _digest: str) -> AsyncIterator[bytes]:
        yield self._content


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """An image that says what it starts, in the folder of a site."""
    spec = {
        "meta": {"name": "mean", "id": "mean", "version": "1"},
        "computation": {
            "type": "singularity",
            "dockerImage": "mean",
            "command": ["python", "/computation/local.py"],
            "input": {},
            "output": {},
        },
    }
    (tmp_path / "images").mkdir()
    files: dict[str, str | bytes] = {"/computation/compspec.json": json.dumps(spec)}
    return make_image(tmp_path / "images/mean.sif", files, python=False)


@pytest.mark.needs("mksquashfs")
@pytest.mark.needs("bubblewrap")
@pytest.mark.parametrize("other", ["", "command", "digest"])
def test_a_node_starts_a_listed_file_as_the_file_says(tmp_path: Path, file: Path, other: str) -> None:
    """Whoever submits it says something else, or means another file."""
    digest = "sha256:" + hashlib.sha256(b"" if other == "digest" else file.read_bytes()).hexdigest()
    named = ImageNamed(kind=ImageKind.SIF, name=file.name, digest=digest)
    command = HARM if other == "command" else ("python", "/computation/local.py")
    manifest = replace(
        COMPUTATION, image=named, command=command, aggregator_command=(), compspec=(tmp_path / "x").name
    )
    bundle = pack_image(manifest, tmp_path)
    settings = NodeSettings(
        hub="https://hub.example",
        key_file=tmp_path / "key",
        workspace=tmp_path / "workspace",
        data_maps=tmp_path / "maps",
        image_files=tmp_path / "images",
    )
    rules = Policies(algorithms=("*.sif",))
    library = BundleLibrary(
        Hub(bundle.path.read_bytes()),
        tmp_path / "algorithms",
        [],
        Runtimes(settings, []),
        admit=admission(rules),
        by_image=by_image(rules),
    )
    asked = Algorithm(dialect="coinstac", digest=bundle.digest, name="mean")
    ticket = replace(make_ticket(), algorithm=asked)

    if not other:
        assert asyncio.run(library.at_hand(ticket)).installed.image is not None
    else:
        words = "doesn't name itself" if other == "command" else "is asked for"
        with pytest.raises(JobRefused, match=words):
            asyncio.run(library.at_hand(ticket))
