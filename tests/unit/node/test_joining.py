"""A one-time code becomes a key that nobody else can read; nothing is lost by a mistake."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from atoll import __version__
from atoll.model.errors import HubUnreachable, NotAllowed, SpecInvalid, Unusable
from atoll.node.joining import Joining, join, renew_key
from atoll.node.secrets import read_secret, write_secret
from atoll.node.settings import read_settings
from atoll.transports.connection import Connection
from atoll.transports.version import HEADER


class Hub:
    """Answers as a hub does, and notes what it was told."""

    def __init__(self, status: int = 201, body: str | None = None) -> None:
        self.codes: list[str] = []
        self.status, self.body = status, body
        self.app = web.Application()
        self.app.router.add_post("/v1/nodes/register", self.register)
        self.app.router.add_post("/v1/node/token", self.token)
        self.app.router.add_post("/v1/node/key", self.key)

    async def register(self, request: web.Request) -> web.Response:
        """Take a code."""
        self.codes.append((await request.json())["code"])
        good = '{"node": "nod_1", "name": "Dream", "organization": "org_1", "key": "atn_new"}'
        return web.Response(status=self.status, text=self.body or good, content_type="application/json")

    async def token(self, _: web.Request) -> web.Response:
        """Give a token."""
        answer = {"access_token": "ata_1", "expires_in": 900, "expires_at": "2026-01-01T00:00:00Z"}
        answer |= {"node": "nod_1", "name": "Dream", "organization": "org_1"}
        return web.json_response(answer, headers={HEADER: __version__})

    async def key(self, _: web.Request) -> web.Response:
        """Give a new key."""
        return web.json_response({"key": "atn_newer"}, headers={HEADER: __version__})


def at(hub: Hub, visit: Callable[[str], Coroutine[Any, Any, Any]]) -> Any:
    """Visit a hub that listens on this machine."""

    async def sail() -> Any:
        async with TestServer(hub.app) as server:
            return await visit(str(server.make_url("")))

    return asyncio.run(sail())


def joining(root: Path, hub: str) -> Joining:
    """What somebody says at a first start."""
    return Joining(code="code-1", hub=hub, config=root / "etc/node.yaml", key_file=root / "etc/node.key")


def test_a_code_becomes_a_key_and_a_node_yaml_that_can_be_read(tmp_path: Path) -> None:
    hub = Hub()

    assert at(hub, lambda url: join(joining(tmp_path, url))) == "Dream"

    assert hub.codes == ["code-1"]
    assert read_secret(tmp_path / "etc/node.key") == "atn_new"
    settings = read_settings(tmp_path / "etc/node.yaml")
    assert (settings.name, settings.policies.bundles, settings.key_file.name) == (
        "Dream",
        "listed",
        "node.key",
    )
    assert "atn_new" not in (tmp_path / "etc/node.yaml").read_text()


def test_a_node_yaml_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/node.yaml").write_text("mine")

    at(Hub(), lambda url: join(joining(tmp_path, url)))

    assert (tmp_path / "etc/node.yaml").read_text() == "mine"


def test_where_the_key_could_not_be_kept_the_code_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = Hub()
    monkeypatch.setattr(os, "access", lambda *_: False)

    with pytest.raises(SpecInvalid, match="nothing can be written to"):
        at(hub, lambda url: join(joining(tmp_path, url)))
    (tmp_path / "file").write_text("")
    with pytest.raises(SpecInvalid, match="can't be made"):
        at(Hub(), lambda url: join(joining(tmp_path / "file", url)))
    assert hub.codes == []


def test_a_code_that_is_over_is_told_in_the_hubs_words(tmp_path: Path) -> None:
    hub = Hub(403, '{"code": "NotAllowed", "detail": "the code is over"}')

    with pytest.raises(NotAllowed, match="the code is over"):
        at(hub, lambda url: join(joining(tmp_path, url)))
    assert not (tmp_path / "etc/node.key").exists()


@pytest.mark.parametrize("body", ["no JSON", "{}", "[1]"])
def test_what_is_no_hub_is_told(tmp_path: Path, body: str) -> None:
    with pytest.raises(HubUnreachable, match="is no hub"):
        at(Hub(body=body), lambda url: join(joining(tmp_path, url)))


def test_a_hub_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(HubUnreachable, match="The code was not used"):
        asyncio.run(join(joining(tmp_path, "http://127.0.0.1:1")))


def test_no_code_travels_in_the_open(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="https://"):
        asyncio.run(join(joining(tmp_path, "http://hub.example.org")))


def test_a_key_is_renewed_when_it_is_a_month_old(tmp_path: Path) -> None:
    path = tmp_path / "node.key"
    write_secret(path, "atn_old")
    made_at = path.stat().st_mtime

    async def visit(url: str) -> list[bool]:
        connection = Connection(url, lambda: read_secret(path))
        try:
            young = await renew_key(connection, path, now=lambda: made_at + 29 * 86_400)
            old = await renew_key(connection, path, now=lambda: made_at + 31 * 86_400)
        finally:
            await connection.close()
        return [young, old]

    assert at(Hub(), visit) == [False, True]
    assert read_secret(path) == "atn_newer"
    assert path.stat().st_mode & 0o777 == 0o600


# --- Files with secrets -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "mode", "words"),
    [
        (b"x", 0o640, "can be read by others"),
        (b"", 0o600, "is empty"),
        (b"\n", 0o600, "is empty"),
        (b"\xff", 0o600, "holds no text"),
        (b"x" * 70_000, 0o600, "very large"),
    ],
)
def test_a_file_that_holds_no_secret_is_told_without_what_is_in_it(
    tmp_path: Path, content: bytes, mode: int, words: str
) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)

    with pytest.raises(SpecInvalid, match=words) as refused:
        read_secret(path)
    assert "xx" not in str(refused.value)


def test_a_folder_and_a_name_that_none_can_have_hold_no_secret(tmp_path: Path) -> None:
    with pytest.raises(SpecInvalid, match="is no file"):
        read_secret(tmp_path)
    with pytest.raises(SpecInvalid, match="no file can have this name"):
        read_secret(tmp_path / "a\0b")
