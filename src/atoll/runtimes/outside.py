"""Runtimes that other distributions bring: entry points of the group ``atoll.runtimes``.

An entry point's name is the word that asks for the runtime, and its object a factory::

    [project.entry-points."atoll.runtimes"]
    firecracker = "atoll_firecracker:make"

    def make(context: RuntimeContext) -> Runtime: ...

Nothing of such a distribution is imported before somebody asks for its runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from atoll.engine.running import Runtime
from atoll.model.errors import RuntimeUnavailable

#: The group of entry points.
GROUP = "atoll.runtimes"
#: Words that name Atoll's own: no other distribution takes one of them.
OWN = frozenset(
    (
        "auto",
        "inline",
        "process",
        "bubblewrap",
        "docker",
        "podman",
        "apptainer",
        "rootfs",
        "slurm",
        "kubernetes",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeContext:
    """What a runtime is made from."""

    #: Who its sessions belong to: what an earlier life of the same owner has left is `recover`'s to remove.
    owner: str
    #: Folders under which the folders of all launches lie.
    roots: tuple[Path, ...] = ()
    #: The interpreter that stands for ``python`` in a command. None: Atoll's own.
    python: Path | None = None
    #: What an admin says of it: ``runtime_options`` in node.yaml.
    options: Mapping[str, Any] = field(default_factory=dict)


#: Makes a runtime, which has started nothing yet. Raises `RuntimeUnavailable` where this machine can't run it.
Factory = Callable[[RuntimeContext], Runtime]


def names() -> tuple[str, ...]:
    """The words that ask for the installed ones, in their order."""
    return tuple(sorted(_found()))


def load(name: str) -> Factory:
    """The factory of the runtime with this name.

    Raises:
        RuntimeUnavailable: there is none, or its distribution can't be imported.
    """
    point = _found().get(name)
    if point is None:
        raise RuntimeUnavailable(unknown(name, sorted(OWN)))
    try:
        factory = point.load()
    except Exception as error:  # Whatever a distribution raises when it is imported, it can't be used.
        raise RuntimeUnavailable(
            f"the runtime {name!r} is installed as {point.value!r} and can't be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not callable(factory):
        raise RuntimeUnavailable(
            f"the runtime {name!r} is installed as {point.value!r}, which is no function: expected one that takes a "
            "RuntimeContext and returns a Runtime"
        )
    return factory  # type: ignore[no-any-return]  # what it returns is looked at by who calls it


def unknown(name: str, known: Iterable[str]) -> str:
    """A sentence about a name that nobody knows.

    Args:
        name: what was asked for.
        known: the words that would have been understood, beside the installed ones.
    """
    words = ", ".join([*known, *(each for each in names() if each not in known)])
    return f"there is no runtime {name!r}: expected {words}, or one that is installed under the entry points {GROUP}"


def _found() -> dict[str, EntryPoint]:
    """The entry points by name. Of two with one name none is taken by chance: the first in order of value."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.value, reverse=True)
    return {point.name: point for point in points if point.name not in OWN}
