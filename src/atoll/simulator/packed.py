"""Algorithms in images: what an image holds, and a plan made from what it says.

An engine, or the file, is asked before anything is planned. The image's files are read, and nothing of
it is run for that.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from atoll.algorithms.images import describe, named_in, pinned
from atoll.algorithms.installing import image_of, install
from atoll.algorithms.manifest import ImageNamed, Manifest
from atoll.algorithms.opening import Asked, OpenedStep, open_run
from atoll.algorithms.reading import read_json
from atoll.algorithms.words import COMMAND
from atoll.dialects.functions.body import plain
from atoll.model.errors import RuntimeUnavailable, SpecInvalid
from atoll.model.work import Algorithm, Message, MessageId, Role, Run, RunId, Seat, Step
from atoll.runtimes.facts import ImageFacts
from atoll.simulator.arguments import Arguments
from atoll.simulator.asking import leading_out, offers_of, wanted_databases, with_options
from atoll.simulator.coinstac import compspecs, read_compspec
from atoll.simulator.dialects import is_coinstac
from atoll.simulator.federation import lets_talk
from atoll.simulator.images import ImageRuntime, Packed, digest_of
from atoll.simulator.prepared import Prepared, PreparedStep
from atoll.simulator.world import Plan


async def look(asked: Arguments, runtime: ImageRuntime) -> Packed:
    """Find the images of what was asked for, and what they hold.

    Raises:
        RuntimeUnavailable: one isn't on this machine, or nothing names one.
        SpecInvalid: one doesn't say what it holds.
    """
    if asked.packed:
        assert asked.image is not None
        facts = await _facts(runtime, asked.image)
        async with runtime.files(facts.id) as read:
            manifest = await describe(facts, read, dialect=asked.dialect)
        return Packed(manifest=manifest)
    specs = compspecs(asked) if is_coinstac(asked) else None
    if asked.image is not None:
        named = pinned(await _facts(runtime, asked.image))
        names = {name for path in specs or () for name in named_in(read_compspec(path), str(path))}
        return Packed(images=dict.fromkeys(names, named), around=named)
    if specs is None:
        raise RuntimeUnavailable(
            f"--runtime {runtime.name} runs images, and nothing says which one {asked.path} runs in. Build one with "
            "atoll image build, or name one that has what the code needs with --image"
        )
    images: dict[str, ImageNamed] = {}
    for path in specs:
        for name in named_in(read_compspec(path), str(path)):
            if name not in images:
                images[name] = pinned(await _facts(runtime, name))
    return Packed(images=images)


async def _facts(runtime: ImageRuntime, name: str) -> ImageFacts:
    facts = await runtime.facts(name)
    if facts is None:
        raise RuntimeUnavailable(
            f"the image {name} is not on this machine. Fetch it (docker pull, podman pull), or build it: atoll image "
            "build PATH --tag NAME"
        )
    return facts


def prepare(asked: Arguments, manifest: Manifest) -> Prepared:
    """A plan for functions that are packed in an image.

    Raises:
        SpecInvalid: with every fault that was found.
    """
    offers, path = offers_of(asked)
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
        peers=lets_talk(path),
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
