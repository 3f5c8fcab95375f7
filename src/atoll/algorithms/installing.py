"""How the algorithm of a bundle is called where the bundle was laid out."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from atoll.algorithms.bundle import code_of
from atoll.algorithms.installed import Installed
from atoll.algorithms.manifest import ImageNamed, Manifest
from atoll.dialects.coinstac.convention import Convention as Coinstac
from atoll.dialects.functions.convention import Convention as Functions
from atoll.dialects.vantage6.convention import Convention as Vantage6
from atoll.dialects.vantage6.wrapping import WRAPPER
from atoll.engine.peers import Port
from atoll.engine.running import Image, Style
from atoll.model.errors import JobRefused, SpecInvalid
from atoll.runtimes import environment

#: What the wrappers of each generation of vantage6 import when a call starts.
WRAPPED_LIBRARIES = {
    4: ("vantage6.algorithm.tools.wrap", "vantage6.algorithm.tools.decorators", "pandas"),
    5: (
        *("vantage6.algorithm.tools.wrap", "vantage6.algorithm.decorator", "pandas", "pyarrow.parquet"),
        *("vantage6.algorithm.data_extraction", "vantage6.algorithm.preprocessing"),
    ),
}

#: At which algorithms of each generation of vantage6 listen that declare nothing.
ASSUMED_PORTS: Mapping[int, tuple[Port, ...]] = {4: (Port(number=8888),), 5: ()}


def install(manifest: Manifest, folder: Path | None) -> Installed:
    """The algorithm of a bundle, at hand at this node.

    Args:
        manifest: of the bundle.
        folder: where it was laid out; None for an image that was never in a bundle.

    Raises:
        JobRefused: this node has no use for it.
    """
    found = _installed(manifest)
    return replace(
        found,
        code=None if folder is None or manifest.kind == "image" else code_of(manifest, folder),
        code_name=None if manifest.kind == "image" else found.code_name,
        image=image_of(manifest.image),
        aggregator_image=image_of(manifest.aggregator_image),
        ports=manifest.ports,
    )


def _installed(manifest: Manifest) -> Installed:
    if manifest.dialect == "coinstac":
        return Installed(convention=_coinstac(manifest), code=None, libraries=manifest.libraries)
    if manifest.dialect == "functions":
        return Installed(
            convention=Functions(target=f"/computation/{manifest.target}"),
            code=None,
            code_name=manifest.code_name,
            modules=(sdk(),),
            libraries=manifest.libraries,
            inherits=True,
        )
    if manifest.dialect == "vantage6" and manifest.generation is not None:
        # An image starts by itself; in a bundle, its own program or the wrapper.
        command = manifest.command or (() if manifest.kind == "image" else WRAPPER)
        wrapped = command == WRAPPER
        imports = WRAPPED_LIBRARIES[manifest.generation] if wrapped or _is_python(manifest) else ()
        return Installed(
            convention=Vantage6(
                generation=manifest.generation,
                package=manifest.target,
                command=command,
                inherited=environment.numeric() if wrapped else {},
            ),
            code=None,
            code_name=manifest.code_name,
            libraries=tuple(dict.fromkeys((*imports, *manifest.libraries))),
            speaks_http=True,
            prints=True,
            ports_assumed=ASSUMED_PORTS[manifest.generation],
        )
    raise JobRefused(
        f"{manifest.name} is written in the dialect {manifest.dialect!r}, which this node doesn't know"
    )


def sdk() -> Path:
    """The folder of the package that functions import, for interpreters that don't have it.

    Raises:
        SpecInvalid: it is not installed.
    """
    found = importlib.util.find_spec("atoll_algorithm")
    if found is None or not found.submodule_search_locations:
        raise SpecInvalid("the package atoll-algorithm is not installed: pip install atoll-algorithm")
    return Path(next(iter(found.submodule_search_locations)))


def _coinstac(manifest: Manifest) -> Coinstac:
    return Coinstac(
        style=Style.SERVE if manifest.serves else Style.CALL,
        site_command=manifest.command,
        aggregator_command=manifest.aggregator_command,
        aggregated=manifest.aggregated,
    )


def _is_python(manifest: Manifest) -> bool:
    """Whether what an image starts by itself is vantage6's wrapper, for all that is known."""
    return manifest.kind == "image" and not manifest.command and bool(manifest.target)


def image_of(named: ImageNamed | None) -> Image | None:
    """An image as runtimes know it."""
    return None if named is None else Image(kind=named.kind, name=named.name, digest=named.digest)
