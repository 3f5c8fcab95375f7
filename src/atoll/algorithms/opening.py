"""From what a submitter asks of algorithms to the steps of a run and the messages that open them.

Only manifests are read, so that it makes no difference whether an algorithm lies in a folder here
or at a hub. What can't be known here, such as a site's databases, is the site's to check.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from atoll.algorithms.calling import faults_of, function_of, seats_for
from atoll.algorithms.manifest import Manifest
from atoll.algorithms.vantage6 import Asking, Called, called, steps_of
from atoll.algorithms.words import PYTHON, Words
from atoll.dialects.functions.body import call_body
from atoll.dialects.vantage6.body import Action
from atoll.dialects.vantage6.wrapping import is_wrapper
from atoll.model.errors import SpecInvalid
from atoll.model.work import Role, Seat

#: The data-less seat of the aggregator.
REMOTE = Seat("remote")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of one algorithm."""

    manifest: Manifest
    digest: str
    function: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    #: A label, or an object with it and what the database's reader is told. None: each site's first.
    databases: Sequence[str | Mapping[str, Any]] | None = None
    #: ``central``, ``all``, or names of sites with commas between them. None: as the decorator says.
    at: str | None = None
    #: COINSTAC: an inputspec; an object for every site, or a list with one for each.
    inputs: Any = None
    #: vantage6 5: see the options of these names.
    extract: str | None = None
    preprocess: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedStep:
    """A step of a run, with the bodies of the messages that open it."""

    dialect: str
    digest: str
    #: For people.
    name: str
    aggregated: bool = False
    role: Role = Role.SITE
    #: The seats that are called; None for all of the run.
    seats: tuple[Seat, ...] | None = None
    #: One for all called seats, or one for each in their order.
    bodies: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What a run begins with."""

    steps: tuple[OpenedStep, ...]
    warnings: tuple[str, ...] = ()

    @property
    def aggregated(self) -> bool:
        """Whether it needs an aggregator's seat."""
        return any(step.aggregated for step in self.steps)


def open_run(asked: Sequence[Asked], sites: Sequence[Seat], words: Words = PYTHON) -> Opening:
    """The steps of a run that does what is asked, one algorithm after the other.

    Args:
        asked: in their order.
        sites: the data-holding seats of the run, in their order.
        words: those of whoever asks.

    Raises:
        SpecInvalid: with what can't be used.
    """
    if not asked or not sites:
        raise SpecInvalid("a run needs at least one step and one site")
    computations = _Computations()
    steps: list[OpenedStep] = []
    for one in asked:
        if one.manifest.dialect == "coinstac":
            steps.append(computations.open(one, sites, position=len(steps), words=words))
        else:
            opened = _functions(one, tuple(sites), words)
            steps += opened
            computations.pass_over(len(steps) - 1)
    return Opening(steps=tuple(steps), warnings=tuple(dict.fromkeys(computations.warnings)))


class _Computations:
    """The COINSTAC steps so far: later ones may refer to them."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        #: Of each step: its computation, if it is one, and its position in the run.
        self._earlier: list[tuple[Any, int]] = []

    def open(self, asked: Asked, sites: Sequence[Seat], *, position: int, words: Words) -> OpenedStep:
        # Late: pydantic takes as long to import as all else that a function needs.
        from atoll.algorithms.coinstac import Earlier, open_step
        from atoll.dialects.coinstac.spec import parse_compspec

        _refuse(
            asked,
            ("function", "args", "databases", "at", "extract", "preprocess"),
            "a COINSTAC computation",
            words,
        )
        spec, remarks = parse_compspec(asked.manifest.compspec or "", f"compspec of {asked.manifest.name}")
        earlier = [Earlier(spec=spec, position=position) for spec, position in self._earlier]
        opened = open_step(spec, asked.inputs, len(sites), earlier)
        self.warnings += [*remarks, *opened.warnings]
        self._earlier.append((spec, position))
        return OpenedStep(
            dialect="coinstac",
            digest=asked.digest,
            name=asked.manifest.name,
            aggregated=asked.manifest.decentralized,
            bodies=opened.bodies,
        )

    def pass_over(self, position: int) -> None:
        """A step of another dialect: it can't be referred to, and has its number all the same."""
        self._earlier.append((None, position))


def _functions(asked: Asked, sites: tuple[Seat, ...], words: Words) -> list[OpenedStep]:
    _refuse(asked, ("inputs",), "an algorithm that is written as functions", words)
    if asked.manifest.dialect == "vantage6":
        return _vantage6(asked, sites, words)
    _refuse(asked, ("extract", "preprocess"), "an algorithm of Atoll's own functions", words)
    function = function_of(asked.manifest.functions, asked.function, asked.manifest.name, words)
    faults = faults_of(function, asked.args, words)
    if faults:
        raise SpecInvalid(*faults)
    labels = []
    for label, options in _databases(asked, words):
        if options:
            raise SpecInvalid(
                f"the database {label!r} is asked for with {', '.join(options)}: functions are given what the site "
                "offers. Ask for the label alone"
            )
        labels.append(label)
    seats, role = seats_for(asked.at, central=function.central, sites=sites, words=words)
    return [
        OpenedStep(
            dialect="functions",
            digest=asked.digest,
            name=function.name,
            role=role,
            seats=seats,
            bodies=(call_body(function.name, asked.args, labels or None),),
        )
    ]


def _vantage6(asked: Asked, sites: tuple[Seat, ...], words: Words) -> list[OpenedStep]:
    manifest, generation = asked.manifest, asked.manifest.generation or 4
    own = manifest.command and not is_wrapper(manifest.command)
    if own or (manifest.kind == "image" and not manifest.functions):
        if asked.function is None:
            started = (
                manifest.command[0] if manifest.command else "its image, whose functions aren't known here"
            )
            raise SpecInvalid(
                f"{manifest.name} is started by {started}: name the function that it is to call with "
                f"{words.option('function')}"
            )
        central = asked.at in (None, "central")
        action = Action.CENTRAL_COMPUTE if central and generation == 5 else None
        function = Called(name=asked.function, action=action, central=central)
    else:
        function = called(manifest.functions, asked.function, manifest.name, generation, words)
    asking = Asking(
        args=asked.args,
        databases=tuple(_databases(asked, words)),
        at=asked.at,
        extract=asked.extract,
        preprocess=asked.preprocess,
    )
    steps = steps_of(asking, generation, function, manifest.functions, sites, words)
    return [
        OpenedStep(
            dialect="vantage6",
            digest=asked.digest,
            name=step.name,
            role=step.role,
            seats=step.seats,
            bodies=(step.body,),
        )
        for step in steps
    ]


def _databases(asked: Asked, words: Words) -> list[tuple[str, Mapping[str, Any]]]:
    databases: list[tuple[str, Mapping[str, Any]]] = []
    for one in asked.databases or ():
        label = one.get("label") if isinstance(one, Mapping) else one
        if not isinstance(label, str) or not label:
            raise SpecInvalid(
                f"{words.option('database')}: expected the label of a database, or an object such as "
                '{"label": "default"}'
            )
        options = (
            {key: value for key, value in one.items() if key != "label"} if isinstance(one, Mapping) else {}
        )
        databases.append((label, options))
    return databases


def _refuse(asked: Asked, names: tuple[str, ...], what: str, words: Words) -> None:
    given = [words.option(name) for name in names if getattr(asked, name)]
    if given:
        raise SpecInvalid(
            f"{asked.manifest.name} is {what}, which has no use for {', '.join(given)}: leave it out"
        )
