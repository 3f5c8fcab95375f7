"""One simulation, from what was asked for to what is told at its end."""

from __future__ import annotations

import asyncio
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from atoll import __version__
from atoll.engine.running import Runtime
from atoll.model.errors import JobFailed
from atoll.model.work import Failure, Role, Run, RunStatus, Seat
from atoll.node import guarded
from atoll.simulator.arguments import Arguments
from atoll.simulator.choice import EarlyRuntime, called, check, choose, slots, told_of
from atoll.simulator.images import Packed
from atoll.simulator.prepared import REMOTE, Prepared, PreparedStep
from atoll.simulator.reaching import check_networks
from atoll.simulator.record import Recorder, RunFolder, recording, take
from atoll.simulator.watch import Watcher
from atoll.simulator.world import Ended, Settings, World


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a simulation ended, as it is told to a program."""

    run: str | None
    status: str
    dialect: str = "coinstac"
    sites: tuple[str, ...] = ()
    rounds: int = 0
    iterations: int = 0
    result: Any = None
    results: Mapping[str, Any]
    error: Mapping[str, Any] | None = None
    seconds: float = 0.0
    output: Path | None = None
    warnings: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        return {
            "run": self.run,
            "status": self.status,
            "dialect": self.dialect,
            "sites": list(self.sites),
            "rounds": self.rounds,
            "iterations": self.iterations,
            "result": self.result,
            "results": dict(self.results),
            "error": self.error,
            "seconds": round(self.seconds, 3),
            "output": str(self.output) if self.output else None,
            "warnings": list(self.warnings),
        }


async def simulate(asked: Arguments, watch: Callable[[], Watcher]) -> tuple[Prepared, Report]:
    """Carry out what was asked for, and keep what it leaves.

    Args:
        asked: what was asked for.
        watch: makes who is told what happens. Called in a thread, while the runtime starts.

    Cancelled, it ends all that it started and says so in its report.

    Raises:
        Unusable: what was asked for can't be begun. Nothing is left of the attempt.
    """
    started = time.perf_counter()
    chosen, remarks = choose(asked)
    folder = take(asked.output, called(asked))
    early = EarlyRuntime(chosen, asked, folder)
    try:
        early.begin()
        # In a thread, so that the runtime starts meanwhile.
        packed = await early.look()
        loop = asyncio.get_running_loop()
        prepared, watcher = await asyncio.to_thread(_read, asked, watch, early, packed, loop)
        check(chosen, prepared)
        runtime = await early.settle(prepared)
        check_networks(prepared.plan.networks, runtime)
    except BaseException:
        await early.close()
        folder.give_back()
        raise
    report: Report | None = None
    with recording(folder, watcher) as recorder:
        try:
            for remark in (*prepared.warnings, *remarks, *told_of(runtime, asked)):
                recorder.warn(remark)
            ended = await _run(prepared, asked, runtime, folder, recorder, watcher)
            report = _report(prepared, ended, folder, recorder, time.perf_counter() - started)
        except asyncio.CancelledError:
            report = _interrupted(prepared, folder, recorder, time.perf_counter() - started)
        finally:
            await early.close()
            guarded.remove(folder.scratch)
            watcher.ended()
            if report is not None:
                _keep(prepared, asked, runtime, folder, recorder, report)
    return prepared, report


def _read(
    asked: Arguments,
    watch: Callable[[], Watcher],
    early: EarlyRuntime,
    packed: Packed | None,
    loop: asyncio.AbstractEventLoop,
) -> tuple[Prepared, Watcher]:
    prepared = _prepare(asked, packed)
    loop.call_soon_threadsafe(early.hear, prepared)
    return prepared, watch()


def _prepare(asked: Arguments, packed: Packed | None) -> Prepared:
    # Imported here: it takes as long as starting the runtime, which goes on beside it.
    from atoll.simulator.dialects import prepare

    return prepare(asked, packed)


async def _run(
    prepared: Prepared,
    asked: Arguments,
    runtime: Runtime,
    folder: RunFolder,
    recorder: Recorder,
    watcher: Watcher,
) -> Ended:
    plan = prepared.plan
    settings = Settings(
        runtime=runtime,
        scratch=folder.scratch,
        outputs=folder.outputs,
        logs=folder.logs,
        slots=slots(),
        limits=asked.limits,
        seed=asked.seed,
    )
    folder.lay_out()
    names = [step.algorithm.name for step in plan.run.steps]
    watcher.begun(sites=plan.run.sites, steps=names, runtime=runtime.name)
    return await World(plan, settings, recorder, (recorder,)).run()


def _report(
    prepared: Prepared, ended: Ended, folder: RunFolder, recorder: Recorder, seconds: float
) -> Report:
    run, settled = _read_settled(prepared, ended)
    result, results = _results(run, settled)
    return Report(
        run=folder.path.name,
        status=run.status.value,
        dialect=prepared.dialect,
        sites=run.sites,
        rounds=recorder.rounds,
        iterations=recorder.iterations,
        result=result,
        results=results,
        error=_error(run.failure, folder, recorder),
        seconds=seconds,
        output=folder.path,
        warnings=tuple(recorder.warnings),
    )


def _read_settled(prepared: Prepared, ended: Ended) -> tuple[Run, dict[Seat, Any]]:
    """What each seat left; a run whose results can't be read has failed where they were made."""
    settled: dict[Seat, Any] = {}
    if ended.run.status is not RunStatus.DONE:
        return ended.run, settled
    for seat, body in ended.settled.items():
        try:
            settled[seat] = prepared.read(body)
        except JobFailed as error:
            message = f"what it returned can't be shown: {error}"
            failure = Failure(type=type(error).__name__, message=message, site=seat)
            return replace(ended.run, status=RunStatus.FAILED, failure=failure), {}
    return ended.run, settled


def _results(run: Run, settled: Mapping[Seat, Any]) -> tuple[Any, dict[str, Any]]:
    """The result of the run, and that of each site, in the order of the sites."""
    last = run.steps[-1]
    if last.aggregated:
        result = settled.get(REMOTE)
        return result, dict.fromkeys(run.sites, result) if settled else {}
    results: dict[str, Any] = {site: settled[site] for site in run.sites if site in settled}
    alone = last.role is Role.AGGREGATOR and len(results) == 1
    return next(iter(results.values())) if alone else None, results


def _error(failure: Failure | None, folder: RunFolder, recorder: Recorder) -> dict[str, Any] | None:
    if failure is None:
        return None
    error: dict[str, Any] = {"type": failure.type, "message": failure.message, "site": failure.site}
    if failure.site is not None and recorder.broken is not None:
        log = folder.logs / f"{failure.site}.log"
        broken = recorder.broken
        error |= {"step": broken.step, "round": broken.number, "iteration": broken.iteration}
        error["log"] = str(log) if log.exists() else None
    return error


def _interrupted(prepared: Prepared, folder: RunFolder, recorder: Recorder, seconds: float) -> Report:
    """The report of a run that somebody ended."""
    return Report(
        run=folder.path.name,
        status=RunStatus.FAILED.value,
        dialect=prepared.dialect,
        sites=prepared.plan.run.sites,
        rounds=recorder.rounds,
        iterations=recorder.iterations,
        results={},
        error={"type": "Interrupted", "message": "the run was interrupted", "site": None},
        seconds=seconds,
        output=folder.path,
        warnings=tuple(recorder.warnings),
    )


def _keep(
    prepared: Prepared,
    asked: Arguments,
    runtime: Runtime,
    folder: RunFolder,
    recorder: Recorder,
    report: Report,
) -> None:
    run = prepared.plan.run
    if report.status == RunStatus.DONE.value:
        one = prepared.steps[-1].aggregated
        folder.write("result.json", report.result if one else dict(report.results))
    summary = {key: value for key, value in report.document().items() if key not in ("result", "results")}
    steps = [
        _documents(part)
        | {"algorithm_digest": step.algorithm.digest}
        | {f"{what}_digest": digest for what, digest in part.digests.items()}
        for part, step in zip(prepared.steps, run.steps, strict=True)
    ]
    document = {
        **summary,
        "steps": steps,
        "seed": asked.seed,
        "runtime": runtime.name,
        "caveats": list(runtime.caveats()),
        "versions": {"atoll": __version__, "python": platform.python_version()},
        "interpreter": str(asked.python or sys.executable),
        "host": {"system": platform.platform(), "machine": platform.machine(), "processors": slots()},
        "arguments": asked.document(),
        "calls_kept": recorder.journal_whole,
    }
    folder.write_record("run.json", document, "timings", recorder.timings())


def _documents(part: PreparedStep) -> dict[str, Any]:
    """What a step was made from, for the record."""
    if part.function is not None:
        return {"name": part.name, "function": part.function, "code": str(part.spec_path)}
    return {"name": part.name, "compspec": str(part.spec_path), "inputspec": str(part.inputs_path)}
