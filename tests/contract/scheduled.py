"""How the suite of checks makes the runtime for Slurm: in another interpreter, too."""

from __future__ import annotations

from pathlib import Path

from atoll.runtimes.outside import RuntimeContext
from atoll.runtimes.slurm.options import SlurmOptions
from atoll.runtimes.slurm.runtime import SlurmRuntime
from atoll.runtimes.slurm.spec import Pace


def slurm(context: RuntimeContext) -> SlurmRuntime:
    """Sandboxes on the one compute node of a cluster, which is this machine."""
    folder = context.roots[0] / "spool"
    folder.mkdir(mode=0o700, exist_ok=True)
    options = SlurmOptions(conf=Path(str(context.options["conf"])), address="127.0.0.1")
    return SlurmRuntime(folder=folder, options=options, roots=context.roots, pace=Pace(poll_seconds=0.5))
