"""A small federation for tests: runs, messages, desks, and functions that stand in for algorithms.

Nothing here mocks the product: runs go through the real hub and the real agents. What is fake is
the world around them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import textwrap
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.algorithms.installed import Installed
from atoll.dialects.coinstac.convention import Convention, opening_body
from atoll.engine.ports import Changes, ChildState
from atoll.engine.running import Doorway, Launch, Reply, Request, Session, Style, whole
from atoll.hub.hub import Listener
from atoll.model.events import Event, JobBroke, JobReported, RoundGivenUp, RoundRequested
from atoll.model.work import (
    Algorithm,
    Blob,
    Job,
    JobId,
    Message,
    MessageId,
    Outcome,
    Role,
    Run,
    RunId,
    Seat,
    Step,
    Ticket,
    Work,
)
from atoll.node.desk import Desk
from atoll.node.offer import Offer
from atoll.node.shift import Shift
from atoll.node.site_data import SiteData
from atoll.runtimes.functions import NoWayIn
from atoll.runtimes.inline import InlineRuntime
from atoll.simulator.record import Recorder
from atoll.simulator.world import Ended, Plan, Settings, World, folders_of

LOCAL0 = Seat("local0")
REMOTE = Seat("remote")
RUN = RunId("run")


def seats(count: int) -> tuple[Seat, ...]:
    """The names that sites have where nobody names them."""
    return tuple(Seat(f"local{number}") for number in range(count))


def make_run(
    sites: int = 2,
    *,
    aggregated: Sequence[bool] = (True,),
    iterations_max: int = 100,
    dialect: str = "coinstac",
) -> Run:
    """A run whose steps are aggregated or not, each opened by one message for all sites."""
    steps = tuple(
        Step(
            algorithm=Algorithm(dialect=dialect, digest=f"sha256:{number}", name=f"step{number}"),
            aggregated=each,
            openings=(MessageId(f"opening.{number}.0"),),
        )
        for number, each in enumerate(aggregated)
    )
    aggregator = REMOTE if any(aggregated) else None
    return Run(id=RUN, steps=steps, sites=seats(sites), aggregator=aggregator, iterations_max=iterations_max)


def openings(run: Run, inputs: Mapping[str, Any] | None = None) -> list[Message]:
    """The messages that open a run's steps; every step gets the same inputs."""
    body = opening_body([(name, {"value": value}) for name, value in (inputs or {}).items()])
    return [
        Message(id=opening, sender=Seat("submitter"), readers=(), body=body)
        for step in run.steps
        for opening in step.openings
    ]


def blob_of(content: bytes, name: str = "file") -> Blob:
    """What announces this content."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    return Blob(name=name, digest=digest, size_bytes=len(content))


async def in_chunks(content: bytes, size: int = 1 << 16) -> AsyncIterator[bytes]:
    """The content, piece by piece."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def joined(chunks: AsyncIterator[bytes]) -> bytes:
    """All pieces together."""
    return b"".join([chunk async for chunk in chunks])


def said(
    ticket: Ticket, body: bytes = b"{}", *, final: bool = False, blobs: tuple[Blob, ...] = ()
) -> Outcome:
    """What a job leaves that answered with this body."""
    message = Message(
        id=MessageId(ticket.job.id),
        sender=ticket.job.seat,
        readers=ticket.readers,
        body=body,
        blobs=blobs,
    )
    return Outcome(message=None if ticket.work is Work.DELIVER else message, final=final)


def make_ticket(
    seat: Seat = LOCAL0,
    *,
    step: int = 0,
    iteration: int = 1,
    role: Role = Role.SITE,
    work: Work = Work.CALL,
    inbox: tuple[Message, ...] = (),
    readers: tuple[Seat, ...] = (REMOTE,),
) -> Ticket:
    """A ticket for one job, as a hub would hand it out."""
    number = 2 * iteration - (role is Role.SITE)
    job = Job(
        id=JobId(f"run.{step}.{number}.{seat}"),
        run_id=RUN,
        round_number=number,
        position=0,
        seat=seat,
        inbox=(),
    )
    algorithm = Algorithm(dialect="coinstac", digest=f"sha256:{step}", name=f"step{step}")
    return Ticket(
        job=job,
        algorithm=algorithm,
        step=step,
        iteration=iteration,
        role=role,
        work=work,
        inbox=inbox,
        readers=readers,
    )


@dataclass
class Heard:
    """An observer and a listener that remembers what it heard."""

    requests: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[tuple[Seat, str]] = field(default_factory=list)
    finished_at: list[tuple[Seat, bool]] = field(default_factory=list)
    progress: list[tuple[Seat, float | None, str]] = field(default_factory=list)
    refusals: list[tuple[Seat, str]] = field(default_factory=list)
    broken: list[tuple[Seat, str, str]] = field(default_factory=list)
    events: list[tuple[Event | None, Job | None, Changes]] = field(default_factory=list)

    def started(self, ticket: Ticket, request: bytes) -> None:
        """Remember what the algorithm was called with."""
        self.requests.append(json.loads(request))

    def finished(self, ticket: Ticket, seconds: float, message: Message | None) -> None:
        """Remember which seat has ended its job, and whether it left a message."""
        assert seconds >= 0
        self.finished_at.append((ticket.job.seat, message is not None))

    def progressed(self, ticket: Ticket, fraction: float | None, text: str) -> None:
        """Remember how far a call said that it was."""
        self.progress.append((ticket.job.seat, fraction, text))

    def waits(self, ticket: Ticket, text: str) -> None:
        """Remember what a call waits for."""
        self.progress.append((ticket.job.seat, None, text))

    def broke(self, ticket: Ticket, kind: str, sentence: str) -> None:
        """Remember why a call failed."""
        self.broken.append((ticket.job.seat, kind, sentence))

    def refused(self, ticket: Ticket, sentence: str) -> None:
        """Remember what a call was refused."""
        self.refusals.append((ticket.job.seat, sentence))

    def warned(self, ticket: Ticket, text: str) -> None:
        """Remember what was tolerated."""
        self.warnings.append((ticket.job.seat, text))

    def changed(self, event: Event | None, job: Job | None, changes: Changes) -> None:
        """Remember a change of the run."""
        self.events.append((event, job, changes))


class Watched:
    """Somebody who watches a simulation, and remembers what was shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any]]] = []

    def begun(self, *, sites: Sequence[Seat], steps: Sequence[str], runtime: str) -> None:
        """Remember the beginning."""
        self.seen.append(("begun", {"sites": sites, "steps": steps, "runtime": runtime}))

    def asked(self, *, number: int, name: str, asker: Seat, within: int, seats: Sequence[Seat]) -> None:
        """Remember a question."""
        shown = {"number": number, "name": name, "asker": asker, "within": within, "seats": list(seats)}
        self.seen.append(("asked", shown))

    def answered(self, *, number: int) -> None:
        """Remember that it was answered."""
        self.seen.append(("answered", {"number": number}))

    def job_started(self, *, seat: Seat, role: Role, step: int, iteration: int, number: int) -> None:
        """Remember a call."""
        shown = {"seat": seat, "role": role, "step": step, "iteration": iteration, "number": number}
        self.seen.append(("job_started", shown))

    def job_ended(
        self, *, seat: Seat, role: Role, seconds: float, sent_bytes: int, failed: bool, number: int
    ) -> None:
        """Remember the end of a call."""
        assert seconds >= 0
        shown = {"seat": seat, "role": role, "sent_bytes": sent_bytes, "failed": failed, "number": number}
        self.seen.append(("job_ended", shown))

    def broke(self, *, seat: Seat, number: int, message: str) -> None:
        """Remember why a call failed."""
        self.seen.append(("broke", {"seat": seat, "number": number, "message": message}))

    def progressed(self, *, seat: Seat, fraction: float | None, text: str) -> None:
        """Remember how far a call is."""
        self.seen.append(("progressed", {"seat": seat, "fraction": fraction, "text": text}))

    def warned(self, text: str) -> None:
        """Remember a warning."""
        self.seen.append(("warned", {"text": text}))

    def ended(self) -> None:
        """Remember the end."""
        self.seen.append(("ended", {}))

    def of(self, *kinds: str) -> list[tuple[str, dict[str, Any]]]:
        """What was shown of these kinds, in its order."""
        return [(kind, shown) for kind, shown in self.seen if kind in kinds]


class NoHub:
    """A link to nowhere: what a test needs of a hub, it adds."""

    async def listen(self) -> None:
        """Nobody calls."""
        raise NotImplementedError

    async def claim(self) -> Ticket | None:
        """There is no job."""
        raise NotImplementedError

    async def report(self, event: JobReported | JobBroke) -> None:
        """Nobody hears."""
        raise NotImplementedError

    async def ask(self, event: RoundRequested, messages: Sequence[Message]) -> int:
        """Nobody answers."""
        raise NotImplementedError

    async def child(self, run_id: RunId, job_id: JobId, number: int) -> ChildState:
        """There is no child round."""
        raise NotImplementedError

    async def child_ended(self, run_id: RunId, job_id: JobId, number: int) -> None:
        """There is no child round."""
        raise NotImplementedError

    async def give_up(self, event: RoundGivenUp) -> None:
        """There is no child round."""
        raise NotImplementedError

    async def release(self, run_id: RunId, job_id: JobId, number: int) -> None:
        """There is no child round."""
        raise NotImplementedError

    async def cancelled(self) -> JobId:
        """Nobody ends a job."""
        await asyncio.Event().wait()
        raise AssertionError

    async def put_blob(self, run_id: RunId, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        """Nothing is sent."""
        raise NotImplementedError

    def get_blob(self, run_id: RunId, blob: Blob) -> AsyncIterator[bytes]:
        """Nothing is received."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Room:
    """Where an algorithm that is called by `FunctionRuntime` finds its folders."""

    base: Path
    output: Path
    transfer: Path
    temporary: Path

    @classmethod
    def of(cls, state: Mapping[str, str]) -> Room:
        """From a request's state."""
        names = ("baseDirectory", "outputDirectory", "transferDirectory", "cacheDirectory")
        return cls(*(Path(state[name]) for name in names))


Algorithmic = Callable[[Any, Room], Any]


class FunctionRuntime:
    """Calls one Python function for every call of every seat, without isolation."""

    name = "function"
    isolated = False

    def __init__(self, function: Algorithmic) -> None:
        self._function = function
        self.launches: list[Launch] = []
        self.closed: list[Seat] = []

    def caveats(self) -> Sequence[str]:
        """None: it is a fake."""
        return ()

    async def recover(self) -> None:
        """Nothing was left."""

    async def warm_up(self, launch: Launch) -> None:
        """Nothing is shared."""

    async def start(self, launch: Launch) -> Session:
        """Make a session and remember what it was asked for."""
        self.launches.append(launch)
        return _FunctionSession(self, launch.seat, self._function)

    async def close(self) -> None:
        """Nothing outlives a session."""


class _FunctionSession(NoWayIn):
    def __init__(self, runtime: FunctionRuntime, seat: Seat, function: Algorithmic) -> None:
        self._runtime, self._seat, self._function = runtime, seat, function

    @property
    def address(self) -> tuple[str, int] | None:
        return None

    def inside(self, path: Path) -> str:
        return str(path)

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        data = json.loads(whole(request.body))["data"]
        return Reply(output=json.dumps(self._function(data, Room.of(data["state"]))).encode())

    async def close(self) -> None:
        self._runtime.closed.append(self._seat)


def a_shift() -> Shift:
    """A job's time at work, on a machine with room for it."""
    return Shift(asyncio.Semaphore(), lambda: None)


def installed(code: Path, *, aggregated: bool = True) -> Installed:
    """A protocol-2 computation in this folder, whose entry script is ``entry.py``."""
    command = ("python", "/computation/entry.py")
    convention = Convention(
        style=Style.SERVE, site_command=command, aggregator_command=command if aggregated else ()
    )
    return Installed(convention=convention, code=code)


def make_desk(
    root: Path, seat: Seat = LOCAL0, data: SiteData | None = None, offer: Offer | None = None
) -> Desk:
    """A desk whose folders lie under `root`."""
    folders = folders_of(seat, root / "seats", root / "output")
    logs = root / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    return Desk(seat=seat, folders=folders, log=logs / f"{seat}.log", data=data, offer=offer or Offer())


def write_computation(folder: Path, source: str) -> Path:
    """A protocol-2 computation: `source` defines ``local`` and ``remote``."""
    folder.mkdir(parents=True)
    start = "\n\nimport coinstac\n\ncoinstac.start(local, remote)\n"
    (folder / "entry.py").write_text(textwrap.dedent(source) + start)
    return folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """How a simulation ended, and what was heard of it."""

    ended: Ended
    heard: Heard
    outputs: Path
    scratch: Path

    @property
    def results(self) -> dict[str, Any]:
        """The last output of each seat that settled the last step."""
        return {seat: json.loads(whole(body)) for seat, body in self.ended.settled.items()}


async def simulate(
    root: Path,
    run: Run,
    algorithms: Sequence[Installed],
    *,
    seed: int | None = 0,
    slots: int = 2,
    messages: Sequence[Message] | None = None,
    inputs: Mapping[str, Any] | None = None,
    data: Mapping[Seat, SiteData] | None = None,
    recorder: Recorder | None = None,
) -> Simulated:
    """Carry a run out in this process, with the real hub and the real agents."""
    heard = Heard()
    plan = Plan(
        run=run,
        messages=tuple(openings(run, inputs) if messages is None else messages),
        installed={step.algorithm.digest: each for step, each in zip(run.steps, algorithms, strict=True)},
        data=data or {},
    )
    (root / "logs").mkdir(parents=True)
    settings = Settings(
        runtime=InlineRuntime(),
        scratch=root / "scratch",
        outputs=root / "outputs",
        logs=root / "logs",
        slots=slots,
        seed=seed,
    )
    listeners: list[Listener] = [heard, *([] if recorder is None else [recorder])]
    ended = await World(plan, settings, recorder or heard, listeners).run()
    return Simulated(ended=ended, heard=heard, outputs=root / "outputs", scratch=root / "scratch")
