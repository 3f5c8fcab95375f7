"""The nouns of one analysis: a run, its steps, rounds and jobs, and what jobs exchange.

A *run* is one analysis over several sites: a chain of *steps*, each one algorithm. A step
proceeds in *rounds*. A round is a set of *jobs* that start and end together; a job is one
call of the algorithm at one *seat*. Jobs exchange *messages*. A message's body is opaque to
everything but the seats that write and read it.

Values are frozen, keyword-only and check themselves. State is one enum per machine; why
something ended is another field (`Failure`), never a state.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NewType, Protocol

from atoll.model.errors import UnsafeName

RunId = NewType("RunId", str)
JobId = NewType("JobId", str)
MessageId = NewType("MessageId", str)
#: A named place in a run: a site (``local0``), or the aggregator's (``remote``).
Seat = NewType("Seat", str)

#: The longest path of a file within the folder that it is sent to, in bytes of UTF-8.
BLOB_NAME_BYTES_MAX = 1024
#: The longest single part of such a path. 255 is what Linux's file systems allow.
BLOB_NAME_PART_BYTES_MAX = 255


class RunStatus(Enum):
    """How far a run is.

    ::

        ACTIVE --last round ends--> DONE
           \\----a job fails------> FAILED
    """

    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self is not RunStatus.ACTIVE


class JobStatus(Enum):
    """How far a job is.

    ::

        QUEUED --claimed--> ACTIVE --reported--> DONE
           |  ^               |\\----reported---> FAILED <--decided--+
           |  +----lost-------+ \\---broke, and somebody is asked-> HELD --decided--> QUEUED
           \\------------------+---run failed---> CANCELLED
    """

    QUEUED = "queued"
    ACTIVE = "active"
    HELD = "held"  #: it broke, and somebody is asked what is to be done
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (JobStatus.QUEUED, JobStatus.ACTIVE, JobStatus.HELD)


class Role(Enum):
    """What a seat does in a round."""

    SITE = "site"  #: holds data
    AGGREGATOR = "aggregator"  #: combines what the sites sent


class Loss(Enum):
    """What a site that doesn't do its part means to a run."""

    FAIL = "fail"  #: the run fails
    DROP = "drop"  #: the run goes on without the site, as long as enough are left
    ASK = "ask"  #: whoever may decides: to try again, to go on without it, or to fail


class Work(Enum):
    """What a job asks of its seat."""

    CALL = "call"  #: call the algorithm and report its outcome
    DELIVER = "deliver"  #: take in what was sent last; the algorithm is not called


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A file, named by what is in it.

    Raises:
        UnsafeName: the name is not a plain relative path, or is too long.
    """

    #: Where the file lay in its folder: relative, parts joined by ``/``.
    name: str
    #: ``sha256:`` and 64 hexadecimal digits.
    digest: str
    size_bytes: int

    def __post_init__(self) -> None:
        check_blob_name(self.name)


def check_blob_name(name: str) -> None:
    """Refuse a name that could lead out of a folder, or that no file can have.

    Raises:
        UnsafeName: with the name and what is wrong with it.
    """
    parts = name.split("/")
    if not all(parts) or {".", ".."} & set(parts) or "\\" in name or "\0" in name:
        raise UnsafeName(
            f"a file named {name!r} can't be passed on: expected a plain relative path "
            "without empty parts, '.', '..' or backslashes"
        )
    try:
        encoded = [part.encode() for part in parts]
    except UnicodeEncodeError as error:
        raise UnsafeName(f"a file named {name!r} can't be passed on: the name is not UTF-8") from error
    if max(map(len, encoded)) > BLOB_NAME_PART_BYTES_MAX:
        raise UnsafeName(
            f"a file named {name[:40]!r}… can't be passed on: a part of its name is longer than "
            f"{BLOB_NAME_PART_BYTES_MAX} bytes"
        )
    if sum(map(len, encoded)) + len(encoded) - 1 > BLOB_NAME_BYTES_MAX:
        raise UnsafeName(
            f"a file named {name[:40]!r}… can't be passed on: its path is longer than {BLOB_NAME_BYTES_MAX} bytes"
        )


class Held(Protocol):
    """Bytes in memory that several processes can see and none can change."""

    @property
    def size_bytes(self) -> int:
        """How many there are."""
        ...

    def fileno(self) -> int:
        """A descriptor that stands for them, to be passed on to another process."""
        ...

    def read(self) -> bytes:
        """All of them, copied."""
        ...


#: What is large enough is held, and travels within a machine without being copied.
Content = bytes | Held


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What one seat tells others. Only its writer and its readers look into the body."""

    id: MessageId
    sender: Seat
    readers: tuple[Seat, ...]
    #: Empty where the body is too large to travel inside: then it is `body_blob`.
    body: Content = b""
    body_blob: Blob | None = None
    #: Files that travel beside the body.
    blobs: tuple[Blob, ...] = ()

    @property
    def size_bytes(self) -> int:
        """What the body and the files weigh together."""
        large = self.body_blob.size_bytes if self.body_blob else 0
        inside = len(self.body) if isinstance(self.body, bytes) else self.body.size_bytes
        return inside + large + sum(blob.size_bytes for blob in self.blobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a job leaves: its message, and whether its seat says that the step may end."""

    message: Message | None
    final: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a job or a run failed."""

    #: The class name of the error, from `atoll.model.errors`.
    type: str
    message: str
    site: Seat | None = None
    #: The class name of what a function raised, where that is why.
    raised: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """An algorithm, by dialect and digest."""

    dialect: str
    digest: str
    #: For people: what the algorithm calls itself.
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One algorithm of a run, and the messages that open it."""

    algorithm: Algorithm
    #: Whether an aggregator combines what the sites send; else each site works for itself.
    aggregated: bool
    #: One message for all seats, or one for each in their order.
    openings: tuple[MessageId, ...]
    #: The sites that are called; None for all of the run.
    seats: tuple[Seat, ...] | None = None
    #: What the called seats do: a function that combines what it asks others for is an aggregator.
    role: Role = Role.SITE

    def opening_for(self, position: int) -> MessageId:
        """The message that opens this step at the seat with this position."""
        return self.openings[position if len(self.openings) > 1 else 0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One analysis over several sites. Its size does not grow with its rounds."""

    id: RunId
    steps: tuple[Step, ...]
    #: The data-holding seats in their given order; never sorted.
    sites: tuple[Seat, ...]
    #: The seat that combines, or None where no step needs one.
    aggregator: Seat | None
    #: How often a step may call its sites before the run fails.
    iterations_max: int
    #: The node that serves the aggregator's seat; None where it is one of the seat's own name.
    aggregator_node: str | None = None
    #: Sites without which there is no result; 0: all of them.
    min_sites: int = 0
    #: What it means that a site's own rules refuse a job, and that a job fails there otherwise.
    on_refusal: Loss = Loss.FAIL
    on_failure: Loss = Loss.FAIL
    #: Sites that the run goes on without.
    dropped: tuple[Seat, ...] = ()
    status: RunStatus = RunStatus.ACTIVE
    #: Rounds opened so far, of every kind.
    round_count: int = 0
    #: Rounds opened so far in which the algorithm was called.
    call_round_count: int = 0
    #: Jobs made so far.
    job_count: int = 0
    failure: Failure | None = None

    def __post_init__(self) -> None:
        if not self.sites or not self.steps:
            raise ValueError("a run needs at least one site and one step")
        if len(set(self.sites)) != len(self.sites) or self.aggregator in self.sites:
            raise ValueError(f"the seats of run {self.id} are not distinct")
        if not 0 <= self.min_sites <= len(self.sites):
            raise ValueError(f"run {self.id} needs {self.min_sites} sites and has {len(self.sites)}")
        for step in self.steps:
            called = self.sites if step.seats is None else step.seats
            if not called or not set(called) <= set(self.sites) or len(set(called)) != len(called):
                raise ValueError(
                    f"step {step.algorithm.name} calls seats that are no sites of the run, or one twice"
                )
            if len(step.openings) not in (1, len(called)):
                raise ValueError(f"{len(step.openings)} opening messages for {len(called)} sites")
            if step.aggregated and self.aggregator is None:
                raise ValueError(f"step {step.algorithm.name} needs an aggregator and the run has none")

    @property
    def present(self) -> tuple[Seat, ...]:
        """The sites that still take part, in their order."""
        return tuple(site for site in self.sites if site not in self.dropped) if self.dropped else self.sites

    @property
    def sites_needed(self) -> int:
        """How many sites must be left."""
        return self.min_sites or len(self.sites)

    def node_of(self, seat: Seat) -> str:
        """The name of the node that serves a seat."""
        return self.aggregator_node or seat if seat == self.aggregator else seat


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Jobs that start and end together: a main round, or a child round that a job asked for."""

    number: int
    #: Position of the step that it belongs to.
    step: int
    #: How often the step has called seats of this role, this round included; from 1. Of a child
    #: round: how many its parent has asked for, this one included.
    iteration: int
    role: Role
    work: Work
    job_count: int
    open_count: int
    #: The job that asked for it, and its seat; None for a main round.
    parent: JobId | None = None
    asker: Seat | None = None
    #: How many jobs lie above it: 0 for a main round.
    depth: int = 0
    #: Who asked for what, from the main round down: ``/alpha.0/beta.2``. Unlike its number it is the
    #: same in every repetition, whoever of those who ask at the same time comes first.
    origin: str = ""
    #: What was asked, so that the same question gets the same round.
    digest: str = ""
    #: For people: the function that is called.
    name: str = ""

    @property
    def ended(self) -> bool:
        """Whether no job of it is open."""
        return self.open_count == 0

    def with_one_job_less(self) -> Round:
        """This round after one more job has ended."""
        # Written out, as in `Job.moved`.
        return Round(
            number=self.number,
            step=self.step,
            iteration=self.iteration,
            role=self.role,
            work=self.work,
            job_count=self.job_count,
            open_count=self.open_count - 1,
            parent=self.parent,
            asker=self.asker,
            depth=self.depth,
            origin=self.origin,
            digest=self.digest,
            name=self.name,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One call of the algorithm at one seat: the unit that a node claims."""

    id: JobId
    run_id: RunId
    round_number: int
    #: Place in its round; the order in which outcomes are read.
    position: int
    seat: Seat
    inbox: tuple[MessageId, ...]
    #: How many jobs the run had with it: a number of its own within the run, from 1.
    ordinal: int = 1
    #: The session of its seat that it needs; None where any will do.
    session: str | None = None
    #: Child rounds that it has asked for.
    asked: int = 0
    #: The node that serves its seat; None where that is one of the seat's own name.
    node: str | None = None
    #: How often it was claimed. Who reports with an earlier number is a ghost.
    attempt: int = 0
    status: JobStatus = JobStatus.QUEUED
    outcome: Outcome | None = None
    failure: Failure | None = None

    @property
    def served_by(self) -> str:
        """The name of the node that is to do it."""
        return self.node or self.seat

    def moved(self, status: JobStatus, outcome: Outcome | None = None, failure: Failure | None = None) -> Job:
        """This job in another state."""
        # Written out: `dataclasses.replace` takes three times as long, and every event comes by here.
        return Job(
            id=self.id,
            run_id=self.run_id,
            round_number=self.round_number,
            position=self.position,
            seat=self.seat,
            inbox=self.inbox,
            ordinal=self.ordinal,
            session=self.session,
            asked=self.asked,
            node=self.node,
            attempt=self.attempt + 1 if status is JobStatus.ACTIVE else self.attempt,
            status=status,
            outcome=outcome,
            failure=failure,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Behalf:
    """On whose behalf a run asks its sites. A simulation's fields are empty."""

    #: The collaboration's id and name.
    collaboration: str = ""
    collaboration_name: str = ""
    #: The study's name, where it is of one.
    study_name: str = ""
    #: Who submitted the run: the person's name, and the organization's id and name.
    submitter: str = ""
    organization: str = ""
    organization_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """All that a seat is told with a job: its own work, and who will read what it sends."""

    job: Job
    algorithm: Algorithm
    step: int
    iteration: int
    role: Role
    work: Work
    inbox: tuple[Message, ...]
    readers: tuple[Seat, ...]
    #: The data-holding seats of the run, in their order.
    sites: tuple[Seat, ...] = ()
    #: The job that asked for this one; None in a main round.
    parent: JobId | None = None
    #: See `Round`.
    origin: str = ""
    behalf: Behalf = field(default_factory=Behalf)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a round asks of one seat, before it has become a job."""

    seat: Seat
    inbox: tuple[MessageId, ...]
    #: The session of the seat that it needs; None where any will do.
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """A round that a choreography asks for, before it has become one."""

    step: int
    iteration: int
    role: Role
    work: Work
    orders: tuple[Order, ...]
