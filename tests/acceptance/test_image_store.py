"""The images of a node, over both engines and a registry that asks for a password."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import aiodocker
import pytest
from tests import engines
from tests.registry import PASSWORD, USER, serving
from tests.registry import Registry as RealRegistry

from atoll.engine.running import Image, ImageKind
from atoll.model.errors import AtollError, BlobMismatch, JobRefused, RuntimeUnavailable
from atoll.runtimes.containers.pulling import Arrived
from atoll.runtimes.containers.reference import read_reference
from atoll.runtimes.containers.settings import ContainerSettings, Pull, Registry
from atoll.runtimes.containers.store import ImageStore

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(120),
    pytest.mark.needs("docker-registry"),
]

#: What the engine has no say in is tried with one.
once = pytest.mark.parametrize("engine_url", ["docker"], indirect=True)
T = TypeVar("T")
_DAY = 86_400.0
#: Podman is told of registries without encryption in a file; Docker knows all of loopback as such.
_REGISTRIES = '[[registry]]\nprefix = "127.0.0.1"\nlocation = "127.0.0.1"\ninsecure = true\n'


@pytest.fixture(scope="module")
def registry() -> Iterator[RealRegistry]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module", params=["docker", "podman"])
def engine_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where each engine answers in turn."""
    engines.require(request.param)
    if request.param == "docker":
        yield f"unix://{request.getfixturevalue('docker_socket')}"
        return
    known = tmp_path_factory.mktemp("podman") / "registries.conf"
    known.write_text(_REGISTRIES)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("CONTAINERS_REGISTRIES_CONF", str(known))
        with engines.podman_serving() as path:
            yield f"unix://{path}"


@dataclass
class Site:
    """A site's store of images in an engine, and what is needed to look behind it."""

    engine_url: str
    registry: RealRegistry
    folder: Path
    settings: ContainerSettings
    #: The time, as the store sees it.
    now: float = 1_000_000.0
    #: Names with digests of images that the engine may have.
    pushed: list[str] = field(default_factory=list)

    def push(self, **how: Any) -> Image:
        """Push an image to the registry."""
        image = self.registry.push_image("atoll-test-store/image", **how)
        self.pushed.append(exact(image))
        return image

    def run(self, work: Callable[[ImageStore, aiodocker.Docker], Coroutine[Any, Any, T]]) -> T:
        """Do something with the store as it is after a start of the node."""

        async def all_of_it() -> T:
            # Podman thinks for a second before it says what it speaks.
            async with aiodocker.Docker(self.engine_url, api_version="v1.41") as engine:
                store = ImageStore(engine, self.settings, folder=self.folder / "images", now=lambda: self.now)
                return await work(store, engine)

        return asyncio.run(all_of_it())

    def ensure(self, image: Image) -> str:
        """Ask for an image."""
        return self.run(lambda store, _: store.ensure(image))

    def collect(self) -> tuple[str, ...]:
        """Let the store remove what the site keeps no longer."""
        return self.run(lambda store, _: store.collect())

    def refusal(self, image: Image, kind: type[AtollError] = RuntimeUnavailable) -> str:
        """The sentence with which an image isn't given."""
        with pytest.raises(kind) as caught:
            self.ensure(image)
        assert type(caught.value) is kind
        assert PASSWORD not in str(caught.value)
        return str(caught.value)

    def has(self, image: Image) -> bool:
        """Whether the engine has an image by its name and digest."""

        async def look(_: ImageStore, engine: aiodocker.Docker) -> bool:
            return await inspected(engine, exact(image)) is not None

        return self.run(look)

    def pull_by_hand(self, image: Image) -> None:
        """Bring an image to the engine as somebody else does."""

        async def bring(_: ImageStore, engine: aiodocker.Docker) -> None:
            await engine.images.pull(exact(image), auth={"username": USER, "password": PASSWORD})

        self.run(bring)


@pytest.fixture
def site(engine_url: str, registry: RealRegistry, tmp_path: Path) -> Iterator[Site]:
    password = tmp_path / "password"
    password.write_text(f"{PASSWORD}\n")
    password.chmod(0o600)
    known = {registry.host: Registry(username=USER, password_file=password, plain=True)}
    site = Site(engine_url, registry, tmp_path, ContainerSettings(registries=known))
    yield site

    async def clear(_: ImageStore, engine: aiodocker.Docker) -> None:
        for name in site.pushed:
            if found := await inspected(engine, name):
                await engine.images.delete(found["Id"], force=True)

    site.run(clear)


def exact(image: Image) -> str:
    return read_reference(image.name).at(image.digest)


async def inspected(engine: aiodocker.Docker, name: str) -> dict[str, Any] | None:
    try:
        return await engine.images.inspect(name)
    except aiodocker.DockerError as error:
        if error.status != 404:
            raise
        return None


# --- What is there, and what is pulled ----------------------------------------------------------


def test_an_image_is_pulled_where_it_is_missing_and_found_where_it_is_not(site: Site) -> None:
    image = site.push()
    pulled = site.ensure(image)
    site.settings = replace(site.settings, pull=Pull.NEVER)

    assert pulled == site.ensure(image)
    assert pulled == site.ensure(replace(image, digest=pulled))


def test_one_of_a_list_of_images_is_the_one_that_was_asked_for(site: Site) -> None:
    image = site.push(listed=True)

    assert site.ensure(image).startswith("sha256:")


def test_an_image_that_came_by_another_name_is_not_the_one_that_was_asked_for(site: Site) -> None:
    """What the site says of a name would else be passed by with another."""
    image = site.push()
    site.ensure(image)
    site.settings = replace(site.settings, pull=Pull.NEVER)

    for name in ("registry.example/elsewhere/image", f"{site.registry.host}/elsewhere/image"):
        assert "isn't on this machine under this name" in site.refusal(replace(image, name=name), JobRefused)


def test_an_image_that_came_by_one_name_is_pulled_by_another(site: Site) -> None:
    image = site.push()
    pulled = site.ensure(image)
    other = replace(image, name=f"{site.registry.host}/atoll-test-store/elsewhere")

    assert f"has no image {exact(other)}" in site.refusal(other)
    site.registry.copy("atoll-test-store/image", image.digest, "atoll-test-store/elsewhere")
    assert pulled == site.ensure(other)


def test_an_image_that_was_never_in_a_registry_has_the_name_that_it_was_given_here(site: Site) -> None:
    pulled = site.ensure(site.push())

    async def name(_: ImageStore, engine: aiodocker.Docker) -> None:
        await engine.images.tag(pulled, "localhost/atoll-test-store-built", tag="mine")

    async def forget(_: ImageStore, engine: aiodocker.Docker) -> None:
        await engine.images.delete("localhost/atoll-test-store-built:mine")

    site.run(name)
    try:
        site.settings = replace(site.settings, pull=Pull.NEVER)
        built = Image(kind=ImageKind.OCI, name="atoll-test-store-built", digest=pulled)
        assert pulled == site.ensure(built)
        assert "pull: never" in site.refusal(replace(built, name="atoll-test-store-other"), JobRefused)
    finally:
        site.run(forget)


@once
def test_an_engine_is_not_sent_to_a_registry_that_the_site_has_not_named(site: Site) -> None:
    image = site.push()
    site.settings = replace(site.settings, registries={})

    assert f"this site asks nothing of {site.registry.host}" in site.refusal(image, JobRefused)


@once
def test_what_has_the_name_and_another_digest_is_another_image(site: Site) -> None:
    first, second = site.push(), site.push()
    site.ensure(second)
    site.settings = replace(site.settings, pull=Pull.NEVER)

    assert "pull: never" in site.refusal(first, JobRefused)


@once
def test_an_image_that_its_registry_gives_no_more_runs_no_more_where_it_is_always_pulled(site: Site) -> None:
    image = site.push()
    pulled = site.ensure(image)
    always = replace(site.settings, pull=Pull.ALWAYS)
    site.settings = always
    assert pulled == site.ensure(image)
    site.registry.blob(image.digest).unlink()

    assert f"has no image {exact(image)}" in site.refusal(image)
    site.settings = replace(always, pull=Pull.MISSING)
    assert pulled == site.ensure(image)


@once
def test_what_the_site_means_as_it_is_here_no_registry_has_to_know(site: Site) -> None:
    image = site.push()
    here = replace(image, digest=site.ensure(image))
    site.settings = replace(site.settings, pull=Pull.ALWAYS)

    assert f"the registry {site.registry.host}" in site.refusal(here)
    assert here.digest == site.run(lambda store, _: store.ensure(here, chosen_here=True))


@once
def test_what_the_site_means_may_have_lost_its_name_since(site: Site) -> None:
    image = site.push()
    lost = replace(image, name="atoll-test-store/lost:1", digest=site.ensure(image))
    site.settings = replace(site.settings, pull=Pull.NEVER)

    assert "isn't on this machine under this name" in site.refusal(lost, JobRefused)
    assert lost.digest == site.run(lambda store, _: store.ensure(lost, chosen_here=True))


def test_who_asks_at_the_same_time_gets_the_same_image_and_hears_of_it(site: Site) -> None:
    image = site.push(size_bytes=3_000_000)
    heard: list[Arrived] = []

    async def ask(store: ImageStore, _: aiodocker.Docker) -> list[str]:
        first = store.ensure(image, told=heard.append)
        return list(await asyncio.gather(first, store.ensure(image), store.ensure(image)))

    assert 1 == len(set(site.run(ask)))
    last = heard[-1]
    assert last.name == exact(image)
    assert last.layers_done == last.layers_total > 0
    assert last.bytes_done == last.bytes_total
    # Podman doesn't tell.
    assert last.bytes_total > 3_000_000 or "podman" in site.engine_url


@once
def test_a_pull_goes_on_as_long_as_one_waits_for_it(site: Site) -> None:
    image = site.push(size_bytes=3_000_000)

    async def leave(store: ImageStore, _: aiodocker.Docker) -> str:
        begun = asyncio.Event()
        impatient = asyncio.create_task(store.ensure(image, told=lambda _: begun.set()))
        patient = asyncio.create_task(store.ensure(image))
        await begun.wait()
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        return await patient

    assert site.run(leave)


def test_a_pull_that_nobody_waits_for_is_broken_off_and_may_be_begun_anew(site: Site) -> None:
    image = site.push(size_bytes=5_000_000)

    async def leave(store: ImageStore, _: aiodocker.Docker) -> str:
        begun = asyncio.Event()
        asked = asyncio.create_task(store.ensure(image, told=lambda _: begun.set()))
        await begun.wait()
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        others = asyncio.all_tasks() - {asyncio.current_task()}
        assert not others
        return await store.ensure(image)

    assert site.run(leave)


# --- What can't be had --------------------------------------------------------------------------


@once
def test_an_image_that_is_not_here_and_never_pulled_is_refused(site: Site) -> None:
    site.settings = replace(site.settings, pull=Pull.NEVER)

    assert "ask its admin to bring it here" in site.refusal(site.push(), JobRefused)


@pytest.mark.parametrize("password", ["", "a wrong one"])
def test_a_registry_that_refuses_is_named_with_what_to_do(site: Site, password: str) -> None:
    known = Registry(username=USER, password_file=site.folder / "password") if password else Registry()
    (site.folder / "password").write_text(password)
    site.settings = replace(site.settings, registries={site.registry.host: known})

    said = site.refusal(site.push())
    assert f"the registry {site.registry.host} refuses" in said
    assert "password_file" in said
    assert "wrong one" not in said


@once
def test_a_password_that_others_can_read_is_not_used(site: Site) -> None:
    (site.folder / "password").chmod(0o644)

    assert f"chmod 600 {site.folder / 'password'}" in site.refusal(site.push())


def test_an_image_that_is_not_in_its_registry_is_named(site: Site) -> None:
    image = replace(site.push(), digest="sha256:" + 64 * "0")

    assert f"has no image {exact(image)}" in site.refusal(image)


@once
def test_a_registry_that_does_not_answer_is_named(site: Site) -> None:
    image = Image(kind=ImageKind.OCI, name="127.0.0.1:1/image", digest="sha256:" + 64 * "0")
    site.settings = replace(site.settings, registries={"127.0.0.1:1": Registry()})

    assert "the registry 127.0.0.1:1 can't be reached" in site.refusal(image)


@pytest.mark.parametrize("part", ["manifest", "layer"])
def test_what_a_registry_gives_instead_is_not_taken(site: Site, part: str) -> None:
    image = site.push(size_bytes=100_000)
    spoilt = site.registry.blob(image.digest)
    if part == "layer":
        spoilt = site.registry.blob(json.loads(spoilt.read_bytes())["layers"][0]["digest"])
        content = bytearray(spoilt.read_bytes())
        content[5_000] ^= 1
        spoilt.write_bytes(content)
    else:
        spoilt.write_bytes(spoilt.read_bytes() + b" ")

    assert "is something else" in site.refusal(image, BlobMismatch)
    assert not site.has(image)


@pytest.mark.parametrize("listed", [False, True])
def test_an_image_for_another_kind_of_processor_is_not_run(site: Site, listed: bool) -> None:
    image = site.push(architecture="s390x", listed=listed)

    assert "kind" in site.refusal(image)
    assert "processor" in site.refusal(image)


@once
def test_an_engine_that_does_not_answer_is_an_error_with_a_sentence(site: Site, tmp_path: Path) -> None:
    image = site.push()
    site.engine_url, real = f"unix://{tmp_path / 'nobody'}", site.engine_url

    assert "is it running?" in site.refusal(image)
    site.engine_url = real


@once
def test_no_password_is_ever_in_a_log(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        site.ensure(site.push())

    assert PASSWORD not in caplog.text


# --- What is removed ----------------------------------------------------------------------------


@once
def test_an_image_goes_when_nobody_has_used_it_for_as_long_as_the_site_says(site: Site) -> None:
    old, young = site.push(), site.push()
    site.ensure(old)
    site.now += 20 * _DAY
    site.ensure(young)
    site.now += 11 * _DAY

    assert (exact(old),) == site.collect()
    assert not site.has(old)
    assert site.has(young)


@once
def test_what_is_used_again_stays(site: Site) -> None:
    image = site.push()
    site.ensure(image)
    site.now += 20 * _DAY
    site.ensure(image)
    site.now += 11 * _DAY

    assert () == site.collect()
    assert site.has(image)


@once
def test_the_oldest_go_when_there_are_too_many_bytes(site: Site) -> None:
    images = [site.push(size_bytes=1_000_000) for _ in range(3)]
    for image in images:
        site.ensure(image)
        site.now += 3_600
    site.settings = replace(site.settings, keep_bytes=2_500_000)

    assert (exact(images[0]),) == site.collect()
    assert [False, True, True] == [site.has(image) for image in images]


def test_what_somebody_else_has_brought_stays(site: Site) -> None:
    image = site.push()
    site.pull_by_hand(image)
    site.ensure(image)
    site.now += 100 * _DAY

    assert () == site.collect()
    assert site.has(image)


def test_what_somebody_has_given_a_name_since_stays(site: Site) -> None:
    image = site.push()
    image_id = site.ensure(image)
    site.now += 100 * _DAY

    async def name(_: ImageStore, engine: aiodocker.Docker) -> None:
        await engine.images.tag(image_id, "localhost/atoll-test-store-named", tag="mine")

    site.run(name)

    assert () == site.collect()
    assert site.has(image)


def test_what_a_container_uses_stays(site: Site) -> None:
    image = site.push()
    image_id = site.ensure(image)
    site.now += 100 * _DAY

    async def use(store: ImageStore, engine: aiodocker.Docker) -> tuple[str, ...]:
        container = await engine.containers.create(
            {"Image": image_id}, name=f"atoll-test-store-{os.getpid()}"
        )
        try:
            return await store.collect()
        finally:
            await container.delete(force=True)

    assert () == site.run(use)
    assert (exact(image),) == site.collect()


def test_what_was_removed_by_hand_is_forgotten(site: Site) -> None:
    image = site.push()
    site.ensure(image)
    site.now += 100 * _DAY

    async def remove(_: ImageStore, engine: aiodocker.Docker) -> None:
        await engine.images.delete(exact(image))

    site.run(remove)
    assert () == site.collect()
    # What somebody brings now is theirs.
    site.pull_by_hand(image)
    assert () == site.collect()
    assert site.has(image)


@once
def test_an_image_of_a_pull_that_its_node_did_not_survive_is_removed_one_day(site: Site) -> None:
    image = site.push()
    ledger = site.folder / "images" / "pulled.json"

    async def die(store: ImageStore, _: aiodocker.Docker) -> None:
        await store.ensure(image)
        # As it was written down when the pull began.
        ledger.write_text(json.dumps({exact(image): {"id": "", "used": site.now}}))

    site.run(die)
    site.now += 100 * _DAY

    assert (exact(image),) == site.collect()
