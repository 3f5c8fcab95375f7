"""A real Slurm cluster for tests: one compute node, this machine, with a controller and keys of its own.

What needs it is marked ``needs("slurm")``. Its three programs run in a temporary folder, at ports that were
free, and end with the tests. Jobs are kept apart by process ids alone, as a container has no control groups
to give; the node claims more processors than it may have, so that small jobs run side by side.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

#: Debian keeps servers out of the path of people.
_PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
_SERVERS = ("munged", "slurmctld", "slurmd")
_CLIENTS = ("sbatch", "squeue", "scancel", "scontrol", "sinfo")
PROCESSORS = 4
#: Seconds that a program of the cluster may take to begin or to end, on a machine that is busy.
_PATIENCE = 60.0
_LOOK = 0.02

_CONF = """
ClusterName=atoll
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=2
NodeName=island NodeHostname={host} NodeAddr=127.0.0.1 CPUs={processors} RealMemory=8000 State=UNKNOWN
PartitionName=day Nodes=island Default=YES MaxTime=INFINITE State=UP
PartitionName=hour Nodes=island MaxTime=60 State=UP
"""


@cache
def why_missing() -> str | None:
    """A sentence about why there can be no cluster here, or None where there can."""
    missing = [name for name in (*_SERVERS, *_CLIENTS) if shutil.which(name, path=_PATH) is None]
    if missing:
        return f"Slurm's {', '.join(missing)} not found: install the packages slurmctld, slurmd, slurm-client and munge"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A running cluster."""

    folder: Path
    conf: Path

    def ask(self, *words: str) -> str:
        """What one of Slurm's programs says."""
        done = subprocess.run(
            words,
            env={"PATH": _PATH, "SLURM_CONF": str(self.conf)},
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def jobs(self, *states: str) -> list[str]:
        """The jobs in these states; in none: those that have not ended."""
        words = [f"--states={','.join(states)}"] if states else []
        return self.ask("squeue", "--noheader", "--format=%i", *words).split()

    @contextmanager
    def filled(self) -> Iterator[None]:
        """All processors are somebody else's."""
        job = self.ask("sbatch", "--parsable", "--exclusive", "--output=/dev/null", "--wrap=sleep 1000")
        try:
            until(lambda: job in self.jobs("RUNNING"), "the cluster is filled")
            yield
        finally:
            self.ask("scancel", job)


def until(holds: Callable[[], bool], what: str) -> None:
    """Look again and again until something holds."""
    over = time.monotonic() + _PATIENCE
    while not holds():
        if time.monotonic() > over:
            pytest.fail(f"not within {_PATIENCE:g} seconds: {what}", pytrace=False)
        time.sleep(_LOOK)


@contextmanager
def serving() -> Iterator[Cluster]:
    """A cluster, for as long as it is needed."""
    # A socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="atoll-slurm-", dir="/tmp") as name, ExitStack() as stack:
        folder = Path(name)
        conf = _configure(folder)
        socket_ = folder / "munge.socket"
        files = [f"--{each}-file={folder}/munge.{each}" for each in ("key", "pid", "log", "seed")]
        stack.enter_context(
            _running("munged", "--foreground", "--force", f"--socket={socket_}", *files, folder=folder)
        )
        until(socket_.exists, "munged listens")
        stack.enter_context(_running("slurmctld", "-D", "-f", str(conf), folder=folder))
        cluster = Cluster(folder=folder, conf=conf)
        stack.enter_context(_running("slurmd", "-D", "-f", str(conf), folder=folder))
        until(lambda: _is_idle(cluster), "the compute node is idle")
        stack.callback(_empty, cluster)
        yield cluster


def _configure(folder: Path) -> Path:
    for each in ("state", "spool"):
        (folder / each).mkdir()
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o600)
    conf = folder / "slurm.conf"
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        ports = [each.getsockname()[1] for each in (one, other)]
    text = _CONF.format(
        folder=folder,
        host=socket.gethostname().partition(".")[0],
        user=pwd.getpwuid(os.geteuid()).pw_name,
        controller_port=ports[0],
        node_port=ports[1],
        processors=PROCESSORS,
    )
    conf.write_text(text)
    return conf


def _is_idle(cluster: Cluster) -> bool:
    try:
        return "idle" in cluster.ask("sinfo", "--noheader", "--format=%T")
    except AssertionError:  # The controller isn't there yet.
        return False


def _empty(cluster: Cluster) -> None:
    """End what jobs are left, so that none outlives the cluster."""
    cluster.ask("scancel", f"--user={os.geteuid()}")
    until(lambda: not cluster.jobs(), "no job is left")


@contextmanager
def _running(program: str, *words: str, folder: Path) -> Iterator[None]:
    with (folder / f"{program}.out").open("wb") as output:
        process = subprocess.Popen(
            # It ends with the tests, however these end.
            ["setpriv", "--pdeathsig=TERM", "--", shutil.which(program, path=_PATH) or program, *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": _PATH},
            start_new_session=True,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
