"""What an ``inputspec.json`` (or ``inputspec-pipeline.json``) gives to each site.

Only what can't be used at all is an error: a document of another shape, a number of sites
that contradicts itself, a reference to an output that no earlier step has. A value that breaks
the spec's rules is a warning, and is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TypeAlias

from atoll.dialects.coinstac.document import (
    Document,
    Json,
    JsonPath,
    did_you_mean,
    found,
    read_document,
    short,
)
from atoll.dialects.coinstac.rules import breaches, equal, file_names
from atoll.dialects.coinstac.spec import Compspec, Conditional
from atoll.model.errors import SpecInvalid

#: How many missing files a sentence names.
MISSING_NAMED_MAX = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A value that an earlier step will have put out at the same site (``fromCache``)."""

    #: Position of the step in the pipeline, from 0.
    step: int
    #: The variable of that step's output.
    variable: str


#: Variable → value, in the order of the inputspec.
SiteInput: TypeAlias = "Mapping[str, Json | Reference]"


@dataclass(frozen=True, kw_only=True)
class Inputspec:
    """A parsed inputspec."""

    document: Document
    #: Whether the document lists inputs site by site; else the one object is for every site.
    per_site: bool
    #: One entry where it is for every site, else one for each site in their order.
    sites: tuple[SiteInput, ...]
    warnings: tuple[str, ...] = ()

    @property
    def origin(self) -> str:
        """The file's name."""
        return self.document.origin

    def path_of(self, position: int, *rest: str | int) -> JsonPath:
        """Where in the document something of the site with this position stands."""
        return (position, *rest) if self.per_site else rest


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What each site starts a step with."""

    #: One for each site, in their order. Sites that share an inputspec share the object.
    sites: tuple[SiteInput, ...]
    #: Sentences about values that break a rule of the spec, in the order of the inputspec.
    warnings: tuple[str, ...] = ()


def parse_inputspec(text: str, origin: str) -> Inputspec:
    """Read an inputspec: an object for every site, or a list with an object for each.

    Raises:
        SpecInvalid: with every fault in the document's shape.
    """
    document = read_document(text, origin)
    value = document.value
    if not isinstance(value, (dict, list)):
        words = f"expected an object of variables, or a list with one for each site; found {found(value)}"
        raise SpecInvalid(document.sentence((), words))
    if value == []:
        raise SpecInvalid(
            document.sentence((), "lists no site; give an object for every site, or a list of them")
        )
    per_site = isinstance(value, list)
    faults: list[str] = []
    warnings = list(document.warnings)
    sites: list[SiteInput] = []
    for position, site in enumerate(value if isinstance(value, list) else [value]):
        prefix: JsonPath = (position,) if per_site else ()
        entries, wrong = _read_site(site)
        sites.append(entries)
        faults += [document.sentence(prefix + path, words) for path, words in wrong]
        warnings += [document.sentence(prefix + path, words) for path, words in _slips(entries, site)]
    if faults:
        raise SpecInvalid(*faults)
    return Inputspec(document=document, per_site=per_site, sites=tuple(sites), warnings=tuple(warnings))


def count_sites(inputspecs: Sequence[Inputspec], *, clients: int | None) -> int:
    """How many sites a run has: as many as were asked for, else as the inputspecs list, else one.

    Raises:
        SpecInvalid: a list has another length than was asked for, or than another list.
    """
    lists = [inputspec for inputspec in inputspecs if inputspec.per_site]
    if clients is not None:
        other = f"{clients} {'was' if clients == 1 else 'were'} asked for"
        advice = "ask for as many as are listed, or give one object for every site"
    elif lists:
        clients = len(lists[0].sites)
        other = f"{lists[0].origin} has {clients}"
        advice = "every list of a pipeline needs the same length"
    else:
        return 1
    faults = [
        inputspec.document.sentence(
            (), f"has inputs for {_sites(len(inputspec.sites))}, but {other}; {advice}"
        )
        for inputspec in lists
        if len(inputspec.sites) != clients
    ]
    if faults:
        raise SpecInvalid(*faults)
    return clients


def resolve_inputs(
    spec: Compspec,
    inputspec: Inputspec,
    *,
    clients: int | None,
    exists: Callable[[int, str], bool],
    earlier: Sequence[Compspec] = (),
) -> Resolved:
    """Work out what each site starts a step with: its values, then the spec's defaults.

    Args:
        spec: the step's own spec.
        inputspec: the step's own inputspec.
        clients: how many sites were asked for; None for as many as the inputspec lists.
        exists: whether a site (by its position) has a file of this name in its folder.
        earlier: the specs of the steps before this one. What is not in them can't be referred to.

    Raises:
        SpecInvalid: the number of sites contradicts itself, or a reference leads nowhere.
    """
    count = count_sites([inputspec], clients=clients)
    remarks = _Remarks()
    faults: list[str] = []
    sites: list[SiteInput] = []
    for position, entries in enumerate(inputspec.sites):
        positions = [position] if inputspec.per_site else range(count)
        defaults = {name: variable.fallback for name, variable in spec.inputs.items() if variable.has_default}
        filled: SiteInput = {
            **entries,
            **{name: value for name, value in defaults.items() if name not in entries},
        }
        for name, value in entries.items():
            path = inputspec.path_of(position, name)
            if isinstance(value, Reference):
                fault, doubt = _check_reference(value, earlier)
                faults += [inputspec.document.sentence(path, fault)] if fault else []
                if doubt:
                    remarks.add((name, doubt), inputspec, path, doubt)
            _remark_on_value(remarks, spec, inputspec, (name, value), positions, exists)
        _remark_on_missing(remarks, spec, inputspec, position, filled)
        sites += [filled] * len(positions)
    if faults:
        raise SpecInvalid(*faults)
    return Resolved(sites=tuple(sites), warnings=inputspec.warnings + remarks.sentences())


class _Remarks:
    """Warnings, each once: what is wrong at many sites alike is told of the first, with their number."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], str] = {}
        self._more: dict[tuple[str, str], int] = {}

    def add(
        self,
        key: tuple[str, str],
        inputspec: Inputspec,
        path: JsonPath,
        words: str,
        *,
        shown: JsonPath | None = None,
    ) -> None:
        if key in self._first:
            self._more[key] = self._more.get(key, 0) + 1
        else:
            self._first[key] = inputspec.document.sentence(path, words, shown=shown)

    def sentences(self) -> tuple[str, ...]:
        return tuple(
            sentence + (f" (and so at {_sites(self._more[key], 'more site')})" if key in self._more else "")
            for key, sentence in self._first.items()
        )


def _read_site(site: Json) -> tuple[SiteInput, list[tuple[JsonPath, str]]]:
    """One site's variables, and what is wrong with their shape."""
    if not isinstance(site, dict):
        return {}, [((), f"expected an object of variables, found {found(site)}")]
    entries: dict[str, Json | Reference] = {}
    wrong: list[tuple[JsonPath, str]] = []
    for name, entry in site.items():
        if not isinstance(entry, dict):
            words = f'expected an object with "value", found {found(entry)}; wrap it as {{"value": …}}'
            wrong.append(((name,), words))
        elif "fromCache" in entry:
            reference = _read_reference(entry["fromCache"])
            if isinstance(reference, Reference):
                entries[name] = reference
            else:
                path, words = reference
                wrong.append(((name, "fromCache", *path), words))
        elif "value" in entry:
            entries[name] = entry["value"]
    return entries, wrong


def _slips(site: SiteInput, raw: Json) -> Iterator[tuple[JsonPath, str]]:
    """Entries without a value, by a slip in the key. That an entry has none is no fault in itself."""
    for name, entry in raw.items() if isinstance(raw, dict) else ():
        for key in entry if isinstance(entry, dict) and name not in site else ():
            hint = did_you_mean(key, ("value", "fromCache"))
            if hint:
                yield (name, key), f"gives the variable no value{hint}"


def _read_reference(value: Json) -> Reference | tuple[JsonPath, str]:
    if not isinstance(value, dict):
        return (), f'expected an object with "step" and "variable", found {found(value)}'
    step, variable = value.get("step"), value.get("variable")
    if isinstance(step, bool) or not isinstance(step, (int, float)) or step < 0 or step != int(step):
        return (
            "step",
        ), f"expected a whole number from 0, found {found(step) if 'step' in value else 'nothing'}"
    if not isinstance(variable, str):
        shown = found(variable) if "variable" in value else "nothing"
        return ("variable",), f"expected the name of an output, found {shown}"
    return Reference(step=int(step), variable=variable)


def _check_reference(reference: Reference, earlier: Sequence[Compspec]) -> tuple[str | None, str | None]:
    """What makes a reference unusable, and what makes it doubtful."""
    step, variable = reference.step, reference.variable
    if not earlier:
        return "is fromCache, but no step comes before the first; give it a value", None
    if step >= len(earlier):
        words = (
            f"refers to step {step}, but this is step {len(earlier)}; only earlier steps can be referred to"
        )
        return f"{words} (the first is 0)", None
    spec = earlier[step]
    if variable in spec.outputs:
        return None, None
    if not spec.outputs:
        doubt = f"step {step} ({spec.name}) declares no outputs, so that nothing says whether it gives"
        return None, f"{doubt} {short(variable)}"
    hint = did_you_mean(variable, spec.outputs)
    words = (
        f"step {step} ({spec.name}) has no output {short(variable)} in {spec.place('computation', 'output')}"
    )
    return words + hint, None


def _remark_on_value(
    remarks: _Remarks,
    spec: Compspec,
    inputspec: Inputspec,
    entry: tuple[str, Json | Reference],
    positions: Sequence[int],
    exists: Callable[[int, str], bool],
) -> None:
    name, value = entry
    path = inputspec.path_of(positions[0], name)
    variable = spec.inputs.get(name)
    if variable is None:
        hint = did_you_mean(name, spec.inputs)
        words = f"is not an input of {spec.place('computation', 'input')}; it is passed on all the same{hint}"
        remarks.add((name, ""), inputspec, path, words)
        return
    if isinstance(value, Reference) or (value is None and variable.has_default and variable.fallback is None):
        return
    for breach in breaches(variable, value):
        place = spec.place("computation", "input", name, breach.rule)
        more = f"; {breach.count - 1} more like it" if breach.count > 1 else ""
        words = f"{breach.words} ({breach.rule} in {place}){more}"
        # Keys inside a value may be the names of people's records: positions are shown, keys are not.
        shown = (*path, "value", *takewhile(lambda part: isinstance(part, int), breach.path))
        remarks.add((name, words), inputspec, (*path, "value", *breach.path), words, shown=shown)
    names = file_names(variable, value)
    for position in positions:
        missing = [file for file in names if not exists(position, file)]
        if missing:
            some = ", ".join(short(file) for file in missing[:MISSING_NAMED_MAX])
            rest = f" and {len(missing) - MISSING_NAMED_MAX} more" if len(missing) > MISSING_NAMED_MAX else ""
            words = f"not in the folder of local{position}: {some}{rest}"
            remarks.add((name, some + rest), inputspec, (*path, "value"), words)


def _remark_on_missing(
    remarks: _Remarks, spec: Compspec, inputspec: Inputspec, position: int, filled: SiteInput
) -> None:
    for name, variable in spec.inputs.items():
        shown = variable.conditional is None or _holds(filled, variable.conditional)
        if variable.required and name not in filled and shown:
            words = (
                f"has no value for {short(name)}, which {spec.place('computation', 'input', name)} requires"
            )
            remarks.add((name, words), inputspec, inputspec.path_of(position), words)


def _holds(filled: SiteInput, condition: Conditional) -> bool:
    value = filled.get(condition.variable)
    # A reference has no value yet, so that nobody knows; and what nobody knows is not warned of.
    return not isinstance(value, Reference) and equal(value, condition.value)


def _sites(count: int, noun: str = "site") -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
