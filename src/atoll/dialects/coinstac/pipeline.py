"""A chain of computations: a ``pipelinespec.json`` and what its steps give each other.

A pipelinespec is a list of paths of compspecs. The first step reads its inputs from
``test/inputspec.json`` beside its compspec, every later one from ``test/inputspec-pipeline.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from atoll.dialects.coinstac.document import found, read_document
from atoll.dialects.coinstac.inputs import Inputspec, Resolved, count_sites, resolve_inputs
from atoll.dialects.coinstac.spec import Compspec
from atoll.model.errors import SpecInvalid


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineEntry:
    """One step of a pipelinespec."""

    #: The compspec's path as written: absolute, or relative to the pipelinespec.
    written: str
    #: Where it is written, as ``pipelinespec.json:2``.
    place: str

    def compspec_from(self, folder: PurePath) -> PurePath:
        """The compspec's path, for a pipelinespec in this folder."""
        return folder / self.written

    def inputspec_from(self, folder: PurePath, *, first: bool) -> PurePath:
        """The path of the step's inputs, for a pipelinespec in this folder."""
        name = "inputspec.json" if first else "inputspec-pipeline.json"
        return self.compspec_from(folder).parent / "test" / name


def parse_pipelinespec(text: str, origin: str) -> tuple[PipelineEntry, ...]:
    """Read a ``pipelinespec.json``.

    Raises:
        SpecInvalid: it is not a list of paths, or is empty; with every fault.
    """
    document = read_document(text, origin)
    value = document.value
    if not isinstance(value, list):
        raise SpecInvalid(
            document.sentence((), f"expected a list of paths of compspecs, found {found(value)}")
        )
    if not value:
        raise SpecInvalid(document.sentence((), "lists no step; expected at least one path of a compspec"))
    faults = [
        document.sentence((position,), f"expected the path of a compspec, found {found(entry)}")
        for position, entry in enumerate(value)
        if not isinstance(entry, str) or not entry
    ]
    if faults:
        raise SpecInvalid(*faults)
    return tuple(
        PipelineEntry(written=str(entry), place=f"{origin}:{document.line_of((position,))}")
        for position, entry in enumerate(value)
    )


def resolve_pipeline(
    specs: Sequence[Compspec],
    inputspecs: Sequence[Inputspec],
    *,
    clients: int | None,
    exists: Callable[[int, str], bool],
) -> tuple[Resolved, ...]:
    """Work out what each site starts each step with. The number of sites is the same throughout.

    Raises:
        SpecInvalid: the inputspecs list different numbers of sites, or references of any step
            lead nowhere; with the faults of all steps.
    """
    count = count_sites(inputspecs, clients=clients)
    faults: list[str] = []
    resolved: list[Resolved] = []
    for position, (spec, inputspec) in enumerate(zip(specs, inputspecs, strict=True)):
        try:
            step = resolve_inputs(spec, inputspec, clients=count, exists=exists, earlier=specs[:position])
        except SpecInvalid as error:
            faults += error.faults
        else:
            resolved.append(step)
    if faults:
        raise SpecInvalid(*faults)
    return tuple(resolved)
