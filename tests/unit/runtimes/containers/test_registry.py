"""What a registry answers that means no good, or is not well."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme
from aiohttp import web

from atoll.engine.limits import REGISTRY_ANSWER_BYTES_MAX, REGISTRY_REDIRECTS_MAX
from atoll.model.errors import BlobMismatch, JobRefused, RuntimeUnavailable
from atoll.runtimes.containers.reference import read_reference
from atoll.runtimes.containers.registry import Repository, read_password
from atoll.runtimes.containers.settings import Registry
from atoll.runtimes.containers.sources import Sources

T = TypeVar("T")
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
DIGEST = "sha256:" + 64 * "a"
OTHER = web.AppKey("other", str)
SECRET = "open sesame"


def _asked(
    answer: Answer,
    what: Callable[[Repository], Awaitable[T]],
    known: Registry,
    *,
    tls: ssl.SSLContext | None = None,
    other: Answer | None = None,
    named: Sequence[str] = ("{host}", "{other}"),
) -> T:
    """What comes of asking a registry that answers everything so.

    Args:
        answer: of the registry.
        what: is asked.
        known: how the site speaks to it.
        tls: by which it is spoken to.
        other: answers at another host, whose address the first one has as `OTHER`.
        named: the registries that the site asks.
    """

    async def serve(each: Answer, beside: str = "") -> tuple[web.AppRunner, str]:
        app = web.Application()
        app[OTHER] = beside
        app.router.add_route("*", "/{path:.*}", each)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        host, port = runner.addresses[0]
        return runner, f"{host}:{port}"

    async def ask() -> T:
        beside, address = await serve(other or answer)
        runner, host = await serve(answer, address)
        sources = Sources([each.format(host=host, other=address) for each in named])
        try:
            reference = read_reference(f"{host}/group/mean")
            async with Repository(reference, known, sources=sources) as repository:
                return await what(repository)
        finally:
            await runner.cleanup()
            await beside.cleanup()

    return asyncio.run(ask())


@pytest.fixture
def known(tmp_path: Path) -> Registry:
    """A registry that the site has a password for."""
    password = tmp_path / "password"
    password.write_text(f"{SECRET}\n")
    password.chmod(0o600)
    return Registry(username="node", password_file=password, plain=True)


def _signatures(repository: Repository) -> Awaitable[object]:
    return repository.signatures_of(DIGEST)


def _manifest(digest: str = DIGEST) -> str:
    layer = {"digest": digest, "annotations": {"dev.cosignproject.cosign/signature": "AAAA"}}
    return json.dumps({"layers": [layer]})


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{}",
        "[" * 100_000,
        '{"layers": 7}',
        '{"layers": [7]}',
        '{"layers": [{"annotations": 7}]}',
        '{"layers": [{"annotations": {"dev.cosignproject.cosign/signature": "!"}}]}',
        _manifest("../../other/blobs/x"),
    ],
)
def test_what_is_no_signature_is_none(manifest: str, known: Registry) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=manifest)

    assert [] == _asked(answer, _signatures, known)


def test_an_answer_without_end_is_not_read_to_its_end(known: Registry) -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(2 * REGISTRY_ANSWER_BYTES_MAX // 65_536):
            await response.write(bytes(65_536))
        return response

    with pytest.raises(RuntimeUnavailable, match=f"more than {REGISTRY_ANSWER_BYTES_MAX} bytes"):
        _asked(answer, _signatures, known)


def test_a_document_that_is_not_the_one_that_was_announced_is_not_taken(known: Registry) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=_manifest() if "manifests" in request.path else "something else")

    with pytest.raises(BlobMismatch, match=f"gives as {DIGEST} is something else"):
        _asked(answer, _signatures, known)


def test_a_failure_of_the_registry_is_told_with_its_status(known: Registry) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=503)

    with pytest.raises(RuntimeUnavailable, match=r"answers with the status 503.*try again later"):
        _asked(answer, _signatures, known)


def test_a_password_goes_to_nobody_but_the_registry(known: Registry) -> None:
    told: list[str | None] = []

    async def answer(request: web.Request) -> web.Response:
        if "Authorization" not in request.headers:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})
        return web.Response(status=307, headers={"Location": f"http://{request.app[OTHER]}/elsewhere"})

    async def other(request: web.Request) -> web.Response:
        told.append(request.headers.get("Authorization"))
        return web.Response(text="{}")

    assert [] == _asked(answer, _signatures, known, other=other)
    assert [None] == told


@pytest.mark.parametrize(
    "place", ["http://{other}/elsewhere", "//{other}/x", "http://169.254.169.254/latest"]
)
def test_a_registry_sends_nobody_to_where_the_site_asks_nothing(place: str, known: Registry) -> None:
    told: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": place.format(other=request.app[OTHER])})

    async def other(request: web.Request) -> web.Response:
        told.append(request.path)
        return web.Response(text="{}")

    with pytest.raises(RuntimeUnavailable, match=r"sends this site on to .* nowhere in the world"):
        _asked(answer, _signatures, known, other=other, named=["{host}", "*"])
    assert [] == told


def test_a_registry_sends_nobody_for_a_token_to_where_the_site_asks_nothing(known: Registry) -> None:
    told: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked = f'Bearer realm="http://{request.app[OTHER]}/token",service="x"'
        return web.Response(status=401, headers={"WWW-Authenticate": asked})

    async def other(request: web.Request) -> web.Response:
        told.append(request.path)
        return web.Response(text='{"token": "x"}')

    with pytest.raises(RuntimeUnavailable, match="nowhere in the world"):
        _asked(answer, _signatures, known, other=other, named=["{host}"])
    assert [] == told


@pytest.mark.parametrize("place", ["ftp://registry.example/x", "http://[", "/\\x", "https:///x"])
def test_what_is_no_address_leads_nowhere(place: str, known: Registry) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(
            status=302 if request.path.startswith("/v2") else 404, headers={"Location": place}
        )

    with pytest.raises(RuntimeUnavailable):
        _asked(answer, lambda repository: repository.has(DIGEST), replace(known, plain=False))


def test_a_circle_ends(known: Registry) -> None:
    count = 0

    async def answer(request: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.Response(status=302, headers={"Location": request.path})

    with pytest.raises(RuntimeUnavailable, match="from one place to another, more than"):
        _asked(answer, _signatures, known)
    assert count == REGISTRY_REDIRECTS_MAX + 1


def test_a_registry_that_the_site_does_not_name_is_not_asked(known: Registry) -> None:
    count = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.Response(text="{}")

    for named in (["*"], ["registry.example"], []):
        with pytest.raises(JobRefused, match=r"asks nothing of .*127\.0\.0\.1:\d+.* 'policies.registries'"):
            _asked(answer, _signatures, known, named=named)
    assert count == 0


def test_a_name_that_leads_into_a_private_network_is_not_connected_to(
    known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked up once, and what was looked at is what is connected to."""
    looked: list[str] = []
    found = asyncio.BaseEventLoop.getaddrinfo

    async def lookup(loop: asyncio.BaseEventLoop, host: str, port: int, **options: Any) -> Any:
        looked.append(host)
        return await found(loop, "127.0.0.1" if host == "registry.example" else host, port, **options)

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lookup)

    async def ask(sources: Sources) -> None:
        async with Repository(
            read_reference("registry.example:1/mean"), known, sources=sources
        ) as repository:
            await repository.has(DIGEST)

    with pytest.raises(RuntimeUnavailable, match="leads into a private network"):
        asyncio.run(ask(Sources()))
    assert looked == ["registry.example"]
    with pytest.raises(RuntimeUnavailable, match="doesn't answer"):
        asyncio.run(ask(Sources(["registry.example:1"])))


def test_a_proxy_of_the_site_may_be_in_its_own_network(
    known: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(str(request.url.host))
        return web.Response(text="{}")

    async def ask() -> list[Any]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        monkeypatch.setenv("http_proxy", "http://{}:{}".format(*runner.addresses[0]))
        try:
            async with Repository(
                read_reference("registry.example/mean"), known, sources=Sources()
            ) as repository:
                return await repository.signatures_of(DIGEST)
        finally:
            await runner.cleanup()

    assert [] == asyncio.run(ask())
    assert asked == ["registry.example"]


@pytest.mark.parametrize("scheme", ["Basic", 'Bearer realm="http://127.0.0.1:1/token"'])
def test_a_password_is_asked_for_once_and_again_refused(scheme: str, known: Registry) -> None:
    count = 0

    async def answer(_: web.Request) -> web.Response:
        nonlocal count
        count += 1
        return web.Response(status=401, headers={"WWW-Authenticate": scheme})

    with pytest.raises(RuntimeUnavailable) as caught:
        _asked(answer, _signatures, known)

    assert SECRET not in str(caught.value)
    assert count == (2 if scheme == "Basic" else 1)


def test_a_password_is_not_sent_in_the_open(known: Registry, tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    asked = 'Bearer realm="http://127.0.0.1:1/token",service="x"'

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": asked})

    safe = Registry(
        username="node", password_file=known.password_file, ca_file=tmp_path / "authority.pem", plain=False
    )
    with pytest.raises(RuntimeUnavailable, match="sends this site on without encryption"):
        _asked(answer, _signatures, safe, tls=tls)


@pytest.mark.parametrize(
    "given", ["", "[]", "{}", '{"token": 7}', '{"token": "a\\r\\nHost: b"}', '{"token": "ü"}']
)
def test_what_is_no_token_is_not_used(given: str, known: Registry) -> None:
    async def answer(request: web.Request) -> web.Response:
        if request.path.startswith("/token"):
            return web.Response(text=given)
        asked = f'Bearer realm="http://{request.host}/token",service="x",scope="repository:group/mean:pull"'
        return web.Response(status=401, headers={"WWW-Authenticate": asked})

    with pytest.raises(RuntimeUnavailable, match="gives a token that is none"):
        _asked(answer, _signatures, known)


def test_a_password_file_must_be_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "password"
    with pytest.raises(RuntimeUnavailable, match="No such file"):
        read_password(path)
    path.touch(0o600)
    with pytest.raises(RuntimeUnavailable, match="holds no password"):
        read_password(path)
    path.write_bytes(b"\xff")
    with pytest.raises(RuntimeUnavailable, match="holds no password"):
        read_password(path)
    path.write_text(f"{SECRET}\r\n")
    assert SECRET == read_password(path)
    path.chmod(0o640)
    with pytest.raises(RuntimeUnavailable, match=f"chmod 600 {path}"):
        read_password(path)


def _digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _keeping(*documents: object) -> tuple[Answer, list[str]]:
    """What answers with documents by their digests, and those."""
    contents = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in documents]
    kept = {_digest_of(each): each for each in contents}

    async def answer(request: web.Request) -> web.Response:
        found = kept.get(request.path.rpartition("/")[2])
        return web.Response(status=404) if found is None else web.Response(body=found)

    return answer, list(kept)


def _volumes(known: Registry, answer: Answer, digest: str) -> tuple[str, ...]:
    return _asked(answer, lambda repository: repository.volumes(digest), known)


def test_a_registry_says_what_an_image_calls_volumes(known: Registry) -> None:
    """Of a list of images, of whichever may run here."""
    configs: list[object] = [
        {"config": {"Volumes": {"/a": {}, "/b": {}}}},
        {"config": {"Volumes": {"/c": {}}}},
        {"config": {}},
    ]
    _, named = _keeping(*configs)
    images: list[object] = [{"config": {"digest": digest}, "layers": []} for digest in named]
    _, listed = _keeping(*images)
    systems: list[object] = [{"os": "linux"}, None, {"os": "windows"}]
    index = {
        "manifests": [
            {"digest": each, "platform": system} for each, system in zip(listed, systems, strict=True)
        ]
    }
    answer, everything = _keeping(*configs, *images, index)

    assert _volumes(known, answer, listed[0]) == ("/a", "/b")
    assert _volumes(known, answer, listed[2]) == ()
    assert _volumes(known, answer, everything[-1]) == ("/a", "/b", "/c")


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[" * 100_000,
        [],
        {"config": []},
        {"config": {"Volumes": ["/a"]}},
        {"config": {"Volumes": dict.fromkeys(map(str, range(33)))}},
    ],
)
def test_what_no_registry_says_is_not_taken_for_no_volumes(config: object, known: Registry) -> None:
    _, (named, *_) = _keeping(config)
    answer, (_, image) = _keeping(config, {"config": {"digest": named}})

    with pytest.raises(RuntimeUnavailable, match="can't be read: expected an image, with 32 volumes at most"):
        _volumes(known, answer, image)


@pytest.mark.parametrize(
    "image", [b"", {}, {"config": {"digest": "latest"}}, {"manifests": [{"digest": DIGEST}] * 33}]
)
def test_what_is_no_image_has_no_volumes_that_are_known(image: object, known: Registry) -> None:
    answer, (digest,) = _keeping(image)

    with pytest.raises(RuntimeUnavailable, match="can't be read"):
        _volumes(known, answer, digest)


def test_volumes_of_another_image_are_not_taken(known: Registry) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="{}")

    with pytest.raises(BlobMismatch, match="is something else"):
        _volumes(known, answer, DIGEST)
