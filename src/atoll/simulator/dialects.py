"""How an algorithm is written, told from where it lies."""

from __future__ import annotations

from atoll.algorithms.code import Code, find_code
from atoll.algorithms.describing import imports_vantage6
from atoll.algorithms.image import starts_itself
from atoll.algorithms.manifest import Manifest
from atoll.model.errors import SpecInvalid
from atoll.simulator.arguments import Arguments
from atoll.simulator.images import Packed
from atoll.simulator.prepared import Prepared

#: Options that one family of dialects has and the other doesn't.
_OF_COINSTAC = ("inputspec", "compspec", "directory", "pipeline", "entry")
_OF_FUNCTIONS = ("federation", "function", "args", "databases", "at", "package", "extract", "preprocess")


def prepare(asked: Arguments, packed: Packed | None = None) -> Prepared:
    """Read and check everything that was asked for.

    Args:
        asked: what was asked for.
        packed: the images that it runs in, if it does.

    Raises:
        SpecInvalid: with every fault that was found; with `strict`, also what is else tolerated.
    """
    if packed is not None and packed.manifest is not None:
        return _prepare_packed(asked, packed, packed.manifest)
    # What one dialect needs takes as long to import as a small run takes: the others' stays away.
    if asked.dialect == "coinstac" or (asked.dialect == "auto" and is_coinstac(asked)):
        from atoll.simulator import coinstac  # Late, as said above.

        _refuse(asked, _OF_FUNCTIONS, "a COINSTAC computation")
        return coinstac.prepare(asked, packed)
    _refuse(asked, _OF_COINSTAC, "an algorithm that is written as functions")
    if asked.dialect == "vantage6" or (asked.dialect == "auto" and _is_vantage6(asked)):
        from atoll.simulator import vantage6  # Late, as said above.

        return _around(vantage6.prepare(asked), packed)
    from atoll.simulator import functions  # Late, as said above.

    return _around(functions.prepare(asked, find_code(asked.path, asked.package)), packed)


def _prepare_packed(asked: Arguments, packed: Packed, manifest: Manifest) -> Prepared:
    if manifest.dialect == "coinstac":
        from atoll.simulator import coinstac  # Late, as said above.

        _refuse(asked, _OF_FUNCTIONS, "a COINSTAC computation")
        return coinstac.prepare(asked, packed)
    from atoll.simulator import packed as in_image  # Late, as said above.

    _refuse(asked, _OF_COINSTAC, "an algorithm that is written as functions")
    return in_image.prepare(asked, manifest)


def _around(prepared: Prepared, packed: Packed | None) -> Prepared:
    if packed is None or packed.around is None:
        return prepared
    from atoll.simulator import packed as in_image  # Late, as said above.

    return in_image.within(prepared, packed.around)


def _is_vantage6(asked: Arguments) -> bool:
    if starts_itself(asked.path):
        return True
    code: Code = find_code(asked.path, asked.package)
    return imports_vantage6(code.sources())


def is_coinstac(asked: Arguments) -> bool:
    """Whether what was asked for is a COINSTAC computation or pipeline, or can't be anything else."""
    if any(getattr(asked, name) is not None for name in ("compspec", "pipeline", "inputspec", "entry")):
        return True
    if asked.path.is_file():
        return asked.path.suffix == ".json"
    if any((asked.path / name).exists() for name in ("compspec.json", "pipelinespec.json")):
        return True
    # Nothing is there that functions could lie in: what is missing is told in COINSTAC's words,
    # unless something else was asked for that only functions have.
    python = asked.path.is_dir() and any(asked.path.glob("**/*.py"))
    named = any(getattr(asked, name) for name in _OF_FUNCTIONS) or (asked.path / "Dockerfile").exists()
    return not python and not named


def _refuse(asked: Arguments, names: tuple[str, ...], what: str) -> None:
    given = [f"--{name}" for name in names if getattr(asked, name)]
    if given:
        options = {"--args": "--arg", "--databases": "--database"}
        shown = ", ".join(options.get(name, name) for name in given)
        raise SpecInvalid(f"{asked.path} is {what}, which has no use for {shown}: leave it out")
