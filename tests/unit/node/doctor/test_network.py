"""Each step on the way to a hub is looked at, and each fault has its remedy."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import cast

import pytest
import trustme

from atoll import __version__
from atoll.node.doctor.findings import Finding
from atoll.node.doctor.network import way
from atoll.node.settings import NodeSettings

NOW = datetime.now(UTC)
Answers = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answering(status: int = 200, *, version: str | None = __version__, late_seconds: float = 0.0) -> Answers:
    """What speaks like a hub; the key gets this status."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            while (await reader.readline()).strip():
                pass
            told = status if b"/node/token" in line else 200
            date = format_datetime(NOW - timedelta(seconds=late_seconds), usegmt=True)
            said = f"Atoll-Version: {version}\r\n" if version else ""
            head = f"HTTP/1.1 {told} X\r\nDate: {date}\r\n{said}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}"
            writer.write(head.encode())
            await writer.drain()
            break
        writer.close()
        await writer.wait_closed()

    return answer


@asynccontextmanager
async def listening(answers: Answers, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Something that listens on a port of this machine."""
    tasks: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(cast(asyncio.Task[None], asyncio.current_task()))
        with suppress(asyncio.CancelledError):
            await answers(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def settings(root: Path, hub: str = "http://127.0.0.1:1") -> NodeSettings:
    """Settings with a key."""
    key = root / "node.key"
    key.write_text("atn_secret\n")
    key.chmod(0o600)
    return NodeSettings(hub=hub, key_file=key, workspace=root, data_maps=root / "maps")


async def found(of: NodeSettings, at: datetime = NOW) -> dict[str, Finding]:
    """What is found, by its subject."""
    return {finding.subject: finding async for finding in way(of, now=at.timestamp)}


def look(root: Path, answers: Answers, **changes: object) -> dict[str, Finding]:
    """What is found on the way to something that listens."""

    async def scene() -> dict[str, Finding]:
        async with listening(answers) as port:
            return await found(replace(settings(root, f"http://127.0.0.1:{port}"), **changes))  # type: ignore[arg-type]  # what a test varies

    return asyncio.run(scene())


def levels(findings: dict[str, Finding]) -> dict[str, str]:
    """How bad each finding is."""
    return {subject: finding.level.value for subject, finding in findings.items()}


def test_where_all_is_well_it_says_so(tmp_path: Path) -> None:
    assert levels(look(tmp_path, answering())) == dict.fromkeys(
        ("proxy", "name", "clock", "hub", "key"), "ok"
    )


def test_plain_http_beyond_this_machine_is_a_fault(tmp_path: Path) -> None:
    (finding,) = asyncio.run(found(settings(tmp_path, "http://hub.example.org"))).values()

    assert finding.level.value == "fault"
    assert "https://" in finding.remedy


def test_a_name_that_nobody_knows_is_a_fault(tmp_path: Path) -> None:
    findings = asyncio.run(found(settings(tmp_path, "https://no-such-host.invalid")))

    assert levels(findings) == {"proxy": "ok", "name": "fault"}
    assert "name servers" in findings["name"].remedy


def test_a_hub_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    assert levels(asyncio.run(found(settings(tmp_path))))["hub"] == "fault"


@pytest.mark.parametrize(("version", "words"), [(None, "is no hub"), ("99.0.0", "99.0.0")])
def test_what_is_no_hub_or_too_far_from_this_node_is_a_fault(
    tmp_path: Path, version: str | None, words: str
) -> None:
    finding = look(tmp_path, answering(version=version))["hub"]

    assert finding.level.value == "fault"
    assert words in finding.words


@pytest.mark.parametrize(("seconds", "level"), [(5.0, "ok"), (60.0, "warning"), (-600.0, "fault")])
def test_clocks_that_differ_are_told(tmp_path: Path, seconds: float, level: str) -> None:
    finding = look(tmp_path, answering(late_seconds=seconds))["clock"]

    assert finding.level.value == level


def test_a_key_that_the_hub_does_not_know_is_a_fault(tmp_path: Path) -> None:
    assert levels(look(tmp_path, answering(401)))["key"] == "fault"
    assert levels(look(tmp_path, answering(500)))["key"] == "warning"


def test_the_key_goes_to_the_hub_alone_wherever_it_points(tmp_path: Path) -> None:
    elsewhere: list[bytes] = []

    async def thief(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        elsewhere.append(await reader.readline())

    async def look() -> list[Finding]:
        async with listening(thief) as other:

            async def pointing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                line = await reader.readline()
                while (await reader.readline()).strip():
                    pass
                there = f"Location: http://127.0.0.1:{other}/\r\n" if b"/node/token" in line else ""
                status = 307 if there else 200
                said = (
                    f"Atoll-Version: {__version__}\r\n{there}Content-Length: 0\r\nConnection: close\r\n\r\n"
                )
                writer.write(f"HTTP/1.1 {status} X\r\n{said}".encode())
                await writer.drain()

            async with listening(pointing) as port:
                return [each async for each in way(settings(tmp_path, f"http://127.0.0.1:{port}"))]

    findings = asyncio.run(look())

    assert [] == elsewhere
    assert ("key", "the hub answered with status 307") == (findings[-1].subject, findings[-1].words)


def test_a_key_that_others_can_read_is_a_fault_and_is_not_shown(tmp_path: Path) -> None:
    (tmp_path / "other.key").write_text("atn_secret")
    finding = look(tmp_path, answering(), key_file=tmp_path / "other.key")["key"]

    assert finding.level.value == "fault"
    assert "atn_secret" not in f"{finding.words}{finding.remedy}"


def test_a_proxy_is_asked_for_in_place_of_the_hub(tmp_path: Path) -> None:
    async def scene() -> dict[str, Finding]:
        async with listening(answering()) as port:
            asked = replace(settings(tmp_path, "http://localhost:9"), proxy=f"http://127.0.0.1:{port}")
            return await found(asked)

    findings = asyncio.run(scene())

    assert "127.0.0.1" in findings["proxy"].words
    assert findings["hub"].level.value == "ok"


# --- TLS --------------------------------------------------------------------------------------


def secured(
    root: Path, *, name: str = "localhost", days: float = 90, trusted: bool = True
) -> dict[str, Finding]:
    """What is found on the way to a hub that speaks TLS."""
    authority = trustme.CA()
    ca_file = root / "ca.pem"
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(ca_file))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(
        name, not_after=NOW + timedelta(days=days), not_before=NOW - timedelta(days=99)
    ).configure_cert(context)

    async def scene() -> dict[str, Finding]:
        async with listening(answering(), context) as port:
            return await found(replace(settings(root, f"https://localhost:{port}"), ca_file=ca_file))

    return asyncio.run(scene())


def test_a_private_authority_is_enough(tmp_path: Path) -> None:
    findings = secured(tmp_path)

    assert set(levels(findings).values()) == {"ok"}
    assert "good for 90 days" in findings["tls"].words


def test_a_certificate_that_ends_soon_is_told(tmp_path: Path) -> None:
    assert "ends in 5 days" in secured(tmp_path, days=5)["tls"].words


@pytest.mark.parametrize(
    ("how", "remedy"),
    [
        ({"days": -1}, "compare the clocks"),
        ({"name": "elsewhere.example.org"}, "use the name in the certificate"),
        ({"trusted": False}, "name its file as 'ca_file'"),
    ],
)
def test_a_certificate_that_is_not_accepted_is_a_fault_with_its_remedy(
    tmp_path: Path, how: dict[str, object], remedy: str
) -> None:
    findings = secured(tmp_path, **how)  # type: ignore[arg-type]  # what a test varies

    assert findings["tls"].level.value == "fault"
    assert remedy in findings["tls"].remedy
    assert "key" not in findings


def test_what_does_not_speak_tls_is_a_fault(tmp_path: Path) -> None:
    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n" * 10)
        await writer.drain()
        await asyncio.Event().wait()

    async def scene() -> dict[str, Finding]:
        async with listening(greet) as port:
            return await found(settings(tmp_path, f"https://localhost:{port}"))

    assert "speak TLS" in asyncio.run(scene())["tls"].words


def test_a_file_without_certificates_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    asked = replace(settings(tmp_path, "https://localhost:1"), ca_file=tmp_path / "ca.pem")

    assert "holds no certificates" in asyncio.run(found(asked))["tls"].words


def test_a_port_that_nobody_listens_on_is_a_fault(tmp_path: Path) -> None:
    assert "call out" in asyncio.run(found(settings(tmp_path, "https://localhost:1")))["connection"].remedy
