"""Sessions as jobs of a Slurm cluster."""

from atoll.runtimes.slurm.options import SlurmOptions, Talk
from atoll.runtimes.slurm.queue import why_not
from atoll.runtimes.slurm.runtime import SlurmRuntime

__all__ = ["SlurmOptions", "SlurmRuntime", "Talk", "why_not"]
