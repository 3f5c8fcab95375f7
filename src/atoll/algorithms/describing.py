"""From a folder to what its bundle says of it: the dialect, how it is called, and what it needs.

The code is read, never run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from atoll.algorithms.bundle import CODE
from atoll.algorithms.code import Code, find_code
from atoll.algorithms.contents import files_of, of_federations
from atoll.algorithms.image import dockerfile_of, read_dockerfile, starts_itself
from atoll.algorithms.manifest import Manifest, OfferedArgument, OfferedFunction, programs
from atoll.algorithms.ports import ports_in
from atoll.algorithms.requires import required_imports
from atoll.algorithms.sources import entry_scripts, read
from atoll.dialects.functions import manifest as functions
from atoll.dialects.vantage6 import manifest as vantage6
from atoll.model.errors import SpecInvalid
from atoll.model.work import Role

#: Styles of functions that combine what they ask others for.
CENTRAL = frozenset({"central", "remote", "all_reduce"})
#: A line that imports vantage6's tools.
_VANTAGE6 = re.compile(r"^[ \t]*(?:from|import)\s+vantage6\b", re.MULTILINE)
#: Bytes of a Python file that is read for what it imports.
_SOURCE_BYTES_MAX = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """An algorithm that lies in a folder, before it is packed."""

    manifest: Manifest
    #: The folder, or the only file.
    path: Path
    #: Its files, relative to the folder; empty where `path` is the only one.
    files: tuple[str, ...]

    def placed(self) -> Iterator[tuple[str, Path]]:
        """The files, each by its name in a bundle."""
        inner = f"{CODE}/{self.manifest.code_name}" if self.manifest.code_name else CODE
        if not self.files:
            yield inner, self.path
        for name in self.files:
            yield f"{inner}/{name}", self.path / name


def describe(
    path: Path, *, dialect: str = "auto", package: str | None = None, entry: str | None = None
) -> Described:
    """Read what a folder, a module or a compspec.json holds.

    Args:
        path: where it lies.
        dialect: how it is written; ``auto``: as its files say.
        package: the package that holds the functions, where there is more than one.
        entry: the script that a computation of protocol 2 is started by, where nothing else says it.

    Raises:
        SpecInvalid: it is no algorithm, or can't be passed on; with every fault that was found.
    """
    if dialect == "coinstac" or (dialect == "auto" and is_compspec(path)):
        return _describe_coinstac(path if path.is_file() else path / "compspec.json", entry)
    if dialect in ("auto", "vantage6") and starts_itself(path):
        return _describe_program(path.resolve())
    code = find_code(path, package)
    sources = code.sources()
    if dialect == "vantage6" or (dialect == "auto" and imports_vantage6(sources)):
        around = path if path.is_dir() else path.parent
        manifest = replace(_of_vantage6(code, sources), ports=ports_in(dockerfile_of(around)))
        return _described(code, path, manifest)
    return _described(code, path, _of_functions(code, sources))


def is_compspec(path: Path) -> bool:
    """Whether a path is a COINSTAC computation's."""
    return path.name == "compspec.json" or (path / "compspec.json").exists()


def imports_vantage6(sources: Mapping[str, str]) -> bool:
    """Whether code is written for vantage6."""
    return any(_VANTAGE6.search(text) for text in sources.values())


def offered(function: functions.Function) -> OfferedFunction:
    """A function of Atoll's own dialect, as a caller needs to know it."""
    return OfferedFunction(
        name=function.name,
        style=function.style,
        central=function.style in CENTRAL,
        summary=function.summary,
        arguments=tuple(
            OfferedArgument(name=one.name, optional=one.default is not None, annotation=one.annotation)
            for one in function.arguments
        ),
        takes_any=function.takes_any,
        filled=tuple(filled.name for filled in function.filled),
        databases=tuple(filled.name for filled in function.databases if not filled.optional),
    )


def offered_by_vantage6(function: vantage6.Function) -> OfferedFunction:
    """A function of a vantage6 algorithm, as a caller needs to know it."""
    return OfferedFunction(
        name=function.name,
        style=function.action.value if function.action else "",
        central=function.central,
        summary=function.summary,
        arguments=tuple(
            OfferedArgument(name=one.name, optional=not one.required, annotation=one.annotation)
            for one in function.arguments
        ),
        takes_any=function.open,
    )


def _of_functions(code: Code, sources: Mapping[str, str]) -> Manifest:
    seen = functions.read_manifest(sources, code.target)
    if not seen.functions:
        raise SpecInvalid(
            f"{code.path} has no function that could be called: expected one with a decorator of "
            "atoll_algorithm, such as @partial or @central"
        )
    return Manifest(
        dialect="functions",
        name=code.package,
        target=code.target,
        code_name=code.name,
        functions=tuple(offered(function) for function in seen.functions),
        libraries=seen.libraries,
    )


def _of_vantage6(code: Code, sources: Mapping[str, str]) -> Manifest:
    seen = vantage6.read_manifest(code.package, sources)
    generation = seen.generation or 4
    return Manifest(
        dialect="vantage6",
        name=code.package,
        target=code.package,
        code_name=code.name,
        generation=generation,
        functions=tuple(offered_by_vantage6(function) for function in seen.functions),
        requires=(f"vantage6-{generation}",),
    )


def _describe_program(folder: Path) -> Described:
    """A vantage6 algorithm that is started by what its Dockerfile says."""
    image = read_dockerfile(dockerfile_of(folder))
    manifest = Manifest(dialect="vantage6", name=folder.name, generation=4, command=image.command)
    manifest = replace(manifest, requires=programs(manifest), ports=ports_in(dockerfile_of(folder)))
    return Described(manifest=manifest, path=folder, files=tuple(files_of(folder)))


def _describe_coinstac(compspec: Path, entry: str | None) -> Described:
    # Late: pydantic takes as long to import as all else that a function needs.
    from atoll.dialects.coinstac.spec import parse_compspec

    text = read(compspec, "a COINSTAC computation's compspec.json", "Name the computation's folder")
    spec, _ = parse_compspec(text, str(compspec))
    folder = compspec.parent.resolve()
    serves = spec.version_of_protocol == 2
    site, aggregator = spec.command_for(Role.SITE), spec.command_for(Role.AGGREGATOR)
    if serves:
        script = entry_scripts([folder], entry)[folder]
        site = aggregator = ("python", f"/computation/{script}")
    manifest = Manifest(
        dialect="coinstac",
        name=spec.name,
        command=site,
        aggregator_command=aggregator if spec.decentralized else (),
        serves=serves,
        compspec=text,
    )
    files = files_of(folder)
    imports = required_imports(_texts(folder, files)) if _starts_python(manifest) else ()
    requires = (*programs(manifest), *imports)
    return Described(manifest=replace(manifest, requires=requires), path=folder, files=tuple(files))


def _starts_python(manifest: Manifest) -> bool:
    started = {command[0] for command in (manifest.command, manifest.aggregator_command) if command}
    return bool(started - set(programs(manifest)))


def _described(code: Code, asked: Path, manifest: Manifest) -> Described:
    folder = asked.resolve() if asked.is_dir() else asked.resolve().parent
    if code.path.is_file():
        files: list[str] = []
        texts = {code.path.name: code.path.read_text(encoding="utf-8", errors="replace")}
    else:
        data = [path for path in of_federations(folder) if path.is_relative_to(code.path)]
        files = files_of(
            code.path, [*code.masked, *(path.relative_to(code.path).as_posix() for path in data)]
        )
        texts = _texts(code.path, files)
        if code.name is not None:
            texts = {f"{code.name}/{name}": text for name, text in texts.items()}
    libraries = [name.partition(".")[0] for name in manifest.libraries]
    requires = sorted({*manifest.requires, *required_imports(texts), *libraries})
    return Described(manifest=replace(manifest, requires=tuple(requires)), path=code.path, files=tuple(files))


def _texts(folder: Path, files: Iterable[str]) -> dict[str, str]:
    return {
        name: (folder / name).read_text(encoding="utf-8", errors="replace")
        for name in files
        if name.endswith(".py") and (folder / name).stat().st_size <= _SOURCE_BYTES_MAX
    }
