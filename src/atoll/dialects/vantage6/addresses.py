"""Which other runs a vantage6 algorithm means that asks for addresses, and how it is told of them.

Without a word about it, all runs that have the same parent are meant, its own among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from atoll.dialects.vantage6 import identity
from atoll.engine.peers import Address, Peer
from atoll.model.work import Ticket


def described(addresses: Iterable[Address], ticket: Ticket, query: Mapping[str, str]) -> list[dict[str, Any]]:
    """The addresses that a query asks for."""
    label = query.get("label", "")
    return [
        {
            "port": address.port,
            "label": address.label,
            "ip": address.host,
            "organization_id": identity.organization_of(ticket, address.peer.seat),
            "task_id": identity.task_of(address.peer.round_number),
            "parent_id": _parent(address.peer),
        }
        for address in addresses
        if (not label or address.label == label)
        and address.peer.seat in ticket.sites
        and _is_meant(address.peer, ticket, query)
    ]


def _is_meant(peer: Peer, ticket: Ticket, query: Mapping[str, str]) -> bool:
    own = ticket.job
    is_self = peer.job_id == own.id
    is_child = peer.parent == own.id
    is_parent = peer.job_id == ticket.parent
    # A main round has no parent: those of the same round are each other's siblings then.
    is_sibling = peer.parent == ticket.parent and (
        ticket.parent is not None or peer.round_number == own.round_number
    )
    if "only_children" in query:
        return is_child
    if "only_parent" in query:
        return is_parent
    if "only_siblings" in query:
        return is_sibling and not is_self
    if "only_self" in query:
        return is_self
    return (
        is_sibling or ("include_children" in query and is_child) or ("include_parent" in query and is_parent)
    )


def _parent(peer: Peer) -> int | None:
    return None if peer.parent_round is None else identity.task_of(peer.parent_round)
