"""What an algorithm reaches of the network that its site allows: tried from inside of a real sandbox.

A sandbox, the node's relay and a real Squid stand in a network of this test's own, with strangers at
addresses that mean something: a cloud's metadata, a neighbour, this machine, the world outside.
"""

from __future__ import annotations

import asyncio
import json
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import trustme
from tests import strangers

from atoll.engine.running import Launch, Mount, Request, Session, Style, whole
from atoll.model.work import Seat
from atoll.node.network.network import Network
from atoll.node.network.permitted import Address, Domain, NetworkRules, Permitted, Service
from atoll.node.network.refused import Asking
from atoll.node.network.relay import Relay
from atoll.runtimes.bubblewrap import BubblewrapRuntime

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.needs("bubblewrap"),
    pytest.mark.needs("squid"),
    pytest.mark.needs("strangers"),
]

WORLD, ELSEWHERE = "203.0.113.5", "203.0.113.6"
METADATA, NEIGHBOUR, LISTED, OMOP = "169.254.169.254", "10.1.2.3", "10.1.9.9", "10.7.7.7"
LISTENING = [
    *((WORLD, port) for port in (80, 443, 8443, 5432)),
    (ELSEWHERE, 443),
    *((METADATA, port) for port in (80, 443)),
    *((NEIGHBOUR, port) for port in (80, 443, 5432)),
    *((LISTED, port) for port in (443, 6543, 6544)),
    (OMOP, 5432),
]
NAMES = {
    "data.example.org": [[WORLD]],
    "deep.data.example.org": [[WORLD]],
    "evil-data.example.org": [[ELSEWHERE]],
    "other.example.net": [[ELSEWHERE]],
    "metadata.data.example.org": [[METADATA]],
    "neighbour.data.example.org": [[NEIGHBOUR]],
    "listed.data.example.org": [[LISTED]],
    "here.data.example.org": [["127.0.0.1"]],
    "self.data.example.org": [[strangers.OURS]],
    "nowhere.data.example.org": [["0.0.0.0"]],
    "both.data.example.org": [[WORLD, METADATA]],
    "six.data.example.org": [["fd00::5"]],
    "mapped.data.example.org": [["::ffff:169.254.169.254"]],
    "translated.data.example.org": [["64:ff9b::a9fe:a9fe"]],
    "near.data.example.org": [["fe80::1"]],
    "loop.data.example.org": [["::1"]],
    "half.data.example.org": [[WORLD, "::1"]],
    # What leads outside when it is looked up first, and inside ever after.
    "turning.data.example.org": [[WORLD], [METADATA]],
}
RULES = NetworkRules(
    permitted=Permitted(
        domains=(
            Domain(name="data.example.org", ports=(443,)),
            Domain(name="*.data.example.org", ports=(443,)),
            Domain(name="plain.example.org", ports=(80,)),
        ),
        addresses=(
            Address(network=ip_network("10.1.9.0/24"), ports=(443, 6543)),
            Address(network=ip_network("192.0.2.0/24"), ports=(443,)),
        ),
        services=(Service(alias="omop", host=OMOP, port=5432),),
    ),
    for_={"others": Permitted(domains=(Domain(name="other.example.net", ports=(443,)),))},
)
NAMES["plain.example.org"] = [[WORLD]]

#: Does what its input lists, and tells what came of each.
TRY = """
    import json, os, socket, ssl, sys, urllib.request

    context = ssl.create_default_context(cafile="/ca/ca.pem")
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))

    def get(url):
        with opener.open(url, timeout=15) as answer:
            return answer.read().decode()

    def connect(where):
        return proxy("CONNECT %s HTTP/1.1\\r\\nHost: %s\\r\\n\\r\\n" % (where, where))

    def proxy(text):
        with socket.create_connection(("127.0.0.1", 3128), 15) as line:
            line.sendall(text.encode())
            return line.recv(1000).decode().partition("\\r\\n")[0]

    def straight(host, port):
        with socket.create_connection((host, port), 5) as line:
            line.sendall(b"GET / HTTP/1.0\\r\\n\\r\\n")
            return line.makefile().read().rpartition("\\n")[2]

    def resolve(name):
        return socket.gethostbyname(name)

    def variables(name):
        return os.environ.get(name)

    for name, *words in json.load(sys.stdin):
        try:
            said = globals()[name](*words)
        except Exception as error:
            said = type(error).__name__ + ": " + str(error)
        print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with what a sandbox is given, in a network with strangers."""
    folder = tmp_path_factory.mktemp("allowed")
    for name in ("code", "tmp", "ca"):
        (folder / name).mkdir()
    (folder / "code/local.py").write_text(textwrap.dedent(TRY))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca/ca.pem")
    certificate = authority.issue_cert(*(name for name in NAMES), LISTED)
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    with strangers.among(LISTENING, names=NAMES, certificate=folder / "server.pem"):
        yield folder


def proxied() -> Network:
    return Network(RULES, names=[f"dns_nameservers {strangers.RESOLVER}", "hosts_file none"])


@asynccontextmanager
async def sandbox(
    folder: Path, network: Network, permitted: Permitted = RULES.permitted
) -> AsyncIterator[Session]:
    runtime, relay = BubblewrapRuntime(roots=[folder]), Relay()
    await network.start()
    try:
        reach = network.reach(permitted, {})
        session = await runtime.start(
            Launch(
                seat=Seat("local0"),
                style=Style.CALL,
                code=folder / "code",
                command=("python", "/computation/local.py"),
                mounts=(Mount(source=folder / "ca", target="/ca"),),
                temporary=folder / "tmp",
                log=folder / "log",
                environment=reach.environment,
                outlets=tuple(relay.outlet(target) for target in reach.targets),
            )
        )
        yield session
        await session.close()
    finally:
        await relay.close()
        await runtime.close()
        await network.close()


async def tried(session: Session, *attempts: tuple[Any, ...]) -> list[Any]:
    reply = await session.call(Request(body=json.dumps(attempts).encode()))
    assert reply.exit_code == 0, reply.log_tail
    return [json.loads(line) for line in whole(reply.output).splitlines()]


def attempt(folder: Path, *attempts: tuple[Any, ...], permitted: Permitted = RULES.permitted) -> list[Any]:
    async def go() -> list[Any]:
        # This machine has services of its own, which are nobody's to reach.
        servers = [
            await asyncio.start_server(_own, address, 443) for address in ("127.0.0.1", strangers.OURS)
        ]
        async with sandbox(folder, proxied(), permitted) as session:
            said = await tried(session, *attempts)
        for server in servers:
            server.close()
        return said

    return asyncio.run(go())


async def _own(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"own")
    writer.close()


ALLOWED: dict[tuple[Any, ...], str] = {
    ("get", "https://data.example.org/"): f"{WORLD}:443",
    ("get", "https://deep.data.example.org/"): f"{WORLD}:443",
    ("get", f"https://{LISTED}/"): f"{LISTED}:443",
    ("get", "https://listed.data.example.org/"): f"{LISTED}:443",
    ("get", "http://plain.example.org/"): f"{WORLD}:80",
    ("connect", f"{LISTED}:6543"): "HTTP/1.1 200 Connection established",
    ("connect", "DATA.example.org:443"): "HTTP/1.1 200 Connection established",
    ("straight", "omop", 5432): f"{OMOP}:5432",
    ("variables", "https_proxy"): "http://127.0.0.1:3128",
    ("variables", "no_proxy"): "127.0.0.1,localhost,omop",
}


@pytest.fixture(scope="module")
def said(place: Path) -> dict[tuple[Any, ...], Any]:
    """What came of every attempt, in one sandbox."""
    attempts = [*ALLOWED, *REFUSED, *UNREACHABLE]
    return dict(zip(attempts, attempt(place, *attempts), strict=True))


@pytest.mark.parametrize("what", ALLOWED)
def test_what_is_allowed_is_reached(said: dict[tuple[Any, ...], Any], what: tuple[Any, ...]) -> None:
    """HTTPS by name, with the certificate of the server itself; addresses; services under their names."""
    assert said[what] == ALLOWED[what]


REFUSED: list[tuple[Any, ...]] = [
    ("connect", "other.example.net:443"),  # what others may
    ("connect", "evil-data.example.org:443"),  # ends like an allowed name
    ("connect", "data.example.org.evil.net:443"),
    ("connect", "example.org:443"),
    ("connect", "data.example.org:8443"),  # another port
    ("connect", "data.example.org:80"),
    ("connect", f"{WORLD}:443"),  # the address of an allowed name
    ("connect", f"[::ffff:{WORLD}]:443"),
    ("connect", "3405803781:443"),  # the same as a number
    ("connect", f"{METADATA}:80"),
    ("connect", f"{METADATA}:443"),
    ("connect", "metadata.data.example.org:443"),  # an allowed name that leads to a cloud's metadata,
    ("connect", "neighbour.data.example.org:443"),  # to a neighbour,
    ("connect", "here.data.example.org:443"),  # to this machine's loopback,
    ("connect", "self.data.example.org:443"),  # to its own address,
    ("connect", "nowhere.data.example.org:443"),  # to what some systems take for it,
    ("connect", "both.data.example.org:443"),  # or to both sides
    *(
        ("connect", f"{name}.data.example.org:443")
        for name in ("six", "mapped", "translated", "near", "loop", "half")
    ),
    ("connect", "lost.data.example.org:443"),  # nobody knows it
    ("connect", f"{NEIGHBOUR}:443"),
    ("connect", f"{NEIGHBOUR}:5432"),
    ("connect", f"{LISTED}:6544"),
    ("connect", f"{strangers.OURS}:443"),  # this machine, in a network that is allowed
    ("connect", "127.0.0.1:443"),
    ("connect", "localhost:443"),
    ("connect", "[::1]:443"),
    ("connect", "127.1:443"),
    ("connect", f"{OMOP}:5432"),  # a service is reached by its name alone
    ("proxy", f"GET http://{METADATA}/latest/meta-data/ HTTP/1.1\r\nHost: {METADATA}\r\n\r\n"),
    ("proxy", f"GET http://{METADATA}/ HTTP/1.1\r\nHost: plain.example.org\r\n\r\n"),
    ("proxy", "GET http://plain.example.org:5432/ HTTP/1.1\r\nHost: plain.example.org\r\n\r\n"),
    ("proxy", "GET https://data.example.org/ HTTP/1.1\r\nHost: data.example.org\r\n\r\n"),
    ("proxy", "GET ftp://plain.example.org:80/ HTTP/1.1\r\nHost: plain.example.org\r\n\r\n"),
    ("proxy", "GET cache_object://localhost/info HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ("proxy", "GET /squid-internal-mgr/info HTTP/1.1\r\nHost: atoll\r\n\r\n"),
]


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_allowed_is_refused(said: dict[tuple[Any, ...], Any], what: tuple[Any, ...]) -> None:
    assert said[what] == "HTTP/1.1 403 Forbidden"


UNREACHABLE: list[tuple[Any, ...]] = [
    ("straight", WORLD, 443),
    ("straight", METADATA, 80),
    ("straight", NEIGHBOUR, 5432),
    ("straight", OMOP, 5432),
    ("straight", strangers.OURS, 443),
    ("straight", "127.0.0.1", 443),
    ("straight", "omop", 443),
    ("resolve", "data.example.org"),
    ("resolve", "localhost.localdomain"),
]


@pytest.mark.parametrize("what", UNREACHABLE)
def test_there_is_no_way_around_the_proxy(said: dict[tuple[Any, ...], Any], what: tuple[Any, ...]) -> None:
    assert said[what].split(":")[0] in ("OSError", "ConnectionRefusedError", "gaierror"), said[what]


def test_a_name_that_turns_leads_where_it_led_when_it_was_looked_at(place: Path) -> None:
    """What was found for a name holds, though its owner says that it holds for no second."""
    urls = [("get", "https://turning.data.example.org/")] * 5

    assert attempt(place, *urls) == [f"{WORLD}:443"] * 5


def test_an_algorithm_with_a_list_of_its_own_has_no_other(place: Path) -> None:
    permitted = RULES.for_["others"]
    there, gone, service = attempt(
        place,
        ("get", "https://other.example.net/"),
        ("connect", "data.example.org:443"),
        ("resolve", "omop"),
        permitted=permitted,
    )

    assert there == f"{ELSEWHERE}:443"
    assert gone.startswith("HTTP/1.1 403")
    assert service.startswith("gaierror")


@pytest.mark.usefixtures("place")
def test_nobody_else_on_the_machine_may_use_the_proxy() -> None:
    """Who doesn't know where the node says that it comes from is refused, whatever else it says."""

    async def go() -> list[bytes]:
        network = proxied()
        await network.start()
        squid = network._squid  # whoever scans this machine's ports finds it, too
        assert squid is not None
        said = []
        try:
            (await squid.connect(0, Asking(who="a test")))[1].close()  # it listens
            for preface in (b"", b"PROXY UNKNOWN\r\n", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", squid._port)
                writer.write(preface + b"CONNECT data.example.org:443 HTTP/1.1\r\n\r\n")
                writer.write_eof()
                said.append(await reader.read(1000))
                writer.close()
        finally:
            await network.close()
        return said

    assert not any(b" 200 " in each for each in asyncio.run(go()))


def test_the_proxy_is_started_again_where_it_ends(place: Path) -> None:
    async def go() -> list[Any]:
        network = proxied()
        async with sandbox(place, network) as session:
            first = await tried(session, ("get", "https://data.example.org/"))
            process = network._squid._process  # type: ignore[union-attr] # it runs
            process.kill()  # type: ignore[union-attr] # it runs
            return [*first, *await tried(session, ("get", "https://data.example.org/"))]

    assert asyncio.run(go()) == [f"{WORLD}:443"] * 2
