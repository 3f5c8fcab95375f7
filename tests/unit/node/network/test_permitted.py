"""What a site permits, as node.yaml says it."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from atoll.node.network.permitted import (
    SERVICES_MAX,
    Address,
    Domain,
    NetworkRules,
    Permitted,
    Service,
    read_network,
)
from atoll.node.sections import Section


def read(given: Any) -> tuple[NetworkRules, list[str]]:
    faults: list[str] = []
    return read_network(Section(given, "network", faults, folder=Path("/"))), faults


def test_nothing_is_permitted_where_nothing_is_said() -> None:
    rules, faults = read(None)

    assert (rules, faults) == (NetworkRules(), [])
    assert not rules.permitted.filtered


def test_domains_addresses_and_services_are_read() -> None:
    rules, faults = read(
        {
            "allow": [
                "data.example.org",
                {"domain": "*.Example.NET", "ports": [443, 80, 443]},
                {"address": "10.1.2.0/24", "ports": 5432},
                {"address": "2001:db8::1", "ports": [443]},
            ],
            "services": {"omop": {"host": "db.hospital.local", "port": 5432}},
            "for": {"sha256:3f": {"allow": ["x.example.org"]}, "*": {}},
        }
    )

    assert faults == []
    assert rules.permitted == Permitted(
        domains=(
            Domain(name="data.example.org", ports=(443,)),
            Domain(name="*.example.net", ports=(443, 80)),
        ),
        addresses=(
            Address(network=ip_network("10.1.2.0/24"), ports=(5432,)),
            Address(network=ip_network("2001:db8::1/128"), ports=(443,)),
        ),
        services=(Service(alias="omop", host="db.hospital.local", port=5432),),
    )
    assert rules.for_ == {
        "sha256:3f": Permitted(domains=(Domain(name="x.example.org", ports=(443,)),)),
        "*": Permitted(),
    }
    assert [each.filtered for each in rules.lists] == [True, True, False]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (7, "network is a number"),
        ({"deny": []}, "deny"),
        ({"allow": {"domain": "x.org"}}, "allow is a mapping: expected a list"),
        ({"allow": [{}]}, "allow, entry 1: expected either a domain or an address"),
        ({"allow": [{"domain": "x.org", "address": "10.0.0.1"}]}, "either a domain or an address"),
        ({"allow": ["10.0.0.1"]}, "name an address under 'address'"),
        ({"allow": ["*"]}, "expected a name such as data.example.org"),
        ({"allow": ["a.*.org"]}, "expected a name"),
        ({"allow": ["https://x.org"]}, "expected a name"),
        ({"allow": ["x.org\n"]}, "expected a name"),
        ({"allow": [f"{'a' * 63}." * 4 + "org"]}, "expected a name"),
        ({"allow": [{"address": "10.1.2.3/24", "ports": [1]}]}, "has host bits set"),
        ({"allow": [{"address": "10.1.2.3"}]}, "ports is missing"),
        (
            {"allow": [{"domain": "x.org", "ports": [0]}]},
            "no port: expected a list of whole numbers from 1 to 65535",
        ),
        ({"allow": [{"domain": "x.org", "ports": [True]}]}, "no port"),
        ({"allow": [{"domain": "x.org", "port": 1}]}, "port"),
        ({"services": {"Omop": {"host": "x", "port": 1}}}, "has the name 'Omop'"),
        ({"services": {"localhost": {"host": "x", "port": 1}}}, "has the name 'localhost'"),
        ({"services": {"10.0.0.1": {"host": "x", "port": 1}}}, "has the name '10.0.0.1'"),
        ({"services": {"omop": {"host": "x"}}}, "service 'omop': expected a host and a port"),
        ({"services": {"omop": {"host": "x", "port": 65536}}}, "expected a host and a port"),
        (
            {"services": {f"s{number}": {"host": "x", "port": 1} for number in range(SERVICES_MAX + 1)}},
            "at most 100",
        ),
        ({"for": {"*": {"allow": 1}}}, "for '*': allow is a number"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(given: Any, told: str) -> None:
    _, faults = read(given)

    assert any(told in fault for fault in faults), faults
