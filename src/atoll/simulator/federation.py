"""The federation.yaml of a simulation: its sites, their databases, what they set for algorithms and let them reach."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.algorithms.sources import read
from atoll.model.errors import SpecInvalid
from atoll.model.work import Seat
from atoll.node.databases import Reader
from atoll.node.documents import kind, load_yaml, only
from atoll.node.network.permitted import NetworkRules, read_network
from atoll.node.offer import Offer
from atoll.node.sections import Section

#: A site's name is a folder's and a file's, and stands in JSON and on command lines.
_NAME = re.compile(r"[^\W_](?:[\w .-]*[\w-])?\Z")
#: What file systems allow, less what is added to it.
_NAME_BYTES_MAX = 200
#: Seats that Atoll itself has names for.
_TAKEN = frozenset({"remote", "submitter"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Federation:
    """The sites of a simulation."""

    #: The file that says so; None where there is none.
    path: Path | None = None
    #: What each offers, in their order.
    offers: Mapping[Seat, Offer]
    #: What sites let algorithms reach; one that says nothing of it is left out.
    networks: Mapping[Seat, NetworkRules] = field(default_factory=dict)
    #: Whether algorithms may talk to other sites.
    peers: bool = False


def read_federation(path: Path) -> Federation:
    """What a federation.yaml says.

    Raises:
        SpecInvalid: with every fault that was found.
    """
    text = read(
        path,
        "a federation.yaml with the sites and their databases",
        "Name one with --federation, or leave it out to simulate sites without data",
    )
    document = load_yaml(text, path, expected="sites and their databases")
    reader = Reader(path.parent, "federation.yaml")
    networks: dict[Seat, NetworkRules] = {}
    offers = _sites(document, path, reader, networks)
    if reader.faults:
        raise SpecInvalid(*reader.faults)
    return Federation(path=path, offers=offers, networks=networks, peers=document.get("peers", False))


def _sites(
    document: Any, path: Path, reader: Reader, networks: dict[Seat, NetworkRules]
) -> dict[Seat, Offer]:
    sites = document.get("sites") if isinstance(document, dict) else None
    if not isinstance(sites, dict) or not sites:
        reader.faults.append(
            f"{path} names no sites: expected 'sites:' and below it each site's name with its databases"
        )
        return {}
    only(document, ("sites", "peers"), str(path), reader.faults)
    if not isinstance(document.get("peers", False), bool):
        reader.faults.append(
            f"{path}: 'peers' is {kind(document['peers'])}: expected true where algorithms may talk to other sites"
        )
    offers: dict[Seat, Offer] = {}
    for name, described in sites.items():
        where = f"{path}: site {name!r}"
        if not isinstance(name, str) or not _is_name(name):
            reader.faults.append(
                f"{where} can't have this name: expected letters, digits, spaces, '.', '_' and '-', at most "
                f"{_NAME_BYTES_MAX} bytes of them, beginning with a letter or a digit and not ending with a space "
                "or '.', and neither 'remote' nor 'submitter'. Put a number in quotes"
            )
            continue
        offers[Seat(name)] = _offer(described, where, reader)
        if isinstance(described, dict) and described.get("network") is not None:
            section = Section(
                described["network"], f"{where}: network", reader.faults, folder=path.parent.absolute()
            )
            networks[Seat(name)] = read_network(section)
    return offers


def _offer(described: Any, where: str, reader: Reader) -> Offer:
    described = {} if described is None else described
    if not isinstance(described, dict):
        reader.faults.append(f"{where} is {kind(described)}: expected 'databases:' and, if need be, 'env:'")
        return Offer()
    only(described, ("databases", "env", "network"), where, reader.faults)
    return reader.offer(described, where)


def _is_name(name: str) -> bool:
    return bool(_NAME.match(name)) and name not in _TAKEN and len(name.encode()) <= _NAME_BYTES_MAX
