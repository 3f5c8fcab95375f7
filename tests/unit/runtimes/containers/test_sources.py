"""A stranger's name of an image leads nobody into the site's own network."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from yarl import URL

from atoll.model.errors import JobRefused
from atoll.runtimes.containers.sources import Sources, host_of, is_public


def is_asked(host: str, sources: Sources) -> bool:
    try:
        sources.check(host)
    except JobRefused as error:
        assert "'policies.registries' of node.yaml" in str(error)  # noqa: PT017 -- in each of the cases
        return False
    return True


@pytest.mark.parametrize(
    "host", ["docker.io", "registry.example", "ghcr.io:5000", "8.8.8.8", "[2001:4860::8888]"]
)
def test_any_registry_in_the_world_is_asked_where_the_site_names_none(host: str) -> None:
    assert is_asked(host, Sources())


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:5000", "registry", "registry:5000", "minio.local", "vault.internal:8200"),
        *(
            "127.0.0.1:5000",
            "10.0.0.1",
            "192.168.1.1:80",
            "169.254.169.254",
            "168.63.129.16",
            "100.100.100.200",
        ),
        *(
            "[::1]:5000",
            "[fd00:ec2::254]",
            "[fe80::1]",
            "[::ffff:10.0.0.1]",
            "[64:ff9b::a9fe:a9fe]",
            "0.0.0.0",
        ),
    ],
)
def test_a_registry_in_the_sites_own_network_is_asked_only_where_the_site_names_it(host: str) -> None:
    assert not is_asked(host, Sources())
    assert not is_asked(host, Sources(["*", "registry.example"]))
    assert is_asked(host, Sources(["*", host]))
    assert is_asked(host, Sources(named=[host]))


def test_where_the_site_names_registries_no_others_are_asked() -> None:
    sources = Sources(["registry.example", "*.hospital.example:5000"], named=["10.0.0.1:5000"])

    asked = ["registry.example", "one.hospital.example:5000", "10.0.0.1:5000"]
    others = [
        "docker.io",
        "registry.example:5000",
        "one.hospital.example",
        "10.0.0.1",
        "hospital.example:5000",
    ]
    assert [True] * 3 == [is_asked(host, sources) for host in asked]
    assert [False] * 5 == [is_asked(host, sources) for host in others]


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_what_is_in_the_world_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *(
            "10.1.2.3",
            "127.0.0.1",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "0.0.0.0",
            "192.0.0.192",
        ),
        *(
            "::1",
            "::",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2001::1",
            "fe80::1%eth0",
            "fec0::1",
        ),
        *("ff02::1", "fd00::1", "nothing", ""),
    ],
)
def test_what_is_this_machines_or_a_private_networks_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("leads", "asked"),
    [(["8.8.8.8"], True), (["8.8.8.8", "10.0.0.1"], False), (["169.254.169.254"], False), ([], True)],
)
def test_a_name_is_looked_up_before_an_engine_gets_it(
    leads: list[str], asked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def lookup(_loop: asyncio.BaseEventLoop, _host: str, _port: int, **_: Any) -> list[Any]:
        if not leads:
            raise OSError("no such host")
        return [(None, None, None, "", (each, 443)) for each in leads]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lookup)
    if asked:
        asyncio.run(Sources().check_found("registry.example"))
    else:
        with pytest.raises(JobRefused, match="that name leads into a private network"):
            asyncio.run(Sources().check_found("registry.example:5000"))
    asyncio.run(Sources(["registry.example"]).check_found("registry.example"))


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Registry.Example/v2/", "registry.example"),
        ("https://registry.example:5000/v2/", "registry.example:5000"),
        ("http://registry.example/v2/", "registry.example"),
        ("https://registry-1.docker.io/v2/", "docker.io"),
        ("https://[::1]:5000/v2/", "[::1]:5000"),
        ("https://0x7f.1/v2/", ""),
        ("/v2/", ""),
    ],
)
def test_an_address_is_known_by_its_registry(url: str, host: str) -> None:
    assert host == host_of(URL(url))
