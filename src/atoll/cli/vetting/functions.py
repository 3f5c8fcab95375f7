"""An algorithm of plain functions: what they take, read and send, and what a site may ask."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from atoll.cli.vetting.described import Described, Read, Taken
from atoll.cli.vetting.files import Files
from atoll.cli.vetting.findings import Finding, finding
from atoll.cli.vetting.rows import returned_rows
from atoll.dialects.functions.declared import KINDS, TABLES
from atoll.dialects.functions.manifest import Function, Manifest, read_manifest
from atoll.dialects.functions.names import Sources
from atoll.model.errors import SpecInvalid

_RUNS = {
    "central": "one site",
    "partial": "each site",
    "local": "each site, in every iteration",
    "remote": "one site, in every iteration",
    "all_reduce": "every site at once",
}
_TYPES = {
    "pandas": "pandas.DataFrame",
    "pyarrow": "pyarrow.Table",
    "polars": "polars.DataFrame",
    "path": "pathlib.Path",
}


def vet_functions(files: Files, sources: Sources, target: str) -> tuple[tuple[Described, ...], list[Finding]]:
    """The functions of an algorithm, and what is found about them.

    Raises:
        SpecInvalid: there is none.
    """
    manifest = read_manifest(files.texts, target)
    if not manifest.functions and not sources.unreadable:
        raise SpecInvalid(
            f"{files.shown(target)} has no function that could be called: expected one with a decorator of "
            "atoll_algorithm, such as @partial or @central"
        )
    findings = [
        finding("unclear", files.shown(one.file), one.line, one.words)
        for one in manifest.unclear
        if not any(one.file == file for file, _, _ in sources.unreadable)
    ]
    for function in manifest.functions:
        findings += _findings(function, files, sources)
    return tuple(_described(function, manifest, files) for function in manifest.functions), findings


def _described(function: Function, manifest: Manifest, files: Files) -> Described:
    halves = {one.local: one.name for one in manifest.functions if one.local}
    runs = _RUNS[function.style]
    if function.style == "local" and function.name in halves:
        runs = f"{runs} of {halves[function.name]}"
    arguments = [
        Taken(name=one.name, type=one.annotation, required=one.default is None, default=one.default)
        for one in function.arguments
    ]
    if function.takes_any:
        arguments.append(Taken(name="**", required=False))
    return Described(
        name=function.name,
        role=function.style,
        runs=runs,
        file=files.shown(function.file),
        line=function.line,
        summary=function.summary,
        arguments=tuple(arguments),
        databases=tuple(
            Read(name=one.name, type=_TYPES[one.filler], label=one.label, required=not one.optional)
            for one in function.databases
        ),
        asks=function.combines or any(one.filler == "sites" for one in function.filled),
        returns=function.returns,
        kinds=_by_key(function),
    )


def _by_key(function: Function) -> Mapping[str, str]:
    kinds = function.kinds
    if isinstance(kinds, str):
        return {"": kinds} if kinds else {}
    return kinds


def _findings(function: Function, files: Files, sources: Sources) -> Iterator[Finding]:
    file = files.shown(function.file)
    kinds = _by_key(function)
    for key, kind in kinds.items():
        if kind not in KINDS:
            about = f"{key!r} of {function.name}" if key else function.name
            words = f"{about} is declared as {kind!r}, which is none of {', '.join(sorted(KINDS))}"
            yield finding("unknown-kind", file, function.line, words)
    rows = list(_rows(function, sources))
    for line, text in rows:
        words = f"{function.name} returns what seem to be rows of the data: {text}"
        yield finding("rows", file, line, words)
    touches = bool(function.databases)
    if touches and not kinds:
        if function.returned_type in TABLES and not rows:
            words = f"{function.name} returns a table, {function.returns}, and doesn't say of what kind"
            yield finding("table", file, function.line, words)
        else:
            yield finding(
                "kind", file, function.line, f"{function.name} doesn't say what kind of result leaves"
            )


def _rows(function: Function, sources: Sources) -> Iterator[tuple[int, str]]:
    for source in sources.by_module.values():
        if source.file != function.file:
            continue
        for node in ast.walk(source.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.lineno == function.line:
                tables = [one.name for one in function.databases if one.filler != "path"]
                yield from returned_rows(node, tables, source, sources)
