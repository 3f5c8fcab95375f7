"""Whether an image is signed is asked of a registry, as cosign left it there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import aiodocker
import pytest
import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from tests.registry import PASSWORD, USER, serving, serving_by_token
from tests.registry import Registry as RealRegistry

from atoll.cli.exits import DONE
from atoll.cli.image import image_app
from atoll.engine.running import Image, ImageKind
from atoll.model.errors import AtollError, JobRefused, RuntimeUnavailable
from atoll.runtimes.containers.reference import read_reference
from atoll.runtimes.containers.registry import Repository
from atoll.runtimes.containers.settings import ContainerSettings, Registry
from atoll.runtimes.containers.signatures import Signed, sign
from atoll.runtimes.containers.signed import SignatureCheck
from atoll.runtimes.containers.sources import Sources
from atoll.runtimes.containers.store import ImageStore

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.timeout(60),
    pytest.mark.needs("docker-registry"),
]
REPOSITORY = "atoll-test-store/signed"


@pytest.fixture(scope="module")
def registry() -> Iterator[RealRegistry]:
    with serving() as running:
        yield running


class Author:
    """Somebody who signs images with cosign."""

    def __init__(self, folder: Path) -> None:
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.public = folder / "author.pub"
        form = PublicFormat.SubjectPublicKeyInfo
        self.public.write_bytes(self.key.public_key().public_bytes(Encoding.PEM, form))

    def sign(self, image: Image) -> tuple[bytes, bytes]:
        """What cosign leaves in a registry."""
        name = read_reference(image.name).repository
        payload = (
            f'{{"critical":{{"identity":{{"docker-reference":"{name}"}},"image":{{"docker-manifest-digest":'
            f'"{image.digest}"}},"type":"cosign container image signature"}},"optional":null}}'
        ).encode()
        return payload, self.key.sign(payload, ec.ECDSA(hashes.SHA256()))


@pytest.fixture
def author(tmp_path: Path) -> Author:
    return Author(tmp_path)


@dataclass(frozen=True)
class Site:
    """What a site wants of images."""

    signers: Mapping[str, tuple[Path, ...]]
    registries: Mapping[str, Registry]
    folder: Path | None = None
    #: None: those that are named here.
    sources: Sources | None = None

    def check(self, image: Image) -> None:
        """Look whether an image is signed as the site wants it."""
        check = SignatureCheck(
            self.signers, registries=self.registries, sources=self.sources, folder=self.folder
        )
        asyncio.run(check.check(image))

    def refusal(self, image: Image, kind: type[AtollError] = JobRefused) -> str:
        """The sentence with which an image is refused."""
        with pytest.raises(kind) as caught:
            self.check(image)
        assert PASSWORD not in str(caught.value)
        return str(caught.value)


@pytest.fixture
def site(registry: RealRegistry, author: Author, tmp_path: Path) -> Site:
    """A site that wants images of the registry to be signed by the author."""
    password = tmp_path / "password"
    password.write_text(PASSWORD)
    password.chmod(0o600)
    known = Registry(username=USER, password_file=password, plain=True)
    return Site({f"{registry.host}/*": (author.public,)}, {registry.host: known})


def test_an_image_that_its_author_signed_counts(registry: RealRegistry, author: Author, site: Site) -> None:
    image = registry.push_image(REPOSITORY)
    registry.push_signatures(REPOSITORY, image.digest, [author.sign(image)])

    site.check(image)


def test_an_image_that_nobody_signed_is_refused_and_not_pulled(
    registry: RealRegistry, site: Site, docker_socket: Path
) -> None:
    image = registry.push_image(REPOSITORY)

    async def ask() -> list[object]:
        async with aiodocker.Docker(f"unix://{docker_socket}") as engine:
            with pytest.raises(
                JobRefused, match=r"is not signed\. This site runs images of .* have it signed"
            ):
                await ImageStore(
                    engine, ContainerSettings(registries=site.registries), signers=site.signers
                ).ensure(image)
            return await engine.images.list(filters={"reference": [read_reference(image.name).repository]})

    assert [] == asyncio.run(ask())


def test_an_image_that_the_site_itself_has_chosen_needs_no_signature(
    registry: RealRegistry, site: Site, docker_socket: Path
) -> None:
    """Nor is its registry one that a stranger has named."""
    image = registry.push_image(REPOSITORY)

    async def ask() -> str:
        async with aiodocker.Docker(f"unix://{docker_socket}") as engine:
            store = ImageStore(
                engine,
                ContainerSettings(registries=site.registries),
                signers=site.signers,
                sources=Sources(("registry.example",)),
            )
            found = await store.ensure(image, chosen_here=True)
            await engine.images.delete(found, force=True)
            return found

    assert asyncio.run(ask()).startswith("sha256:")


def test_a_signature_with_another_key_does_not_count(
    registry: RealRegistry, site: Site, tmp_path: Path
) -> None:
    image = registry.push_image(REPOSITORY)
    (tmp_path / "other").mkdir()
    registry.push_signatures(REPOSITORY, image.digest, [Author(tmp_path / "other").sign(image)])

    assert "one is of another key" in site.refusal(image)


def test_a_signature_of_another_image_does_not_count_where_it_was_copied_to(
    registry: RealRegistry, author: Author, site: Site
) -> None:
    old, image = registry.push_image(REPOSITORY), registry.push_image(REPOSITORY)
    registry.push_signatures(REPOSITORY, image.digest, [author.sign(old)])

    assert f"one is for another image, {old.digest}" in site.refusal(image)


def test_a_signature_under_another_name_does_not_count(
    registry: RealRegistry, author: Author, site: Site
) -> None:
    image = registry.push_image(REPOSITORY)
    elsewhere = replace(image, name=f"{registry.host}/atoll-test-store/copied")
    registry.push_signatures("atoll-test-store/copied", image.digest, [author.sign(image)])

    assert f"one is for another name, '{registry.host}/{REPOSITORY}'" in site.refusal(elsewhere)


def test_one_signature_that_counts_is_enough(registry: RealRegistry, author: Author, site: Site) -> None:
    image = registry.push_image(REPOSITORY)
    payload, _ = author.sign(image)
    registry.push_signatures(
        REPOSITORY, image.digest, [(b"{}", b"nothing"), (payload, b"nothing"), author.sign(image)]
    )

    site.check(image)


def test_an_image_runs_on_without_its_registry_until_its_key_is_taken_away(
    registry: RealRegistry, author: Author, site: Site, tmp_path: Path
) -> None:
    image = registry.push_image(REPOSITORY)
    registry.push_signatures(REPOSITORY, image.digest, [author.sign(image)])
    kept = replace(site, folder=tmp_path / "kept")
    kept.check(image)
    away = replace(kept, registries={registry.host: Registry()})

    away.check(image)
    (tmp_path / "other").mkdir()
    author.public.write_bytes(Author(tmp_path / "other").public.read_bytes())
    with pytest.raises(RuntimeUnavailable, match="doesn't answer"):
        away.check(image)


def test_a_signature_in_a_file_of_the_site_counts_for_what_no_registry_has(
    author: Author, site: Site, tmp_path: Path
) -> None:
    private = tmp_path / "institute.key"
    key = ed25519.Ed25519PrivateKey.generate()
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = tmp_path / "institute.pub"
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    image = Image(kind=ImageKind.SIF, name="/data/mean.sif", digest="sha256:" + 64 * "a")
    given = replace(site, signers={"*": (author.public, public)}, folder=tmp_path / "given")

    assert "is not signed" in given.refusal(image)
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / f"{image.digest.replace(':', '-')}.sig").write_text(sign(private, image).line())
    given.check(image)


def test_signatures_that_are_brought_to_a_registry_stand_beside_those_of_others(
    registry: RealRegistry, author: Author, site: Site
) -> None:
    image = registry.push_image(REPOSITORY)
    reference = read_reference(image.name)
    own, others = (
        Signed(payload=payload, signature=made) for payload, made in (author.sign(image), (b"{}", b"x"))
    )

    async def bring() -> list[Signed]:
        async with Repository(reference, site.registries[registry.host]) as repository:
            await repository.publish(image.digest, others)
            await repository.publish(image.digest, own)
            return await repository.signatures_of(image.digest)

    assert [others, own] == asyncio.run(bring())
    site.check(image)


def test_what_the_command_signs_and_pushes_counts(registry: RealRegistry, author: Author, site: Site) -> None:
    image = registry.push_image(REPOSITORY)
    private = author.public.with_suffix(".key")
    private.write_bytes(author.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    known = site.registries[registry.host]
    words = ["--key", str(private), "--push", "--username", USER, "--password-file", str(known.password_file)]

    assert (
        image_app(["sign", f"{image.name}@{image.digest}", *words, "--plain"], standalone_mode=False) == DONE
    )
    site.check(image)


def test_the_first_pattern_that_fits_counts_and_what_none_fits_needs_no_signature(
    registry: RealRegistry, author: Author, site: Site
) -> None:
    image = registry.push_image(REPOSITORY)
    free = replace(site, signers={f"{registry.host}/elsewhere/*": (author.public,)})
    shut = replace(site, signers={f"{registry.host}/atoll-test-store/*": (), **site.signers})

    free.check(image)
    assert "which this site doesn't run" in shut.refusal(image)


def test_a_registry_that_refuses_says_nothing_of_signatures(
    registry: RealRegistry, site: Site, tmp_path: Path
) -> None:
    image = registry.push_image(REPOSITORY)
    (tmp_path / "password").write_text("a wrong one")
    nobody = replace(site, registries={registry.host: Registry(plain=True)})

    assert "which has the password of 'node' for it" in site.refusal(image, RuntimeUnavailable)
    assert "which has no password for it" in nobody.refusal(image, RuntimeUnavailable)


def test_a_registry_that_wants_a_token_is_given_one(
    author: Author, site: Site, tmp_path: Path, docker_socket: Path
) -> None:
    with serving_by_token(REPOSITORY) as registry:
        known = next(iter(site.registries.values()))
        site = Site({f"{registry.host}/*": (author.public,)}, {registry.host: known})
        image = registry.push_image(REPOSITORY)
        assert "sends this site on to '127.0.0.1:" in site.refusal(image, RuntimeUnavailable)
        # Tokens are given at another port.
        site = replace(site, sources=Sources(["127.0.0.1:*"]))
        registry.push_signatures(REPOSITORY, image.digest, [author.sign(image)])

        async def ask() -> str:
            async with aiodocker.Docker(f"unix://{docker_socket}") as engine:
                settings = ContainerSettings(registries=site.registries)
                store = ImageStore(engine, settings, signers=site.signers, sources=site.sources)
                image_id = await store.ensure(image)
                await engine.images.delete(image_id, force=True)
                return image_id

        assert asyncio.run(ask()).startswith("sha256:")
        (tmp_path / "password").write_text("a wrong one")
        assert "refuses" in site.refusal(image, RuntimeUnavailable)


def test_a_registry_is_known_by_its_authority(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
    tls = {"certificate": str(tmp_path / "certificate.pem"), "key": str(tmp_path / "key.pem")}
    with serving(http={"addr": "127.0.0.1:0", "tls": tls}, auth={}) as registry:
        reference = read_reference(f"{registry.host}/{REPOSITORY}")

        async def ask(known: Registry) -> bool:
            async with Repository(reference, known) as repository:
                return await repository.has("sha256:" + 64 * "0")

        assert not asyncio.run(ask(Registry(ca_file=tmp_path / "authority.pem")))
        with pytest.raises(RuntimeUnavailable, match="CertificateError"):
            asyncio.run(ask(Registry()))
        with pytest.raises(RuntimeUnavailable, match=r"authority\.pem can't be used"):
            asyncio.run(ask(Registry(ca_file=tmp_path / "no authority.pem")))
