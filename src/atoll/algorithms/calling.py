"""Which function is called, where, and whether it can be called so: told before anything starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from atoll.algorithms.manifest import OfferedFunction
from atoll.algorithms.words import COMMAND, Words
from atoll.model.errors import SpecInvalid
from atoll.model.work import Role, Seat


def function_of(
    functions: Sequence[OfferedFunction], asked: str | None, where: str, words: Words
) -> OfferedFunction:
    """The function that is asked for; where none is named, the only central one, or the only one.

    Args:
        functions: those of the algorithm.
        asked: its name.
        where: what has the functions, for people.
        words: those of whoever asks.

    Raises:
        SpecInvalid: there is no such function, or nothing says which.
    """
    by_name = {function.name: function for function in functions}
    if asked is not None and asked in by_name:
        return by_name[asked]
    if asked is None:
        central = [function for function in functions if function.central]
        if len(central) == 1:
            return central[0]
        if len(functions) == 1:
            return functions[0]
    near = get_close_matches(asked or "", by_name, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    there = ", ".join(f"{name} ({function.style})" for name, function in by_name.items())
    what = f"has no function {asked!r}" if asked else "has several functions"
    if not functions:
        raise SpecInvalid(
            f"{where} has no function that could be called: expected one with a decorator of "
            "atoll_algorithm, such as @partial or @central"
        )
    raise SpecInvalid(f"{where} {what}: name one with {words.option('function')}. There are {there}.{hint}")


def faults_of(function: OfferedFunction, given: Mapping[str, Any], words: Words) -> list[str]:
    """What the function's own process would refuse at every site."""
    # What a remote function takes is its local half's matter, too.
    if function.style == "remote":
        return []
    return [*_unknown(function, given, words), *_missing(function, given, words)]


def seats_for(
    at: str | None, *, central: bool, sites: tuple[Seat, ...], words: Words = COMMAND
) -> tuple[tuple[Seat, ...], Role]:
    """Where a function runs, and as what.

    Args:
        at: as it was asked for: ``central``, ``all``, or names with commas; None: as its decorator says.
        central: whether the function combines what it asks others for.
        sites: all sites, in their order.
        words: those of whoever asks.

    Raises:
        SpecInvalid: a name is not a site's.
    """
    if at is None:
        return ((sites[0],), Role.AGGREGATOR) if central else (sites, Role.SITE)
    role = Role.AGGREGATOR if central or at == "central" else Role.SITE
    if at == "central":
        return (sites[0],), role
    if at == "all":
        return sites, role
    names = [name.strip() for name in at.split(",")]
    unknown = [name for name in names if name not in sites]
    if unknown or len(set(names)) != len(names):
        raise SpecInvalid(
            f"{words.given('at', at)}: expected 'central', 'all', or names of sites, each once; there are "
            f"{', '.join(sites)}"
        )
    return tuple(site for site in sites if site in names), role


def _unknown(function: OfferedFunction, given: Mapping[str, Any], words: Words) -> Iterator[str]:
    names = [argument.name for argument in function.arguments]
    for name in given:
        if name in function.filled:
            yield f"{function.name}: {name!r} is filled at the site: leave {words.argument(name)} out"
        elif name not in names and not function.takes_any:
            near = get_close_matches(name, names, 1)
            hint = f". Did you mean {near[0]}?" if near else ""
            yield f"{function.name} takes no argument {name!r}: {_takes(function)}{hint}"


def _missing(function: OfferedFunction, given: Mapping[str, Any], words: Words) -> Iterator[str]:
    missing = [one.name for one in function.arguments if not one.optional and one.name not in given]
    if missing:
        yield f"{function.name} needs {' and '.join(map(repr, missing))}: give {words.arguments(missing)}"


def _takes(function: OfferedFunction) -> str:
    named = [f"{one.name}{' (optional)' if one.optional else ''}" for one in function.arguments]
    return f"it takes {', '.join(named) or 'none'}"
