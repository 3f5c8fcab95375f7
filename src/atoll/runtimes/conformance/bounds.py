"""Checks of what an algorithm may take."""

from __future__ import annotations

from typing import Any

from atoll.engine.limits import CallLimits
from atoll.model.errors import LimitReached
from atoll.runtimes.conformance.bench import PATIENCE, Bench, ask, asking, expect, fails, same
from atoll.runtimes.conformance.examining import Check

#: Seconds of a call that doesn't end by itself.
_HANG = 0.5
#: Seconds after which a call that is beyond another bound than its time has been ended.
_SOON = 8.0
_MEGABYTE = 1_000_000


async def _ended(bench: Bench, limits: CallLimits, act: str, *words: str, **details: Any) -> None:
    """An act is ended for a bound, soon, and the session goes on."""
    launch = bench.launch(limits=limits)
    async with bench.session(launch) as session:
        await ask(session, launch, "echo", said="before")
        await fails(session.call(asking(session, launch, act, **details)), LimitReached, *words, within=_SOON)
        same("next", await ask(session, launch, "echo", said="next"), "the next call")


async def _hang(bench: Bench) -> None:
    launch = bench.launch(limits=CallLimits(seconds=_HANG))
    with bench.thread(launch) as thread:
        async with bench.session(launch) as session:
            request = asking(session, launch, "linger", thread=thread.path)
            await fails(session.call(request), LimitReached, f"{_HANG:g} seconds", within=_SOON)
            await thread.torn(within=_SOON)
            same("next", await ask(session, launch, "echo", said="next"), "the next call")


async def _answer(bench: Bench) -> None:
    limits = CallLimits(seconds=PATIENCE, reply_bytes=_MEGABYTE)
    await _ended(bench, limits, "flood", f"{_MEGABYTE} bytes", stream="out")


async def _log(bench: Bench) -> None:
    limits = CallLimits(seconds=PATIENCE, log_bytes=_MEGABYTE)
    launch = bench.launch(limits=limits)
    for act, details in (("flood", {"stream": "error"}), ("prattle", {"bytes": 2 * _MEGABYTE})):
        async with bench.session(launch) as session:
            await ask(session, launch, "prattle", bytes=_MEGABYTE // 2)
            request = asking(session, launch, act, **details)
            await fails(session.call(request), LimitReached, f"{_MEGABYTE} bytes", within=_SOON)
    size = launch.log.stat().st_size
    expect(
        size <= 2 * _MEGABYTE, f"the log has {size} bytes, and two sessions may have printed {2 * _MEGABYTE}"
    )


async def _processes(bench: Bench) -> None:
    # Where nobody tells that the bound is reached, the time ends the call: that is kept as well.
    launch = bench.launch(limits=CallLimits(seconds=3.0, processes=64))
    with bench.thread(launch) as thread:
        async with bench.session(launch) as session:
            request = asking(session, launch, "fork", thread=thread.path)
            await fails(session.call(request), LimitReached, "64 processes", "3 seconds", within=_SOON)
            await thread.torn(within=_SOON)
            same("next", await ask(session, launch, "echo", said="next"), "the next call")


async def _memory(bench: Bench) -> None:
    limits = CallLimits(seconds=PATIENCE, memory_bytes=200 * _MEGABYTE)
    await _ended(bench, limits, "hoard", f"{200 * _MEGABYTE} bytes of memory", megabytes=1000)


async def _disk(bench: Bench) -> None:
    limits = CallLimits(seconds=PATIENCE, disk_bytes=8 * _MEGABYTE)
    launch = bench.launch(limits=limits)
    for stays in (True, False):
        async with bench.session(launch) as session:
            same("made", await ask(session, launch, "hole", megabytes=100), "a file with nothing in it")
            request = asking(session, launch, "fill", megabytes=24, stays=stays)
            await fails(session.call(request), LimitReached, f"{8 * _MEGABYTE} bytes", within=_SOON)
        for file in launch.mounts[0].source.glob("fill-*"):
            file.unlink()


async def _hidden(bench: Bench) -> None:
    limits = CallLimits(seconds=PATIENCE, disk_bytes=8 * _MEGABYTE)
    await _ended(bench, limits, "fill", f"{8 * _MEGABYTE} bytes", megabytes=24, stays=True, hides=True)


async def _processors(bench: Bench) -> None:
    launch = bench.launch(limits=CallLimits(seconds=PATIENCE, processors=0.25))
    async with bench.session(launch) as session:
        worked = await ask(session, launch, "busy", seconds=0.6)
    expect(worked < 0.4, f"a call that may have a quarter of a processor had {worked:.2f} of it")


BOUNDS = (
    Check(name="hang", what="A call beyond its time is ended with all that it started.", run=_hang),
    Check(name="answer-flood", what="An answer without end ends the call.", run=_answer),
    Check(name="log-flood", what="A log without end ends the call, and is cut at its bound.", run=_log),
    Check(
        name="fork-bomb",
        what="A call that makes processes without end is ended with them all.",
        run=_processes,
    ),
    Check(
        name="memory-hog",
        what="A call that takes more memory than it may is ended, and told so.",
        run=_memory,
    ),
    Check(
        name="disk-filler",
        what="A call that fills the disk is ended, while it runs and where it ends by itself; holes are free.",
        run=_disk,
    ),
    Check(
        name="disk-hidden",
        what="A call that fills the disk with files which it has removed and holds open is ended.",
        run=_hidden,
    ),
    Check(name="processors", what="A call gets no more of the processors than it may.", run=_processors),
)
