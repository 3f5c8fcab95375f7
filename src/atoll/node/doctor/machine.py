"""Looks at the machine: the workspace and its disk, the runtime, what algorithms reach."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from atoll.node import guarded
from atoll.node.choosing import why_not
from atoll.node.doctor.findings import Finding, doubt, fault, fine
from atoll.node.network.squid import why_missing
from atoll.node.settings import NodeSettings

#: Bytes that should be free beside what a job needs to begin.
_COMFORT = 10


def workspace(settings: NodeSettings) -> Iterator[Finding]:
    """Whether runs have a place, with room on its disk."""
    subject, root = "workspace", settings.workspace
    there = _first_that_is_there(root)
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        yield fault(
            subject, f"nothing can be written to {there} ({error.strerror})", f"chown or chmod {there}"
        )
        return
    if root.is_dir() and root.stat().st_mode & 0o077:
        yield doubt(subject, f"{root} can be entered by others on this machine", f"chmod 700 {root}")
    else:
        yield fine(subject, f"{root}")
    free = guarded.free_bytes(there)
    shown = f"{free / 1024**3:.1f} GiB are free"
    if free < settings.limits.disk_free:
        yield fault("disk", f"{shown}: jobs are refused below limits.disk_free", f"make room in {there}")
    elif free < _COMFORT * settings.limits.disk_free:
        yield doubt("disk", shown, f"make room in {there}, for runs with large files")
    else:
        yield fine("disk", shown)


def runtime(settings: NodeSettings) -> Iterator[Finding]:
    """Whether algorithms can be run in the way that the settings name."""
    reason = why_not(settings)
    if reason is not None:
        yield fault("runtime", reason.partition(". ")[0], reason.partition(". ")[2])
    elif not settings.isolated:
        yield doubt(
            "runtime",
            f"{settings.runtime}: algorithms see all that this user sees",
            "say 'runtime: bubblewrap' unless every algorithm is trusted",
        )
    else:
        yield fine("runtime", settings.runtime)


def reach(settings: NodeSettings) -> Iterator[Finding]:
    """Whether algorithms can reach what the settings allow, and nothing else."""
    network = settings.network
    if any(permitted.filtered for permitted in network.lists) and (reason := why_missing()) is not None:
        yield fault("allowed network", reason, "apt install squid")
    elif not settings.isolated:
        yield doubt(
            "allowed network",
            f"{settings.runtime}: algorithms reach all that this user reaches",
            "say 'runtime: bubblewrap': then they reach what 'network' names",
        )
    else:
        allowed = sum(len(each.domains) + len(each.addresses) for each in network.lists)
        services = sum(len(each.services) for each in network.lists)
        yield fine("allowed network", f"{allowed} domains and addresses, {services} services")


def _first_that_is_there(path: Path) -> Path:
    return next(each for each in (path.absolute(), *path.absolute().parents) if os.path.isdir(each))
