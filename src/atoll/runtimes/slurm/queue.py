"""Slurm's own programs, and the little that is asked of them.

Whatever is started gets its words as a list, an environment without a name that it doesn't need, and a
time. Nothing that somebody else has written becomes a line of a shell. Nothing here needs Slurm's
database of accounts.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from atoll.model.errors import AtollError, RuntimeUnavailable
from atoll.runtimes import environment

_PROGRAMS = ("sbatch", "squeue", "scancel", "scontrol")
#: Seconds that a program may take. A controller that is busy answers after some.
_PROGRAM_SECONDS = 60.0
#: Seconds of the probe, which somebody waits for.
_PROBE_SECONDS = 15.0
#: Bytes of an answer: some ten thousand jobs.
_ANSWER_BYTES_MAX = 1024**2
#: Seconds for which a list of jobs is good enough for all who ask.
_FRESH_SECONDS = 0.5
_ID = re.compile(r"(\d+)(;[^;\s]+)?\Z")
_FORMAT = "%i|%T|%r|%N"
_WAITING = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD"})
_RUNNING = frozenset({"RUNNING", "SUSPENDED", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"})
#: A job that waits for such a reason waits for ever.
_HOPELESS = frozenset(
    {
        *("BadConstraints", "PartitionTimeLimit", "PartitionNodeLimit", "InvalidAccount", "InvalidQOS"),
        *("AssocMaxCpuMinutesPerJobLimit", "AssocMaxNodesPerJobLimit", "AssocMaxWallDurationPerJobLimit"),
        *("QOSMaxWallDurationPerJobLimit", "AccountNotAllowed", "QOSNotAllowed", "JobHeldAdmin"),
    }
)


class SlurmSilentError(AtollError):
    """One of Slurm's programs didn't do what it was asked for; perhaps later."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a job stands."""

    #: Slurm's word: ``PENDING``, ``RUNNING``, ``TIMEOUT``.
    state: str
    #: Why it waits or has ended: ``Resources``, ``Priority``.
    reason: str = ""
    #: Where it runs.
    node: str = ""

    @property
    def waits(self) -> bool:
        """Whether it has not begun."""
        return self.state in _WAITING

    @property
    def runs(self) -> bool:
        """Whether it is under way."""
        return self.state in _RUNNING

    @property
    def hopeless(self) -> bool:
        """Whether it will never begin as it is."""
        return self.waits and self.reason in _HOPELESS


class Queue:
    """The jobs of one owner.

    Args:
        owner: stands in the name of each of its jobs.
        conf: Slurm's configuration; None: where Slurm looks for it.
    """

    def __init__(self, owner: str, conf: Path | None = None) -> None:
        self._name = f"atoll-{owner}"
        self._environment = _variables(conf)
        self._listing = asyncio.Lock()
        self._listed: dict[int, Standing] = {}
        self._listed_at = float("-inf")
        #: How many jobs were submitted: so far, and before the list was asked for.
        self._submitted = self._listed_submitted = 0

    async def submit(self, script: str, words: Sequence[str], output: Path) -> int:
        """Put a job into the queue; its number.

        Args:
            script: what it runs, for a shell.
            words: what it needs.
            output: a file that is made by the job, with what it prints.

        Raises:
            RuntimeUnavailable: Slurm doesn't take it.
        """
        fixed = [
            *("--parsable", "--nodes=1", "--ntasks=1", "--no-requeue", "--export=ALL", "--chdir=/"),
            *(f"--job-name={self._name}", f"--output={_plain(output)}", "--input=/dev/null"),
        ]
        try:
            said = await self._run("sbatch", *words, *fixed, stdin=script.encode())
        except SlurmSilentError as error:
            raise RuntimeUnavailable(f"Slurm doesn't take the session's job: {error}") from None
        found = _ID.match(said.strip())
        if found is None:
            raise RuntimeUnavailable(
                f"Slurm's answer to a new job is not understood: expected its number, got {said[:80]!r}"
            )
        self._submitted += 1
        return int(found[1])

    async def standing(self, job: int) -> Standing | None:
        """Where a job stands; None where Slurm knows it no more.

        Raises:
            SlurmSilentError: Slurm doesn't answer; a job is not lost for that.
        """
        async with self._listing:
            # A job that is submitted while Slurm answers may not be in what it says.
            is_whole = self._listed_submitted == self._submitted
            if not is_whole or time.monotonic() - self._listed_at > _FRESH_SECONDS:
                submitted = self._submitted
                user, name = f"--user={os.geteuid()}", f"--name={self._name}"
                said = await self._run(
                    "squeue", "--noheader", "--states=all", user, name, f"--format={_FORMAT}"
                )
                self._listed, self._listed_at = read(said), time.monotonic()
                self._listed_submitted = submitted
            return self._listed.get(job)

    async def cancel(self, job: int) -> None:
        """End a job, wherever it stands. One that has ended already is no fault.

        Raises:
            SlurmSilentError: Slurm doesn't answer.
        """
        await self._run("scancel", "--quiet", str(job))

    async def cancel_all(self) -> None:
        """End every job of this owner.

        Raises:
            SlurmSilentError: Slurm doesn't answer.
        """
        await self._run("scancel", "--quiet", f"--user={os.geteuid()}", f"--name={self._name}")

    async def _run(self, program: str, *words: str, stdin: bytes = b"") -> str:
        try:
            child = await asyncio.create_subprocess_exec(
                program,
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                cwd="/",
            )
        except OSError as error:
            raise SlurmSilentError(f"{program} can't be started: {error.strerror}") from None
        try:
            async with asyncio.timeout(_PROGRAM_SECONDS):
                output, errors = await child.communicate(stdin)
        except TimeoutError:
            raise SlurmSilentError(f"{program} gave no answer within {_PROGRAM_SECONDS:g} seconds") from None
        finally:
            if child.returncode is None:
                with suppress(ProcessLookupError):
                    child.kill()
                await child.wait()
        if child.returncode:
            raise SlurmSilentError(f"{program} says: {_said(errors, child.returncode)}")
        return output[:_ANSWER_BYTES_MAX].decode("utf-8", "replace")


def why_not(conf: Path | None = None) -> str | None:
    """Why Slurm can't be used from this machine, as a sentence; None where it can."""
    for program in _PROGRAMS:
        if shutil.which(program) is None:
            return f"Slurm is not installed here: there is no program named {program}"
    try:
        tried = subprocess.run(
            ["scontrol", "ping"],
            capture_output=True,
            timeout=_PROBE_SECONDS,
            check=False,
            env=_variables(conf),
            cwd="/",
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"Slurm doesn't answer: {error}"
    said = tried.stdout.decode("utf-8", "replace")
    # It ends well even where its controller is down.
    if tried.returncode or not re.search(r"\bis UP\b", said):
        return f"Slurm doesn't answer: scontrol ping says: {_said(tried.stderr, tried.returncode, said)}"
    return None


def read(said: str) -> dict[int, Standing]:
    """What ``squeue`` lists, by job. Lines of another form are none of ours, such as parts of an array."""
    found: dict[int, Standing] = {}
    for line in said.splitlines():
        job, *rest = line.split("|")
        if not job.isdigit() or len(rest) < 3:
            continue
        state, reason, node = rest[0], "|".join(rest[1:-1]), rest[-1]
        reason = "" if reason in ("None", "(null)") else reason.strip("()")
        found[int(job)] = Standing(state=state, reason=reason, node=node)
    return found


def _variables(conf: Path | None) -> Mapping[str, str]:
    """What Slurm's programs get, and the jobs from them: nothing that changes what the words say."""
    own = {"SLURM_CONF": str(conf)} if conf is not None else {}
    return {**environment.bare(), **environment.numeric(), "LC_ALL": "C.UTF-8", **own}


def _plain(path: Path) -> str:
    """A path in which Slurm replaces nothing."""
    text = str(path)
    if "%" in text or "\\" in text or "\n" in text:
        raise RuntimeUnavailable(
            f"Slurm can't write to {text!r}: expected a workspace whose path has no % and no backslash"
        )
    return text


def _said(errors: bytes, status: int, otherwise: str = "") -> str:
    """The last lines of what a program complained of, in one line."""
    lines = (errors.decode("utf-8", "replace").strip() or otherwise.strip()).splitlines()
    words = "; ".join(line.strip() for line in lines[-3:])
    return words[:400] or f"it ended with status {status}"
