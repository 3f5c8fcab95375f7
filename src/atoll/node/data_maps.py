"""What a site gives to COINSTAC computations: values for their inputs, and a folder of files.

A site maps its data to a computation once, and keeps the mapping. It is found by the computation's
name; where a digest stands beside it, for that very code alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from atoll.model.errors import SpecInvalid
from atoll.model.work import Algorithm
from atoll.node.documents import load_yaml
from atoll.node.sections import Section

_HEAD = "# What this site gives to computations. Made by `atoll node map`; may be edited.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataMap:
    """What a site gives to one computation."""

    #: What the computation calls itself.
    computation: str
    #: The digest of the code that it is for; None for any of this name.
    digest: str | None = None
    #: Values by input, as JSON has them.
    inputs: Mapping[str, Any] = field(default_factory=dict)
    #: The folder whose files the computation finds in its base directory.
    folder: Path | None = None


def read_maps(path: Path) -> tuple[DataMap, ...]:
    """The maps of a data-maps.yaml; none where there is no such file.

    Raises:
        SpecInvalid: with every fault that was found.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise SpecInvalid(f"{path} can't be read ({error}): expected this site's data maps") from None
    document = load_yaml(text, path, expected="this site's data maps")
    faults: list[str] = []
    if document is not None and not isinstance(document, list):
        raise SpecInvalid(f"{path}: expected a list, each with the computation that it is for")
    maps = tuple(
        _read(Section(each, f"{path}: map {number + 1}", faults, folder=path.parent))
        for number, each in enumerate(document or ())
    )
    if faults:
        raise SpecInvalid(*faults)
    return maps


def _read(section: Section) -> DataMap:
    computation = section.text("computation", "")
    if not computation:
        section.fault("computation", "is missing: expected the name of a computation")
    folder = section.optional("folder")
    path = None if folder is None else section.folder / folder
    if path is not None and not path.is_dir():
        section.fault("folder", f"names {path}, where no folder is")
    found = DataMap(
        computation=computation,
        digest=section.optional("digest"),
        inputs=section.mapping("inputs"),
        folder=path,
    )
    section.close()
    return found


def map_for(maps: Sequence[DataMap], algorithm: Algorithm) -> DataMap | None:
    """The map for an algorithm: one for its very code before one for its name."""
    fitting = [each for each in maps if each.computation.casefold() == algorithm.name.casefold()]
    exact = [each for each in fitting if each.digest == algorithm.digest]
    return next(iter([*exact, *(each for each in fitting if each.digest is None)]), None)


def changed(maps: Sequence[DataMap], new: DataMap) -> tuple[DataMap, ...]:
    """The maps with one more; what it says is added to one for the same computation, or replaces that."""

    def same(each: DataMap) -> bool:
        return (each.computation.casefold(), each.digest) == (new.computation.casefold(), new.digest)

    if not any(map(same, maps)):
        return (*maps, new)
    return tuple(
        replace(each, inputs={**each.inputs, **new.inputs}, folder=new.folder or each.folder)
        if same(each)
        else each
        for each in maps
    )


def write_maps(path: Path, maps: Sequence[DataMap]) -> None:
    """Write a data-maps.yaml, in place of what was there."""
    document = [
        {
            key: value
            for key, value in (
                ("computation", each.computation),
                ("digest", each.digest),
                ("inputs", dict(each.inputs)),
                ("folder", None if each.folder is None else str(each.folder.absolute())),
            )
            if value
        }
        for each in maps
    ]
    aside = path.with_name(f".{path.name}.new")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(_HEAD)
        yaml.safe_dump(document, file, allow_unicode=True, sort_keys=False)
    aside.replace(path)
