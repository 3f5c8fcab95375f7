"""What the engine and the programs need from the world, as protocols.

A port stands here only where it has more than one real implementation. Each is tested by one
suite in ``tests/contract`` that runs over all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol

from atoll.engine.gate import Door, Gate
from atoll.engine.running import Reply, Request, Style
from atoll.model.events import JobBroke, JobReported, RoundGivenUp, RoundRequested
from atoll.model.work import (
    Blob,
    Content,
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


# --- What a node keeps at its site ------------------------------------------------------------


class Folder(Enum):
    """The folders that a seat has for one run."""

    BASE = "base"  #: the site's own files and what was sent to it
    OUTPUT = "output"  #: stays when the run has ended
    TRANSFER = "transfer"  #: what is put here is sent
    TEMPORARY = "temporary"  #: lives as long as the step
    JOB = "job"  #: of one session alone; emptied when its call has ended
    WORKBENCH = "workbench"  #: lives as long as the run: dataframes


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a received file belongs."""

    folder: Folder
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """A data source of a site, as an algorithm sees it."""

    label: str
    #: ``csv``, ``parquet``, ``excel``, ``sql``, ``sparql``, ``omop``, ``folder`` or ``other``.
    type: str
    #: A path inside, or a URL. Empty where `table` is the data.
    uri: str = ""
    #: What its reader needs beside: a query, a sheet's name, what the site sets for it.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: The data themselves, for functions that run in Atoll's own process.
    table: Any = None


class Desk(Protocol):
    """What a seat keeps of one step between its calls. It never leaves the site."""

    @property
    def seat(self) -> Seat:
        """Whose desk this is."""
        ...

    @property
    def token(self) -> str:
        """This call's secret, by which its node knows what it may do."""
        ...

    @property
    def seed(self) -> int | None:
        """For this call's generators; None where they should draw what they like."""
        ...

    @property
    def address(self) -> tuple[str, int] | None:
        """Where this call reaches its doorway over HTTP."""
        ...

    @property
    def databases(self) -> Mapping[str, Database]:
        """What the site offers, by label, in its order."""
        ...

    @property
    def environment(self) -> Mapping[str, str]:
        """What the site sets for algorithms."""
        ...

    @property
    def inputs(self) -> Mapping[str, Any] | None:
        """What the site gives to the inputs of this step's computation; None where it has mapped nothing."""
        ...

    def write(self, folder: Folder, name: str, content: bytes) -> None:
        """Write a file for the algorithm."""
        ...

    def read(self, folder: Folder, name: str) -> bytes | None:
        """A file that the algorithm left; None where there is none.

        Raises:
            UnsafeName: it is something other than a file.
            LimitReached: it is larger than an answer may be.
        """
        ...

    def keep(self, name: str, source: str) -> int:
        """Move a file from the job's folder to the workbench, and keep what has that name there.

        Args:
            name: what it is called there.
            source: its name in the job's folder.

        Returns:
            Its version: 1 for the first file of this name.

        Raises:
            FileNotFoundError: the job's folder has no such file.
        """
        ...

    @property
    def cache(self) -> dict[str, bytes]:
        """The algorithm's own memory: key to JSON text, in the order of first return."""
        ...

    @property
    def outputs(self) -> dict[int, bytes]:
        """What earlier steps of this run left at this site, as JSON text; by position of the step."""
        ...

    def inside(self, folder: Folder) -> str:
        """Where the algorithm sees this folder."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an algorithm's reply means: a body for others, and whether the step may end."""

    body: Content
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

    def carried(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk) -> Sequence[str]:
        """Names of output files of earlier steps that belong into the base folder for this call."""
        ...

    def compose(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk) -> Request:
        """The request. `bodies` are those of the ticket's inbox, in its order.

        Raises:
            InputMissing: the site has no such database or dataframe.
        """
        ...

    def door(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk, gate: Gate) -> Door | None:
        """Who answers the algorithm while it runs; None where it may ask nothing."""
        ...

    def parse(self, ticket: Ticket, reply: Reply, desk: Desk) -> Answer:
        """Read the reply; keep in `desk` what stays at the site.

        Raises:
            AlgorithmFailed: the reply says that the algorithm failed.
            ReplyInvalid: it is not what the dialect asks for.
        """
        ...

    def receive(self, ticket: Ticket, bodies: Sequence[Content], desk: Desk) -> None:
        """Take in what a delivery brought."""
        ...


# --- What lies between the programs -----------------------------------------------------------


class HubLink(Protocol):
    """The hub as one node sees it. The only way out of a node."""

    async def listen(self) -> None:
        """Return when there may be a job to claim."""
        ...

    async def claim(self) -> Ticket | None:
        """Take the next job of this node, or None where there is none."""
        ...

    async def report(self, event: JobReported | JobBroke) -> None:
        """Say how a job ended. Every blob that its message names was acknowledged before.

        Raises:
            StaleEvent: the job, or its run, has ended already.
            NotYours: the job is another seat's.
        """
        ...

    async def ask(self, event: RoundRequested, messages: Sequence[Message]) -> int:
        """Open a child round of a job of this seat; its number. Asking again changes nothing.

        Raises:
            StaleEvent: the job, or its run, has ended already.
            NotYours: the job is another seat's, or a seat that is asked for is none of the run's.
            LimitReached: there are too many rounds, or they are too deep.
            NotRepeatable: at its earlier try the job asked for something else. Its run has failed.
        """
        ...

    async def child(self, run_id: RunId, job_id: JobId, number: int) -> ChildState:
        """A child round of a job of this seat, with what its jobs left.

        Raises:
            StaleEvent: the job, or its run, has ended already.
            NotYours: the job is another seat's, or has not asked for such a round.
        """
        ...

    async def child_ended(self, run_id: RunId, job_id: JobId, number: int) -> None:
        """Return when a child round of a job of this seat has ended.

        Raises:
            StaleEvent: the job, or its run, has ended already.
            NotYours: the job is another seat's, or has not asked for such a round.
        """
        ...

    async def give_up(self, event: RoundGivenUp) -> None:
        """End what is still open in a child round of a job of this seat."""
        ...

    async def release(self, run_id: RunId, job_id: JobId, number: int) -> None:
        """The messages of a child round were read for the last time."""
        ...

    async def cancelled(self) -> JobId:
        """Wait for a claimed job of this seat that nobody waits for any more. Each is told once."""
        ...

    async def put_blob(self, run_id: RunId, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        """Store the content of a file of a run; return when it is kept.

        Raises:
            BlobMismatch: the content has another digest or size. Nothing is kept then.
        """
        ...

    def get_blob(self, run_id: RunId, blob: Blob) -> AsyncIterator[bytes]:
        """The content of a file of a run, in chunks of at most `limits.CHUNK_BYTES`. The reader verifies it."""
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
    #: Of an event about a child round of `job`: that round, where there is one, and its jobs.
    child: ChildState | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildState:
    """A child round and its jobs, in their order."""

    round: Round
    jobs: tuple[Job, ...]
    #: What those that are done have left, in the order of `jobs`; None where nothing is told.
    messages: tuple[Message | None, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What an event changed: what a store writes in one transaction."""

    run: Run
    rounds: tuple[Round, ...] = ()
    jobs: tuple[Job, ...] = ()
    #: Every job that is still open ends as cancelled, without being listed.
    cancel_open_jobs: bool = False
    #: The open jobs of this round end as cancelled, and what lies below them.
    cancel_round: int | None = None
    #: What this job has asked for and is still open ends as cancelled, however deep it lies.
    cancel_below: JobId | None = None
    #: Step, seat, and the last message of that seat in that step.
    settled: tuple[tuple[int, Seat, MessageId], ...] = ()


class RunStore(Protocol):
    """Runs, their open rounds and jobs, and messages."""

    def writing(self) -> AbstractAsyncContextManager[None]:
        """What is done within happens together or not at all, and nobody else writes to the same run.

        What is read of a run within is what is there when it ends: others wait, in this process
        and in others.
        """
        ...

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

    async def child(self, run_id: RunId, job_id: JobId, *, request: int) -> ChildState | None:
        """The child round that a job's request with this number got, without messages."""
        ...

    async def child_round(self, run_id: RunId, job_id: JobId, number: int) -> ChildState | None:
        """The child round of this job with this number; None where there is none."""
        ...

    async def forget(self, run_id: RunId, number: int) -> None:
        """The messages of a child round were read for the last time, and may be dropped.

        A store that outlives the hub keeps them until the job that asked has ended: one whose node is
        lost is done again, and reads them once more.
        """
        ...

    async def apply(self, changes: Changes, messages: Sequence[Message] = ()) -> Sequence[Job]:
        """Write everything that one event changed, and the messages that it brought, or nothing.

        Returns:
            The jobs that were cancelled without being listed, of those that a node had claimed.
        """
        ...

    async def next_job(self, node: str) -> Job | None:
        """The oldest queued job that a node is to do. Costs nothing for the jobs of other nodes."""
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
