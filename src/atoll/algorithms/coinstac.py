"""What the sites of a COINSTAC computation start a step with, as messages say it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atoll.dialects.coinstac.convention import opening_body
from atoll.dialects.coinstac.document import short
from atoll.dialects.coinstac.inputs import Reference, SiteInput, parse_inputspec, resolve_inputs
from atoll.dialects.coinstac.spec import Compspec, parse_compspec
from atoll.model.errors import SpecInvalid

#: Output types whose value names files: a later step that asks for it gets the files too.
_FILE_TYPES = frozenset({"file", "files", "directory"})
#: What a site's own data map fills.
_FROM_SITE: dict[str, Any] = {"site": True}
#: A computation that nobody reads: it stands for a step of another dialect.
_NO_SPEC = '{"meta": {"name": "a step"}, "computation": {"command": ["true"], "input": {}, "output": {}}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A step that may be referred to."""

    #: Its computation; None where it is of another dialect.
    spec: Compspec | None
    #: Its position among the steps of the run.
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What a step is opened with: one body for all sites, or one for each."""

    bodies: tuple[bytes, ...]
    #: Sentences about values that break a rule of the spec.
    warnings: tuple[str, ...] = ()


def opening_bodies(inputs: Sequence[SiteInput], specs: Sequence[Compspec]) -> tuple[bytes, ...]:
    """One body where all sites share their inputs, else one for each.

    Args:
        inputs: of each site.
        specs: the computations of all steps.
    """
    shared = all(site is inputs[0] for site in inputs)
    return tuple(
        opening_body([(name, _entry(value, specs)) for name, value in site.items()])
        for site in (inputs[:1] if shared else inputs)
    )


def open_step(spec: Compspec, given: Any, sites: int, earlier: Sequence[Earlier] = ()) -> Opened:
    """What the sites of a federation open a step with.

    What the submitter gives goes first. What he doesn't, each site's own data map fills, unless the
    spec says that it is the owner's to give; and what the map doesn't either is the spec's default.

    Args:
        spec: the step's computation.
        given: an inputspec: an object for every site, or a list with one for each; None for an empty one.
        sites: how many there are.
        earlier: the steps before this one.

    Raises:
        SpecInvalid: the inputs can't be used, or refer to what no earlier step gives.
    """
    text = json.dumps({} if given is None else given)
    inputspec = parse_inputspec(text, "inputs")
    _check_references([value for site in inputspec.sites for value in site.values()], earlier)
    stand_in, _ = parse_compspec(_NO_SPEC, "a step")
    specs = [one.spec or stand_in for one in earlier]
    resolved = resolve_inputs(spec, inputspec, clients=sites, exists=lambda _, __: True, earlier=specs)
    mapped = [name for name, variable in spec.inputs.items() if variable.source != "owner"]
    positions = [one.position for one in earlier]
    bodies: dict[tuple[int, int], bytes] = {}
    keys = []
    for number, site in enumerate(resolved.sites):
        own = inputspec.sites[number if inputspec.per_site else 0]
        key = (id(site), id(own))
        if key not in bodies:
            entries = [
                (name, _placed(_entry(value, specs), positions) | _mapped(name, own, mapped))
                for name, value in site.items()
            ]
            entries += [(name, _FROM_SITE) for name in mapped if name not in site]
            bodies[key] = opening_body(entries)
        keys.append(key)
    opened = tuple(bodies[key] for key in keys)
    expected = tuple(f"has no value for {short(name)}," for name in mapped)
    warnings = tuple(one for one in resolved.warnings if not any(words in one for words in expected))
    return Opened(bodies=opened[:1] if len(set(opened)) == 1 else opened, warnings=warnings)


def _check_references(values: Sequence[Any], earlier: Sequence[Earlier]) -> None:
    for value in values:
        if isinstance(value, Reference) and value.step < len(earlier) and earlier[value.step].spec is None:
            raise SpecInvalid(
                f"inputs: fromCache asks for {value.variable!r} of step {value.step}, which is no COINSTAC computation "
                "and leaves nothing at its sites. Give the input a value"
            )


def _mapped(name: str, own: SiteInput, mapped: Sequence[str]) -> dict[str, Any]:
    """What marks a default: a site's own data map goes first."""
    return _FROM_SITE if name in mapped and name not in own else {}


def _placed(entry: dict[str, Any], positions: Sequence[int]) -> dict[str, Any]:
    """An entry whose reference counts the steps of the run."""
    if "fromCache" in entry:
        reference = entry["fromCache"]
        return entry | {"fromCache": reference | {"step": positions[reference["step"]]}}
    return entry


def _entry(value: Any, specs: Sequence[Compspec]) -> dict[str, Any]:
    if not isinstance(value, Reference):
        return {"value": value}
    files = _names_files(specs[value.step], value.variable)
    return {"fromCache": {"step": value.step, "variable": value.variable}, "files": files}


def _names_files(spec: Compspec, variable: str) -> bool:
    """Whether an output's value names files that a later step needs beside it."""
    declared = spec.outputs.get(variable)
    if declared is None:
        return False
    subjects = spec.meta.preprocess and (variable, declared.type) == ("covariates", "array")
    return bool(subjects) or declared.type in _FILE_TYPES
