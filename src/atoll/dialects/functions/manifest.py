"""What an algorithm's functions are, as their source says it. Nothing of it is run.

A function is known by its decorator, and what fills its parameters by their annotations, as
`atoll_algorithm` itself finds out when it loads the algorithm. What can't be seen in the source
is listed: a site that vets an algorithm must know where it should look for itself.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from atoll.dialects.functions.names import Source, Sources, executed, read_sources

_PACKAGE = "atoll_algorithm"
STYLES = ("central", "partial", "local", "remote", "all_reduce")

#: By the first and the last part of a type's name: what fills a parameter that is annotated with it.
_FILLERS = {
    ("atoll_algorithm", "Table"): "pandas",
    ("pandas", "DataFrame"): "pandas",
    ("pyarrow", "Table"): "pyarrow",
    ("polars", "DataFrame"): "polars",
    ("pathlib", "Path"): "path",
    ("pathlib", "PosixPath"): "path",
    ("atoll_algorithm", "Sites"): "sites",
    ("atoll_algorithm", "Parts"): "parts",
    ("numpy", "Generator"): "numpy",
    ("random", "Random"): "random",
}
#: Names that are never imported, as under TYPE_CHECKING, are known by how they are commonly written.
_WRITTEN = {
    "Table": "pandas", "DataFrame": "pandas", "pd.DataFrame": "pandas", "pandas.DataFrame": "pandas",
    "pa.Table": "pyarrow", "pyarrow.Table": "pyarrow", "pl.DataFrame": "polars", "polars.DataFrame": "polars",
    "Path": "path", "pathlib.Path": "path", "Sites": "sites", "Parts": "parts", "Random": "random",
    "np.random.Generator": "numpy", "numpy.random.Generator": "numpy", "random.Random": "random",
}  # fmt: skip
#: What fills a parameter with a database, and the library that this takes, if any.
_DATABASES = {"pandas": "pandas", "pyarrow": "pyarrow", "polars": "polars", "path": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """What a caller gives a function."""

    name: str
    #: As written; empty where there is none.
    annotation: str = ""
    #: As written; None where the argument is needed.
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A parameter that the site fills."""

    name: str
    #: ``pandas``, ``pyarrow``, ``polars`` or ``path``: a database; ``sites``, ``parts``; ``numpy`` or
    #: ``random``: a generator.
    filler: str
    #: The label of a database that it takes whatever was asked for; None: the next that was asked for.
    label: str | None = None
    #: Whether it may be left out.
    optional: bool = False

    @property
    def is_database(self) -> bool:
        """Whether the site's data fill it."""
        return self.filler in _DATABASES


@dataclass(frozen=True, slots=True, kw_only=True)
class Function:
    """One function that can be called."""

    name: str
    #: ``central``, ``partial``, ``local``, ``remote`` or ``all_reduce``.
    style: str
    file: str
    line: int
    #: The first line of its docstring.
    summary: str = ""
    arguments: tuple[Argument, ...] = ()
    #: Whether it takes arguments by any name.
    takes_any: bool = False
    filled: tuple[Filled, ...] = ()
    #: What leaves, as declared: one kind, or one for each key. Empty where nothing is declared.
    kinds: Mapping[str, str] | str = ""
    #: The annotation of what it returns, as written, and the type that it names.
    returns: str = ""
    returned_type: str = ""
    #: Of a remote function: its local half.
    local: str = ""

    @property
    def databases(self) -> tuple[Filled, ...]:
        """The parameters that get a site's data."""
        return tuple(filled for filled in self.filled if filled.is_database)

    @property
    def combines(self) -> bool:
        """Whether it asks other sites, rather than answering for one."""
        return self.style in ("central", "remote", "all_reduce")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unclear:
    """A place where the source doesn't say what only running would show."""

    file: str
    line: int
    words: str


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
        reader = _Reader(source, sources)
        marked.update(reader.functions())
        unclear += reader.unclear
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
    libraries = sorted({name for filler in fillers if (name := {**_DATABASES, "numpy": "numpy"}.get(filler))})
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
        source = sources.by_module[module]
        names = {name: name for star, _ in source.stars if star in sources.by_module for name in sources.by_module[star].bound}
        for name in {**names, **source.bound}:
            function = marked.get(sources.resolve(f"{module}.{name}"))
            if function is not None and name not in found:
                found[name] = replace(function, name=name)
    yield from found.items()


def _looked_into(sources: Sources, target: str | None) -> Sequence[str]:
    """The modules whose names are looked at: those of a package, or one file."""
    packages = [module for module, source in sources.by_module.items() if source.file == f"{module}/__init__.py"]
    root = packages[0] if target is None and len(packages) == 1 else (target or "").removesuffix(".py")
    if not root:
        return list(sources.by_module)
    loaded = sources.loaded_from(root)
    return [module for module in loaded if module == root or (root in packages and module.startswith(f"{root}."))]
