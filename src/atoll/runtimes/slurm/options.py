"""What a site says of its cluster: where sessions' jobs go, what they ask for, and how they talk to the node."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from atoll.engine.limits import QUEUED_SECONDS_MAX, CallLimits

#: The runtimes that a compute node may start an algorithm with.
INNER = ("bubblewrap", "apptainer", "process")
#: Those of them that run code of a folder, and those that run images which are files.
RUNS_CODE = frozenset({"bubblewrap", "process"})
RUNS_IMAGES = frozenset({"bubblewrap", "apptainer"})
#: Those of them that keep an algorithm from the rest of the compute node.
ISOLATED = frozenset({"bubblewrap", "apptainer"})

#: Options of ``sbatch`` that are Atoll's own to give, or that run or write something else. An abbreviation
#: means the same to sbatch, so that the beginning of such a name is refused as well.
_REFUSED = (
    *("array", "batch", "bcast", "chdir", "error", "export", "export-file", "get-user-env", "gid", "help"),
    *("ignore-pbs", "input", "job-name", "kill-on-invalid-dep", "nodes", "ntasks", "open-mode", "output"),
    *("parsable", "propagate", "quiet", "reboot", "requeue", "signal", "spread-job", "test-only", "uid"),
    *("usage", "verbose", "version", "wait", "wait-all-nodes", "wrap"),
)
#: They begin like one that is refused, and are harmless.
_HARMLESS = frozenset({"exclude", "exclusive", "ntasks-per-node", "ntasks-per-socket", "ntasks-per-core"})
_OPTION = re.compile(r"--([a-z][a-z0-9-]*)(=[!-~]+)?\Z")
#: A name that Slurm knows something by, or several of them with a comma between.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:()/@+-]*\Z")
_ADDRESS = re.compile(r"[A-Za-z0-9.:_-]+\Z")
#: Seconds that a job has beside its one call, to start, and to end in order.
_AROUND_SECONDS = 600
#: Bytes of memory that the seat's own program needs, beside what a call may take.
_AROUND_BYTES = 512 * 1024**2


class Talk(Enum):
    """How a job on a compute node and its node speak with each other."""

    #: Over a connection, which the job makes.
    SOCKET = "socket"
    #: Through files in the folder that both see.
    FOLDER = "folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class SlurmOptions:
    """A site's settings for its cluster."""

    #: What each compute node starts the algorithm with.
    inner: str = "bubblewrap"
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    #: Generic resources of each job, such as ``gpu:1``.
    gres: str | None = None
    #: Further words for ``sbatch``: ``--constraint=avx512``.
    options: tuple[str, ...] = ()
    #: Minutes that a session's job may last. None: what one call may take, and ten minutes.
    minutes: int | None = None
    #: Seconds that a job may wait for its resources. Then it is taken back, and its run is told.
    queued_seconds: float = QUEUED_SECONDS_MAX
    talk: Talk = Talk.SOCKET
    #: The name or the number by which compute nodes reach this machine. Empty: the name that it calls itself.
    address: str = ""
    #: The port at which jobs are heard; 0 for any that is free.
    port: int = 0
    #: Slurm's own configuration; None: where Slurm looks for it.
    conf: Path | None = None

    def faults(self) -> list[str]:
        """What is wrong with these settings, each as a sentence that begins with the setting's name."""
        return [*self._faults()]

    def _faults(self) -> Iterator[str]:
        if self.inner not in INNER:
            yield f"inner is {self.inner!r}: expected one of {', '.join(INNER)}"
        for key in ("partition", "account", "qos", "gres"):
            value = getattr(self, key)
            if value is not None and _NAME.match(value) is None:
                yield f"{key} is {value!r}: expected one word, as Slurm shows it"
        for word in self.options:
            if (fault := _fault_of(word)) is not None:
                yield f"options has {word!r}: {fault}"
        if self.minutes is not None and self.minutes < 1:
            yield f"minutes is {self.minutes}: expected a whole number from 1"
        if not 0 < self.queued_seconds < math.inf:
            yield f"queued_seconds is {self.queued_seconds:g}: expected a number of seconds above 0"
        if self.address and _ADDRESS.match(self.address) is None:
            yield f"address is {self.address!r}: expected a name or a number of this machine, without a port"
        if not 0 <= self.port < 65536:
            yield f"port is {self.port}: expected a number from 0 to 65535"
        if self.conf is not None and not self.conf.is_file():
            yield f"conf names {self.conf}, where no file is"

    def words(self, limits: CallLimits) -> list[str]:
        """What ``sbatch`` is told that a job needs, for calls with these limits."""
        minutes = self.minutes or math.ceil((limits.seconds + _AROUND_SECONDS) / 60)
        words = [f"--time={minutes}"]
        if limits.memory_bytes is not None:
            words.append(f"--mem={math.ceil((limits.memory_bytes + _AROUND_BYTES) / 1024**2)}M")
        if limits.processors is not None:
            words.append(f"--cpus-per-task={max(1, math.ceil(limits.processors))}")
        named = ("partition", "account", "qos", "gres")
        words += [f"--{key}={value}" for key in named if (value := getattr(self, key)) is not None]
        return [*words, *self.options]


def _fault_of(word: str) -> str | None:
    """What is wrong with a further word for ``sbatch``; None where nothing is."""
    found = _OPTION.match(word)
    if found is None:
        return "expected one word such as --constraint=avx512, with two dashes and without a blank"
    name = found[1]
    if name not in _HARMLESS and any(refused.startswith(name) for refused in _REFUSED):
        return "Atoll sets this itself, or it would start or write something else than the job"
    return None
