"""What a function is asked for: the sites, the databases, and where it runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from atoll.model.errors import SpecInvalid
from atoll.model.work import Seat
from atoll.node.offer import Offer
from atoll.simulator.arguments import Arguments
from atoll.simulator.federation import Federation, read_federation

#: What a folder's own federation is called.
_FEDERATION = "federation.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A database that was asked for."""

    label: str
    #: What its reader is told: it wins over what the site says.
    options: Mapping[str, Any]


def federation_of(asked: Arguments) -> Federation:
    """The sites in their order, each with what it offers.

    Raises:
        SpecInvalid: the federation.yaml is wrong, has another number of sites than was asked for, or came with the
            algorithm and would let it out.
    """
    path = asked.federation
    folder = asked.path if asked.path.is_dir() else asked.path.parent
    if path is None and (folder / _FEDERATION).is_file():
        path = folder / _FEDERATION
    if path is None:
        count = asked.clients or 1
        return Federation(offers={Seat(f"local{number}"): Offer() for number in range(count)})
    found = read_federation(path)
    if asked.clients is not None and asked.clients != len(found.offers):
        raise SpecInvalid(
            f"--clients {asked.clients} and the {len(found.offers)} sites of {path} don't fit: leave --clients out"
        )
    if found.networks and asked.federation is None and not asked.packed:
        raise SpecInvalid(
            f"{path} came with the algorithm, and would let it reach a network ('network'): if that is meant, name the "
            "file with --federation"
        )
    return found


def leading_out(asked: Arguments, offers: Mapping[Seat, Offer]) -> list[str]:
    """A warning for each site whose data lie outside of the folder that says so itself.

    A federation.yaml that nobody named came with the algorithm, and may show it any file.
    """
    if asked.federation is not None:
        return []
    around = (asked.path if asked.path.is_dir() else asked.path.parent).resolve()
    warnings = []
    for seat, offer in offers.items():
        paths = [source.path for source in offer.databases.values() if source.path is not None]
        there = [str(path) for path in paths if not path.is_relative_to(around)]
        if there:
            named = ", ".join(there[:3]) + (f" and {len(there) - 3} more" if len(there) > 3 else "")
            warnings.append(
                f"the {_FEDERATION} that lies in {around} shows {seat} files from elsewhere on this machine: {named}. "
                "If that is meant, name it with --federation"
            )
    return warnings


def wanted_databases(asked: Arguments, offers: Mapping[Seat, Offer]) -> tuple[Wanted, ...]:
    """The databases that were asked for, in order; empty where nobody named any.

    Raises:
        SpecInvalid: no site has one, or what stands behind a label is no JSON object.
    """
    known = list(dict.fromkeys(label for offer in offers.values() for label in offer.databases))
    return tuple(_wanted(text, known) for text in asked.databases)


def _wanted(text: str, known: list[str]) -> Wanted:
    label, options = text, {}
    if text not in known and ":{" in text:
        label, _, rest = text.partition(":{")
        try:
            options = json.loads("{" + rest)
        except (ValueError, RecursionError) as error:
            raise SpecInvalid(
                f"--database {text}: what stands behind the label is not JSON ({error}). Expected for "
                f'example {label}:{{"sheet_name": "2024"}}'
            ) from None
    if label not in known:
        near = get_close_matches(label, known, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise SpecInvalid(
            f"--database {label}: no site has a database of this label (they have "
            f"{', '.join(known) or 'none'}).{hint}"
        )
    return Wanted(label=label, options=options)


def default_databases(wanted: tuple[Wanted, ...], offer: Offer) -> tuple[Wanted, ...]:
    """What a site is asked for: what was named, else its first database."""
    if wanted or not offer.databases:
        return wanted
    return (Wanted(label=next(iter(offer.databases)), options={}),)


def with_options(offers: Mapping[Seat, Offer], wanted: tuple[Wanted, ...]) -> dict[Seat, Offer]:
    """The offers, with what was asked of their databases."""
    changed: dict[Seat, Offer] = {}
    told = {each.label: each.options for each in wanted}
    for seat, offer in offers.items():
        databases = {}
        for label, source in offer.databases.items():
            options = {**source.options, **told.get(label, {})}
            databases[label] = _with(source, options)
        changed[seat] = Offer(databases=databases, environment=offer.environment)
    return changed


def _with(source: Any, options: Mapping[str, Any]) -> Any:
    kind = type(source)
    return kind(type=source.type, path=source.path, url=source.url, options=options, table=source.table)
