"""Functions in images: a plan made from what an image says that it holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from atoll.algorithms.installing import image_of, install
from atoll.algorithms.manifest import ImageNamed, Manifest
from atoll.algorithms.opening import Asked, OpenedStep, open_run
from atoll.algorithms.reading import read_json
from atoll.algorithms.words import COMMAND
from atoll.dialects.functions.body import plain
from atoll.model.errors import SpecInvalid
from atoll.model.work import Algorithm, Message, MessageId, Role, Run, RunId, Seat, Step
from atoll.simulator.arguments import Arguments
from atoll.simulator.asking import federation_of, leading_out, wanted_databases, with_options
from atoll.simulator.images import digest_of
from atoll.simulator.prepared import Prepared, PreparedStep
from atoll.simulator.world import Plan


def prepare(asked: Arguments, manifest: Manifest) -> Prepared:
    """A plan for functions that are packed in an image.

    Raises:
        SpecInvalid: with every fault that was found.
    """
    federation = federation_of(asked)
    offers, path = federation.offers, federation.path
    doubts = leading_out(asked, offers)
    if asked.strict and doubts:
        raise SpecInvalid(*doubts)
    wanted = wanted_databases(asked, offers)
    digest = digest_of(manifest)
    opening = open_run(
        [
            Asked(
                manifest=manifest,
                digest=digest,
                function=asked.function,
                args=asked.args,
                databases=[{"label": each.label, **each.options} for each in wanted] or None,
                at=asked.at,
                extract=asked.extract,
                preprocess=asked.preprocess,
            )
        ],
        tuple(offers),
        COMMAND,
    )
    run = Run(
        id=RunId("run"),
        steps=tuple(_step(step, number) for number, step in enumerate(opening.steps)),
        sites=tuple(offers),
        aggregator=None,
        iterations_max=asked.max_iterations,
    )
    messages = tuple(
        Message(
            id=MessageId(f"opening.{number}.0"), sender=Seat("submitter"), readers=(), body=step.bodies[0]
        )
        for number, step in enumerate(opening.steps)
    )
    plan = Plan(
        run=run,
        messages=messages,
        installed={digest: install(manifest, None)},
        offers=with_options(offers, wanted),
        described={digest: manifest},
        networks=federation.networks,
        peers=federation.peers,
    )
    steps = tuple(_described(step, manifest, path, asked) for step in opening.steps)
    warnings = tuple(dict.fromkeys((*doubts, *opening.warnings)))
    read = read_json if manifest.dialect == "vantage6" else plain
    return Prepared(plan=plan, steps=steps, warnings=warnings, dialect=manifest.dialect, read=read)


def within(prepared: Prepared, image: ImageNamed) -> Prepared:
    """A plan whose code runs in an image that holds what it needs."""
    installed = {
        digest: replace(each, image=image_of(image)) for digest, each in prepared.plan.installed.items()
    }
    return replace(prepared, plan=replace(prepared.plan, installed=installed))


def _step(step: OpenedStep, number: int) -> Step:
    return Step(
        algorithm=Algorithm(dialect=step.dialect, digest=step.digest, name=step.name),
        aggregated=step.aggregated,
        openings=(MessageId(f"opening.{number}.0"),),
        seats=step.seats,
        role=step.role,
    )


def _described(step: OpenedStep, manifest: Manifest, path: Path | None, asked: Arguments) -> PreparedStep:
    assert manifest.image is not None
    return PreparedStep(
        name=step.name,
        spec_path=Path(manifest.image.name),
        inputs_path=path,
        digests={"code": step.digest, "image": manifest.image.digest},
        serves=manifest.dialect == "functions",
        aggregated=step.role is Role.AGGREGATOR and len(step.seats or ()) == 1,
        function=step.name,
        inputs=dict(asked.args),
    )
