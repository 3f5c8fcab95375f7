"""A node runs algorithms in the way that its settings name, or not at all."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.engine.running import Image, ImageKind, Launch, Style
from atoll.model.errors import JobRefused, RuntimeUnavailable
from atoll.model.work import Seat
from atoll.node.choosing import Runtimes, why_not
from atoll.node.environment import Environment, NamedImage
from atoll.node.fetching import FetchingRuntime
from atoll.node.settings import NodeSettings, Policies
from atoll.runtimes.containers.engine import Engine
from atoll.runtimes.containers.settings import ContainerSettings
from atoll.runtimes.containers.store import ImageStore
from atoll.runtimes.inline import InlineRuntime
from atoll.runtimes.kubernetes.settings import KubernetesSettings
from atoll.runtimes.outside import RuntimeContext

PROBE = "atoll.runtimes.bubblewrap.probe"


IMAGE = Image(kind=ImageKind.OCI, name="registry.example/mean", digest="sha256:" + 64 * "a")


def settings(
    root: Path, runtime: str, *, allowed: bool = True, containers: ContainerSettings | None = None
) -> NodeSettings:
    """Settings that name a runtime."""
    return NodeSettings(
        hub="http://localhost",
        key_file=root / "key",
        runtime=runtime,
        allow_unsandboxed=allowed,
        workspace=root,
        data_maps=root / "maps",
        containers=containers,
    )


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[ContainerSettings]:
    """The settings of an engine that has a socket."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "engine"))
        yield ContainerSettings(socket=tmp_path / "engine")


@pytest.mark.parametrize("runtime", ["bubblewrap", "process", "inline"])
def test_each_interpreter_has_one_runtime_of_the_kind_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.setattr(PROBE, lambda: None)
    runtimes = Runtimes(settings(tmp_path, runtime), [tmp_path])

    assert runtimes.of(None).name == runtime
    assert runtimes.of(None) is runtimes.of(None)
    asyncio.run(runtimes.close())


def test_nothing_with_less_isolation_is_taken_where_the_sandbox_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PROBE, lambda: "bubblewrap is not installed")

    with pytest.raises(RuntimeUnavailable, match=r"bubblewrap is not installed. Install bubblewrap"):
        Runtimes(settings(tmp_path, "bubblewrap"), []).of(None)


@pytest.mark.parametrize("runtime", ["process", "inline"])
def test_what_has_no_walls_must_be_allowed(tmp_path: Path, runtime: str) -> None:
    assert why_not(settings(tmp_path, runtime)) is None
    assert "allow_unsandboxed" in (why_not(settings(tmp_path, runtime, allowed=False)) or "")
    with pytest.raises(RuntimeUnavailable):
        Runtimes(settings(tmp_path, runtime, allowed=False), []).of(None)


def test_code_in_the_nodes_own_process_has_no_other_interpreter(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="can't use another environment"):
        Runtimes(settings(tmp_path, "inline"), []).of(Path(sys.executable))


def test_images_run_in_containers_and_code_in_the_sandbox(
    tmp_path: Path, engine: ContainerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PROBE, lambda: None)
    runtimes = Runtimes(settings(tmp_path, "bubblewrap", containers=engine), [tmp_path])

    assert runtimes.of(None).name == "bubblewrap"
    assert runtimes.for_image(IMAGE) is runtimes.for_image(IMAGE)
    assert runtimes.for_image(IMAGE).name in ("docker", "podman")
    asyncio.run(runtimes.close())


def test_a_node_runs_images_alone_where_its_runtime_is_an_engine(
    tmp_path: Path, engine: ContainerSettings
) -> None:
    runtimes = Runtimes(settings(tmp_path, "docker", containers=engine), [])

    assert runtimes.for_image(IMAGE).isolated
    with pytest.raises(JobRefused, match="this algorithm is code without one"):
        runtimes.of(None)


def test_an_image_for_code_is_known_by_the_digest_that_it_has_here(
    tmp_path: Path, engine: ContainerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PROBE, lambda: None)

    async def digest_of(_: FetchingRuntime, name: str) -> str:
        return f"{name}'s own"

    monkeypatch.setattr(FetchingRuntime, "digest_of", digest_of)
    (tmp_path / "stats.sif").write_bytes(b"hsqs")
    runtimes = Runtimes(settings(tmp_path, "bubblewrap", containers=engine), [])
    named = NamedImage(kind=ImageKind.OCI, name="stats", digest=IMAGE.digest)
    file = NamedImage(kind=ImageKind.SIF, name=str(tmp_path / "stats.sif"))

    async def pinned() -> list[str]:
        found = [(await runtimes.pin(one)).digest for one in (named, replace(named, digest=None), file)]
        await runtimes.close()
        return found

    assert asyncio.run(pinned()) == [
        IMAGE.digest,
        "stats's own",
        f"sha256:{hashlib.sha256(b'hsqs').hexdigest()}",
    ]
    assert (runtimes.runs_code, runtimes.runtime) == (True, "bubblewrap")


def test_what_the_site_has_chosen_needs_no_folder_and_nobody_who_signs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PROBE, lambda: None)
    (tmp_path / "stats.sif").write_bytes(b"hsqs")
    image = replace(FILE, name=str(tmp_path / "stats.sif"))
    asked = replace(settings(tmp_path, "bubblewrap"), policies=Policies(signers={"*": ()}))
    found = Runtimes(asked, []).for_image(image, chosen_here=True)

    with pytest.raises(RuntimeUnavailable, match="is not the image that was asked for"):
        asyncio.run(found.start(replace(_launch(tmp_path), image=image, chosen_here=True)))
    with pytest.raises(JobRefused, match="this site takes no images that are files"):
        asyncio.run(found.start(_launch(tmp_path)))


def test_an_image_that_is_named_for_code_is_never_collected(
    tmp_path: Path, engine: ContainerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Collection[str]] = []

    async def collect(_: ImageStore, *, kept: Collection[str] = ()) -> tuple[str, ...]:
        seen.append(kept)
        return ()

    async def opened(_: Engine) -> None:
        """Nothing has to be opened."""

    monkeypatch.setattr(ImageStore, "collect", collect)
    monkeypatch.setattr(Engine, "open", opened)
    named = NamedImage(kind=ImageKind.OCI, name="stats", digest=IMAGE.digest)
    environments = (
        Environment(name="stats", image=named),
        Environment(name="local", image=replace(named, digest=None)),
        Environment(name="own", python=Path(sys.executable)),
    )
    asked = replace(settings(tmp_path, "inline", containers=engine), environments=environments)

    async def collected() -> None:
        runtimes = Runtimes(asked, [])
        runtimes.for_image(IMAGE)
        await runtimes.collect()
        await runtimes.close()

    asyncio.run(collected())

    assert seen == [{IMAGE.digest}]


FILE = Image(kind=ImageKind.SIF, name="mean.sif", digest="sha256:" + 64 * "a")


@pytest.mark.parametrize("runtime", ["bubblewrap", "apptainer", "slurm"])
def test_images_that_are_files_lie_in_a_folder_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.setattr(PROBE, lambda: None)
    monkeypatch.setattr("atoll.runtimes.slurm.queue.why_not", lambda _: None)
    runtimes = Runtimes(replace(settings(tmp_path, runtime), image_files=tmp_path), [])
    found = runtimes.for_image(FILE)

    assert (found.name, found.isolated) == (runtime, True)
    with pytest.raises(JobRefused, match=r"has no image 'mean\.sif' among its files"):
        asyncio.run(found.start(_launch(tmp_path)))
    asyncio.run(runtimes.close())


@pytest.mark.parametrize(
    "name", ["mean", "ean.sif", "../images/mean.sif", "a/mean.sif", ".", "..", "", "mean.sif\0", 300 * "x"]
)
def test_a_file_is_meant_by_the_whole_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What its signers' pattern says of ``mean.sif`` would else not count for a part of the name."""
    monkeypatch.setattr(PROBE, lambda: None)
    folder = tmp_path / "images"
    folder.mkdir()
    (folder / "mean.sif").write_bytes(b"hsqs")
    asked = replace(settings(tmp_path, "bubblewrap"), image_files=folder)
    launch = replace(_launch(tmp_path), image=replace(FILE, name=name))

    with pytest.raises(JobRefused, match=r"has no image .* among its files"):
        asyncio.run(Runtimes(asked, []).for_image(FILE).start(launch))


def test_a_file_that_is_not_signed_as_the_site_wants_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PROBE, lambda: None)
    (tmp_path / "mean.sif").write_bytes(b"hsqs")
    asked = replace(
        settings(tmp_path, "bubblewrap"), image_files=tmp_path, policies=Policies(signers={"*.sif": ()})
    )

    with pytest.raises(JobRefused, match="which this site doesn't run"):
        asyncio.run(Runtimes(asked, []).for_image(FILE).start(_launch(tmp_path)))


def _launch(root: Path) -> Launch:
    return Launch(
        seat=Seat("alpha"),
        style=Style.CALL,
        code=None,
        image=FILE,
        command=("true",),
        temporary=root,
        log=root / "log",
    )


def test_a_node_without_such_a_folder_takes_no_files(tmp_path: Path) -> None:
    with pytest.raises(JobRefused, match="names no folder of such files"):
        Runtimes(settings(tmp_path, "bubblewrap"), []).for_image(FILE)


def test_a_cluster_runs_code_with_each_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.runtimes.slurm.queue.why_not", lambda _: None)
    runtimes = Runtimes(settings(tmp_path, "slurm"), [])

    assert runtimes.of(Path(sys.executable)).name == "slurm"
    asyncio.run(runtimes.close())


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.runtimes.slurm.queue.why_not", lambda _: "Slurm is not installed here")

    assert why_not(settings(tmp_path, "slurm")) == "Slurm is not installed here"


@pytest.mark.parametrize("allowed", [True, False])
def test_a_runtime_of_another_package_says_itself_whether_it_isolates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, allowed: bool
) -> None:
    made = []

    def load(name: str) -> Callable[[RuntimeContext], InlineRuntime]:
        def make(context: RuntimeContext) -> InlineRuntime:
            made.append((name, context.owner))
            return InlineRuntime()

        return make

    monkeypatch.setattr("atoll.runtimes.outside.load", load)
    runtimes = Runtimes(settings(tmp_path, "rocket", allowed=allowed), [])

    if allowed:
        assert runtimes.of(None).name == "inline"
    else:
        with pytest.raises(RuntimeUnavailable, match="runtime rocket doesn't keep algorithms"):
            runtimes.of(None)
    assert made == [("rocket", str(tmp_path))]


def test_an_image_needs_containers(tmp_path: Path, engine: ContainerSettings) -> None:
    with pytest.raises(JobRefused, match="no section 'containers'"):
        Runtimes(settings(tmp_path, "inline"), []).for_image(IMAGE)
    runtimes = Runtimes(settings(tmp_path, "docker", containers=engine), [])
    with pytest.raises(JobRefused, match=r"mean\.sif is an image"):
        runtimes.for_image(replace(IMAGE, kind=ImageKind.SIF, name="mean.sif"))


def test_a_node_does_not_start_without_the_engine_that_it_names(tmp_path: Path) -> None:
    gone = settings(tmp_path, "inline", containers=ContainerSettings(socket=tmp_path / "gone"))

    assert f"there is no socket at {tmp_path}/gone. Start Docker" in (why_not(gone) or "")
    with pytest.raises(RuntimeUnavailable, match="no container engine answers"):
        Runtimes(gone, []).for_image(IMAGE)


def test_a_cluster_runs_images_alone_and_those_that_are_signed_as_the_site_wants_it(tmp_path: Path) -> None:
    (tmp_path / "kubeconfig").touch()
    cluster = KubernetesSettings(
        namespace="algorithms",
        claim="data",
        mounted_at=tmp_path,
        kubeconfig=tmp_path / "kubeconfig",
        volumes="left",
    )
    asked = replace(
        settings(tmp_path, "kubernetes"),
        workspace=tmp_path / "workspace",
        kubernetes=cluster,
        policies=Policies(signers={"registry.example/*": ()}),
    )
    runtimes = Runtimes(asked, [])
    found = runtimes.for_image(IMAGE)

    assert (found.name, found.isolated) == ("kubernetes", True)
    assert runtimes.for_image(IMAGE) is found
    with pytest.raises(JobRefused, match="which this site doesn't run"):
        asyncio.run(found.start(replace(_launch(tmp_path), image=IMAGE)))
    with pytest.raises(JobRefused, match="this algorithm is code without one"):
        runtimes.of(None)
    asyncio.run(runtimes.close())


def test_a_workspace_outside_of_the_cluster_s_volume_is_told(tmp_path: Path) -> None:
    asked = replace(
        settings(tmp_path, "kubernetes"),
        kubernetes=KubernetesSettings(namespace="algorithms", claim="data", mounted_at=tmp_path / "volume"),
    )

    assert "doesn't lie in the volume of the claim data" in str(why_not(asked))
    with pytest.raises(RuntimeUnavailable, match="Set 'workspace' to a folder within it"):
        Runtimes(asked, []).for_image(IMAGE)
