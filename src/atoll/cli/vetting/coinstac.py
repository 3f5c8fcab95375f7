"""A COINSTAC computation: its documents by the rules that hold for them, and what its scripts take."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from atoll.algorithms.sources import read
from atoll.cli.vetting.described import Described, Read, Taken
from atoll.cli.vetting.files import shown
from atoll.cli.vetting.findings import Finding, finding
from atoll.dialects.coinstac.entry import DEFAULT, started_by
from atoll.dialects.coinstac.inputs import parse_inputspec, resolve_inputs
from atoll.dialects.coinstac.pipeline import parse_pipelinespec
from atoll.dialects.coinstac.spec import Compspec, parse_compspec
from atoll.model.errors import SpecInvalid
from atoll.model.work import Role
from atoll.simulator.sources import site_folder

#: A sentence about a document, as its readers write them.
_SENTENCE = re.compile(r"(?P<file>.+?):(?P<line>[0-9]+)(:[0-9]+)?: (?P<words>.+)", re.DOTALL)
_FOLDER = "/computation/"


def compspecs_of(path: Path) -> list[Path]:
    """The compspecs that a path stands for.

    Raises:
        SpecInvalid: a pipelinespec is wrong.
    """
    compspec = path if path.is_file() else path / "compspec.json"
    if compspec.name == "compspec.json" and compspec.is_file():
        return [compspec]
    pipeline = path if path.is_file() else path / "pipelinespec.json"
    text = read(pipeline, "a list of compspec.json paths", "Name a compspec.json or a pipelinespec.json")
    return [pipeline.parent / entry.written for entry in parse_pipelinespec(text, shown(pipeline))]


def vet_computation(compspec: Path) -> tuple[str, tuple[Described, ...], list[Finding]]:
    """A computation's name, its scripts, and what is found about its documents.

    Raises:
        SpecInvalid: there is no compspec.
    """
    text = read(compspec, "a COINSTAC computation's compspec.json", "Name the computation's folder")
    try:
        spec, warnings = parse_compspec(text, shown(compspec))
    except SpecInvalid as error:
        return compspec.parent.name, (), [_found("spec", words, compspec) for words in error.faults]
    findings = [_found("spec-advice", words, compspec) for words in warnings]
    findings += _inputs(spec, compspec.parent)
    scripts = list(_scripts(spec, compspec.parent))
    findings += [
        finding("spec", shown(compspec), _line(spec, role), f"starts {name}, which is not in the folder")
        for role, name, file in scripts
        if name and file is None
    ]
    described = tuple(_described(spec, role, file or compspec) for role, _, file in scripts)
    return spec.name, described, findings


def _inputs(spec: Compspec, folder: Path) -> Iterator[Finding]:
    """What is wrong with the inputs that come with a computation, by the rules of its spec."""
    path = folder / "test" / "inputspec.json"
    if not path.is_file():
        return
    try:
        inputspec = parse_inputspec(read(path, "inputs of the computation", ""), shown(path))
        resolved = resolve_inputs(spec, inputspec, clients=None, exists=_exists_in(folder / "test"))
    except SpecInvalid as error:
        yield from (_found("spec", words, path) for words in error.faults)
        return
    yield from (_found("spec-advice", words, path) for words in (*inputspec.warnings, *resolved.warnings))


def _exists_in(directory: Path) -> Callable[[int, str], bool]:
    def exists(site: int, name: str) -> bool:
        folder, _ = site_folder(directory, f"local{site}")
        try:
            return folder is not None and (folder / name).exists()
        except (OSError, ValueError):
            return False  # A name that no file can have.

    return exists


def _scripts(spec: Compspec, folder: Path) -> Iterator[tuple[Role, str, Path | None]]:
    """For each role: the script as it is named, empty where none is, and its file where it is there."""
    for role in (Role.SITE, Role.AGGREGATOR) if spec.decentralized else (Role.SITE,):
        name = _entry(folder) if spec.version_of_protocol == 2 else _script_in(spec.command_for(role))
        path = folder / name
        yield role, name, path if name and path.is_file() else None


def _entry(folder: Path) -> str:
    dockerfile = folder / "Dockerfile"
    started = started_by(dockerfile.read_text(errors="replace")) if dockerfile.is_file() else None
    return started or DEFAULT


def _script_in(command: tuple[str, ...]) -> str:
    """The first file of the folder that a command names; empty where it names none."""
    names = [word.removeprefix(_FOLDER) for word in command[1:] if not word.startswith("-")]
    return next((name for name in names if "." in name and not name.startswith("/")), "")


def _described(spec: Compspec, role: Role, file: Path) -> Described:
    site = role is Role.SITE
    results = not site or not spec.decentralized
    outputs = [f"{name}: {output.type}" if output.type else name for name, output in spec.outputs.items()]
    return Described(
        name="local" if site else "remote",
        role="local" if site else "remote",
        runs="each site, in every iteration" if site else "the aggregator, in every iteration",
        file=shown(file),
        line=0,
        summary=(spec.meta.description or "").partition("\n")[0],
        arguments=tuple(
            Taken(
                name=name,
                type=variable.type or "",
                required=not variable.has_default,
                default=json.dumps(variable.fallback) if variable.has_default else None,
            )
            for name, variable in spec.inputs.items()
        )
        if site
        else (),
        databases=(Read(name="baseDirectory", type="folder"),) if site else (),
        returns=", ".join(outputs) if results else "its output, to the aggregator",
    )


def _line(spec: Compspec, role: Role) -> int:
    path = ("computation", "remote", "command") if role is Role.AGGREGATOR else ("computation", "command")
    return int(spec.place(*path).rpartition(":")[2])


def _found(rule: str, sentence: str, document: Path) -> Finding:
    match = _SENTENCE.fullmatch(sentence)
    if match is None:
        return finding(rule, shown(document), 0, sentence)
    return finding(rule, match["file"], int(match["line"]), match["words"])
