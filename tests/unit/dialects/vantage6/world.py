"""What surrounds a vantage6 call in tests: its desk in a folder, and a gate whose rounds a test ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tests.federation import LOCAL0, make_ticket, seats

from atoll.dialects.vantage6.convention import Convention
from atoll.engine.gate import Child, Part
from atoll.engine.limits import LOG_TAIL_BYTES
from atoll.engine.ports import Answer, Database, Folder
from atoll.engine.running import Reply, Request, whole
from atoll.model.errors import AtollError
from atoll.model.work import Algorithm, Content, Failure, JobStatus, Seat, Ticket

SECRET = "a secret of at least thirty-two bytes"
ADDRESS = ("127.0.0.1", 8080)


def ticket_of(seat: Seat = LOCAL0, *, sites: Sequence[Seat] = seats(3), step: int = 0) -> Ticket:
    """A ticket for a call of ``v6-average``: task 3, run 7."""
    ticket = make_ticket(seat, step=step)
    job = replace(ticket.job, round_number=2, ordinal=7)
    algorithm = Algorithm(dialect="vantage6", digest="sha256:0", name="v6-average")
    return replace(ticket, job=job, sites=tuple(sites), algorithm=algorithm)


@dataclass
class FolderDesk:
    """A desk whose folders lie under one."""

    root: Path
    seat: Seat = LOCAL0
    token: str = SECRET
    seed: int | None = None
    address: tuple[str, int] | None = ADDRESS
    databases: Mapping[str, Database] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    cache: dict[str, bytes] = field(default_factory=dict)
    outputs: dict[int, bytes] = field(default_factory=dict)
    #: Where an isolated algorithm would see the folders; as they lie, where nothing is named.
    targets: Mapping[Folder, str] = field(default_factory=dict)
    _versions: dict[str, int] = field(default_factory=dict)

    def write(self, folder: Folder, name: str, content: bytes) -> None:
        """Write a file for the algorithm."""
        path = self.path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def read(self, folder: Folder, name: str) -> bytes | None:
        """What the algorithm left."""
        path = self.path(folder, name)
        return path.read_bytes() if path.exists() else None

    def keep(self, name: str, source: str) -> int:
        """Move a file to the workbench, and count how often that was done."""
        self.path(Folder.JOB, source).replace(self.path(Folder.WORKBENCH, name))
        self._versions[name] = self._versions.get(name, 0) + 1
        return self._versions[name]

    def inside(self, folder: Folder) -> str:
        """Where the algorithm sees a folder."""
        return self.targets.get(folder) or str(self.path(folder, ""))

    def path(self, folder: Folder, name: str) -> Path:
        """Where a file lies."""
        (self.root / folder.value).mkdir(parents=True, exist_ok=True)
        return self.root / folder.value / name


@dataclass
class PaperGate:
    """A gate whose rounds are ended by a test."""

    ticket: Ticket = field(default_factory=ticket_of)
    #: What a job of a round answers; without it rounds stay open until `end`.
    answer: Callable[[Seat, bytes], bytes | Failure] | None = None
    refusals: list[str] = field(default_factory=list)
    asked: list[tuple[str, list[tuple[Seat, bytes]]]] = field(default_factory=list)
    rounds: dict[int, Child] = field(default_factory=dict)
    #: How long `ended` was asked to wait.
    waits: list[float | None] = field(default_factory=list)
    #: Rounds that were read with their bodies.
    read: list[int] = field(default_factory=list)
    fault: AtollError | None = None
    _ends: dict[int, asyncio.Event] = field(default_factory=dict)

    async def ask(
        self, name: str, calls: Sequence[tuple[Seat, Content]], *, session: str | None = None
    ) -> int:
        """Make a round; its jobs are numbered on from the ticket's."""
        if self.fault is not None:
            raise self.fault
        number = self.ticket.job.round_number + 1 + len(self.rounds)
        ordinal = self.ticket.job.ordinal + sum(len(child.parts) for child in self.rounds.values())
        parts = tuple(
            Part(seat=seat, ordinal=ordinal + place, status=JobStatus.QUEUED)
            for place, (seat, _) in enumerate(calls, 1)
        )
        self.asked.append((name, [(seat, whole(body)) for seat, body in calls]))
        self.rounds[number] = Child(number=number, name=name, open_count=len(parts), parts=parts)
        self._ends[number] = asyncio.Event()
        if self.answer is not None:
            self.end(number, *[self.answer(seat, whole(body)) for seat, body in calls])
        return number

    async def child(self, number: int, *, bodies: bool = True) -> Child:
        """How far a round is."""
        child = self.rounds[number]
        if bodies:
            self.read.append(number)
            return child
        return replace(child, parts=tuple(replace(part, body=None) for part in child.parts))

    async def ended(self, number: int, *, seconds: float | None = None) -> bool:
        """Wait for a round."""
        self.waits.append(seconds)
        try:
            async with asyncio.timeout(seconds):
                await self._ends[number].wait()
        except TimeoutError:
            return False
        return True

    async def give_up(self, number: int) -> None:
        """No algorithm of vantage6 gives up."""
        raise AssertionError(number)

    async def release(self, number: int) -> None:
        """Nobody knows when such an algorithm has read an answer for the last time."""
        raise AssertionError(number)

    def progress(self, fraction: float | None, text: str) -> None:
        """No algorithm of vantage6 tells."""
        raise AssertionError(text)

    def log(self, text: str) -> None:
        """No algorithm of vantage6 tells."""
        raise AssertionError(text)

    def refused(self, sentence: str) -> None:
        """Remember it."""
        self.refusals.append(sentence)

    def end(self, number: int, *answers: bytes | Failure | None) -> None:
        """End a round's jobs in their order; None leaves one open."""
        child = self.rounds[number]
        parts = tuple(_ended(part, one) for part, one in zip(child.parts, answers, strict=True))
        count = sum(one is None for one in answers)
        self.rounds[number] = replace(child, parts=parts, open_count=count)
        if not count:
            self._ends[number].set()


def _ended(part: Part, answer: bytes | Failure | None) -> Part:
    if answer is None:
        return replace(part, status=JobStatus.ACTIVE)
    if isinstance(answer, bytes):
        return replace(part, status=JobStatus.DONE, body=answer)
    return replace(part, status=JobStatus.FAILED, failure=answer)


def call(
    python: Path, convention: Convention, request: Request, *, code: Path, environment: Mapping[str, str]
) -> Reply:
    """Run a call's command as a runtime would, under a real interpreter."""
    _, (_, *words) = convention.launch(ticket_of())
    ended = subprocess.run(
        [python, *words],
        cwd=code,
        env={"PATH": os.defpath, **environment, **request.environment},
        capture_output=True,
        check=False,
    )
    log = ended.stderr[-LOG_TAIL_BYTES:].decode("utf-8", "replace")
    return Reply(output=ended.stdout, exit_code=ended.returncode, log_tail=log)


def run(
    python: Path,
    convention: Convention,
    body: bytes,
    desk: FolderDesk,
    *,
    code: Path,
    environment: Mapping[str, str] | None = None,
    step: int = 0,
) -> Answer:
    """Compose a call, run it, and read what it left."""
    ticket = ticket_of(step=step)
    request = convention.compose(ticket, [body], desk)
    reply = call(python, convention, request, code=code, environment=environment or {})
    return convention.parse(ticket, reply, desk)
