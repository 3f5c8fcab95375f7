"""From COINSTAC's files to a plan: a computation or a pipeline, its inputs and its sites' files.

Everything is read and checked before anything starts: what can't be used is said at once, and
nothing has been written by then.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.algorithms.coinstac import opening_bodies
from atoll.algorithms.images import describe_compspec, named_in
from atoll.algorithms.installed import Installed
from atoll.algorithms.installing import install
from atoll.algorithms.manifest import Manifest
from atoll.algorithms.sources import digest_of, entry_scripts, read
from atoll.dialects.coinstac.convention import Convention
from atoll.dialects.coinstac.inputs import (
    Inputspec,
    Resolved,
    SiteInput,
    count_sites,
    parse_inputspec,
)
from atoll.dialects.coinstac.pipeline import parse_pipelinespec, resolve_pipeline
from atoll.dialects.coinstac.spec import Compspec, parse_compspec
from atoll.engine.running import Style, whole
from atoll.model.errors import SpecInvalid
from atoll.model.work import Algorithm, Content, Message, MessageId, Role, Run, RunId, Seat, Step
from atoll.node.site_data import SiteData, look_at
from atoll.simulator.arguments import Arguments
from atoll.simulator.images import Packed
from atoll.simulator.images import digest_of as manifest_digest
from atoll.simulator.prepared import REMOTE, Prepared, PreparedStep
from atoll.simulator.sources import code_folder, directory_of, leading_out, masked, site_folder
from atoll.simulator.world import Plan

#: Who writes the messages that open a run.
_SUBMITTER = Seat("submitter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One step, as it was read."""

    path: Path
    #: The computation's folder, or what its image holds.
    code: Path | None
    manifest: Manifest | None = None
    spec: Compspec
    inputspec_path: Path
    inputspec: Inputspec
    #: Of the documents' text, for the record.
    digests: Mapping[str, str]


def prepare(asked: Arguments, packed: Packed | None = None) -> Prepared:
    """Read and check everything that was asked for.

    Args:
        asked: what was asked for.
        packed: the images that it runs in, if it does.

    Raises:
        SpecInvalid: with every fault that was found; with `strict`, also what is else tolerated.
    """
    warnings: list[str] = []
    paths = compspecs(asked)
    directory = directory_of(asked, paths[0].parent)
    parts = tuple(
        _part(asked, path, number, directory, warnings, packed) for number, path in enumerate(paths)
    )
    inputspecs = [part.inputspec for part in parts]
    count = count_sites(inputspecs, clients=asked.clients)
    sites = tuple(Seat(f"local{number}") for number in range(count))
    folders = _folders(directory, sites, warnings)
    if asked.directory is None:
        warnings += leading_out(directory, folders)
    resolved = resolve_pipeline(
        [part.spec for part in parts], inputspecs, clients=asked.clients, exists=_exists_in(folders)
    )
    for inputs in resolved:
        warnings += inputs.warnings
    if asked.strict and warnings:
        raise SpecInvalid(*warnings)
    plan = _plan(asked, parts, resolved, sites, directory, folders)
    steps = tuple(_described(part) for part in parts)
    return Prepared(plan=plan, steps=steps, warnings=tuple(dict.fromkeys(warnings)), read=_read)


def _read(body: Content) -> Any:
    return json.loads(whole(body))


def _described(part: Part) -> PreparedStep:
    return PreparedStep(
        name=part.spec.name,
        spec_path=part.path,
        inputs_path=part.inputspec_path,
        digests=part.digests,
        serves=part.spec.version_of_protocol == 2,
        aggregated=part.spec.decentralized,
        display=part.spec.display,
        outputs={name: output.model_dump() for name, output in part.spec.outputs.items()},
        inputs=part.inputspec.sites[0],
    )


def compspecs(asked: Arguments) -> list[Path]:
    """The specifications of what was asked for, in their order."""
    path, pipeline = asked.path, asked.pipeline
    if path.is_file() and asked.pipeline is None and asked.compspec is None:
        if path.name == "compspec.json":
            return [path]
        pipeline = path
    if pipeline is None:
        compspec = asked.compspec or path / "compspec.json"
        if asked.compspec is None and not compspec.exists() and (path / "pipelinespec.json").is_file():
            pipeline = path / "pipelinespec.json"
        else:
            return [compspec]
    remedy = "Name a pipelinespec.json with --pipeline"
    entries = parse_pipelinespec(read(pipeline, "a list of compspec.json paths", remedy), str(pipeline))
    return [pipeline.parent / entry.written for entry in entries]


def read_compspec(path: Path) -> str:
    """The text of a specification.

    Raises:
        SpecInvalid: there is none.
    """
    remedy = "Name the computation's folder, or the file with --compspec"
    return read(path, "a COINSTAC computation's compspec.json", remedy)


def _part(
    asked: Arguments,
    path: Path,
    number: int,
    directory: Path,
    warnings: list[str],
    packed: Packed | None,
) -> Part:
    manifest = None if packed is None else packed.manifest
    text = read_compspec(path) if manifest is None else manifest.compspec or ""
    if packed is not None and manifest is None:
        site, aggregator = named_in(text, str(path))
        manifest = describe_compspec(text, str(path), packed.images[site], packed.images[aggregator])
    spec, remarks = parse_compspec(text, str(path))
    warnings += remarks
    if number == 0:
        beside = directory / "inputspec.json"
        inputs = asked.inputspec or (beside if beside.exists() else path.parent / "test" / "inputspec.json")
        remedy = 'Write one, such as {"lambda": {"value": 0}}, or name it with --inputspec'
    else:
        inputs = path.parent / "test" / "inputspec-pipeline.json"
        remedy = "Every computation of a pipeline but the first needs one"
    input_text = read(inputs, "the inputs of the computation", remedy)
    inputspec = parse_inputspec(input_text, str(inputs))
    digests = {"compspec": _digest(text), "inputspec": _digest(input_text)}
    commands = [*spec.command_for(Role.SITE), *spec.command_for(Role.AGGREGATOR)]
    return Part(
        path=path,
        code=code_folder(path, asked, commands) if manifest is None else None,
        manifest=manifest,
        spec=spec,
        inputspec_path=inputs,
        inputspec=inputspec,
        digests=digests,
    )


def _folders(directory: Path, sites: Sequence[Seat], warnings: list[str]) -> dict[Seat, SiteData]:
    folders: dict[Seat, SiteData] = {}
    for seat in (*sites, REMOTE):
        folder, warning = site_folder(directory, seat)
        if warning:
            warnings.append(warning)
        if folder is not None:
            folders[seat] = look_at(folder)
    return folders


def _exists_in(folders: Mapping[Seat, SiteData]) -> Callable[[int, str], bool]:
    def exists(site: int, name: str) -> bool:
        data = folders.get(Seat(f"local{site}"))
        try:
            return data is not None and (data.folder / name).exists()
        except (OSError, ValueError):
            return False  # A name that no file can have.

    return exists


def _plan(
    asked: Arguments,
    parts: Sequence[Part],
    resolved: Sequence[Resolved],
    sites: tuple[Seat, ...],
    directory: Path,
    folders: Mapping[Seat, SiteData],
) -> Plan:
    messages: list[Message] = []
    installed: dict[str, Installed] = {}
    steps: list[Step] = []
    serving = [part.code for part in parts if part.code and part.spec.version_of_protocol == 2]
    scripts = entry_scripts(serving, asked.entry)
    for number, (part, inputs) in enumerate(zip(parts, resolved, strict=True)):
        asked_of = [each.inputspec_path for each in parts]
        if part.manifest is not None:
            digest = manifest_digest(part.manifest)
            installed[digest] = install(part.manifest, None)
        else:
            assert part.code is not None
            hidden = masked(part.code, directory, asked.runs, [*sites, REMOTE], asked_of)
            # One folder may hold several computations: the spec is a part of what an algorithm is.
            digest = _digest(f"{digest_of(part.code, hidden)} {part.digests['compspec']}")
            convention = _convention(part, scripts.get(part.code))
            installed[digest] = Installed(convention=convention, code=part.code, masked=hidden)
        openings = _openings(number, inputs.sites, [earlier.spec for earlier in parts])
        messages += openings
        algorithm = Algorithm(dialect="coinstac", digest=digest, name=part.spec.name)
        ids = tuple(message.id for message in openings)
        steps.append(Step(algorithm=algorithm, aggregated=part.spec.decentralized, openings=ids))
    aggregator = REMOTE if any(step.aggregated for step in steps) else None
    run = Run(
        id=RunId("run"),
        steps=tuple(steps),
        sites=sites,
        aggregator=aggregator,
        iterations_max=asked.max_iterations,
    )
    return Plan(run=run, messages=tuple(messages), installed=installed, data=folders)


def _convention(part: Part, script: str | None) -> Convention:
    """How a step is called; a computation of protocol 2 by its entry script."""
    spec = part.spec
    if spec.version_of_protocol == 1:
        aggregator = spec.command_for(Role.AGGREGATOR) if spec.decentralized else ()
        return Convention(
            style=Style.CALL, site_command=spec.command_for(Role.SITE), aggregator_command=aggregator
        )
    command = ("python", f"/computation/{script}")
    return Convention(
        style=Style.SERVE, site_command=command, aggregator_command=command if spec.decentralized else ()
    )


def _openings(step: int, inputs: Sequence[SiteInput], specs: Sequence[Compspec]) -> list[Message]:
    return [
        Message(id=MessageId(f"opening.{step}.{number}"), sender=_SUBMITTER, readers=(), body=body)
        for number, body in enumerate(opening_bodies(inputs, specs))
    ]


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
