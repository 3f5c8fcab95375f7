"""Where an algorithm finds what it reaches, and what it is told of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from atoll.node.network.homes import Homes, move
from atoll.node.network.relay import Target
from atoll.node.offer import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """What an algorithm reaches beside its door."""

    targets: tuple[Target, ...] = ()
    #: Variables that say so.
    environment: Mapping[str, str] = field(default_factory=dict)
    #: Its databases, with addresses that lead to their servers from inside.
    databases: Mapping[str, Source] = field(default_factory=dict)


def served(
    databases: Mapping[str, Source], homes: Homes | None = None, targets: Sequence[Target] = ()
) -> Reach:
    """How the servers of databases are reached.

    Args:
        databases: those that an algorithm gets.
        homes: has the addresses of `targets`.
        targets: what is reached beside. Where one has a server's address already, it stays.
    """
    homes = Homes() if homes is None else homes
    found = {(target.host, target.port): target for target in targets}
    moved = {}
    for label, source in databases.items():
        target, moved[label] = move(source, homes)
        if target is not None:
            found.setdefault((target.host, target.port), target)
    return Reach(targets=tuple(found.values()), databases=moved)
