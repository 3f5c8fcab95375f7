"""How the algorithm of a bundle is called where the bundle was laid out."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from atoll.algorithms.bundle import code_of
from atoll.algorithms.installed import Installed
from atoll.algorithms.manifest import Manifest
from atoll.dialects.coinstac.convention import Convention as Coinstac
from atoll.dialects.functions.convention import Convention as Functions
from atoll.dialects.vantage6.convention import Convention as Vantage6
from atoll.dialects.vantage6.wrapping import WRAPPER
from atoll.engine.running import Style
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


def install(manifest: Manifest, folder: Path) -> Installed:
    """The algorithm of a bundle, at hand at this node.

    Args:
        manifest: of the bundle.
        folder: where it was laid out.

    Raises:
        JobRefused: this node has no use for it.
    """
    code = code_of(manifest, folder)
    if manifest.dialect == "coinstac":
        return Installed(convention=_coinstac(manifest), code=code)
    if manifest.dialect == "functions":
        return Installed(
            convention=Functions(target=f"/computation/{manifest.target}"),
            code=code,
            code_name=manifest.code_name,
            modules=(sdk(),),
            libraries=manifest.libraries,
            inherits=True,
        )
    if manifest.dialect == "vantage6" and manifest.generation is not None:
        return Installed(
            convention=Vantage6(
                generation=manifest.generation,
                package=manifest.target,
                command=manifest.command or WRAPPER,
                inherited={} if manifest.command else environment.numeric(),
            ),
            code=code,
            code_name=manifest.code_name,
            libraries=() if manifest.command else WRAPPED_LIBRARIES[manifest.generation],
            speaks_http=True,
            prints=True,
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
    )
