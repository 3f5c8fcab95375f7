"""What Squid is told: who it serves, and what each of them may reach. Pure; the words are Squid's.

Squid listens on this machine's loopback, where any user may connect. It believes the address of whoever
comes only where a line before the request says it (the PROXY protocol), and serves none but addresses
that were drawn by chance, a network for each list: 104 bits that the node alone knows. The rest of an
address, and its port, say which connection it is. That is written down of what is refused, with the host
that was asked for, and of nothing else.

::

    a request  ->  comes from a drawn address?  ->  its list's domain, at its port?   -> by name, and only to
                        no: refused                  its list's address, at its port?    a public address
                                                          neither: refused
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, collapse_addresses, ip_network

from atoll.node.network.permitted import Address, Network, Permitted
from atoll.node.network.refused import FORMAT

#: Addresses that are nobody's, or somebody's own: this machine, the networks of a site, the services of
#: a cloud that tell a machine its secrets, and those that stand for another address. The last of them is
#: also what Squid takes for the address of a name that it can't find.
_PRIVATE = (
    "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 "
    "192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4 "
    "::/96 64:ff9b::/96 64:ff9b:1::/48 100::/64 2001::/32 2002::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8"
).split()

#: What holds whatever is allowed. Nothing is cached, nothing is logged of what is allowed, nobody is told
#: who asks, and there is no other way in.
_ALWAYS = """\
cache deny all
cache_mem 0
memory_pools off
cache_store_log none
cache_log /dev/null
netdb_filename none
pid_filename none
coredump_dir none
pinger_enable off
icp_port 0
htcp_port 0
snmp_port 0
via off
forwarded_for delete
email_err_data off
httpd_suppress_version_string on
global_internal_static off
visible_hostname atoll
shutdown_lifetime 0 seconds
connect_timeout 20 seconds
dns_timeout 10 seconds
request_header_max_size 64 KB
reply_header_max_size 64 KB
# An address that was found for a name holds for as long as this, whatever its owner says.
negative_dns_ttl 10 minutes
positive_dns_ttl 1 hour
"""


def write(
    *,
    port: int,
    callers: Sequence[str],
    lists: Sequence[Permitted],
    own: Iterable[Network],
    names: Sequence[str],
    refused: str = "none",
) -> str:
    """A configuration.

    Args:
        port: where to listen, on the loopback.
        callers: the network from which those come that a list is for.
        lists: what they may reach, in the same order.
        own: addresses of this machine.
        names: lines that say how names are looked up, beside what Squid does of itself.
        refused: the file for what is refused.
    """
    here = list(own)
    lines = [
        f"http_port 127.0.0.1:{port} require-proxy-header name=atoll",
        *names,
        _ALWAYS,
        *_logged(refused),
        "acl node src 127.0.0.1",
        "proxy_protocol_access allow node",
        "proxy_protocol_access deny all",
        "http_access deny manager",
        "acl plain proto HTTP",
        "http_access deny !CONNECT !plain",
        # Any address at all: what was looked up in vain has none, and nothing else that fits either.
        "acl found dst 0.0.0.0/0",
        "acl found dst ::/0",
    ]
    for number, (caller, permitted) in enumerate(zip(callers, lists, strict=True)):
        lines += _rules(f"list{number}", caller, permitted, here)
    return "\n".join([*lines, "http_access deny all", ""])


def _logged(refused: str) -> list[str]:
    if refused == "none":
        return ["access_log none"]
    return [
        f"logformat atoll {FORMAT}",
        "acl forbidden http_status 403",
        "buffered_logs off",
        f"access_log stdio:{refused} logformat=atoll forbidden",
    ]


def _rules(name: str, caller: str, permitted: Permitted, own: Sequence[Network]) -> Iterator[str]:
    private = [*map(ip_network, _PRIVATE), *own]
    yield f"acl {name} src {caller}"
    by_port: dict[int, list[str]] = {}
    for domain in permitted.domains:
        for port in domain.ports:
            by_port.setdefault(port, []).append(domain.name)
    for port, domains in by_port.items():
        group = f"{name}_domains{port}"
        # Several lines with one name are one list: it matches where one of its values does.
        yield f"acl {name}_port{port} port {port}"
        yield f"acl {group} dstdom_regex -i -n {' '.join(_expression(domain) for domain in domains)}"
        named = (address for address in permitted.addresses if port in address.ports)
        allowed = [network for address in named for network in _meant(address, own)]
        yield from (f"acl {group}_private dst {network}" for network in _without(private, allowed))
        yield f"http_access allow {name} {name}_port{port} {group} found !{group}_private"
    for number, address in enumerate(permitted.addresses):
        yield from _addressed(f"{name}_address{number}", name, address, own)


def _addressed(group: str, name: str, address: Address, own: Sequence[Network]) -> Iterator[str]:
    yield from (f"acl {group} dst -n {network}" for network in _meant(address, own))
    yield f"acl {group}_ports port {' '.join(map(str, address.ports))}"
    yield f"http_access allow {name} {group} {group}_ports"


def _meant(address: Address, own: Sequence[Network]) -> list[Network]:
    """The addresses that an entry names. Where it names many, this machine's own are not among them."""
    single = address.network.num_addresses == 1
    return [address.network] if single else _without([address.network], own)


def _expression(domain: str) -> str:
    """A domain as an expression that nothing else fits."""
    # A name may end with a dot, and is the same.
    escaped = re.escape(domain.removeprefix("*."))
    return rf"\.{escaped}\.?$" if domain.startswith("*.") else rf"^{escaped}\.?$"


def _without(networks: Iterable[Network], taken: Sequence[Network]) -> list[Network]:
    """Networks, without what is in others."""
    rest = list(networks)
    for hole in taken:
        left: list[Network] = []
        for network in rest:
            if network.version != hole.version or not network.overlaps(hole):
                left.append(network)
            elif hole.prefixlen > network.prefixlen:
                left += network.address_exclude(hole)  # type: ignore[arg-type] # of one version, as was looked at
        rest = left
    four = collapse_addresses(each for each in rest if each.version == 4)
    six = collapse_addresses(each for each in rest if each.version == 6)
    return [*four, *six]


def own_addresses(routes: str, interfaces: str) -> set[IPv4Address | IPv6Address]:
    """The addresses of a machine, from what Linux says in /proc/net/fib_trie and /proc/net/if_inet6."""
    found: set[IPv4Address | IPv6Address] = set()
    last = ""
    for line in routes.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "|--":
            last = words[1]
        elif words[:1] == ["/32"] and words[-1:] == ["LOCAL"]:
            found.add(IPv4Address(last))
    for line in interfaces.splitlines():
        found.add(IPv6Address(int(line.split()[0], 16)))
    return found
