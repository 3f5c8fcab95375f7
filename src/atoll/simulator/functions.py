"""From Python functions to a plan: the code, the sites, and what the function is asked.

Everything is read and checked before anything starts. The code is read, never run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atoll.algorithms.calling import faults_of, function_of, seats_for
from atoll.algorithms.code import Code
from atoll.algorithms.describing import offered
from atoll.algorithms.installed import Installed
from atoll.algorithms.installing import sdk
from atoll.algorithms.sources import kept_runs
from atoll.algorithms.words import COMMAND
from atoll.dialects.functions.body import call_body, plain
from atoll.dialects.functions.convention import Convention
from atoll.dialects.functions.manifest import Function, Manifest, read_manifest
from atoll.model.errors import SpecInvalid
from atoll.model.work import Algorithm, Message, MessageId, Role, Run, RunId, Seat, Step
from atoll.node.offer import Offer
from atoll.simulator.arguments import Arguments
from atoll.simulator.asking import federation_of, leading_out, wanted_databases, with_options
from atoll.simulator.prepared import Prepared, PreparedStep
from atoll.simulator.world import Plan


def prepare(asked: Arguments, code: Code) -> Prepared:
    """Read and check everything that was asked for.

    Raises:
        SpecInvalid: with every fault that was found.
    """
    manifest = read_manifest(code.sources(), code.target)
    functions = {function.name: function for function in manifest.functions}
    chosen = function_of([*map(offered, manifest.functions)], asked.function, str(code.path), COMMAND)
    function = functions[chosen.name]
    if asked.extract or asked.preprocess:
        raise SpecInvalid(
            "--extract and --preprocess are for vantage6 algorithms of generation 5: leave them out"
        )
    federation = federation_of(asked)
    offers, path = federation.offers, federation.path
    wanted = wanted_databases(asked, offers)
    seats, role = seats_for(asked.at, central=chosen.central, sites=tuple(offers))
    check_call(function, asked.args, offers, federation=path)
    doubts = [*_doubts(manifest, function, offers, path), *leading_out(asked, offers)]
    if asked.strict and doubts:
        raise SpecInvalid(*doubts)
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
    told = with_options(offers, wanted)
    plan = Plan(
        run=run,
        messages=(opening,),
        installed={digest: install(code, manifest, told, path)},
        offers=told,
        networks=federation.networks,
    )
    step = PreparedStep(
        name=function.name,
        spec_path=code.path,
        inputs_path=path,
        digests={"code": digest},
        serves=True,
        aggregated=len(seats) == 1 and role is Role.AGGREGATOR,
        function=function.name,
        inputs=dict(asked.args),
    )
    return Prepared(plan=plan, steps=(step,), warnings=tuple(doubts), dialect="functions", read=plain)


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
        inherits=True,
    )


def masked_with(code: Code, offers: Mapping[Seat, Offer], federation: Path | None) -> tuple[str, ...]:
    """What of the code's folder is not the algorithm: sites' databases and kept runs that lie there, too."""
    paths = [source.path for offer in offers.values() for source in offer.databases.values()]
    within = [
        path.resolve().relative_to(code.path).as_posix()
        for path in (*paths, federation, *kept_runs(code.path))
        if path is not None and code.path in path.resolve().parents
    ]
    return tuple(sorted({*code.masked, *within}))


def check_call(
    function: Function, given: Mapping[str, Any], offers: Mapping[Seat, Offer], *, federation: Path | None
) -> None:
    """Refuse what the function's own process would refuse at every site, before anything starts.

    Args:
        function: as its source declares it.
        given: its arguments.
        offers: of all sites.
        federation: the file with the sites, if there is one.

    Raises:
        SpecInvalid: an argument is unknown, missing or the site's to fill, or there is no data at all.
    """
    faults = faults_of(offered(function), given, COMMAND)
    needed = _needed(function)
    if needed and not any(offer.databases for offer in offers.values()):
        names = ", ".join(needed)
        faults.append(f"{function.name} takes data ({names}), and {_without_data(federation)}")
    if faults:
        raise SpecInvalid(*faults)


def _needed(function: Function) -> list[str]:
    return [filled.name for filled in function.databases if not filled.optional]


def _without_data(federation: Path | None) -> str:
    if federation is not None:
        return f"no site of {federation} has a database"
    return "there are only sites without data: name a federation.yaml, with the sites and their databases, with -f"


def _doubts(
    manifest: Manifest, function: Function, offers: Mapping[Seat, Offer], path: Path | None
) -> list[str]:
    """What may go wrong, as the functions that it asks for are known only when it runs."""
    others = [one.name for one in manifest.functions if one is not function and _needed(one)]
    if not function.combines or not others or any(offer.databases for offer in offers.values()):
        return []
    return [f"{', '.join(others)} would get no data: {_without_data(path)}"]
