"""The words that Apptainer and Singularity are given, version by version.

Whether a flag is there depends on the version. What keeps an algorithm in is given to all versions; a version
that doesn't know one of those flags is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from atoll.engine.limits import CallLimits
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable

#: How the program tells its version.
_VERSION = re.compile(r"(apptainer|singularity(?:-ce|-pro)?) version v?(\d+)\.(\d+)")
#: The oldest versions that know what a box needs: no network without a privilege, and an environment of its own.
_OLDEST = {"apptainer": (1, 0), "singularity": (3, 6)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """Which program it is, and which of its words it knows."""

    #: ``apptainer`` or ``singularity``.
    family: str
    number: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.family} {self.number[0]}.{self.number[1]}"

    @property
    def mounts(self) -> bool:
        """Whether it takes ``--mount``, which any path can be written in."""
        return self.number >= {"apptainer": (1, 0), "singularity": (3, 9)}[self.family]

    @property
    def bounds(self) -> bool:
        """Whether it takes ``--memory``, ``--cpus`` and ``--pids-limit``."""
        return self.number >= {"apptainer": (1, 1), "singularity": (3, 10)}[self.family]

    @property
    def takes_values_as_they_are(self) -> bool:
        """Whether it can be kept from reading values of variables as a shell does."""
        return self.number >= {"apptainer": (1, 1), "singularity": (3, 10)}[self.family]

    @property
    def prefix(self) -> str:
        """What stands before the names of variables that are for the inside."""
        return f"{self.family.upper()}ENV_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A folder or file of this machine that a box sees."""

    source: str
    target: str
    writable: bool = False


def read_version(text: str) -> Version:
    """Understand what the program says of itself.

    Raises:
        RuntimeUnavailable: it is another program, or too old.
    """
    found = _VERSION.search(text)
    if found is None:
        raise RuntimeUnavailable(
            f"what should be Apptainer says of itself {text.strip()[:100]!r}, and expected was something such as "
            "'apptainer version 1.3.4'"
        )
    version = Version(family=found[1].partition("-")[0], number=(int(found[2]), int(found[3])))
    oldest = _OLDEST[version.family]
    if version.number < oldest:
        raise RuntimeUnavailable(
            f"{version} is too old: expected {version.family} {oldest[0]}.{oldest[1]} or later. Install a newer one, "
            "or use --runtime bubblewrap, which runs the same images"
        )
    return version


def words_of(
    version: Version,
    image: str,
    command: Sequence[str],
    shown: Sequence[Shown],
    *,
    folder: str = "/",
    user: tuple[int, int] | None = None,
    limits: CallLimits | None = None,
    first: bool = False,
) -> list[str]:
    """The words behind the program's name that run a command in an image, and keep it in.

    Args:
        version: of the program.
        image: its file, or a folder.
        command: what to run.
        shown: what of this machine is seen, in the order in which it is mounted.
        folder: the working directory.
        user: who it is, where the program is started by root. None: whoever starts it.
        limits: what the program itself is to bound, where it can. None: somebody else does.
        first: whether the command is the first process of its box, and looks after all others.

    Raises:
        AlgorithmFailed: a path can't be told to this version.
    """
    words = ["--silent", "exec", "--containall", "--no-home", "--cleanenv", "--hostname", "atoll"]
    words += ["--net", "--network", "none"]
    # Folders of this machine that its admin shows to all containers are none of an algorithm's business.
    words += ["--no-mount", "hostfs,cwd,bind-paths" if version.bounds else "hostfs,cwd"]
    if first:
        words.append("--no-init")
    if version.takes_values_as_they_are:
        words.append("--no-eval")
    if user is not None:
        words += ["--no-privs", "--security", f"uid:{user[0]}", "--security", f"gid:{user[1]}"]
    if limits is not None and version.bounds:
        words += _bounding(limits)
    for each in shown:
        words += _mount(version, each)
    return [*words, "--pwd", folder, image, *command]


def _bounding(limits: CallLimits) -> list[str]:
    words: list[str] = []
    if limits.memory_bytes is not None:
        # The same for both: there is no swap beside it.
        words += ["--memory", str(limits.memory_bytes), "--memory-swap", str(limits.memory_bytes)]
    if limits.processors is not None:
        words += ["--cpus", f"{limits.processors:g}"]
    if limits.processes is not None:
        words += ["--pids-limit", str(limits.processes)]
    return words


def _mount(version: Version, shown: Shown) -> list[str]:
    source, target = shown.source, shown.target
    if not version.mounts:
        if any(mark in path for path in (source, target) for mark in ":,"):
            raise AlgorithmFailed(
                f"{source!r} can't be shown to the algorithm at {target!r}: {version} takes no path with a colon or a "
                "comma. Use a newer one, or another path"
            )
        return ["--bind", f"{source}:{target}:{'rw' if shown.writable else 'ro'}"]
    if any(mark in path for path in (source, target) for mark in "\r\n"):
        raise AlgorithmFailed(
            f"{source!r} can't be shown to the algorithm at {target!r}: no line may end within a path"
        )
    fields = ["type=bind", f"source={source}", f"destination={target}", *([] if shown.writable else ["ro"])]
    return ["--mount", ",".join(map(_quoted, fields))]


def _quoted(field: str) -> str:
    """A field as it stands in a line of values that commas separate."""
    if not any(mark in field for mark in ',"'):
        return field
    return '"' + field.replace('"', '""') + '"'
