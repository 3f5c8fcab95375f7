"""What surrounds a vantage6 call in tests: its desk in a folder, and a gate whose rounds a test ends."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

from tests.federation import LOCAL0, make_ticket, seats

from atoll.dialects.vantage6.convention import Convention
from atoll.engine.gate import Child, Part
from atoll.engine.limits import LOG_TAIL_BYTES
from atoll.engine.peers import Address
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
    inputs: Mapping[str, Any] | None = None
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
    #: Where it finds others.
    found: Sequence[Address] = ()
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

    async def addresses(self) -> Sequence[Address]:
        """Where it finds others."""
        return self.found

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


#: Runs commands in forks of an interpreter that has imported the wrapper already.
_FORKING = """
import importlib, json, os, sys, traceback
import openpyxl, pandas, pyarrow.parquet, sqlalchemy, SPARQLWrapper, vantage6.algorithm.tools.wrap
for name in ("tools.decorators", "data_extraction", "decorator"):
    try:
        importlib.import_module(f"vantage6.algorithm.{name}")
    except ImportError:
        pass
print("ready", flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    child = os.fork()
    if not child:
        for name, number in (("out", 1), ("err", 2)):
            os.dup2(os.open(asked[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.chdir(asked["code"])
        os.environ.clear()
        os.environ.update(asked["environment"])
        exit_code = 0
        try:
            exec(compile(asked["text"], "<string>", "exec"), {"__name__": "__main__"})
        except SystemExit as ending:
            exit_code = ending.code or 0
        except BaseException:
            traceback.print_exc()
            exit_code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Wrapped:
    """Runs calls of one algorithm in an environment that holds the real wrapper."""

    def __init__(self, python: Path, code: Path) -> None:
        self.python = python
        self.code = code
        self._forking = subprocess.Popen(
            [python, "-c", _FORKING], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._said() == "ready"

    def close(self) -> None:
        """End the interpreter."""
        with self._forking as forking:
            assert forking.stdin is not None
            forking.stdin.close()

    def cold(self, convention: Convention, request: Request) -> Reply:
        """Run a call's command in a process of its own."""
        _, (_, *words) = convention.launch(ticket_of())
        ended = subprocess.run(
            [self.python, *words],
            cwd=self.code,
            env={"PATH": os.defpath, **request.environment},
            capture_output=True,
            check=False,
        )
        return _reply(ended.stdout, ended.stderr, ended.returncode)

    def warm(self, convention: Convention, request: Request, folder: Path) -> Reply:
        """Run a call's command in a fork, whose output goes to a folder."""
        _, (_, _, text) = convention.launch(ticket_of())
        out, err = folder / "out", folder / "err"
        asked = {"text": text, "code": str(self.code), "out": str(out), "err": str(err)}
        assert self._forking.stdin is not None
        environment = {"PATH": os.defpath, **request.environment}
        self._forking.stdin.write(json.dumps({**asked, "environment": environment}) + "\n")
        self._forking.stdin.flush()
        exit_code = int(self._said())
        return _reply(out.read_bytes(), err.read_bytes(), exit_code)

    def run(self, convention: Convention, body: bytes, desk: FolderDesk, *, step: int = 0) -> Answer:
        """Compose a call, run it, and read what it left."""
        ticket = ticket_of(step=step)
        request = convention.compose(ticket, [body], desk)
        return convention.parse(ticket, self.warm(convention, request, desk.root), desk)

    def value(self, convention: Convention, body: bytes, desk: FolderDesk, *, step: int = 0) -> Any:
        """What a call returned."""
        return json.loads(whole(self.run(convention, body, desk, step=step).body))

    def _said(self) -> str:
        assert self._forking.stdout is not None
        return self._forking.stdout.readline().strip()


def _reply(out: bytes, err: bytes, exit_code: int) -> Reply:
    log = err[-LOG_TAIL_BYTES:].decode("utf-8", "replace")
    return Reply(output=out, exit_code=exit_code, log_tail=log)


@contextmanager
def sparql(text: str) -> Iterator[str]:
    """A triple store that answers every query with this table; its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/csv")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = Thread(target=server.serve_forever)
        serving.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        serving.join()
