"""What Squid is told, and what it says when it can't start."""

from __future__ import annotations

import asyncio
import os
import re
import select
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from atoll.model.errors import RuntimeUnavailable
from atoll.node.network import squid
from atoll.node.network.configuration import own_addresses, write
from atoll.node.network.permitted import Address, Domain, Permitted
from atoll.node.network.squid import Squid

ROUTES = """\
Main:
  +-- 0.0.0.0/0 3 0 4
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.1.2.0/24 2 0 2
        |-- 10.1.2.0
           /24 link UNICAST
        |-- 10.1.2.9
           /32 host LOCAL
        |-- 10.1.2.255
           /32 link BROADCAST
"""
INTERFACES = """\
fe8000000000000000fc00fffe000001 04 40 20 80     eth0
"""


def written(permitted: Permitted) -> str:
    return write(port=3128, callers=["fd00::1"], lists=[permitted], own=[ip_network("10.1.2.9")], names=[])


def refused(text: str, acl: str, address: str) -> bool:
    networks = re.findall(rf"^acl {acl} dst (?:-n )?(\S+)$", text, re.MULTILINE)
    return any(ip_address(address) in ip_network(network) for network in networks)


def test_the_addresses_of_a_machine_are_found() -> None:
    assert own_addresses(ROUTES, INTERFACES) == {ip_address("10.1.2.9"), ip_address("fe80::fc:ff:fe00:1")}


def test_nobody_is_served_where_nothing_is_permitted() -> None:
    assert "http_access allow" not in written(Permitted())


def test_an_address_that_is_listed_is_not_private_to_a_domain_at_its_port() -> None:
    """At another port it is, and this machine's own address within a network always is."""
    text = written(
        Permitted(
            domains=(Domain(name="*.example.org", ports=(443, 8443)),),
            addresses=(Address(network=ip_network("10.1.2.0/24"), ports=(443,)),),
        )
    )

    assert not refused(text, "list0_domains443_private", "10.1.2.3")
    assert refused(text, "list0_domains443_private", "10.1.3.3")
    assert refused(text, "list0_domains443_private", "10.1.2.9")
    assert refused(text, "list0_domains8443_private", "10.1.2.3")
    assert refused(text, "list0_address0", "10.1.2.3")  # by its number: this list says what is allowed
    assert not refused(text, "list0_address0", "10.1.2.9")


def test_a_machines_own_address_is_reached_where_it_is_named_by_itself() -> None:
    text = written(Permitted(addresses=(Address(network=ip_network("10.1.2.9"), ports=(443,)),)))

    assert refused(text, "list0_address0", "10.1.2.9")


def test_a_wider_network_than_the_private_ones_takes_them_all() -> None:
    text = written(
        Permitted(
            domains=(Domain(name="example.org", ports=(443,)),),
            addresses=(Address(network=ip_network("0.0.0.0/0"), ports=(443,)),),
        )
    )

    assert not refused(text, "list0_domains443_private", "192.168.1.1")
    assert refused(text, "list0_domains443_private", "10.1.2.9")


def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(squid, "_program", lambda: None)

    with pytest.raises(RuntimeUnavailable, match="apt install squid"):
        asyncio.run(Squid([Permitted()]).start())


@pytest.mark.needs("squid")
def test_a_squid_that_does_not_start_says_why() -> None:
    async def go() -> None:
        proxy = Squid([Permitted()], names=["no_such_word yes", "hosts_file"])
        try:
            await proxy.start()
        finally:
            await proxy.close()

    with pytest.raises(RuntimeUnavailable, match=r"doesn't start: .+"):
        asyncio.run(go())


ALONE = """
import asyncio
from atoll.node.network.permitted import Permitted
from atoll.node.network.squid import Squid

async def go():
    squid = Squid([Permitted()])
    await squid.start()
    print(squid._process.pid, flush=True)
    await asyncio.get_running_loop().create_future()

asyncio.run(go())
"""


def shared(pid: int) -> list[Path]:
    """What the Squid of a node has in shared memory."""
    return list(Path("/dev/shm").glob(f"atoll{pid}x*"))


@pytest.mark.needs("squid")
def test_it_ends_with_its_node_however_that_ends() -> None:
    """What it left in memory is removed by the next one, which leaves nothing if it ends in order."""

    async def go() -> None:
        proxy = Squid([Permitted()])
        await proxy.start()
        assert shared(os.getpid())
        await proxy.close()

    with subprocess.Popen([sys.executable, "-c", ALONE], stdout=subprocess.PIPE) as node:
        assert node.stdout is not None
        child = os.pidfd_open(int(node.stdout.readline()))
        node.kill()

    ended, _, _ = select.select([child], [], [], 10)
    os.close(child)

    assert ended == [child]
    assert shared(node.pid)
    asyncio.run(go())
    assert [*shared(node.pid), *shared(os.getpid())] == []
