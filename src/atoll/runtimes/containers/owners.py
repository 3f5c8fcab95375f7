"""Whose a container is: a node's, by an id that it keeps, or a process's that may end before it is removed."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from atoll.model.errors import RuntimeUnavailable

#: What the owner of a passing process's containers begins with.
_PASSING = "simulation"
_FILE = "containers-owner"


def owner_of(workspace: Path) -> str:
    """The id of a node, by its workspace: drawn at the first time, and the same ever after.

    Not the folder's path: two nodes in containers of their own may both call theirs ``/data``.

    Raises:
        RuntimeUnavailable: nothing can be kept in the workspace.
    """
    file = workspace / _FILE
    try:
        with suppress(FileNotFoundError):
            return file.read_text()
        workspace.mkdir(parents=True, exist_ok=True)
        aside = file.with_suffix(f".{secrets.token_hex(4)}")
        aside.write_text(f"node.{secrets.token_hex(16)}")
        with suppress(FileExistsError):  # another process of this node was quicker
            os.link(aside, file)
        aside.unlink()
        return file.read_text()
    except OSError as error:
        raise RuntimeUnavailable(
            f"containers can't be told from others' without an id in {workspace}: {error.strerror}. Expected a folder "
            "that this node can write to"
        ) from None


def passing_owner() -> str:
    """Who owns the containers of this process, and of no later one of its number, here or in another container."""
    return f"{_PASSING}.{_machine()}.{os.getpid()}.{_started(os.getpid())}"


def is_of_the_dead(owner: str) -> bool:
    """Whether an owner was a process that has ended, as far as this process can see."""
    kind, *words = owner.split(".")
    if kind != _PASSING or len(words) != 3:
        return False
    machine, pid, started = words
    # Elsewhere, other processes have these numbers.
    return machine == _machine() and pid.isdecimal() and _started(int(pid)) != started


def _machine() -> str:
    """This boot of this machine, and what of its processes is seen from here."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip().replace("-", "")
    return f"{boot[:16]}-{os.stat('/proc/self/ns/pid').st_ino}"


def _started(pid: int) -> str:
    """When a process of this machine has started, in its own count since its boot; empty where there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return ""
