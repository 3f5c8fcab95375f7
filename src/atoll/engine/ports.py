"""What the engine and the programs need from the world, as protocols.

A port stands here only where it has more than one real implementation. Each is tested by one
suite in ``tests/contract`` that runs over all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from atoll.engine.limits import CallLimits
from atoll.model.events import JobBroke, JobReported
from atoll.model.work import (
    Blob,
    Job,
    JobId,
    Message,
    MessageId,
    Orders,
    Round,
    Run,
    RunId,
    Seat,
    Ticket,
)

# --- What comes next (at the hub) -------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Following:
    """What a choreography says when a round has ended.

    `orders` is the next round of this step, or None where the step has ended. `settled` names
    the last message of each seat that has just done its last work in this step.
    """

    orders: Orders | None
    settled: tuple[tuple[Seat, MessageId], ...] = ()


class Choreography(Protocol):
    """Which round comes next. Pure: it routes message ids and never sees a body."""

    def opening(self, run: Run, step: int) -> Orders:
        """The first round of a step."""
        ...

    def following(self, run: Run, ended: Round, jobs: Sequence[Job]) -> Following:
        """What follows a round, whose jobs are given in their order, all done."""
        ...


# --- How an algorithm is run (at a node) ------------------------------------------------------


class Style(Enum):
    """How an algorithm's process is spoken to."""

    #: A fresh process per call: the request on standard input, the reply on standard output.
    CALL = "call"
    #: One process per session that answers request after request; its prints are its log.
    SERVE = "serve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder or file of this machine that an algorithm may see."""

    source: Path
    #: Where it appears inside; absolute. A runtime without isolation shows `source` itself.
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """All that a runtime needs to start an algorithm at a seat."""

    seat: Seat
    style: Style
    #: The algorithm's folder; appears read-only as ``/computation``, the working directory.
    code: Path
    #: What to start, as the algorithm's author wrote it: ``("python", "/computation/local.py")``.
    command: tuple[str, ...]
    #: Parts of `code` that the algorithm must not see, relative to it: they hold sites' data.
    masked: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    #: Appears as ``/tmp``; lives as long as the step at this seat.
    temporary: Path
    #: What the algorithm prints beside its replies is appended here.
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: CallLimits = field(default_factory=CallLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one call left."""

    #: Standard output (`Style.CALL`), or the returned value as JSON (`Style.SERVE`).
    output: bytes
    #: 0, the process's exit status, or minus the signal that ended it.
    exit_code: int = 0
    #: The end of what this call wrote to the log.
    log_tail: str = ""


class Session(Protocol):
    """A started algorithm at one seat. Calls come one after another, never two at a time."""

    def inside(self, path: Path) -> str:
        """Where the algorithm sees a mounted folder, or the temporary one."""
        ...

    async def call(self, request: bytes, *, seed: int | None = None) -> Reply:
        """Hand over one request and wait for the reply.

        A call that is cancelled leaves no process behind. With a seed, the generators of
        ``random`` and numpy start from it, where the algorithm is written in Python.

        Raises:
            LimitReached: the call took longer, or answered more, than its limits allow.
            AlgorithmFailed: the process ended without an exit status of its own.
        """
        ...

    async def close(self) -> None:
        """End every process of this session. May be called twice."""
        ...


class Runtime(Protocol):
    """A way to run algorithms on this machine."""

    @property
    def name(self) -> str:
        """The word that asks for this runtime on the command line."""
        ...

    @property
    def isolated(self) -> bool:
        """Whether an algorithm sees nothing of this machine but what its launch names."""
        ...

    def caveats(self) -> Sequence[str]:
        """Sentences about what this runtime does not contain or enforce here; may be empty."""
        ...

    async def warm_up(self, launch: Launch) -> None:
        """Start what sessions for launches like this one will share. A hint: nothing is promised."""
        ...

    async def start(self, launch: Launch) -> Session:
        """Make a session ready. Whether a process starts now or at the first call is not promised.

        Raises:
            RuntimeUnavailable: this machine can't.
            AlgorithmFailed: the command can't be started.
        """
        ...

    async def close(self) -> None:
        """End what outlives sessions."""
        ...


# --- What a node keeps at its site ------------------------------------------------------------


class Folder(Enum):
    """The folders that a seat has for one run."""

    BASE = "base"  #: the site's own files and what was sent to it
    OUTPUT = "output"  #: stays when the run has ended
    TRANSFER = "transfer"  #: what is put here is sent
    TEMPORARY = "temporary"  #: lives as long as the step


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a received file belongs."""

    folder: Folder
    name: str


class Desk(Protocol):
    """What a seat keeps of one step between its calls. It never leaves the site."""

    @property
    def seat(self) -> Seat:
        """Whose desk this is."""
        ...

    #: The algorithm's own memory: key to JSON text, in the order of first return.
    cache: dict[str, bytes]
    #: What earlier steps of this run left at this site, as JSON text; by position of the step.
    outputs: dict[int, bytes]

    def inside(self, folder: Folder) -> str:
        """Where the algorithm sees this folder."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an algorithm's reply means: a body for others, and whether the step may end."""

    body: bytes
    final: bool
    #: Sentences for whoever started the run: what was tolerated.
    warnings: tuple[str, ...] = ()


class Convention(Protocol):
    """How an algorithm is called and how it answers. Pure but for the desk."""

    def launch(self, ticket: Ticket) -> tuple[Style, tuple[str, ...]]:
        """How the algorithm is started for this ticket's role."""
        ...

    def targets(self, seat: Seat) -> Mapping[Folder, str]:
        """Where the algorithm expects its folders, when it runs isolated."""
        ...

    def place(self, ticket: Ticket, sender: Seat, name: str) -> Place:
        """Where a file from `sender` belongs at the seat of this ticket."""
        ...

    def carried(self, ticket: Ticket, bodies: Sequence[bytes], desk: Desk) -> Sequence[str]:
        """Names of output files of earlier steps that belong into the base folder for this call."""
        ...

    def compose(self, ticket: Ticket, bodies: Sequence[bytes], desk: Desk) -> bytes:
        """The request. `bodies` are those of the ticket's inbox, in its order."""
        ...

    def parse(self, ticket: Ticket, reply: Reply, desk: Desk) -> Answer:
        """Read the reply; keep in `desk` what stays at the site.

        Raises:
            AlgorithmFailed: the reply says that the algorithm failed.
            ReplyInvalid: it is not what the dialect asks for.
        """
        ...

    def receive(self, ticket: Ticket, bodies: Sequence[bytes], desk: Desk) -> None:
        """Take in what a delivery brought."""
        ...


# --- What lies between the programs -----------------------------------------------------------


class HubLink(Protocol):
    """The hub as one seat's node sees it. The only way out of a node."""

    async def listen(self) -> None:
        """Return when there may be a job to claim."""
        ...

    async def claim(self) -> Ticket | None:
        """Take the next job of this seat, or None where there is none."""
        ...

    async def report(self, event: JobReported | JobBroke) -> None:
        """Say how a job ended. Every blob that its message names was acknowledged before.

        Raises:
            StaleEvent: the job, or its run, has ended already.
            NotYours: the job is another seat's.
        """
        ...

    async def put_blob(self, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        """Store a file's content; return when it is kept.

        Raises:
            BlobMismatch: the content has another digest or size. Nothing is kept then.
        """
        ...

    def get_blob(self, blob: Blob) -> AsyncIterator[bytes]:
        """A file's content, in chunks of at most `limits.CHUNK_BYTES`. The reader verifies it."""
        ...


class BlobStore(Protocol):
    """Content by digest."""

    async def put(self, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        """Keep the content. Keeping the same content again changes nothing.

        Raises:
            BlobMismatch: the content has another digest or size. Nothing is kept then.
        """
        ...

    def get(self, blob: Blob) -> AsyncIterator[bytes]:
        """The content in chunks.

        Raises:
            BlobMismatch: nothing is kept under this digest.
        """
        ...

    async def clear(self) -> None:
        """Forget everything."""
        ...


# --- What a hub keeps -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenState:
    """What the conductor needs to know of a run to take in one event about one job."""

    run: Run
    round: Round
    job: Job
    #: All jobs of the round in their order, where `job` is its last open one; else empty.
    #: So an event costs the same at ten sites and at ten thousand, but for a round's last.
    siblings: Sequence[Job] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What an event changed: what a store writes in one transaction."""

    run: Run
    rounds: tuple[Round, ...] = ()
    jobs: tuple[Job, ...] = ()
    #: Every job that is still open ends as cancelled, without being listed.
    cancel_open_jobs: bool = False
    #: Step, seat, and the last message of that seat in that step.
    settled: tuple[tuple[int, Seat, MessageId], ...] = ()


class RunStore(Protocol):
    """Runs, their open rounds and jobs, and messages."""

    async def add(self, run: Run, messages: Sequence[Message]) -> None:
        """Keep a new run and the messages that open it."""
        ...

    async def get(self, run_id: RunId) -> Run:
        """A run's header."""
        ...

    async def open_state(self, run_id: RunId, job_id: JobId) -> OpenState:
        """What the conductor needs for an event about this job.

        Raises:
            StaleEvent: the job's round is over.
        """
        ...

    async def apply(self, changes: Changes, message: Message | None = None) -> None:
        """Write everything that one event changed, and the message that it brought, or nothing."""
        ...

    async def next_job(self, seat: Seat) -> Job | None:
        """The oldest queued job of a seat. Costs nothing for the jobs of other seats."""
        ...

    async def messages(self, run_id: RunId, ids: Sequence[MessageId]) -> Sequence[Message]:
        """Messages in the order of `ids`: opening ones, settled ones, and the latest rounds'."""
        ...

    async def settled(self, run_id: RunId, step: int) -> Mapping[Seat, MessageId]:
        """The last message of each seat in a step that has settled it."""
        ...


class Dice(Protocol):
    """Chance, so that a seed can repeat it."""

    def shuffle(self, items: list[Seat]) -> None:
        """Put the items into another order, in place."""
        ...
