"""From Python functions to a plan: the code, the sites, and what the function is asked.

Everything is read and checked before anything starts. The code is read, never run.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path

from atoll.dialects.functions.body import call_body, plain
from atoll.dialects.functions.convention import Convention
from atoll.dialects.functions.manifest import Function, Manifest, read_manifest
from atoll.model.errors import SpecInvalid
from atoll.model.work import Algorithm, Message, MessageId, Run, RunId, Seat, Step
from atoll.node.desk import Installed
from atoll.node.offer import Offer
from atoll.simulator.arguments import Arguments
from atoll.simulator.asking import offers_of, seats_for, wanted_databases, with_options
from atoll.simulator.code import Code
from atoll.simulator.glance import sdk
from atoll.simulator.prepared import Prepared, PreparedStep
from atoll.simulator.world import Plan

#: Styles of functions that combine what they ask others for.
_CENTRAL = frozenset({"central", "remote", "all_reduce"})


def prepare(asked: Arguments, code: Code) -> Prepared:
    """Read and check everything that was asked for.

    Raises:
        SpecInvalid: with every fault that was found.
    """
    manifest = read_manifest(code.sources(), code.target)
    function = _find(asked, code, manifest)
    if asked.extract or asked.preprocess:
        raise SpecInvalid(
            "--extract and --preprocess are for vantage6 algorithms of generation 5: leave them out"
        )
    offers, path = offers_of(asked)
    wanted = wanted_databases(asked, offers)
    seats, role = seats_for(asked.at, central=function.style in _CENTRAL, sites=tuple(offers))
    labels = [each.label for each in wanted] if wanted else None
    digest = code.digest()
    run = Run(
        id=RunId("run"),
        steps=(
            Step(
                algorithm=Algorithm(dialect="functions", digest=digest, name=function.name),
                aggregated=False,
                openings=(MessageId("opening.0.0"),),
                seats=seats,
                role=role,
            ),
        ),
        sites=tuple(offers),
        aggregator=None,
        iterations_max=asked.max_iterations,
    )
    opening = Message(
        id=MessageId("opening.0.0"),
        sender=Seat("submitter"),
        readers=seats,
        body=call_body(function.name, asked.args, labels),
    )
    offered = with_options(offers, wanted)
    plan = Plan(
        run=run,
        messages=(opening,),
        installed={digest: install(code, manifest, offered, path)},
        offers=offered,
    )
    step = PreparedStep(
        name=function.name,
        spec_path=code.path,
        inputs_path=path,
        digests={"code": digest},
        serves=True,
        aggregated=len(seats) == 1 and role.value == "aggregator",
        function=function.name,
        inputs=dict(asked.args),
    )
    return Prepared(plan=plan, steps=(step,), warnings=(), dialect="functions", read=plain)


def install(
    code: Code, manifest: Manifest, offers: Mapping[Seat, Offer], federation: Path | None
) -> Installed:
    """The algorithm as nodes have it: what of its folder is data is not shown to it."""
    return Installed(
        convention=Convention(target=f"/computation/{code.target}"),
        code=code.path,
        code_name=code.name,
        masked=masked_with(code, offers, federation),
        modules=(sdk(),),
        libraries=manifest.libraries,
    )


def masked_with(code: Code, offers: Mapping[Seat, Offer], federation: Path | None) -> tuple[str, ...]:
    """What of the code's folder is not the algorithm: with it the sites' databases, where they lie there."""
    paths = [source.path for offer in offers.values() for source in offer.databases.values()]
    within = [
        path.resolve().relative_to(code.path).as_posix()
        for path in (*paths, federation)
        if path is not None and code.path in path.resolve().parents
    ]
    return tuple(sorted({*code.masked, *within}))


def _find(asked: Arguments, code: Code, manifest: Manifest) -> Function:
    functions = {function.name: function for function in manifest.functions}
    if asked.function is not None and asked.function in functions:
        return functions[asked.function]
    if asked.function is None:
        central = [function for function in manifest.functions if function.style in _CENTRAL]
        if len(central) == 1:
            return central[0]
        if len(functions) == 1:
            return next(iter(functions.values()))
    near = get_close_matches(asked.function or "", functions, 1)
    hint = f" Did you mean {near[0]}?" if near else ""
    there = ", ".join(f"{name} ({function.style})" for name, function in functions.items())
    what = f"has no function {asked.function!r}" if asked.function else "has several functions"
    if not functions:
        raise SpecInvalid(
            f"{code.path} has no function that could be called: expected one with a decorator of "
            "atoll_algorithm, such as @partial or @central"
        )
    raise SpecInvalid(f"{code.path} {what}: name one with --function. There are {there}.{hint}")
