"""What every runtime promises of its sessions, run over each of them, cold and warm."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.contract.runtime_bench import Bench, lingering, run, thread_of_life
from tests.descriptors import descriptors

from atoll.engine.limits import LOG_TAIL_BYTES, CallLimits
from atoll.engine.running import Reply, Request, Style, whole
from atoll.model.errors import AlgorithmFailed, LimitReached
from atoll.runtimes.command import code_of

# --- One call ---------------------------------------------------------------------------------


def test_reply_is_standard_output(bench: Bench) -> None:
    """What a script writes to standard output is its reply, and nothing else is."""
    script = """
        import sys
        print("noise", file=sys.stderr)
        sys.stdout.write(sys.stdin.read().upper())
    """

    reply = bench.call(bench.launch(script), "grüße".encode())

    assert Reply(output="GRÜSSE".encode(), exit_code=0, log_tail="noise\n") == reply


def test_calls_share_nothing(bench: Bench) -> None:
    """A call finds no global of the call before, and no process of it."""
    script = """
        import json, os
        json.calls = getattr(json, "calls", 0) + 1
        print(json.calls)
        if os.fork() == 0:
            import signal
            signal.pause()
    """

    replies = bench.calls(bench.launch(script), b"", b"", b"")

    assert [b"1\n"] * 3 == [reply.output for reply in replies]


def test_script_is_main(bench: Bench) -> None:
    """A script is ``__main__``, with the arguments, folder and import path of a fresh start."""
    script = """
        import json, os, sys
        import beside
        print(json.dumps([__name__, __file__, sys.argv, sys.path[0], os.getcwd(), beside.NAME,
                          __spec__ is None, sys.modules["__main__"].__file__]))
    """
    launch = bench.launch(script, command=("python", "/computation/local.py", "--k", "/computation/x"))
    (code_of(launch) / "beside.py").write_text("NAME = __name__")
    code = "/computation" if bench.isolated else str(launch.code)

    reply = bench.call(launch)

    argv = [f"{code}/local.py", "--k", f"{code}/x"]
    assert [
        "__main__",
        f"{code}/local.py",
        argv,
        code,
        code,
        "beside",
        True,
        f"{code}/local.py",
    ] == json.loads(whole(reply.output))


@pytest.mark.parametrize(
    "words",
    [
        ("python", "local.py"),
        ("python3", "-u", "/computation/local.py"),
        ("python", "-m", "local"),
        ("python", "-c", "import local"),
        ("python", "-B", "-X", "utf8", "local.py"),
    ],
)
def test_python_is_called_in_many_ways(bench: Bench, words: tuple[str, ...]) -> None:
    """A path, ``-u``, ``-m``, ``-c`` and other options of Python work, with a seed and without."""
    script = "import sys, random; print(len(sys.argv), random.random() < 1)"
    launch = bench.launch(script, command=words)

    assert [b"1 True\n"] * 2 == [bench.call(launch).output, bench.call(launch, seed=1).output]


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("", 0),
        ("sys.exit()", 0),
        ("sys.exit(None)", 0),
        ("sys.exit(3)", 3),
        ("sys.exit(-1)", 255),
        ("sys.exit(True)", 1),
        ("sys.exit('no luck')", 1),
        ("os._exit(7)", 7),
        ("raise SystemExit(2)", 2),
        ("1 / 0", 1),
        ("import json; json.loads('x')", 1),
        ("raise KeyError('a') from ValueError('b')", 1),
        ("exec('1 +')", 1),
        ("sys.excepthook = lambda *_: print('own', file=sys.stderr); 1 / 0", 1),
        ("import warnings; warnings.warn('careful')", 0),
        ("atexit.register(print, 'at exit', file=sys.stderr); sys.exit(4)", 4),
        ("threading.Thread(target=print, args=('thread',), kwargs={'file': sys.stderr}).start()", 0),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("os.kill(os.getpid(), 15)", -signal.SIGTERM),
        ("os.abort()", -signal.SIGABRT),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("def f(:", 1),
    ],
)
def test_end_is_that_of_a_fresh_python(bench: Bench, ending: str, status: int) -> None:
    """Exit status and traceback are those of the script started by itself."""
    launch = bench.launch(command=("python", "/computation/local.py"))
    (code_of(launch) / "local.py").write_text(f"import atexit, os, sys, threading\n{ending}\n")
    fresh = subprocess.run(
        [sys.executable, code_of(launch) / "local.py"], capture_output=True, cwd=launch.code, check=False
    )
    code = "/computation" if bench.isolated else str(launch.code)

    reply = bench.call(launch)

    expected = fresh.stderr.decode().replace(str(launch.code), code)
    assert (status, expected) == (reply.exit_code, reply.log_tail)
    assert status == fresh.returncode


def test_missing_script_is_what_python_says(bench: Bench) -> None:
    """A script that isn't there ends with status 2, and Python's sentence about it."""
    reply = bench.call(bench.launch(command=("python", "/computation/none.py")))

    assert (2, True) == (reply.exit_code, "can't open file" in reply.log_tail)


def test_what_was_not_closed_is_written(bench: Bench) -> None:
    """Files that a script forgot to close, and prints of finalizers, are not lost."""
    script = """
        import atexit, os
        class Late:
            def __del__(self):
                print("finalized")
        place = "/output" if os.path.isdir("/output") else os.environ["OUTPUT"]
        kept = open(place + "/kept.txt", "w")
        kept.write("all of it")
        kept.cycle = [kept]
        late = Late()
        atexit.register(print, "at exit")
        print("main")
    """
    launch = bench.launch(script)
    launch = replace(launch, environment={"OUTPUT": str(launch.mounts[0].source)})

    reply = bench.call(launch)

    assert b"main\nat exit\nfinalized\n" == reply.output
    assert "all of it" == (launch.mounts[0].source / "kept.txt").read_text()


def test_standard_streams_are_those_of_a_fresh_python(bench: Bench) -> None:
    """Names, modes, encodings and buffering of the standard streams are as Python makes them."""
    script = """
        import json, sys
        rows = [[s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.write_through, s.fileno(),
                 type(s.buffer).__name__, s.buffer.raw.mode, s is d, s.seekable()]
                for s, d in ((sys.stdin, sys.__stdin__), (sys.stdout, sys.__stdout__), (sys.stderr, sys.__stderr__))]
        print(json.dumps(rows))
    """
    launch = bench.launch(script)
    with (bench.folder / "errors").open("a") as errors:
        fresh = subprocess.run(
            [sys.executable, code_of(launch) / "local.py"],
            input=b"",
            stdout=subprocess.PIPE,
            stderr=errors,
            env={"LANG": os.environ.get("LANG") or "C.UTF-8"},
            check=True,
        )

    assert json.loads(fresh.stdout) == json.loads(whole(bench.call(launch).output))


def test_environment_is_little(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script sees what the launch gives it and what every program needs, and nothing of ours."""
    monkeypatch.setenv("ATOLL_TEST_SECRET", "hush")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    script = "import os, json; print(json.dumps(dict(os.environ)))"
    launch = bench.launch(script, environment={"GIVEN": "1"})

    seen = json.loads(whole(bench.call(launch).output))

    allowed = {
        "PATH",
        "HOME",
        "LANG",
        "TMPDIR",
        "GIVEN",
        "OMP_NUM_THREADS",
        "PWD",
        "OLDPWD",
        "SHLVL",
        "_",
        "LC_CTYPE",
    }
    numeric = {name for name in seen if name.startswith(("OPENBLAS_", "OMP_", "MKL_", "NUMEXPR_"))}
    assert set() == set(seen) - allowed - numeric
    assert ("1", "3") == (seen["GIVEN"], seen["OMP_NUM_THREADS"])
    assert seen["TMPDIR"] == ("/tmp" if bench.isolated else str(launch.temporary))


def test_call_has_variables_of_its_own(bench: Bench) -> None:
    """A call's variables are added to its launch's, go before them, and are gone with the call."""
    script = "import os; print([os.environ.get(name) for name in ('GIVEN', 'OTHER', 'OWN')])"
    launch = bench.launch(script, environment={"GIVEN": "1", "OTHER": "2"})
    own = Request(environment={"OTHER": "call's", "OWN": "3"})

    replies = bench.calls(launch, own, b"")

    assert [b"['1', \"call's\", '3']\n", b"['1', '2', None]\n"] == [reply.output for reply in replies]


def test_variables_that_libraries_read_are_there_when_they_are_imported(bench: Bench) -> None:
    """A call with such a variable of its own imports everything anew."""
    script = """
        import os, sys
        there = "numpy" in sys.modules
        import numpy
        print(there, os.environ.get("OMP_TEST"), numpy.ones(2).sum())
    """
    own = Request(environment={"OMP_TEST": "1"})

    replies = bench.calls(bench.launch(script), b"", own)

    warm = str(bench.kind.endswith("warm")).encode()
    assert [warm + b" None 2.0\n", b"False 1 2.0\n"] == [reply.output for reply in replies]


def test_seed_repeats_chance(bench: Bench) -> None:
    """With a seed, ``random`` and numpy draw the same again; without one, each call its own."""
    script = """
        import random
        first = random.random()
        import numpy
        print(first, numpy.random.random())
    """

    async def go() -> list[bytes]:
        async with bench.session(bench.launch(script)) as session:
            return [
                whole((await session.call(Request(), seed=seed)).output) for seed in (7, 7, 8, None, None)
            ]

    drawn = run(go())

    assert drawn[0] == drawn[1]
    assert 4 == len(set(drawn))


def test_log_tail_is_the_calls_own(bench: Bench) -> None:
    """The log grows from call to call; a reply quotes the end of what its own call added."""
    script = """
        import sys
        sys.stderr.write(sys.stdin.read() * 5000 + "|")
    """
    launch = bench.launch(script)
    launch.log.write_text("before|")

    replies = bench.calls(launch, b"a", b"b")

    assert ["a" * (LOG_TAIL_BYTES - 1) + "|", "b" * (LOG_TAIL_BYTES - 1) + "|"] == [
        r.log_tail for r in replies
    ]
    assert "before|" + "a" * 5000 + "|" + "b" * 5000 + "|" == launch.log.read_text()


@pytest.mark.acceptance
@pytest.mark.timeout(120)
def test_large_requests_and_replies(bench: Bench) -> None:
    """300 MB go in and come out."""
    script = "import shutil, sys; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
    request = os.urandom(1_000_000) * 300

    assert request == bench.call(bench.launch(script), request).output


def test_script_need_not_read_its_request(bench: Bench) -> None:
    """A request that nobody reads, larger than a pipe, is no error."""
    assert b"ok\n" == bench.call(bench.launch("print('ok')"), b"x" * 3_000_000).output


def test_folders_are_where_the_session_says(bench: Bench) -> None:
    """``inside`` names the paths by which the algorithm finds its folders."""
    launch = bench.launch("import sys; print(open(sys.stdin.read()).read())")
    (launch.mounts[0].source / "deep").mkdir()
    (launch.mounts[0].source / "deep" / "data.txt").write_text("data")
    (launch.temporary / "t.txt").write_text("temporary")

    async def go() -> list[bytes]:
        async with bench.session(launch) as session:
            paths = [launch.mounts[0].source / "deep" / "data.txt", launch.temporary / "t.txt"]
            return [
                whole((await session.call(Request(body=session.inside(path).encode()))).output)
                for path in paths
            ]

    assert [b"data\n", b"temporary\n"] == run(go())


# --- Other languages --------------------------------------------------------------------------


def test_shell_script_runs(bench: Bench) -> None:
    """A command needn't be Python."""
    launch = bench.launch(command=("sh", "/computation/run.sh", "you"))
    (code_of(launch) / "run.sh").write_text('read line; echo "$1: $line"; echo log >&2; exit 5')

    assert Reply(output=b"you: hello\n", exit_code=5, log_tail="log\n") == bench.call(launch, b"hello\n")


def test_signal_ends_a_shell_script(bench: Bench) -> None:
    """A signal is reported as such, whatever the language."""
    launch = bench.launch(command=("sh", "-c", "kill -TERM $$"))

    assert -signal.SIGTERM == bench.call(launch).exit_code


def test_program_of_the_algorithms_own_runs(bench: Bench) -> None:
    """A command may name a program in the algorithm's folder."""
    launch = bench.launch(command=("./go", "there"))
    (code_of(launch) / "go").write_text('#!/bin/sh\nprintf "%s" "$1"')
    (code_of(launch) / "go").chmod(0o755)

    assert b"there" == bench.call(launch).output


def test_unknown_command_fails_at_the_start(bench: Bench) -> None:
    """A command that is not on this machine is named."""
    with pytest.raises(AlgorithmFailed, match="'no-such-program' can't be started"):
        bench.call(bench.launch(command=("no-such-program", "x")))


# --- Limits and ends --------------------------------------------------------------------------


def test_time_limit_ends_everything(bench: Bench) -> None:
    """A call beyond its time is ended with its children, and the next call works."""
    launch = lingering(bench, limits=CallLimits(seconds=2.5))

    async def go() -> tuple[bytes, bytes]:
        async with thread_of_life(launch) as gone, bench.session(launch) as session:
            with pytest.raises(LimitReached, match=r"longer than 2\.5 seconds"):
                await session.call(Request())
            said = await gone
            (code_of(launch) / "local.py").write_text("print('next')")
            return said, whole((await session.call(Request())).output)

    assert (b"oo", b"next\n") == run(go())


def test_reply_limit(bench: Bench) -> None:
    """A call that answers without end is ended."""
    launch = bench.launch("while True: print('x' * 1000)", limits=CallLimits(reply_bytes=1_000_000))

    with pytest.raises(LimitReached, match="more than 1000000 bytes"):
        bench.call(launch)


def test_reply_of_exactly_the_limit_passes(bench: Bench) -> None:
    """The bound itself is allowed, one byte more isn't."""
    script = "import sys; sys.stdout.write('x' * int(sys.stdin.read()))"
    launch = bench.launch(script, limits=CallLimits(reply_bytes=1000))

    assert 1000 == len(whole(bench.call(launch, b"1000").output))
    with pytest.raises(LimitReached):
        bench.call(launch, b"1001")


def test_memory_limit(bench: Bench) -> None:
    """A call that takes more memory than it may is ended, and the error names the bound."""
    script = "held = [b'x' * 10_000_000 for _ in range(100)]; print(len(held))"
    launch = bench.launch(script, limits=CallLimits(memory_bytes=300_000_000))

    with pytest.raises(LimitReached, match="300000000 bytes of memory"):
        bench.call(launch)
    assert b"100\n" == bench.call(replace(launch, limits=CallLimits(memory_bytes=3_000_000_000))).output


def test_cancelled_call_leaves_no_process(bench: Bench) -> None:
    """Who cancels a call may be sure that it and its children are gone."""
    launch = lingering(bench)

    async def go() -> bytes:
        async with thread_of_life(launch) as gone, bench.session(launch) as session:
            call = asyncio.create_task(session.call(Request()))
            await gone.begun  # type: ignore[attr-defined] # a test's shorthand
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            return await gone

    assert b"oo".startswith(run(go()))


def test_grandchild_with_open_output_holds_nobody(bench: Bench) -> None:
    """A reply is complete when the script ends, whoever else holds its standard output."""
    script = """
        import os, signal
        print("done", flush=True)
        if os.fork() == 0:
            os.setpgid(0, 0)
            signal.pause()
    """

    assert b"done\n" == bench.call(bench.launch(script)).output


@pytest.mark.parametrize("detach", ["pass", "os.setpgid(0, 0)", "os.setsid()"])
def test_what_a_call_leaves_running_ends(bench: Bench, detach: str) -> None:
    """When a call has ended, so have the processes that it left, in groups of their own too."""
    launch = lingering(bench)
    text = (code_of(launch) / "local.py").read_text()
    text = text.replace("os.setpgid(0, 0)", detach + '; os.write(pipe, b"child"); signal.pause()')
    text = text.replace('os.write(pipe, b"o")\nsignal.pause()', "sys.stdin.read()")
    (code_of(launch) / "local.py").write_text(text)
    if bench.kind == "process-cold" and "setsid" in detach and "left" in bench.make().not_promised():  # type: ignore[attr-defined] # a process has it
        pytest.skip("nobody can tell such a process from others: caveats() says so")

    async def go() -> bytes:
        async with thread_of_life(launch) as gone, bench.session(launch) as session:
            await session.call(Request())
            return await gone

    assert b"child".startswith(run(go()))


def children() -> set[str]:
    """The processes that this one has started and not heard the end of, also for other tests."""
    found: set[str] = set()
    for thread in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            found.update((thread / "children").read_text().split())
    return found


def test_nothing_stays_open(bench: Bench) -> None:
    """After a runtime was closed, this process has as many descriptors and children as before."""
    launch = bench.launch("print(1)", limits=CallLimits(memory_bytes=2_000_000_000))
    bench.call(launch)
    before, running = descriptors(), children()

    bench.calls(launch, b"", b"")

    assert before == descriptors()
    assert children() <= running


def test_death_of_the_host_ends_everything(bench: Bench) -> None:
    """If Atoll itself is killed, its algorithms end too."""
    launch = lingering(bench)
    program = f"""
        import asyncio, sys
        sys.path[:0] = {sys.path!r}
        from pathlib import Path, PosixPath
        from tests.contract import runtime_bench as t
        from atoll.engine.limits import CallLimits
        from atoll.engine.running import Launch, Mount, Style
        bench = t.make_bench({bench.kind!r}, Path({str(bench.folder)!r}))
        launch = {launch!r}
        bench.call(launch)
    """.replace("<Style.CALL: 'call'>", "Style.CALL")

    async def go() -> bytes:
        async with thread_of_life(launch) as gone:
            host = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)])
            await gone.begun  # type: ignore[attr-defined] # a test's shorthand
            host.kill()
            host.wait()
            return await gone

    if bench.kind == "process-cold":
        pytest.skip("a plain process's children outlive it: they are not known to the system as its own")
    assert b"oo".startswith(run(go()))


def test_session_closes_twice(bench: Bench) -> None:
    """Closing again does nothing."""

    async def go() -> None:
        async with bench.session(bench.launch("print(1)")) as session:
            await session.call(Request())
            await session.close()
            await session.close()

    run(go())


def test_seats_work_at_the_same_time(bench: Bench) -> None:
    """Sessions of several seats don't wait for each other."""
    first, second = (lingering(bench, seat=seat) for seat in ("local0", "local1"))
    text = (code_of(second) / "local.py").read_text()
    (code_of(second) / "local.py").write_text(
        text.replace(repr(str(second.mounts[0].source)), "os.environ['OUTPUT']")
    )

    async def go() -> list[bytes]:
        runtime = bench.make()
        try:
            async with thread_of_life(first) as one, thread_of_life(second) as two:
                calls = []
                for launch in (first, second):
                    own = replace(launch, environment={"OUTPUT": str(launch.mounts[0].source)})
                    session = await runtime.start(own)
                    calls.append(asyncio.create_task(session.call(Request())))
                await one.begun  # type: ignore[attr-defined] # a test's shorthand
                await two.begun  # type: ignore[attr-defined] # the same
                for call in calls:
                    call.cancel()
                await asyncio.wait(calls)
                return [await one, await two]
        finally:
            await runtime.close()

    assert all(said for said in run(go()))


def test_caveats_are_sentences(bench: Bench) -> None:
    """What a runtime doesn't enforce, it says."""
    caveats = bench.make().caveats()

    assert all("bound" in caveat or "isolation" in caveat or "outlive" in caveat for caveat in caveats)


# --- Served processes -------------------------------------------------------------------------

COUNTER = """
    import coinstac
    calls = 0
    def local(data):
        global calls
        calls += 1
        print("called", calls)
        if data == "exit":
            raise SystemExit(3)
        if data == "set":
            return {1, 2}
        if data == "leave":
            import os
            os._exit(9)
        if data == "crash":
            import os
            os.kill(os.getpid(), 11)
        return {"calls": calls, "data": data}
    def remote(data):
        return {"nan": float("nan"), "size": len(data)}
    coinstac.start(local, remote)
"""


def asked(mode: str, data: Any) -> bytes:
    return json.dumps({"mode": mode, "data": data}).encode()


def test_served_process_keeps_its_state(bench: Bench) -> None:
    """A served process answers call after call; each reply quotes what its own call printed."""
    replies = bench.calls(
        bench.served(COUNTER), asked("local", 1), asked("local", "ü"), asked("remote", "abc")
    )

    expected = [
        Reply(output=b'{"calls": 1, "data": 1}', log_tail="called 1\n"),
        Reply(output=b'{"calls": 2, "data": "\\u00fc"}', log_tail="called 2\n"),
        Reply(output=b'{"nan": NaN, "size": 3}', log_tail=""),
    ]
    assert expected == replies


@pytest.mark.parametrize(
    ("data", "reason"), [("exit", "SystemExit: 3"), ("set", "Object of type set is not JSON serializable")]
)
def test_failed_answer_is_no_end(bench: Bench, data: str, reason: str) -> None:
    """What a function raises, or what JSON can't hold, fails its call; the process goes on."""
    failed, next_one = bench.calls(bench.served(COUNTER), asked("local", data), asked("local", 1))

    assert (1, b"", True) == (failed.exit_code, failed.output, reason in failed.log_tail)
    assert b'{"calls": 2, "data": 1}' == next_one.output


@pytest.mark.parametrize(("data", "status"), [("leave", 9), ("crash", -signal.SIGSEGV)])
def test_end_of_a_served_process_is_told(bench: Bench, data: str, status: int) -> None:
    """A served process that ends answers with its status, and can't be called again."""

    async def go() -> int:
        async with bench.session(bench.served(COUNTER)) as session:
            await session.call(Request(body=asked("local", 0)))
            reply = await session.call(Request(body=asked("local", data)))
            with pytest.raises(AlgorithmFailed, match="can't answer another call"):
                await session.call(Request(body=asked("local", 0)))
            return reply.exit_code

    assert status == run(go())


def test_entry_script_that_fails_is_told(bench: Bench) -> None:
    """An entry script that can't be run leaves its status and its traceback."""
    reply = bench.call(bench.served("import no_such_module"), asked("local", 1))

    assert (1, True) == (reply.exit_code, "No module named 'no_such_module'" in reply.log_tail)


def test_entry_script_without_start_is_told(bench: Bench) -> None:
    """An entry script that serves nothing fails with what was expected of it."""
    with pytest.raises(AlgorithmFailed, match=r"expected its entry script to call coinstac\.start"):
        bench.call(bench.served("print('hello')"), asked("local", 1))


def test_time_limit_ends_a_served_process(bench: Bench) -> None:
    """A served call beyond its time ends the process, which kept its state: the session is lost."""
    script = """
        import coinstac, signal
        coinstac.start(lambda data: signal.pause() if data else data, None)
    """

    async def go() -> None:
        async with bench.session(bench.served(script, limits=CallLimits(seconds=2.5))) as session:
            await session.call(Request(body=asked("local", 0)))
            with pytest.raises(LimitReached, match=r"longer than 2\.5 seconds"):
                await session.call(Request(body=asked("local", 1)))
            with pytest.raises(AlgorithmFailed, match="can't answer another call"):
                await session.call(Request(body=asked("local", 0)))

    run(go())


def test_reply_limit_of_a_served_process(bench: Bench) -> None:
    """An answer that is too large is not read."""
    script = "import coinstac; coinstac.start(lambda data: 'x' * data, None)"
    launch = bench.served(script, limits=CallLimits(reply_bytes=1000))

    assert 1000 == len(whole(bench.call(launch, asked("local", 998)).output))
    with pytest.raises(LimitReached, match="more than 1000 bytes"):
        bench.call(launch, asked("local", 999))


def test_cancelled_served_call_leaves_no_process(bench: Bench) -> None:
    """A served process whose call was cancelled ends."""
    launch = lingering(bench)
    text = (code_of(launch) / "local.py").read_text()
    body = (
        "import coinstac\ndef local(data):\n" + textwrap.indent(text, "    ") + "coinstac.start(local, None)"
    )
    (code_of(launch) / "local.py").write_text(body)

    async def go() -> bytes:
        async with (
            thread_of_life(launch) as gone,
            bench.session(replace(launch, style=Style.SERVE)) as session,
        ):
            call = asyncio.create_task(session.call(Request(body=asked("local", 1))))
            await gone.begun  # type: ignore[attr-defined] # a test's shorthand
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            return await gone

    assert b"oo".startswith(run(go()))


@pytest.mark.acceptance
@pytest.mark.timeout(120)
def test_large_served_answers(bench: Bench) -> None:
    """100 MB go in and come out of a served process."""
    script = "import coinstac; coinstac.start(lambda data: data, None)"
    text = "0123456789" * 10_000_000

    assert f'"{text}"'.encode() == bench.call(bench.served(script), asked("local", text)).output


def test_served_seed_holds_from_the_start(bench: Bench) -> None:
    """The seed of a served process's first call is that of its generators."""
    script = "import coinstac, random; coinstac.start(lambda data: random.random(), None)"
    launch = bench.served(script)

    first, again, other = (
        bench.calls(launch, asked("local", 1), asked("local", 1), seed=s) for s in (1, 1, 2)
    )

    assert first == again
    assert first != other
