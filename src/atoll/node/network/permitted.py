"""What a site permits, as its node.yaml says it: domains, addresses and services, and nothing else.

A domain is reached by its name alone, and an address by its numbers alone: nobody who answers for a
name in the DNS can lead an algorithm to an address that the site hasn't named.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from atoll.node.documents import kind
from atoll.node.sections import Section

Network = IPv4Network | IPv6Network

#: What may be said of it.
NETWORK = ("allow", "services", "for")

#: Of a domain, where nothing is said.
_HTTPS = 443
_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"(\*\.)?({_LABEL}\.)*{_LABEL}\Z")
_ALIAS = re.compile(rf"{_LABEL}(\.{_LABEL})*\Z")
#: What nobody may call a service: they are the algorithm's own.
_TAKEN = ("localhost", "atoll")
#: Services of one list: each has an address of the sandbox's own loopback.
SERVICES_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A name of hosts, and the ports that may be reached there."""

    #: ``data.example.org``; or ``*.example.org``, all that ends with it, but not itself.
    name: str
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Hosts by their addresses, and the ports that may be reached there."""

    network: Network
    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A server that is passed on, whatever it speaks."""

    #: By which name an algorithm finds it.
    alias: str
    #: Where the node finds it.
    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Permitted:
    """What some algorithms may reach."""

    domains: tuple[Domain, ...] = ()
    addresses: tuple[Address, ...] = ()
    services: tuple[Service, ...] = ()

    @property
    def filtered(self) -> bool:
        """Whether there is anything that needs the proxy."""
        return bool(self.domains or self.addresses)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkRules:
    """What a site permits, and to whom."""

    permitted: Permitted = field(default_factory=Permitted)
    #: In the place of `permitted`, for algorithms that a pattern fits; the first that fits counts.
    for_: Mapping[str, Permitted] = field(default_factory=dict)

    @property
    def lists(self) -> tuple[Permitted, ...]:
        """All of them; the one for everybody comes first."""
        return (self.permitted, *self.for_.values())


def read_network(section: Section) -> NetworkRules:
    """Read the section ``network``."""
    rules = NetworkRules(permitted=_permitted(section), for_=_for(section))
    section.close()
    return rules


def _for(section: Section) -> dict[str, Permitted]:
    found = {}
    for pattern, described in section.mapping("for").items():
        inner = Section(described, f"{section.where}: for {pattern!r}", section.faults, folder=section.folder)
        found[pattern] = _permitted(inner)
        inner.close()
    return found


def _permitted(section: Section) -> Permitted:
    domains: list[Domain] = []
    addresses: list[Address] = []
    given = section.take("allow")
    if given is not None and not isinstance(given, list):
        section.fault("allow", f"is {kind(given)}: expected a list of domains and addresses")
        given = None
    for number, entry in enumerate(given or (), start=1):
        inner = Section(
            {"domain": entry} if isinstance(entry, str) else entry,
            f"{section.where}: allow, entry {number}",
            section.faults,
            folder=section.folder,
        )
        found = _entry(inner)
        inner.close()
        if isinstance(found, Domain):
            domains.append(found)
        elif found is not None:
            addresses.append(found)
    services = tuple(_services(section))
    return Permitted(domains=tuple(domains), addresses=tuple(addresses), services=services)


def _entry(section: Section) -> Domain | Address | None:
    domain, address = section.optional("domain"), section.optional("address")
    ports = _ports(section)
    if (domain is None) == (address is None):
        section.faults.append(f"{section.where}: expected either a domain or an address, and its ports")
        return None
    if domain is not None:
        name = domain.lower()
        # What reads as a number is an address, however it is written.
        if not _DOMAIN.match(name) or len(name) > 253 or name.rpartition(".")[2].isdecimal():
            section.fault(
                "domain",
                f"is {domain!r}: expected a name such as data.example.org, or *.example.org for all names below it; "
                "name an address under 'address'",
            )
            return None
        return Domain(name=name, ports=ports or (_HTTPS,))
    try:
        network = ip_network(str(address))
    except ValueError as error:
        section.fault("address", f"is {address!r}: expected one such as 10.1.2.3 or 10.1.2.0/24 ({error})")
        return None
    if not ports:
        section.fault("ports", "is missing: expected the ports that may be reached at this address")
        return None
    return Address(network=network, ports=ports)


def _ports(section: Section) -> tuple[int, ...]:
    value = section.take("ports")
    values = [] if value is None else value if isinstance(value, list) else [value]
    if not all(_is_port(each) for each in values):
        section.fault("ports", "holds what is no port: expected a list of whole numbers from 1 to 65535")
        return ()
    return tuple(dict.fromkeys(values))


def _services(section: Section) -> list[Service]:
    found = []
    described = section.mapping("services")
    if len(described) > SERVICES_MAX:
        section.fault("services", f"are {len(described)}: expected at most {SERVICES_MAX}")
    for alias, given in described.items():
        inner = Section(given, f"{section.where}: service {alias!r}", section.faults, folder=section.folder)
        host, port = inner.optional("host"), inner.whole("port", None, least=1)
        inner.close()
        if not _ALIAS.match(alias) or alias in _TAKEN or alias.rpartition(".")[2].isdecimal():
            section.fault(
                "services",
                f"has the name {alias!r}: expected lower-case letters, digits and hyphens, as in omop",
            )
        elif host is None or port is None or not _is_port(port):
            section.faults.append(
                f"{inner.where}: expected a host and a port, such as {{host: db.hospital.local, port: 5432}}"
            )
        else:
            found.append(Service(alias=alias, host=host, port=port))
    return found


def _is_port(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65_536
