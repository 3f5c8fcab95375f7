"""From a vantage6 algorithm to a plan: its generation, its data steps, and what is called.

The algorithm is read, never run. What generation it is written for is told by what it imports;
an interpreter with the tools of that generation runs it, as an image would.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from atoll.algorithms.code import Code, find_code
from atoll.algorithms.describing import offered_by_vantage6
from atoll.algorithms.image import Image, dockerfile_of, read_dockerfile, starts_itself
from atoll.algorithms.installed import Installed
from atoll.algorithms.installing import ASSUMED_PORTS, WRAPPED_LIBRARIES
from atoll.algorithms.manifest import OfferedFunction
from atoll.algorithms.ports import ports_in
from atoll.algorithms.reading import read_json
from atoll.algorithms.vantage6 import Asking, Called, CalledStep, called, steps_of
from atoll.algorithms.words import COMMAND
from atoll.dialects.vantage6.convention import Convention
from atoll.dialects.vantage6.manifest import read_manifest
from atoll.model.errors import SpecInvalid
from atoll.model.work import Algorithm, Message, MessageId, Role, Run, RunId, Seat, Step
from atoll.node.offer import Offer
from atoll.runtimes import environment
from atoll.simulator.arguments import Arguments
from atoll.simulator.asking import (
    federation_of,
    leading_out,
    wanted_databases,
    with_options,
)
from atoll.simulator.functions import masked_with
from atoll.simulator.prepared import Prepared, PreparedStep
from atoll.simulator.tools import check_tools
from atoll.simulator.world import Plan

#: Signs that separate labels where vantage6 lists them.
_SEPARATORS = frozenset(",;")


def prepare(asked: Arguments) -> Prepared:
    """Read and check everything that was asked for.

    Raises:
        SpecInvalid: with every fault that was found.
        RuntimeUnavailable: the interpreter doesn't have vantage6's tools.
    """
    federation = federation_of(asked)
    offers, path = federation.offers, federation.path
    _check_labels(offers)
    doubts = leading_out(asked, offers)
    if asked.strict and doubts:
        raise SpecInvalid(*doubts)
    wanted = wanted_databases(asked, offers)
    if starts_itself(asked.path):
        code, convention, function = _of_another_language(asked)
        libraries: tuple[str, ...] = ()
        functions: list[OfferedFunction] = []
    else:
        code = find_code(asked.path, asked.package)
        manifest = read_manifest(code.package, code.sources())
        generation = check_tools(asked.python, code.package, manifest.generation)
        convention = Convention(generation=generation, package=code.package, inherited=environment.numeric())
        functions = [*map(offered_by_vantage6, manifest.functions)]
        function = called(functions, asked.function, code.package, manifest.generation, COMMAND)
        libraries = WRAPPED_LIBRARIES[generation]
    offered = with_options(offers, wanted)
    asking = Asking(
        args=asked.args,
        databases=tuple((each.label, each.options) for each in wanted),
        at=asked.at,
        extract=asked.extract,
        preprocess=asked.preprocess,
    )
    steps = steps_of(asking, convention.generation, function, functions, tuple(offers), COMMAND)
    digest = code.digest()
    around = asked.path if asked.path.is_dir() else asked.path.parent
    run = Run(
        id=RunId("run"),
        steps=tuple(_step(step, number, digest) for number, step in enumerate(steps)),
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
        ports=ports_in(dockerfile_of(around)),
        ports_assumed=ASSUMED_PORTS[convention.generation],
    )
    plan = Plan(
        run=run,
        messages=_messages(steps),
        installed={digest: installed},
        offers=offered,
        networks=federation.networks,
        peers=federation.peers,
    )
    described = tuple(_described(step, code, path, digest, asked) for step in steps)
    return Prepared(plan=plan, steps=described, warnings=tuple(doubts), dialect="vantage6", read=read_json)


def _of_another_language(asked: Arguments) -> tuple[Code, Convention, Called]:
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
    return code, convention, Called(name=asked.function, central=central)


def _step(step: CalledStep, number: int, digest: str) -> Step:
    return Step(
        algorithm=Algorithm(dialect="vantage6", digest=digest, name=step.name),
        aggregated=False,
        openings=(MessageId(f"opening.{number}.0"),),
        seats=step.seats,
        role=step.role,
    )


def _messages(steps: Sequence[CalledStep]) -> tuple[Message, ...]:
    return tuple(
        Message(id=MessageId(f"opening.{number}.0"), sender=Seat("submitter"), readers=(), body=step.body)
        for number, step in enumerate(steps)
    )


def _described(
    step: CalledStep, code: Code, federation: Path | None, digest: str, asked: Arguments
) -> PreparedStep:
    return PreparedStep(
        name=step.name,
        spec_path=code.path,
        inputs_path=federation,
        digests={"code": digest},
        serves=False,
        aggregated=step.role is Role.AGGREGATOR and len(step.seats) == 1,
        function=step.name,
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
