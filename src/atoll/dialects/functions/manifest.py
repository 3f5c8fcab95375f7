"""What an algorithm's functions are, as their source says it. Nothing of it is run.

A function is known by its decorator, and what fills its parameters by their annotations, as
`atoll_algorithm` itself finds out when it loads the algorithm. What can't be seen in the source
is listed: a site that vets an algorithm must know where it should look for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from atoll.dialects.functions.declared import DATABASES, Declarations, Function, Unclear
from atoll.dialects.functions.names import Sources, read_sources

__all__ = ["Function", "Manifest", "Unclear", "read_manifest"]

#: Libraries that are imported to fill a parameter, by what fills it.
_LIBRARIES = {**DATABASES, "numpy": "numpy"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The functions of an algorithm."""

    #: In the order of their files and lines.
    functions: tuple[Function, ...]
    #: Libraries that are imported to fill parameters, beside those that the source imports.
    libraries: tuple[str, ...] = ()
    unclear: tuple[Unclear, ...] = ()


def read_manifest(texts: Mapping[str, str], target: str | None = None) -> Manifest:
    """Read an algorithm's source.

    Args:
        texts: of its files, by their names from where it is imported: ``mean/__init__.py``.
        target: the file or the package's folder that is loaded: ``mean.py`` or ``mean``. None: the
            only package, or all files where there is none.
    """
    sources = read_sources(texts)
    marked: dict[str, Function] = {}
    unclear = [Unclear(file=file, line=line, words=words) for file, line, words in sources.unreadable]
    for source in sources.by_module.values():
        declarations = Declarations(source, sources)
        marked.update(declarations.read())
        unclear += declarations.unclear
    served = dict(_served(sources, marked, target))
    halves = {function.local for function in served.values()}
    reached = {(function.file, function.line) for function in served.values()}
    unclear += [
        Unclear(
            file=function.file,
            line=function.line,
            words=f"{function.name} can't be called: its module is not imported by the one that is loaded",
        )
        for function in marked.values()
        if (function.file, function.line) not in reached and function.name not in halves
    ]
    fillers = {filled.filler for function in served.values() for filled in function.filled}
    libraries = sorted({name for filler in fillers if (name := _LIBRARIES.get(filler))})
    return Manifest(
        functions=tuple(sorted(served.values(), key=lambda function: (function.file, function.line))),
        libraries=tuple(libraries),
        unclear=tuple(sorted(unclear, key=lambda one: (one.file, one.line))),
    )


def _served(
    sources: Sources, marked: Mapping[str, Function], target: str | None
) -> Iterator[tuple[str, Function]]:
    """What the algorithm's process finds when it has loaded the target: the first of each name."""
    found: dict[str, Function] = {}
    for module in _looked_into(sources, target):
        for name in sources.names_in(module):
            function = marked.get(sources.resolve(f"{module}.{name}"))
            if function is not None and name not in found:
                found[name] = replace(function, name=name)
    yield from found.items()


def _looked_into(sources: Sources, target: str | None) -> Sequence[str]:
    """The modules whose names are looked at: those of a package, or one file."""
    packages = [
        module for module, source in sources.by_module.items() if source.file == f"{module}/__init__.py"
    ]
    root = packages[0] if target is None and len(packages) == 1 else (target or "").removesuffix(".py")
    if not root:
        return list(sources.by_module)
    loaded = sources.loaded_from(root)
    return [
        module for module in loaded if module == root or (root in packages and module.startswith(f"{root}."))
    ]
