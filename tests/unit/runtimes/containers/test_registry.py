"""What a registry answers that means no good, or is not well."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trustme
from aiohttp import web

from atoll.engine.limits import REGISTRY_ANSWER_BYTES_MAX
from atoll.model.errors import BlobMismatch, RuntimeUnavailable
from atoll.runtimes.containers.reference import read_reference
from atoll.runtimes.containers.registry import Repository, read_password
from atoll.runtimes.containers.settings import Registry

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
) -> T:
    """What comes of asking a registry that answers everything so.

    Args:
        answer: of the registry.
        what: is asked.
        known: how the site speaks to it.
        tls: by which it is spoken to.
        other: answers at another host, whose address the first one has as `OTHER`.
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
        try:
            async with Repository(read_reference(f"{host}/group/mean"), known) as repository:
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
    with pytest.raises(RuntimeUnavailable, match="wants a password to be sent without encryption"):
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
