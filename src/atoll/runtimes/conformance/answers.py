"""Checks of what an algorithm is given, and of what comes back."""

from __future__ import annotations

import json
import os
import signal

from atoll.engine.running import Request, Style, whole
from atoll.runtimes.conformance.bench import (
    Bench,
    answered,
    ask,
    asking,
    data_of,
    expect,
    in_time,
    output_of,
    same,
)
from atoll.runtimes.conformance.examining import Check
from atoll.runtimes.conformance.subject import NotPromised


async def _answer(bench: Bench) -> None:
    launch = bench.launch()
    async with bench.session(launch) as session:
        reply = await in_time(
            session.call(asking(session, launch, "echo", said="grüße")), "the first call of a session"
        )
    same("grüße", answered(reply), "the answer")
    same("heard\n", reply.log_tail, "the end of the log")
    same("heard\n", launch.log.read_text(), "the log")


async def _again(bench: Bench) -> None:
    launch = bench.launch()
    async with bench.session(launch) as session:
        found = [await ask(session, launch, "count") for _ in range(3)]
    same([[1, 1], [1, 2], [1, 3]], found, "calls in memory, and in the folder")


async def _environment(bench: Bench) -> None:
    names = ["GIVEN", "OTHER", "OWN", "ATOLL_SERVE_FD"]
    launch = bench.launch(environment={"GIVEN": "1", "OTHER": "2"})
    async with bench.session(launch) as session:
        own = await ask(
            session, launch, "variables", names=names, environment={"OTHER": "call's", "OWN": "3"}
        )
        next_one = await ask(session, launch, "variables", names=names)
    same(["1", "call's", "3", None], [own[name] for name in names], "the variables of a call with its own")
    same(["1", "2", None, None], [next_one[name] for name in names], "the variables of the next call")


async def _seed(bench: Bench) -> None:
    launch = bench.launch()
    async with bench.session(launch) as session:
        drawn = [await ask(session, launch, "draw", seed=seed) for seed in (7, 7, 8, None, None)]
    same(drawn[0], drawn[1], "two draws with one seed")
    same(4, len(set(drawn)), "the number of different draws")


async def _folders(bench: Bench) -> None:
    launch = bench.launch()
    data, output = data_of(launch) / "deep", output_of(launch)
    data.mkdir()
    (data / "data.txt").write_text("of the site")
    async with bench.session(launch) as session:
        text, listed = await ask(
            session, launch, "read", paths=[session.inside(data / "data.txt"), session.inside(data)]
        )
        written = await ask(
            session,
            launch,
            "write",
            paths=[session.inside(folder) + "/new" for folder in (output, launch.temporary, data)],
        )
    same(("of the site", ["data.txt"]), (text, listed), "what was read")
    same([True, True], written[:2], "whether output and temporary folder can be written to")
    same("written", (output / "new").read_text(), "what was written")
    if bench.runtime.isolated:
        same(False, written[2], "whether data can be written to")


async def _elsewhere(bench: Bench) -> None:
    if not bench.runtime.isolated:
        raise NotPromised("this runtime doesn't isolate")
    launch = bench.launch()
    other = bench.launch(seat="local1")
    (data_of(other) / "data.txt").write_text("another site's")
    (bench.folder / "beside.txt").write_text("the node's")
    paths = [str(bench.folder / "beside.txt"), str(data_of(other)), str(data_of(other) / "data.txt")]
    async with bench.session(launch) as session:
        found = await ask(session, launch, "read", paths=paths)
        written = await ask(session, launch, "write", paths=[str(bench.folder / "new"), "/computation/new"])
    same([None] * 3, found, "what was read of the machine's other files")
    same([False] * 2, written, "whether they can be written")


async def _status(bench: Bench) -> None:
    launch = bench.launch()
    async with bench.session(launch) as session:
        reply = await in_time(
            session.call(asking(session, launch, "leave", status=3)), "a call that ends with a status"
        )
        same((3, b"", "last words\n"), (reply.exit_code, reply.output, reply.log_tail), "a reply")
        same("next", await ask(session, launch, "echo", said="next"), "the next call")


async def _crash(bench: Bench) -> None:
    launch = bench.launch()
    async with bench.session(launch) as session:
        request = asking(session, launch, "crash", signal=int(signal.SIGSEGV))
        reply = await in_time(session.call(request), "a call that crashes")
        same(-signal.SIGSEGV, reply.exit_code, "the exit status")
        same("next", await ask(session, launch, "echo", said="next"), "the next call")


async def _served(bench: Bench) -> None:
    launch = bench.launch(style=Style.SERVE, script="served")
    async with bench.session(launch) as session:

        async def say(data: object) -> tuple[int, object]:
            body = json.dumps({"mode": "local", "data": data}).encode()
            reply = await in_time(session.call(Request(body=body)), "a served call")
            return reply.exit_code, json.loads(whole(reply.output)) if reply.exit_code == 0 else None

        found = [await say(1), await say("raise"), await say(2), await say("leave")]
    same(
        [(0, [1]), (1, None), (0, [1, 2]), (9, None)], found, "exit statuses and answers of a served process"
    )


async def _descriptors(bench: Bench) -> None:
    launch = bench.launch()
    async with bench.session(launch) as session:
        await ask(session, launch, "echo", said="once")
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(2):
        async with bench.session(launch) as session:
            await ask(session, launch, "echo", said="again")
    after = sorted(os.listdir("/proc/self/fd"))
    expect(
        len(after) <= len(before), f"sessions left files open: {len(before)} before, and {len(after)} after"
    )


ANSWERS = (
    Check(
        name="answer",
        what="What an algorithm prints is its answer; what it says beside is its log.",
        run=_answer,
    ),
    Check(
        name="again",
        what="A session is called again and again; scripts find nothing of the call before but their files.",
        run=_again,
    ),
    Check(
        name="environment",
        what="Variables of the launch are there in every call, and a call's own in that call alone.",
        run=_environment,
    ),
    Check(name="seed", what="With a seed, chance repeats itself; without one, it doesn't.", run=_seed),
    Check(
        name="folders",
        what="Folders are where the session says; what was mounted as writable can be written to.",
        run=_folders,
    ),
    Check(name="elsewhere", what="No other file of the machine can be read or written.", run=_elsewhere),
    Check(name="status", what="An exit status is told, and the session goes on.", run=_status),
    Check(name="crash", what="The signal that ended a process is told, and the session goes on.", run=_crash),
    Check(
        name="served",
        what="A served process remembers; what it raises fails one call, and its end is told.",
        run=_served,
    ),
    Check(name="descriptors", what="A session that has ended leaves no file open.", run=_descriptors),
)
