"""From a vantage6 algorithm to a plan: its generation, its data steps, and what is called.

The algorithm is read, never run. What generation it is written for is told by what it imports;
an interpreter with the tools of that generation runs it, as an image would.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any

from atoll.algorithms.code import Code, find_code
from atoll.algorithms.image import Image, dockerfile_of, read_dockerfile, starts_itself
from atoll.algorithms.installed import Installed
from atoll.algorithms.installing import WRAPPED_LIBRARIES
from atoll.dialects.vantage6.body import (
    Action,
    opening_body_4,
    opening_body_5,
)
from atoll.dialects.vantage6.built_in import PACKAGE_OF_PREPARER, READERS
from atoll.dialects.vantage6.convention import Convention
from atoll.dialects.vantage6.manifest import Manifest, read_manifest
from atoll.engine.running import whole
from atoll.model.errors import SpecInvalid
from atoll.model.work import Algorithm, Content, Message, MessageId, Role, Run, RunId, Seat, Step
from atoll.node.offer import Offer
from atoll.runtimes import environment
from atoll.simulator.arguments import Arguments
from atoll.simulator.asking import (
    Wanted,
    leading_out,
    offers_of,
    seats_for,
    wanted_databases,
    with_options,
)
from atoll.simulator.functions import masked_with
from atoll.simulator.prepared import Prepared, PreparedStep
from atoll.simulator.tools import check_tools
from atoll.simulator.world import Plan

#: Signs that separate labels where vantage6 lists them.
_SEPARATORS = frozenset(",;")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Called:
    """The function that is called."""

    name: str
    #: Generation 5.
    action: Action | None = None
    #: Whether it combines what it asks others for.
    central: bool = False


def prepare(asked: Arguments) -> Prepared:
    """Read and check everything that was asked for.

    Raises:
        SpecInvalid: with every fault that was found.
        RuntimeUnavailable: the interpreter doesn't have vantage6's tools.
    """
    offers, path = offers_of(asked)
    _check_labels(offers)
    doubts = leading_out(asked, offers)
    if asked.strict and doubts:
        raise SpecInvalid(*doubts)
    wanted = wanted_databases(asked, offers)
    if starts_itself(asked.path):
        code, convention, function = _of_another_language(asked)
        libraries: tuple[str, ...] = ()
    else:
        code = find_code(asked.path, asked.package)
        manifest = read_manifest(code.package, code.sources())
        generation = check_tools(asked.python, code.package, manifest.generation)
        convention = Convention(generation=generation, package=code.package, inherited=environment.numeric())
        function = _find(asked, code, manifest)
        libraries = WRAPPED_LIBRARIES[generation]
        asked = _with_packages(asked, manifest)
    offered = with_options(offers, wanted)
    steps, bodies, names = _steps(asked, convention.generation, function, wanted, tuple(offers))
    digest = code.digest()
    run = Run(
        id=RunId("run"),
        steps=tuple(
            replace(step, algorithm=Algorithm(dialect="vantage6", digest=digest, name=name))
            for step, name in zip(steps, names, strict=True)
        ),
        sites=tuple(offers),
        aggregator=None,
        iterations_max=asked.max_iterations,
    )
    installed = Installed(
        convention=convention,
        code=code.path,
        code_name=code.name,
        masked=masked_with(code, offers, path),
        libraries=libraries,
        speaks_http=True,
        prints=True,
    )
    plan = Plan(run=run, messages=_messages(bodies), installed={digest: installed}, offers=offered)
    described = tuple(
        _described(step, name, code, path, digest, asked) for step, name in zip(steps, names, strict=True)
    )
    return Prepared(plan=plan, steps=described, warnings=tuple(doubts), dialect="vantage6", read=_read)


def _of_another_language(asked: Arguments) -> tuple[Code, Convention, _Called]:
    """An algorithm that is started by what its Dockerfile says, and speaks through files and HTTP."""
    folder = asked.path.resolve()
    image: Image = read_dockerfile(dockerfile_of(folder))
    if asked.function is None:
        raise SpecInvalid(
            f"{folder} is started by {image.program}: name the function that it is to call with --function"
        )
    hidden = tuple(name for name in ("test", "tests", "atoll-runs", ".git") if (folder / name).exists())
    code = Code(path=folder, name=None, target=folder.name, masked=hidden)
    convention = Convention(generation=4, command=image.command)
    central = asked.at in (None, "central")
    return code, convention, _Called(name=asked.function, central=central)


def _find(asked: Arguments, code: Code, manifest: Manifest) -> _Called:
    functions = {function.name: function for function in manifest.functions}
    callable_ = [each for each in manifest.functions if each.action is None or not each.action.makes_data]
    if asked.function is None:
        central = [function for function in callable_ if function.central]
        if len(central) == 1:
            return _Called(name=central[0].name, action=central[0].action, central=True)
    elif asked.function in functions:
        found = functions[asked.function]
        if found.action is not None and found.action.makes_data:
            option = "--extract" if found.action is Action.DATA_EXTRACTION else "--preprocess"
            raise SpecInvalid(
                f"{found.name} makes a dataframe: name it with {option}, and with --function what computes"
            )
        return _Called(name=found.name, action=found.action, central=found.central)
    elif manifest.generation != 5 and asked.function.isidentifier():
        # Generation 4 calls any attribute of the package, and some are made when it is imported.
        return _Called(name=asked.function)
    near = get_close_matches(asked.function or "", functions, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    there = ", ".join(function.name for function in callable_) or "none that can be called"
    what = f"has no function {asked.function!r}" if asked.function else "needs a function to call"
    raise SpecInvalid(f"{code.package} {what}: name one with --function. There are {there}.{hint}")


def _steps(
    asked: Arguments, generation: int, function: _Called, wanted: Sequence[Wanted], sites: tuple[Seat, ...]
) -> tuple[list[Step], list[bytes], list[str]]:
    """The steps of the run: data steps at all sites, then the function; with their messages and names."""
    bodies: list[bytes] = []
    names: list[str] = []
    places: list[tuple[tuple[Seat, ...], Role]] = []
    if generation == 5:
        bodies, names = _data_steps(asked, wanted)
        places = [(sites, Role.SITE)] * len(bodies)
        action = function.action or Action.FEDERATED_COMPUTE
        frames = [each.label for each in wanted] or None
        bodies.append(opening_body_5(action, function.name, asked.args, dataframes=frames))
    else:
        if asked.extract or asked.preprocess:
            raise SpecInvalid("--extract and --preprocess are for algorithms of generation 5: leave them out")
        labels = [{"label": each.label, **each.options} for each in wanted] or None
        bodies.append(opening_body_4(function.name, kwargs=asked.args, databases=labels))
    names.append(function.name)
    # Without a decorator that says more, a function of generation 4 is the one that starts others.
    central = function.central or (function.action is None and asked.at is None)
    places.append(seats_for(asked.at, central=central, sites=sites))
    nameless = Algorithm(dialect="vantage6", digest="", name="")
    steps = [
        Step(
            algorithm=nameless,
            aggregated=False,
            openings=(MessageId(f"opening.{number}.0"),),
            seats=seats,
            role=role,
        )
        for number, (seats, role) in enumerate(places)
    ]
    return steps, bodies, names


def _data_steps(asked: Arguments, wanted: Sequence[Wanted]) -> tuple[list[bytes], list[str]]:
    """What is extracted, and what is made of it, before generation 5 computes."""
    bodies: list[bytes] = []
    names: list[str] = []
    labels: list[str | None] = [each.label for each in wanted]
    package, method, arguments = _named(asked.extract or "", "--extract")
    for label in labels or [None]:
        bodies.append(
            opening_body_5(
                Action.DATA_EXTRACTION, method, arguments, database=label, dataframe=label, package=package
            )
        )
        names.append(f"{method or 'read'} {label or 'database'}")
    for text in asked.preprocess:
        package, method, arguments = _named(text, "--preprocess")
        frame = arguments.pop("dataframe", None)
        frames = None if frame is None else [frame]
        bodies.append(
            opening_body_5(Action.PREPROCESSING, method, arguments, dataframes=frames, package=package)
        )
        names.append(method)
    return bodies, names


def _named(text: str, option: str) -> tuple[str | None, str, dict[str, Any]]:
    """A data step: where its function is, the function, and its arguments."""
    name, _, rest = text.partition(":")
    own = name.startswith(_OWN)
    try:
        arguments = json.loads(rest) if rest else {}
    except ValueError as error:
        raise SpecInvalid(f"{option} {text}: what stands behind the name is not JSON ({error})") from None
    if not isinstance(arguments, dict):
        raise SpecInvalid(
            f'{option} {text}: expected a JSON object behind the name, such as {name}:{{"column": "age"}}'
        )
    name = name.removeprefix(_OWN)
    if own or not name:
        return None, name, arguments
    package = READERS if option == "--extract" else PACKAGE_OF_PREPARER.get(name)
    if package is None:
        near = get_close_matches(name, PACKAGE_OF_PREPARER, 1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise SpecInvalid(
            f"{option} {name}: neither the algorithm nor vantage6 has a function of this name that prepares a "
            f"dataframe.{hint}"
        )
    return package, name, arguments


#: Marks a data step as the algorithm's own; no name of a function begins with it.
_OWN = "."


def _with_packages(asked: Arguments, manifest: Manifest) -> Arguments:
    """The data steps, those of the algorithm itself marked."""
    own = {function.name for function in manifest.functions}

    def marked(text: str) -> str:
        return f"{_OWN}{text}" if text.partition(":")[0] in own else text

    extract = None if asked.extract is None else marked(asked.extract)
    return replace(asked, extract=extract, preprocess=tuple(marked(text) for text in asked.preprocess))


def _messages(bodies: Sequence[bytes]) -> tuple[Message, ...]:
    return tuple(
        Message(id=MessageId(f"opening.{number}.0"), sender=Seat("submitter"), readers=(), body=body)
        for number, body in enumerate(bodies)
    )


def _described(
    step: Step, name: str, code: Code, federation: Path | None, digest: str, asked: Arguments
) -> PreparedStep:
    return PreparedStep(
        name=name,
        spec_path=code.path,
        inputs_path=federation,
        digests={"code": digest},
        serves=False,
        aggregated=step.role is Role.AGGREGATOR and step.seats is not None and len(step.seats) == 1,
        function=name,
        inputs=dict(asked.args),
    )


def _check_labels(offers: Mapping[Seat, Offer]) -> None:
    for seat, offer in offers.items():
        for label in offer.databases:
            if _SEPARATORS & set(label):
                raise SpecInvalid(
                    f"{seat} has a database {label!r}: vantage6 lists labels with ',' and ';' between them, so "
                    "that none may have one in it. Rename it"
                )


def _read(body: Content) -> Any:
    """What a function returned; numbers that JSON has no word for are null."""
    return json.loads(whole(body), parse_constant=lambda _: None, parse_float=_finite)


def _finite(text: str) -> float | None:
    number = float(text)
    return number if isfinite(number) else None
