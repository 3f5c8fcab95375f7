"""A node fetches an algorithm once, believes only its digest, and keeps what is used."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.federation import in_chunks, make_ticket

from atoll.algorithms.bundle import Bundle
from atoll.algorithms.manifest import ImageNamed, Manifest
from atoll.algorithms.packing import pack, pack_image
from atoll.engine import limits
from atoll.engine.limits import LIBRARY_SECONDS_MAX
from atoll.engine.running import Image, ImageKind
from atoll.model.errors import AtollError, BlobMismatch, JobRefused, LimitReached, NotThere
from atoll.model.work import Algorithm, Role, RunId, Ticket
from atoll.node import library
from atoll.node.at_hand import AtHand
from atoll.node.choosing import Runtimes
from atoll.node.environment import Environment, NamedImage
from atoll.node.fetching import FetchingRuntime
from atoll.node.library import BundleLibrary
from atoll.node.policies import admission
from atoll.node.settings import NodeSettings, Policies
from atoll.runtimes.containers.settings import ContainerSettings

SOURCE = """\
from atoll_algorithm import partial


@partial
def answer() -> int:
    return 42
"""


@dataclass
class Hub:
    """Has bundles, and notes who asks for one."""

    bundles: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def get_bundle(self, digest: str) -> AsyncIterator[bytes]:
        """A bundle in small pieces."""
        self.asked.append(digest)
        if digest not in self.bundles:
            raise NotThere(f"there is no bundle {digest}")
        async for chunk in in_chunks(self.bundles[digest], 100):
            yield chunk


def bundle_of(root: Path, source: str = SOURCE) -> Bundle:
    """An algorithm that was packed."""
    folder = root / f"code{len(list(root.glob('code*')))}"
    folder.mkdir()
    (folder / "answer.py").write_text(source)
    return pack(folder, root)


class Node:
    """A library with a hub behind it."""

    def __init__(
        self,
        root: Path,
        *bundles: Bundle,
        at: float = 0.0,
        containers: ContainerSettings | None = None,
        rules: Policies | None = None,
        environments: Sequence[Environment] = (),
        runtime: str = "inline",
    ) -> None:
        self.hub = Hub({each.digest: each.path.read_bytes() for each in bundles})
        self.folder = root / "algorithms"
        settings = NodeSettings(
            hub="http://localhost",
            key_file=root / "key",
            runtime=runtime,
            allow_unsandboxed=True,
            workspace=root,
            data_maps=root / "maps",
            containers=containers,
        )
        admit = admission(rules or Policies(bundles="allow", images="allow"))
        self.library = BundleLibrary(
            self.hub, self.folder, environments, Runtimes(settings, []), admit=admit, now=lambda: at
        )

    def get(self, *tickets: Ticket) -> list[AtHand]:
        """The algorithms of tickets that come at the same time."""

        async def all_of_them() -> list[AtHand]:
            return list(await asyncio.gather(*map(self.library.at_hand, tickets)))

        return asyncio.run(all_of_them())

    def refused(self, ticket: Ticket) -> AtollError:
        """Why there is no algorithm for a ticket."""
        with pytest.raises(AtollError) as error:
            self.get(ticket)
        assert not list(self.folder.glob("*")), "nothing is left of it"
        return error.value

    @property
    def laid_out(self) -> list[str]:
        """The digests of what is there."""
        return sorted(f"sha256:{path.name}" for path in self.folder.iterdir())


def ticket(digest: str, *, dialect: str = "functions", run_id: str = "run") -> Ticket:
    """A ticket for an algorithm."""
    made = make_ticket()
    algorithm = Algorithm(dialect=dialect, digest=digest, name="answer")
    return replace(made, algorithm=algorithm, job=replace(made.job, run_id=RunId(run_id)))


def image_of(root: Path) -> Bundle:
    """The bundle of an algorithm that is an image."""
    named = ImageNamed(name="registry.example/answer", digest="sha256:" + 64 * "a")
    manifest = Manifest(dialect="functions", name="answer", target="answer.py", kind="image", image=named)
    return pack_image(manifest, root)


def test_an_image_is_run_by_the_containers_of_its_node(tmp_path: Path) -> None:
    bundle = image_of(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "engine"))
        node = Node(tmp_path, bundle, containers=ContainerSettings(socket=tmp_path / "engine"))

        (found,) = node.get(ticket(bundle.digest))

    assert found.runtime.name in ("docker", "podman")
    assert found.installed.code is None
    assert found.installed.image is not None


def test_code_runs_in_an_image_that_node_yaml_names_where_images_alone_run(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path)
    named = NamedImage(kind=ImageKind.OCI, name="registry.example/stats", digest="sha256:" + 64 * "b")
    stats = Environment(name="stats", image=named, provides=("python",))
    rules = Policies(bundles="allow", images="refuse", signers={"*": ()})
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "engine"))
        engine = ContainerSettings(socket=tmp_path / "engine")
        contained = Node(
            tmp_path, bundle, containers=engine, rules=rules, environments=[stats], runtime="docker"
        )
        without = Node(tmp_path / "without", bundle, containers=engine, rules=rules, runtime="docker")

        (found,) = contained.get(ticket(bundle.digest))
        with pytest.raises(JobRefused, match=r"This site's people can name an image for code in node\.yaml"):
            without.get(ticket(bundle.digest))

    assert found.runtime.name == "docker"
    assert found.installed.code is not None
    assert found.installed.image is None, "what is said of images that algorithms name doesn't count"
    assert found.installed.image_for(Role.SITE) == Image(
        kind=ImageKind.OCI, name="registry.example/stats", digest="sha256:" + 64 * "b"
    )


def test_a_run_stays_with_the_image_that_had_the_name_when_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = bundle_of(tmp_path)
    made = iter(["sha256:" + 64 * "b", "sha256:" + 64 * "c"])

    async def digest_of(_: FetchingRuntime, name: str) -> str:
        assert name == "stats"
        return next(made)

    monkeypatch.setattr(FetchingRuntime, "digest_of", digest_of)
    named = NamedImage(kind=ImageKind.OCI, name="stats")
    stats = Environment(name="stats", image=named, provides=("python",))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "engine"))
        node = Node(
            tmp_path,
            bundle,
            containers=ContainerSettings(socket=tmp_path / "engine"),
            environments=[stats],
            runtime="docker",
        )

        found = node.get(*(ticket(bundle.digest, run_id=run_id) for run_id in ("run", "run", "other")))

    images = [each.installed.image_for(Role.SITE) for each in found]
    assert [image and image.digest[-1] for image in images] == ["b", "b", "c"]


def test_a_node_without_containers_takes_no_image(tmp_path: Path) -> None:
    bundle = image_of(tmp_path)

    with pytest.raises(JobRefused, match="has no section 'containers'"):
        Node(tmp_path, bundle).get(ticket(bundle.digest))


def test_what_a_site_does_not_take_is_not_kept(tmp_path: Path) -> None:
    bundle, image = bundle_of(tmp_path), image_of(tmp_path)
    node = Node(tmp_path, bundle, image, rules=Policies(algorithms=(image.digest,)))

    assert "is not among the 1" in str(node.refused(ticket(bundle.digest)))
    with pytest.raises(JobRefused, match="has no section"):
        node.get(ticket(image.digest))
    assert node.laid_out == [image.digest]


def test_the_same_algorithm_by_another_name_is_asked_for_anew(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path)
    node = Node(tmp_path, bundle, rules=Policies(algorithms=("answer",), bundles="allow"))
    node.get(ticket(bundle.digest))
    other = ticket(bundle.digest)

    with pytest.raises(JobRefused, match="'question'"):
        node.get(replace(other, algorithm=replace(other.algorithm, name="question")))


def test_an_algorithm_is_fetched_once_however_many_jobs_need_it(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path)
    node = Node(tmp_path, bundle)

    first, second = node.get(ticket(bundle.digest), ticket(bundle.digest, run_id="other"))

    assert node.hub.asked == [bundle.digest]
    assert first == second
    assert first.runtime.name == "inline"
    assert first.installed.code is not None
    assert (first.installed.code / "answer.py").read_text() == SOURCE or first.installed.code.is_file()


def test_after_a_restart_nothing_is_fetched_again(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path)
    Node(tmp_path, bundle).get(ticket(bundle.digest))

    again = Node(tmp_path)
    again.get(ticket(bundle.digest))

    assert again.hub.asked == []


def test_what_arrives_as_another_is_not_taken(tmp_path: Path) -> None:
    bundle, other = bundle_of(tmp_path), bundle_of(tmp_path, SOURCE.replace("42", "43"))
    node = Node(tmp_path, bundle)
    node.hub.bundles[bundle.digest] = other.path.read_bytes()

    assert isinstance(node.refused(ticket(bundle.digest)), BlobMismatch)


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    node = Node(tmp_path)
    content = b"no bundle"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    node.hub.bundles[digest] = content

    assert isinstance(node.refused(ticket(digest)), JobRefused)


def test_what_the_hub_does_not_have_is_told(tmp_path: Path) -> None:
    assert isinstance(Node(tmp_path).refused(ticket("sha256:" + "0" * 64)), NotThere)


@pytest.mark.parametrize(
    "digest", ["sha256:../../etc", "docker.io/mean@sha256:" + "0" * 64, "", "sha256:" + "G" * 64]
)
def test_what_is_named_by_no_digest_of_a_bundle_is_refused(tmp_path: Path, digest: str) -> None:
    assert "expected a bundle's digest" in str(Node(tmp_path).refused(ticket(digest)))


def test_a_bundle_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundle_of(tmp_path)
    monkeypatch.setattr(library, "BUNDLE_BYTES_MAX", 150)

    assert isinstance(Node(tmp_path, bundle).refused(ticket(bundle.digest)), LimitReached)
    assert limits.BUNDLE_BYTES_MAX > 150


def test_a_bundle_in_another_dialect_than_was_asked_for_is_refused(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path)

    with pytest.raises(JobRefused, match="asked for as coinstac, and its bundle is in the dialect functions"):
        Node(tmp_path, bundle).get(ticket(bundle.digest, dialect="coinstac"))


def test_what_no_environment_has_is_refused(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path, f"import no_such_library\n{SOURCE}")

    with pytest.raises(JobRefused, match=r"requires no_such_library, and no environment of this node"):
        Node(tmp_path, bundle).get(ticket(bundle.digest))


def test_what_no_run_uses_is_removed_when_it_is_old(tmp_path: Path) -> None:
    bundle, other = bundle_of(tmp_path), bundle_of(tmp_path, SOURCE.replace("42", "43"))
    node = Node(tmp_path, bundle, other, at=10 * LIBRARY_SECONDS_MAX)
    node.get(ticket(bundle.digest), ticket(other.digest, run_id="other"))
    for path in node.folder.iterdir():
        os.utime(path, (0, 0))

    node.library.release(RunId("run"))
    node.library.sweep()
    assert node.laid_out == [other.digest]
    node.library.release(RunId("other"))
    node.library.sweep()

    assert node.laid_out == []
    node.get(ticket(bundle.digest))
    assert node.hub.asked.count(bundle.digest) == 2


def test_the_oldest_of_what_is_too_much_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, other = bundle_of(tmp_path), bundle_of(tmp_path, SOURCE.replace("42", "43"))
    node = Node(tmp_path, bundle, other, at=200.0)
    node.get(ticket(bundle.digest), ticket(other.digest))
    size_bytes = sum(path.stat().st_size for path in node.folder.rglob("*") if path.is_file()) // 2
    monkeypatch.setattr(library, "LIBRARY_BYTES_MAX", size_bytes + 10)
    for digest, changed_at in ((bundle.digest, 100), (other.digest, 150)):
        os.utime(node.folder / digest.removeprefix("sha256:"), (changed_at, changed_at))

    node.library.release(RunId("run"))
    node.library.sweep()

    assert node.laid_out == [other.digest]
