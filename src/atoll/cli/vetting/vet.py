"""Reading an algorithm, of whatever dialect, for who must decide whether it may run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from atoll.algorithms.code import find_code
from atoll.algorithms.image import starts_itself
from atoll.cli.vetting.described import Described, Vetted
from atoll.cli.vetting.files import Files, read_files, shown
from atoll.cli.vetting.findings import Finding, Level, finding
from atoll.cli.vetting.hazards import hazards
from atoll.dialects.functions.names import Sources, read_sources

#: What a COINSTAC computation's scripts don't see of their folder.
_TEST = ("test", "atoll-runs", ".git")


def vet(path: Path, package: str | None = None) -> Vetted:
    """Read an algorithm. Nothing of it is run.

    Args:
        path: a computation, a pipeline, a module, a package, or a folder with one.
        package: the name of the package, where there is more than one.

    Raises:
        SpecInvalid: there is no algorithm, or not one alone.
    """
    if _is_computation(path):
        return _vet_computations(path)
    if starts_itself(path):
        return _vet_folder(path)
    code = find_code(path, package)
    base = code.path.parent if code.name is not None else code.path
    files = read_files(code.path, base=base, without=code.masked)
    sources = read_sources(files.texts)
    if any(
        name.partition(".")[0] == "vantage6" for one in sources.by_module.values() for name in one.imported
    ):
        # What one dialect needs to be read takes its time to import: the others' stays away.
        from atoll.cli.vetting import vantage6

        dialect = "vantage6"
        functions, findings = vantage6.vet_package(code.package, files, sources)
    else:
        from atoll.cli.vetting.functions import vet_functions  # Late, as said above.

        dialect = "functions"
        functions, findings = vet_functions(files, sources, code.target)
    findings += _in_code(files, sources)
    return _vetted(path, dialect, code.package, functions, findings, len(files.texts))


def _is_computation(path: Path) -> bool:
    """Whether a path stands for a computation or a pipeline."""
    if path.is_file():
        return path.suffix == ".json"
    return any((path / name).is_file() for name in ("compspec.json", "pipelinespec.json"))


def _vet_computations(path: Path) -> Vetted:
    from atoll.cli.vetting import coinstac  # Late, as said above.

    names: list[str] = []
    functions: list[Described] = []
    findings: list[Finding] = []
    read = 0
    for compspec in coinstac.compspecs_of(path):
        name, described, found = coinstac.vet_computation(compspec)
        folder = compspec.parent.resolve()
        files = read_files(folder, base=folder, without=_TEST)
        names.append(name)
        functions += described
        findings += [*found, *_in_code(files, read_sources(files.texts))]
        read += len(files.texts)
    return _vetted(path, "coinstac", ", ".join(names), tuple(functions), findings, read)


def _vet_folder(path: Path) -> Vetted:
    """An algorithm that is started by its Dockerfile, and is no Python."""
    folder = path.resolve()
    files = read_files(folder, base=folder, without=("tests", *_TEST))
    findings = _in_code(files, read_sources(files.texts))
    return _vetted(path, "vantage6", folder.name, (), list(findings), len(files.texts))


def _in_code(files: Files, sources: Sources) -> Iterator[Finding]:
    """What is found in any Python, whatever it is for, and about files that can't be read."""
    yield from files.findings
    for file, line, words in sources.unreadable:
        yield finding("unreadable", files.shown(file), line, words)
    for source in sources.by_module.values():
        yield from hazards(source, sources, files.shown(source.file))


def _vetted(
    path: Path,
    dialect: str,
    name: str,
    functions: Sequence[Described],
    findings: Sequence[Finding],
    read: int,
) -> Vetted:
    order = sorted(
        dict.fromkeys(findings),
        key=lambda one: (one.rule.level is not Level.OBJECTION, one.file, one.line, one.rule.id),
    )
    return Vetted(
        path=shown(path),
        dialect=dialect,
        name=name,
        functions=tuple(functions),
        findings=tuple(order),
        files_read=read,
    )
