"""Repeating one iteration of a kept run, with the inputs that it had: to debug it.

A computation of protocol 1 keeps nothing in memory, so that its calls are simply made again.
One of protocol 2 may: its sessions are led there by the calls of all earlier iterations.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atoll.algorithms.installed import Installed
from atoll.engine.ports import Folder
from atoll.engine.running import Request, Runtime, Style, whole
from atoll.model.errors import AtollError, JobFailed, SpecInvalid
from atoll.model.work import Algorithm, Job, JobId, Role, RunId, Seat, Ticket, Work
from atoll.node import guarded
from atoll.node.chair import Chair
from atoll.node.desk import Desk
from atoll.simulator.arguments import Arguments
from atoll.simulator.choice import IMAGE_RUNTIMES, check, choose, look_into, make_runtime, slots, told_of
from atoll.simulator.coinstac import prepare
from atoll.simulator.prepared import REMOTE, Prepared
from atoll.simulator.record import RunFolder
from atoll.simulator.simulation import Report
from atoll.simulator.watch import Watcher
from atoll.simulator.world import folders_of, seeds


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a kept run."""

    step: int
    iteration: int
    seat: Seat
    role: Role
    #: The request document, as text.
    request: str
    #: Senders and names of the files that came with it.
    received: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A kept run, and the calls that lead to the iteration which is to be repeated."""

    folder: Path
    arguments: Arguments
    iteration: int
    calls: tuple[Call, ...]
    #: The algorithm's digest, as the run had it; empty where its record doesn't say it.
    digest: str = ""

    @property
    def step(self) -> int:
        """The step whose iteration it is: the last one that came so far."""
        return self.calls[-1].step

    def changed_by(self, asked: Arguments) -> Arguments:
        """The run's arguments, but for the runtime and the interpreter that a debugger asks for."""
        arguments = self.arguments
        if asked.runtime != "auto":
            arguments = replace(arguments, runtime=asked.runtime)
        return replace(arguments, python=asked.python) if asked.python else arguments


def find(folder: Path, iteration: int) -> Kept:
    """Read a kept run up to an iteration.

    Raises:
        SpecInvalid: the folder holds no run, or the run had no such iteration.
    """
    try:
        record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        lines = (folder / "calls.jsonl").open("rb")
    except FileNotFoundError:
        raise SpecInvalid(
            f"{folder} holds no kept run: expected the folder that a run's --output named, with a run.json and a "
            "calls.jsonl. They are written when a run ends: one that was killed keeps nothing to be repeated"
        ) from None
    except (OSError, json.JSONDecodeError) as error:
        raise SpecInvalid(
            f"{folder} holds no kept run ({error}): expected the folder that a run's --output named"
        ) from error
    if record.get("dialect", "coinstac") != "coinstac":
        lines.close()
        raise SpecInvalid(
            f"the run in {folder} is one of functions: only iterations of a COINSTAC computation can be "
            "repeated. Run it again; a --seed makes it the same"
        )
    with lines:
        calls = [_call(line) for line in lines]
    there = max((call.iteration for call in calls), default=0)
    step = max((call.step for call in calls if call.iteration == iteration), default=None)
    if step is None:
        raise SpecInvalid(f"the run in {folder} kept no iteration {iteration}: it has 1 to {there}")
    wanted = tuple(call for call in calls if call.step == step and call.iteration <= iteration)
    arguments = Arguments.from_document(record["arguments"])
    steps = record.get("steps") or []
    digest = str(steps[step].get("algorithm_digest") or "") if step < len(steps) else ""
    return Kept(folder=folder, arguments=arguments, iteration=iteration, calls=wanted, digest=digest)


async def repeat(kept: Kept, asked: Arguments, watcher: Watcher) -> tuple[Prepared, Report]:
    """Make the calls of one iteration again, and report what they answer.

    What they write goes to a folder of its own within the kept run's.

    Raises:
        Unusable: the run can't be prepared again, or not on this machine.
    """
    started = time.perf_counter()
    chosen, remarks = choose(asked)
    early = make_runtime(chosen, asked, []) if asked.image or chosen in IMAGE_RUNTIMES else None
    try:
        prepared = prepare(asked, None if early is None else await look_into(early, asked))
        check(chosen, prepared)
    except BaseException:
        if early is not None:
            await early.close()
        raise
    folder = _new_folder(kept)
    runtime = early or make_runtime(chosen, asked, [folder.path, *prepared.sources])
    sites = prepared.plan.run.sites
    again = _Again(kept, prepared, asked, runtime, folder, watcher)
    changed = () if early is None else _changed(kept, prepared)
    remarks = (*prepared.warnings, *remarks, *told_of(runtime, asked), *changed, *_missing(kept))
    report = Report(
        run=folder.path.name,
        status="failed",
        sites=sites,
        results={},
        output=folder.path,
        warnings=tuple(dict.fromkeys(remarks)),
    )
    try:
        watcher.begun(sites=sites, steps=[prepared.steps[kept.step].name], runtime=runtime.name)
        for remark in report.warnings:
            watcher.warned(remark)
        await again.all()
        report = replace(report, status="failed" if again.error else "done", error=again.error)
    except asyncio.CancelledError:
        error = {"type": "Interrupted", "message": "the run was interrupted", "site": None}
        report = replace(report, error=error)
    finally:
        await again.close()
        await runtime.close()
        guarded.remove(folder.scratch)
        watcher.ended()
    results: dict[str, Any] = {site: again.answers[site] for site in sites if site in again.answers}
    result = again.answers.get(REMOTE)
    rounds = len({call.role for call in kept.calls})
    seconds = time.perf_counter() - started
    report = replace(report, rounds=rounds, iterations=1, results=results, result=result, seconds=seconds)
    folder.write("result.json", {"result": result, "results": results})
    return prepared, report


class _Again:
    """The seats that are called again."""

    def __init__(
        self,
        kept: Kept,
        prepared: Prepared,
        asked: Arguments,
        runtime: Runtime,
        folder: RunFolder,
        watcher: Watcher,
    ) -> None:
        self._kept = kept
        self._prepared = prepared
        self._asked = asked
        self._runtime = runtime
        self._folder = folder
        self._watcher = watcher
        self._desks: list[Desk] = []
        self.answers: dict[str, Any] = {}
        self.error: dict[str, Any] | None = None

    async def all(self) -> None:
        """All sites at a time, as many as there are slots; then the aggregator."""
        free = asyncio.Semaphore(slots())
        for role in Role:
            seats = dict.fromkeys(call.seat for call in self._kept.calls if call.role is role)
            await asyncio.gather(*(self._seat(seat, free) for seat in seats))
            if self.error is not None:
                return

    async def close(self) -> None:
        """End the sessions."""
        for desk in self._desks:
            await desk.close()

    async def _seat(self, seat: Seat, free: asyncio.Semaphore) -> None:
        calls = [call for call in self._kept.calls if call.seat == seat]
        if calls[-1].iteration != self._kept.iteration:
            return  # A site that works for itself had ended by then.
        async with free:
            try:
                self.answers[seat] = await self._calls(seat, calls)
            except AtollError as error:
                self.error = {"type": type(error).__name__, "message": str(error), "site": seat}
                self.error |= {
                    "iteration": self._kept.iteration,
                    "log": str(self._folder.logs / f"{seat}.log"),
                }

    async def _calls(self, seat: Seat, calls: Sequence[Call]) -> Any:
        installed = self._installed()
        desk = self._desk(seat)
        self._desks.append(desk)
        await desk.turn_to(self._kept.step)
        ticket = _ticket(calls[-1], self._prepared.plan.run.steps[self._kept.step].algorithm)
        chair = await desk.sit_down(ticket, installed, self._runtime, self._asked.limits)
        assert chair.session is not None
        serves = installed.convention.launch(ticket)[0] is Style.SERVE
        for call in calls if serves else calls[-1:]:
            ticket = _ticket(call, ticket.algorithm)
            number = 0 if call.role is Role.SITE else 1
            self._watcher.job_started(
                seat=seat, role=call.role, step=0, iteration=call.iteration, number=number
            )
            before = time.perf_counter()
            request = Request(body=_request(call, chair, serves=serves))
            reply = await chair.session.call(request, seed=seeds(self._asked.seed)(ticket))
            self._watcher.job_ended(
                seat=seat,
                role=call.role,
                seconds=time.perf_counter() - before,
                sent_bytes=len(whole(reply.output)),
                failed=reply.exit_code != 0,
                number=number,
            )
            answer = installed.convention.parse(ticket, reply, chair)
        return json.loads(whole(answer.body))

    def _installed(self) -> Installed:
        plan = self._prepared.plan
        return plan.installed[plan.run.steps[self._kept.step].algorithm.digest]

    def _desk(self, seat: Seat) -> Desk:
        folders = folders_of(seat, self._folder.scratch, self._folder.outputs)
        log = self._folder.logs / f"{seat}.log"
        return Desk(seat=seat, folders=folders, log=log, data=self._prepared.plan.data.get(seat))


def _call(line: bytes) -> Call:
    # The request is kept as text: it may be large, and one call's is all that is needed.
    document = json.loads(line)
    return Call(
        step=document["step"],
        iteration=document["iteration"],
        seat=Seat(document["seat"]),
        role=Role(document["role"]),
        request=json.dumps(document["request"]),
        received=tuple((sender, name) for sender, name in document["received"]),
    )


def _request(call: Call, chair: Chair, *, serves: bool) -> bytes:
    """The request that was kept, with the folders that the seat has this time."""
    document = json.loads(call.request)
    data = document["data"] if serves else document
    data["state"] |= {
        "baseDirectory": chair.inside(Folder.BASE),
        "outputDirectory": chair.inside(Folder.OUTPUT),
        "cacheDirectory": chair.inside(Folder.TEMPORARY),
        "transferDirectory": chair.inside(Folder.TRANSFER),
    }
    return json.dumps(document).encode()


def _ticket(call: Call, algorithm: Algorithm) -> Ticket:
    job = Job(
        id=JobId(f"again.0.{call.seat}"),
        run_id=RunId("again"),
        round_number=0,
        position=0,
        seat=call.seat,
        inbox=(),
    )
    return Ticket(
        job=job,
        algorithm=algorithm,
        step=call.step,
        iteration=call.iteration,
        role=call.role,
        work=Work.CALL,
        inbox=(),
        readers=(),
    )


def _changed(kept: Kept, prepared: Prepared) -> Sequence[str]:
    """An image may have been made anew under its name. Code of a folder is changed on purpose."""
    digest = prepared.plan.run.steps[kept.step].algorithm.digest
    if digest == kept.digest:
        return ()
    return ("the image is another one than that of the run, under the same name: it was made anew meanwhile",)


def _missing(kept: Kept) -> Sequence[str]:
    """Files that had been sent by then: they ended with the run."""
    names = sorted({f"{name} from {sender}" for call in kept.calls for sender, name in call.received})
    if not names:
        return ()
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return (f"files that had been sent by iteration {kept.iteration} ended with the run: {shown}",)


def _new_folder(kept: Kept) -> RunFolder:
    for number in range(1, 10_000):
        name = f"iteration-{kept.iteration}" if number == 1 else f"iteration-{kept.iteration}-{number}"
        path = kept.folder / "again" / name
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        folder = RunFolder(path.resolve())
        folder.lay_out()
        return folder
    raise JobFailed(f"{kept.folder / 'again'} is full: remove some of what was repeated there")
