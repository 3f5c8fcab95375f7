"""The way between a node and its hub: TLS with an authority of one's own, a proxy, and what a doctor finds."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from tests.acceptance.computations import atoll
from tests.acceptance.pooling import COLUMN, mean_of
from tests.acceptance.test_federation import EXACTLY, GATED, WAIT
from tests.relays import ConnectProxy
from tests.stage import EXAMPLES, PASSWORD, HubProgram, NodeProgram, hub_program, until

from atoll.cli.demo import founding
from atoll.client.client import Client, connect
from atoll.model.errors import HubUnreachable, Unusable

#: A name that only the proxy can lead to.
HUB = "hub.test"

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """A hub that speaks TLS, with a certificate of an authority that nobody else knows."""

    folder: Path
    hub: HubProgram
    url: str
    #: The authority's own certificate, and that of another one.
    ca_file: Path
    other_ca_file: Path
    token: str
    key: str

    def client(self, **way: Any) -> Client:
        """Somebody who uses the hub."""
        return connect(self.url, token=self.token, **{"ca_file": self.ca_file, **way})

    def node(self, folder: Path, **settings: Any) -> NodeProgram:
        """The node Biscoe, laid out and not yet started."""
        words = ("node", "start", "--config", folder / "Biscoe" / "node.yaml")
        node = NodeProgram(words=words, log=folder / "Biscoe.log", name="Biscoe", home=folder / "Biscoe")
        rows = EXAMPLES / "functions" / "islands" / "biscoe.csv"
        node.lay_out(self.url, self.key, rows, {"ca_file": str(self.ca_file), **settings})
        return node


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """A federation of one island, founded before its hub speaks TLS."""
    folder = tmp_path_factory.mktemp("secured")
    ca, other = trustme.CA(), trustme.CA()
    certificate = ca.issue_cert("localhost", HUB)
    (folder / "certificate.pem").write_bytes(b"".join(each.bytes() for each in certificate.cert_chain_pems))
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    ca.cert_pem.write_to_path(folder / "ca.pem")
    other.cert_pem.write_to_path(folder / "other.pem")
    open_hub = hub_program(folder / "hub")
    try:
        open_hub.come_up()
        founded = founding.found(founding.Office(open_hub.url), open_hub.log, PASSWORD, ["Biscoe"])
    finally:
        open_hub.clear_away()
    hub = hub_program(
        folder / "hub",
        tls_certificate=str(folder / "certificate.pem"),
        tls_key=str(folder / "key.pem"),
        host="localhost",
    )
    there = Secured(
        folder=folder,
        hub=hub,
        url=f"https://localhost:{hub.port}",
        ca_file=folder / "ca.pem",
        other_ca_file=folder / "other.pem",
        token=founded.token,
        key=founded.keys["Biscoe"],
    )
    try:
        hub.start()
        until(lambda: "listens at https://" in hub.said or not hub.is_running, "the hub listens")
        assert hub.is_running, hub.said
        yield there
    finally:
        hub.clear_away()


def is_online(secured: Secured, name: str, **way: Any) -> bool:
    """Whether a node was heard of lately."""
    with secured.client(**way) as client:
        return any(node.online for node in client.nodes.list() if node.name == name)


def findings(node: NodeProgram, status: int) -> dict[str, tuple[str, str, str]]:
    """What the doctor finds at a node: by what was looked at, how bad it is, and what to do."""
    done = atoll("node", "doctor", "--json", "--config", node.home / "node.yaml")
    assert status == done.returncode, done.stdout + done.stderr
    found = json.loads(done.stdout)["findings"]
    return {each["subject"]: (each["level"], each["words"], each["remedy"]) for each in found}


def faults(node: NodeProgram) -> dict[str, tuple[str, str, str]]:
    """The faults among them, of which there are some."""
    return {subject: told for subject, told in findings(node, 1).items() if told[0] == "fault"}


def mean_through(client: Client) -> float:
    """A run of one site."""
    run = client.runs.submit(
        collaboration="islands", algorithm=GATED, function="mean", args={"column": COLUMN, "gated": False}
    )
    result: float = run.wait(WAIT).result
    return result


def test_a_node_trusts_a_hub_by_the_authority_that_its_settings_name(
    secured: Secured, tmp_path: Path
) -> None:
    node = secured.node(tmp_path)
    try:
        node.start()
        until(lambda: is_online(secured, "Biscoe"), "the node is online")

        with secured.client() as client:
            assert pytest.approx(mean_of("Biscoe"), rel=EXACTLY) == mean_through(client)
    finally:
        node.clear_away()


def test_without_it_nothing_is_sent(secured: Secured, tmp_path: Path) -> None:
    node = secured.node(tmp_path, ca_file=None)
    before = secured.hub.said.count("/v1/node/token")
    try:
        node.start()
        until(lambda: "certificate" in node.said.lower(), "the node says why it can't")
    finally:
        node.clear_away()
    assert before == secured.hub.said.count("/v1/node/token")
    with pytest.raises(HubUnreachable, match=r"(?i)certificate"):
        secured.client(ca_file=None)


def test_a_node_and_a_client_reach_a_hub_through_a_proxy(secured: Secured, tmp_path: Path) -> None:
    url = f"https://{HUB}:{secured.hub.port}"
    with ConnectProxy().serving() as proxy:
        way = f"http://127.0.0.1:{proxy.port}"
        node = replace(secured, url=url).node(tmp_path, proxy=way)
        try:
            node.start()
            until(lambda: is_online(secured, "Biscoe"), "the node is online")
            assert {f"{HUB}:{secured.hub.port}"} == set(proxy.asked)

            with connect(url, token=secured.token, ca_file=secured.ca_file, proxy=way) as client:
                assert pytest.approx(mean_of("Biscoe"), rel=EXACTLY) == mean_through(client)
            assert {"ok"} == {told[0] for told in findings(node, 0).values()}
        finally:
            node.clear_away()


def test_a_new_node_registers_with_its_code_and_writes_its_settings(secured: Secured, tmp_path: Path) -> None:
    with secured.client() as client:
        organization = client.me().organization.id
        code = client.nodes.create("Gull", organization=organization, holds_data=True).code
    assert code is not None
    home = tmp_path / "Gull"
    home.mkdir()
    words = (
        *("node", "start", "--config", home / "node.yaml", "--register", code),
        *("--hub", secured.url, "--ca-file", secured.ca_file),
    )
    node = NodeProgram(words=words, log=tmp_path / "Gull.log", name="Gull", home=home)
    try:
        node.start()
        until(lambda: is_online(secured, "Gull") or not node.is_running, "the node is online")

        assert node.is_running, node.said
        assert 0o600 == (home / "node.key").stat().st_mode & 0o777
        assert secured.url == yaml.safe_load((home / "node.yaml").read_text())["hub"]
        assert code not in node.said
        assert 0 == node.end()
        again = NodeProgram(words=words, log=tmp_path / "again.log", name="Gull", home=home).start()
        assert again.process is not None
        assert 1 == again.process.wait(WAIT)
        assert "code" in again.said
    finally:
        node.clear_away()


@pytest.mark.parametrize("url", ["http://hub.example.org", "http://192.0.2.1:8000"])
def test_nothing_travels_in_the_open_beyond_this_machine(secured: Secured, tmp_path: Path, url: str) -> None:
    node = replace(secured, url=url).node(tmp_path)

    done = atoll(*node.words)

    assert 2 == done.returncode
    assert "in the open" in done.stderr
    assert "https://" in done.stderr
    with pytest.raises(Unusable, match="in the open"):
        connect(url, token=secured.token)
    assert "plain HTTP beyond this machine" in faults(node)["hub address"][1]


def test_a_hub_does_not_listen_in_the_open_beyond_this_machine(tmp_path: Path) -> None:
    done = atoll("hub", "start", "--host", "0.0.0.0", "--folder", tmp_path / "hub")

    assert 2 == done.returncode
    assert "nothing speaks HTTPS" in done.stderr


def test_a_doctor_finds_nothing_wrong_with_a_good_node(secured: Secured, tmp_path: Path) -> None:
    found = findings(secured.node(tmp_path), 0)

    assert set() == {subject for subject, told in found.items() if told[0] == "fault"}
    assert {
        "workspace",
        "disk",
        "runtime",
        "database penguins",
        "proxy",
        "name",
        "tls",
        "clock",
        "hub",
        "key",
    } <= set(found)
    assert {"ok"} == {found[subject][0] for subject in ("tls", "clock", "hub", "key", "database penguins")}


def test_a_doctor_tells_of_another_authority(secured: Secured, tmp_path: Path) -> None:
    found = faults(secured.node(tmp_path, ca_file=str(secured.other_ca_file)))

    assert ["tls"] == list(found)
    assert "ca_file" in found["tls"][2]


def test_a_doctor_tells_of_a_key_that_the_hub_does_not_know(secured: Secured, tmp_path: Path) -> None:
    found = faults(replace(secured, key=f"atn_{'a' * 43}").node(tmp_path))

    assert ["key"] == list(found)
    assert "--register" in found["key"][2]


def test_a_doctor_tells_of_a_database_that_is_not_there(secured: Secured, tmp_path: Path) -> None:
    node = secured.node(tmp_path)
    (node.home / "penguins.csv").unlink()

    done = atoll("node", "doctor", "--config", node.home / "node.yaml")

    assert done.returncode in (1, 2)
    assert "penguins.csv" in done.stdout + done.stderr


def test_a_doctor_tells_of_a_hub_that_is_away(secured: Secured, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    shutil.copy(secured.ca_file, folder / "ca.pem")
    node = replace(secured, url="https://localhost:9").node(folder)

    assert {"connection"} == set(faults(node))
