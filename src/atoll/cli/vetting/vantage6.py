"""A vantage6 algorithm: what each of its functions takes, reads and sends."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from atoll.cli.vetting.described import Described, Read, Taken
from atoll.cli.vetting.files import Files
from atoll.cli.vetting.findings import Finding, finding
from atoll.cli.vetting.rows import Definition, returned_rows
from atoll.dialects.functions.names import Source, Sources
from atoll.dialects.vantage6.body import Action
from atoll.dialects.vantage6.manifest import Function, read_manifest
from atoll.model.errors import SpecInvalid

_RUNS = {
    Action.CENTRAL_COMPUTE: "one site",
    Action.FEDERATED_COMPUTE: "each site",
    Action.DATA_EXTRACTION: "each site",
    Action.PREPROCESSING: "each site",
}
#: Parameters that vantage6 fills and that are no data, by name or by how they are annotated.
_NO_DATA = ("client", "metadata", "meta_data")
_NO_DATA_TYPES = ("AlgorithmClient", "RunMetaData", "MockAlgorithmClient")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Defined:
    function: Function
    source: Source
    definition: Definition

    @property
    def filled(self) -> list[ast.arg]:
        """The parameters that vantage6 fills: those before the first that a caller gives."""
        given = self.definition.args
        by_place = [*given.posonlyargs, *given.args]
        by_name = {one.arg for one in given.kwonlyargs}
        count = sum(one.name not in by_name for one in self.function.arguments)
        return by_place[: len(by_place) - count]

    @property
    def data(self) -> list[str]:
        """Of these, what holds a site's data."""
        return [
            one.arg
            for one in self.filled
            if one.arg not in _NO_DATA
            and not (one.annotation and ast.unparse(one.annotation).strip("'\"").endswith(_NO_DATA_TYPES))
        ]


def vet_package(package: str, files: Files, sources: Sources) -> tuple[tuple[Described, ...], list[Finding]]:
    """The functions of a package, and what is found about them.

    Raises:
        SpecInvalid: there is none.
    """
    manifest = read_manifest(package, files.texts)
    defined = [one for function in manifest.functions for one in _defined(function, sources)]
    if not defined and not sources.unreadable:
        raise SpecInvalid(
            f"the package {package} has no function that could be called: expected functions with vantage6's "
            "decorators among the names of its __init__"
        )
    findings = [found for one in defined for found in _findings(one, files, sources)]
    return tuple(_described(one, files) for one in defined), findings


def _defined(function: Function, sources: Sources) -> Iterator[_Defined]:
    for source in sources.by_module.values():
        for node in ast.walk(source.tree) if source.file == function.file else ():
            if isinstance(node, Definition) and node.lineno == function.line:
                yield _Defined(function=function, source=source, definition=node)


def _described(one: _Defined, files: Files) -> Described:
    function, action = one.function, one.function.action
    role = action.value if action else "central" if function.central else "partial"
    extracts = action is Action.DATA_EXTRACTION
    runs = _RUNS[action] if action else "one site" if function.central else "each site that is asked"
    defaults = _defaults(one.definition)
    arguments = [
        Taken(name=each.name, type=each.annotation, required=each.required, default=defaults.get(each.name))
        for each in function.arguments
    ]
    if function.open:
        arguments.append(Taken(name="**", required=False))
    returns = one.definition.returns
    return Described(
        name=function.name,
        role=role,
        runs=runs,
        file=files.shown(function.file),
        line=function.line,
        summary=function.summary,
        arguments=tuple(arguments),
        databases=tuple(
            Read(name=name, type="connection details" if extracts else "pandas.DataFrame")
            for name in one.data
        ),
        asks=function.takes_client,
        returns=ast.unparse(returns) if returns else "",
        stays=action is not None and action.makes_data,
    )


def _defaults(definition: Definition) -> dict[str, str]:
    given = definition.args
    by_place = [*given.posonlyargs, *given.args]
    pairs = [*zip(by_place[len(by_place) - len(given.defaults) :], given.defaults, strict=True)]
    pairs += [
        (one, default) for one, default in zip(given.kwonlyargs, given.kw_defaults, strict=True) if default
    ]
    return {one.arg: ast.unparse(default) for one, default in pairs}


def _findings(one: _Defined, files: Files, sources: Sources) -> Iterator[Finding]:
    function, file = one.function, files.shown(one.function.file)
    if function.action is None and not function.decorators:
        words = f"{function.name} has no decorator of vantage6, and can be called all the same"
        yield finding("undecorated", file, function.line, words)
    if function.action is None or not function.action.makes_data:
        for line, text in returned_rows(one.definition, one.data, one.source, sources):
            words = f"{function.name} returns what seem to be rows of the data: {text}"
            yield finding("rows", file, line, words)
