"""A node writes down what an algorithm may not reach: which host, and whose run it was."""

from __future__ import annotations

import asyncio
import logging
import socket

import pytest

from atoll.engine.limits import REFUSED_CALLERS_MAX, REFUSED_HOSTS_MAX
from atoll.node.network.network import Network
from atoll.node.network.permitted import Domain, NetworkRules, Permitted
from atoll.node.network.refused import Asking, Callers, Lines
from atoll.node.network.relay import Relay

RULES = NetworkRules(permitted=Permitted(domains=(Domain(name="data.example.org", ports=(443,)),)))


def line(number: tuple[int, int], host: str, port: str = "443", said: str = "TCP_DENIED") -> bytes:
    """As Squid writes it."""
    low, source = number
    return f"fd12:3456::{low:x} {source} {said} {host} {port}\n".encode()


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_a_refusal_is_told_of_whoever_was_refused(caplog: pytest.LogCaptureFixture) -> None:
    callers = Callers()
    numbers = [callers.enter(Asking(who=f"run {number}")) for number in range(3)]

    Lines(callers).take(line(numbers[1], "evil.example") + line(numbers[2], "10.0.0.1", "80"))

    assert told(caplog) == [
        "run 1 asked for evil.example, port 443, which its list doesn't allow (network: allow)",
        "run 2 asked for 10.0.0.1, port 80, which its list doesn't allow (network: allow)",
    ]


def test_many_connections_are_told_apart(caplog: pytest.LogCaptureFixture) -> None:
    callers, last = Callers(), Asking(who="the last")
    callers._number = 65_533
    numbers = [callers.enter(each) for each in (Asking(who="the first"), Asking(who="the second"), last)]
    assert numbers == [(0, 65_535), (1, 1), (1, 2)]

    callers.hear(line(numbers[2], "evil.example").rstrip())

    assert "the last asked for" in told(caplog)[0]


def test_what_is_asked_for_again_is_told_once_and_only_so_much_of_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    callers, asking = Callers(), Asking(who="run 1")
    lines = Lines(callers)
    for number in range(3 * REFUSED_HOSTS_MAX):
        lines.take(line(callers.enter(asking), f"host{number // 2}.example"))

    assert len(told(caplog)) == REFUSED_HOSTS_MAX + 1
    assert told(caplog)[-1] == "run 1 has asked for more that it may not reach: the rest isn't written down"


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("a\x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}b", "a?[31m?b, port 443"),
        ("x" * 500, "x" * 100 + "…, port 443"),
        ("[::1]", "[::1], port 443"),
        ("%0aERROR", "?0aERROR, port 443"),
    ],
)
def test_a_host_is_cut_and_in_plain_letters(caplog: pytest.LogCaptureFixture, host: str, named: str) -> None:
    callers = Callers()
    callers.hear(line(callers.enter(Asking(who="run 1")), host).rstrip())

    assert told(caplog) == [f"run 1 asked for {named}, which its list doesn't allow (network: allow)"]


def test_a_port_that_is_none_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    callers = Callers()
    for port in ("-", "123456", "٣"):
        callers.hear(line(callers.enter(Asking(who="run 1")), "evil.example", port).rstrip())

    assert {message.partition(", which")[0] for message in told(caplog)} == {"run 1 asked for evil.example"}


def test_what_means_nothing_is_not_told(caplog: pytest.LogCaptureFixture) -> None:
    callers = Callers()
    number = callers.enter(Asking(who="run 1"))
    lines = Lines(callers)
    lines.take(line(number, "data.example.org", said="TCP_TUNNEL"))
    lines.take(line(number, "-") + b"\n\xff\nfd00::x 1 TCP_DENIED a 1\nfd00::1 x TCP_DENIED a 1\n")
    lines.take(line((7, 7), "evil.example") + line(number, "a b"))
    lines.take(line(number, "x" * 5_000))
    for _ in range(5):
        lines.take(b"x" * 5_000)
    lines.take(line(number, "evil.example"))  # the end of that
    assert told(caplog) == []

    lines.take(line(number, "evil.example")[:9])
    lines.take(line(number, "evil.example")[9:])
    assert len(told(caplog)) == 1


def test_whoever_asked_long_ago_is_forgotten(caplog: pytest.LogCaptureFixture) -> None:
    callers = Callers()
    first = callers.enter(Asking(who="run 1"))
    for _ in range(REFUSED_CALLERS_MAX):
        callers.enter(Asking(who="run 2"))

    callers.hear(line(first, "evil.example").rstrip())

    assert told(caplog) == []


class Heard(logging.Handler):
    """What is logged, for who waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: asyncio.Queue[str] = asyncio.Queue()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.put_nowait(record.getMessage())


@pytest.mark.needs("squid")
def test_the_real_proxy_says_what_it_has_refused_and_to_whom() -> None:
    """Never a path, a query or a password."""

    async def asked(relay: Relay, network: Network, who: str, text: str) -> bytes:
        (target,) = network.reach(RULES.permitted, {}).targets
        ours, theirs = socket.socketpair()
        relay.outlet(target, who).take(theirs.detach())
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            writer.write(text.encode())
            return await reader.readline()
        finally:
            writer.close()

    async def go() -> list[str]:
        heard, log = Heard(), logging.getLogger("atoll.node.network.refused")
        log.addHandler(heard)
        network, relay = Network(RULES), Relay()
        try:
            await network.start()
            said = []
            for who, text in (
                ("run 1", "CONNECT 169.254.169.254:443 HTTP/1.1\r\n\r\n"),
                ("run 2", "GET http://ada:secret@10.1.2.3:8080/path?secret HTTP/1.1\r\nHost: x\r\n\r\n"),
            ):
                assert b"403 Forbidden" in await asked(relay, network, who, text)
                said.append(await heard.messages.get())
            return said
        finally:
            log.removeHandler(heard)
            await relay.close()
            await network.close()

    assert asyncio.run(go()) == [
        "run 1 asked for 169.254.169.254, port 443, which its list doesn't allow (network: allow)",
        "run 2 asked for 10.1.2.3, port 8080, which its list doesn't allow (network: allow)",
    ]
