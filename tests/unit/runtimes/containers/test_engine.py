"""How an engine is found, and spoken to."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiodocker
import aiohttp
import pytest
from aiodocker.exceptions import DockerError

from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes.containers.engine import Engine, _Client, find_socket, sockets, spoken, talking
from atoll.runtimes.containers.settings import ContainerSettings


@pytest.mark.parametrize(
    ("told", "version"),
    [
        ("1.41", "v1.41"),
        ("1.44", "v1.44"),
        ("1.52", "v1.44"),
        ("2.0", "v1.44"),
        ("", "v1.44"),
        ("new", "v1.44"),
    ],
)
def test_an_engine_is_spoken_to_in_a_version_that_both_know(told: str, version: str) -> None:
    assert spoken(told) == version


def test_the_socket_that_the_environment_names_is_the_only_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///there/docker.sock")
    assert sockets(ContainerSettings()) == [Path("/there/docker.sock")]
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:2375")
    assert sockets(ContainerSettings())[0] == Path("/var/run/docker.sock")


def test_where_no_engine_is_all_places_are_named(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match=rf"there is no socket at {tmp_path}/docker\.sock"):
        find_socket(ContainerSettings(socket=tmp_path / "docker.sock"))


#: The beginning of an answer whose end doesn't come; of one that becomes a line of its own.
_WAIT = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
_EXEC = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n"


@pytest.mark.parametrize("what", ["wait", "exec"])
def test_the_line_of_an_answer_that_nobody_waits_for_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    begun = asyncio.Event()
    query = aiodocker.Docker._do_query

    async def queried(client: aiodocker.Docker, path: Any, *args: Any, **options: Any) -> Any:
        answer = await query(client, path, *args, **options)
        if str(path).endswith(("/wait", "/start")):
            begun.set()
        return answer

    monkeypatch.setattr(aiodocker.Docker, "_do_query", queried)

    async def ask(engine: Engine) -> None:
        client = await engine.open()
        container = client.containers.container("0" * 64)
        if what == "wait":
            await container.wait(timeout=None)
        else:
            async with talking(await container.exec(["true"])):
                pass

    async def scenario() -> None:
        left = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while request := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"Content-Length: (\d+)", request)
                await reader.readexactly(int(length[1]) if length else 0)
                if b"/_ping" in request:
                    writer.write(b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK")
                elif b"/containers/" in request and b"/exec " in request:
                    made = b'{"Id": "1"}'
                    writer.write(
                        b"HTTP/1.1 201 Created\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                        % (len(made), made)
                    )
                else:
                    writer.write(_WAIT if b"/wait" in request else _EXEC)
                    if not await reader.read(1):
                        break
            left.set()
            writer.close()

        socket = tmp_path / "engine.sock"
        server = await asyncio.start_unix_server(serve, socket)
        engine = Engine(socket)
        asking = asyncio.create_task(ask(engine))
        await begun.wait()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

        await left.wait()

        await engine.close()
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


def test_a_container_that_nobody_waits_for_any_more_is_removed_when_it_is_made(tmp_path: Path) -> None:
    async def scenario() -> list[bytes]:
        asked: list[bytes] = []
        making, may_make = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError):
                while request := await reader.readuntil(b"\r\n\r\n"):
                    length = re.search(rb"Content-Length: (\d+)", request)
                    await reader.readexactly(int(length[1]) if length else 0)
                    told = b"OK"
                    if b"/containers/create" in request:
                        making.set()
                        await may_make.wait()
                        told = b'{"Id": "%s"}' % (b"0" * 64)
                    asked.append(request.partition(b" HTTP")[0])
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                        % (len(told), told)
                    )
            writer.close()

        server = await asyncio.start_unix_server(serve, tmp_path / "engine.sock")
        engine = Engine(tmp_path / "engine.sock")
        creating = asyncio.create_task(engine.create({}, "atoll-1"))
        await making.wait()
        creating.cancel()
        await asyncio.sleep(0)
        may_make.set()
        with pytest.raises(asyncio.CancelledError):
            await creating
        await engine.close()
        server.close()
        await server.wait_closed()
        return asked

    asked = asyncio.run(scenario())

    assert asked[-1].startswith(b"DELETE /v1.44/containers/" + b"0" * 64)


def test_an_engine_that_is_stuck_is_waited_for_no_longer_than_some_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.runtimes.containers.engine._ANSWER_SECONDS", 0.1)

    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"/_ping")
            writer.write(b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK")
            await reader.read()
            writer.close()

        server = await asyncio.start_unix_server(serve, tmp_path / "engine.sock")
        engine = Engine(tmp_path / "engine.sock")
        with pytest.raises(AlgorithmFailed, match=r"did not answer within 0\.1 seconds"):
            await engine.facts("example/mean")
        await engine.close()
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("status", "said", "warned"),
    [
        (404, "No such container", False),
        (409, "removal of container 1 is already in progress", False),
        (500, "driver failed to remove it", True),
    ],
)
def test_a_container_that_an_engine_does_not_remove_is_told_to_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int, said: str, warned: bool
) -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError):
                while request := await reader.readuntil(b"\r\n\r\n"):
                    is_ping = b"/_ping" in request
                    told = b"OK" if is_ping else b'{"message": "%s"}' % said.encode()
                    writer.write(
                        b"HTTP/1.1 %d So\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                        % (200 if is_ping else status, len(told), told)
                    )
            writer.close()

        server = await asyncio.start_unix_server(serve, tmp_path / "engine.sock")
        engine = Engine(tmp_path / "engine.sock")
        client = await engine.open()
        await engine.remove(client.containers.container("1" * 64))
        await engine.close()
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())

    assert ("111111111111 was not removed, and may still run" in caplog.text) == warned


@pytest.mark.parametrize(
    ("header", "told", "asked"),
    [
        (b"", b'{"StatusCode": 137}', "/v1.41/containers/{}/wait"),
        (b"Libpod-API-Version: 4.3.1\r\n", b"137", "/v4.0.0/libpod/containers/{}/wait?interval=50ms"),
    ],
)
def test_the_end_of_a_container_is_waited_for_in_its_engines_own_way(
    tmp_path: Path, header: bytes, told: bytes, asked: str
) -> None:
    """Asked in Docker's way, Podman looks without a pause, with all of a processor."""
    seen = []

    async def scenario() -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError):
                while request := await reader.readuntil(b"\r\n\r\n"):
                    if b"/wait" in request:
                        seen.append(request.split()[:2])
                    body = told if b"/wait" in request else b"OK"
                    writer.write(
                        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nApi-Version: 1.41\r\n"
                        b"%sContent-Length: %d\r\n\r\n%s" % (header, len(body), body)
                    )
            writer.close()

        server = await asyncio.start_unix_server(serve, tmp_path / "engine.sock")
        engine = Engine(tmp_path / "engine.sock")
        client = await engine.open()
        status = await engine.wait(client.containers.container("1" * 64))
        await engine.close()
        server.close()
        await server.wait_closed()
        return status

    assert 137 == asyncio.run(scenario())
    assert [[b"POST", asked.format("1" * 64).encode()]] == seen


def test_an_engine_that_breaks_off_is_told_in_a_sentence(tmp_path: Path) -> None:
    async def scenario() -> None:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError):
                while b"/_ping" in await reader.readuntil(b"\r\n\r\n"):
                    writer.write(b"HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nContent-Length: 2\r\n\r\nOK")
            writer.close()

        server = await asyncio.start_unix_server(serve, tmp_path / "engine.sock")
        engine = Engine(tmp_path / "engine.sock")
        with pytest.raises(RuntimeUnavailable, match=r"can't say which containers it has .*is it running"):
            await engine.ours()
        await engine.close()
        server.close()
        await server.wait_closed()

    asyncio.run(scenario())


def test_an_engine_that_is_gone_is_told_in_a_few_words(tmp_path: Path) -> None:
    async def ask() -> None:
        connector = aiohttp.UnixConnector(path=str(tmp_path / "gone"))
        client = _Client(url="unix://localhost", connector=connector, api_version="v1.41")
        try:
            await client.containers.list()
        finally:
            await client.close()
            await connector.close()

    with pytest.raises(DockerError) as refused:
        asyncio.run(ask())
    assert refused.value.message == "it can't be reached at its socket"
