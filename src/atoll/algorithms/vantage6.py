"""What a call of a vantage6 algorithm is made of: its data steps, and then its function."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from atoll.algorithms.calling import seats_for
from atoll.algorithms.manifest import OfferedFunction
from atoll.algorithms.words import Words
from atoll.dialects.vantage6.body import Action, opening_body_4, opening_body_5
from atoll.dialects.vantage6.built_in import PACKAGE_OF_PREPARER, READERS
from atoll.model.errors import SpecInvalid
from atoll.model.work import Role, Seat


@dataclass(frozen=True, slots=True, kw_only=True)
class Called:
    """The function that is called."""

    name: str
    #: Generation 5.
    action: Action | None = None
    #: Whether it combines what it asks others for.
    central: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What a vantage6 algorithm is asked for."""

    args: Mapping[str, Any] = field(default_factory=dict)
    #: Labels of the databases, each with what its reader is told; empty: each site's first.
    databases: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    at: str | None = None
    #: Generation 5: see the option of this name.
    extract: str | None = None
    preprocess: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CalledStep:
    """One step: what it is called, where it runs, and what it is told."""

    name: str
    seats: tuple[Seat, ...]
    role: Role
    body: bytes


def called(
    functions: Sequence[OfferedFunction], asked: str | None, where: str, generation: int | None, words: Words
) -> Called:
    """The function that is asked for; where none is named, the only central one.

    Args:
        functions: those of the algorithm.
        asked: its name.
        where: what has the functions, for people.
        generation: what the algorithm is written for; None where its source doesn't tell.
        words: those of whoever asks.

    Raises:
        SpecInvalid: there is no such function, or nothing says which; or it makes data.
    """
    by_name = {function.name: function for function in functions}
    callable_ = [each for each in functions if not _makes_data(each)]
    if asked is None:
        central = [function for function in callable_ if function.central]
        if len(central) == 1:
            return _called(central[0])
    elif asked in by_name:
        found = by_name[asked]
        if _makes_data(found):
            option = "extract" if found.style == Action.DATA_EXTRACTION.value else "preprocess"
            raise SpecInvalid(
                f"{found.name} makes a dataframe: name it with {words.option(option)}, and with "
                f"{words.option('function')} what computes"
            )
        return _called(found)
    elif generation != 5 and asked.isidentifier():
        # Generation 4 calls any attribute of the package, and some are made when it is imported.
        return Called(name=asked)
    near = get_close_matches(asked or "", by_name, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    there = ", ".join(function.name for function in callable_) or "none that can be called"
    what = f"has no function {asked!r}" if asked else "needs a function to call"
    raise SpecInvalid(f"{where} {what}: name one with {words.option('function')}. There are {there}.{hint}")


def steps_of(
    asked: Asking,
    generation: int,
    function: Called,
    functions: Sequence[OfferedFunction],
    sites: tuple[Seat, ...],
    words: Words,
) -> list[CalledStep]:
    """The steps of a run: data steps at all sites, then the function.

    Raises:
        SpecInvalid: a data step or a place is not what it should be.
    """
    steps: list[CalledStep] = []
    if generation == 5:
        own = {one.name for one in functions}
        steps = [
            CalledStep(name=name, seats=sites, role=Role.SITE, body=body)
            for name, body in _data_steps(asked, own, words)
        ]
        action = function.action or Action.FEDERATED_COMPUTE
        frames = [label for label, _ in asked.databases] or None
        body = opening_body_5(action, function.name, asked.args, dataframes=frames)
    else:
        if asked.extract or asked.preprocess:
            raise SpecInvalid(
                f"{words.option('extract')} and {words.option('preprocess')} are for algorithms of generation 5: "
                "leave them out"
            )
        labels = [{"label": label, **options} for label, options in asked.databases] or None
        body = opening_body_4(function.name, kwargs=asked.args, databases=labels)
    # Without a decorator that says more, a function of generation 4 is the one that starts others.
    central = function.central or (function.action is None and asked.at is None)
    seats, role = seats_for(asked.at, central=central, sites=sites, words=words)
    return [*steps, CalledStep(name=function.name, seats=seats, role=role, body=body)]


def _called(function: OfferedFunction) -> Called:
    action = Action(function.style) if function.style else None
    return Called(name=function.name, action=action, central=function.central)


def _makes_data(function: OfferedFunction) -> bool:
    return bool(function.style) and Action(function.style).makes_data


def _data_steps(asked: Asking, own: set[str], words: Words) -> Iterator[tuple[str, bytes]]:
    """What is extracted, and what is made of it, before generation 5 computes."""
    labels: list[str | None] = [label for label, _ in asked.databases]
    package, method, arguments = _named(asked.extract or "", "extract", own, words)
    for label in labels or [None]:
        body = opening_body_5(
            Action.DATA_EXTRACTION, method, arguments, database=label, dataframe=label, package=package
        )
        yield f"{method or 'read'} {label or 'database'}", body
    for text in asked.preprocess:
        package, method, arguments = _named(text, "preprocess", own, words)
        frame = arguments.pop("dataframe", None)
        frames = None if frame is None else [frame]
        yield (
            method,
            opening_body_5(Action.PREPROCESSING, method, arguments, dataframes=frames, package=package),
        )


def _named(text: str, option: str, own: set[str], words: Words) -> tuple[str | None, str, dict[str, Any]]:
    """A data step: where its function is, the function, and its arguments."""
    name, _, rest = text.partition(":")
    try:
        arguments = json.loads(rest) if rest else {}
    except ValueError as error:
        raise SpecInvalid(
            f"{words.given(option, text)}: what stands behind the name is not JSON ({error})"
        ) from None
    if not isinstance(arguments, dict):
        raise SpecInvalid(
            f"{words.given(option, text)}: expected a JSON object behind the name, such as "
            f'{name}:{{"column": "age"}}'
        )
    if name in own or not name:
        return None, name, arguments
    package = READERS if option == "extract" else PACKAGE_OF_PREPARER.get(name)
    if package is None:
        near = get_close_matches(name, PACKAGE_OF_PREPARER, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise SpecInvalid(
            f"{words.given(option, name)}: neither the algorithm nor vantage6 has a function of this name that "
            f"prepares a dataframe.{hint}"
        )
    return package, name, arguments
