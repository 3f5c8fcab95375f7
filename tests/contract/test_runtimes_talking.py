"""What every runtime promises of processes that may ask before they answer."""

from __future__ import annotations

import asyncio
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from tests.contract.runtime_bench import Bench, run
from tests.descriptors import descriptors

from atoll.engine.limits import CallLimits
from atoll.engine.running import Head, Launch, Reply, Request, Session, Style, whole
from atoll.model.errors import AlgorithmFailed, LimitReached, ReplyInvalid
from atoll.model.work import Content
from atoll.runtimes.command import code_of
from atoll.runtimes.held import HELD_BYTES_MIN, MemoryFile

#: The process's end of the line, as plainly as it can be said, and what some tests need to misuse it.
GUEST = """
import array, fcntl, json, mmap, os, signal, socket, sys
line = socket.socket(fileno=int(os.environ["ATOLL_SERVE_FD"]))

def exactly(count):
    content = b""
    while len(content) < count:
        piece = line.recv(count - len(content))
        if not piece:
            sys.exit(0)
        content += piece
    return content

def receive():
    prefix, extras, _, _ = line.recvmsg(8, 100, socket.MSG_CMSG_CLOEXEC)
    if not prefix:
        sys.exit(0)
    content = exactly(int.from_bytes(prefix, "big"))
    length = int.from_bytes(content[:4], "big")
    files = array.array("i", b"".join(content for _, _, content in extras))
    return json.loads(content[4:4 + length]), content[4 + length:], list(files)

def raw(content, files=(), prefix=None):
    extras = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    content = (len(content) if prefix is None else prefix).to_bytes(8, "big") + content
    sent = line.sendmsg([content], extras)
    line.sendall(content[sent:])

def send(head, body=b"", files=()):
    head = json.dumps(head).encode()
    raw(len(head).to_bytes(4, "big") + head + body, files)

def memory(content, seals=1 | 2 | 4 | 8):
    file = os.memfd_create("body", os.MFD_ALLOW_SEALING)
    os.write(file, content)
    fcntl.fcntl(file, 1033, seals)
    return file

def read(file):
    with mmap.mmap(file, os.fstat(file).st_size, mmap.MAP_PRIVATE, mmap.PROT_READ) as held:
        return held[:]
"""


def talking(bench: Bench, script: str, **fields: Any) -> Launch:
    """A launch of a script that talks, with `GUEST` before it."""
    launch = bench.launch(style=Style.TALK, **fields)
    (code_of(launch) / "local.py").write_text(GUEST + textwrap.dedent(script))
    return launch


class Host:
    """Answers questions, and remembers them."""

    def __init__(self, *answers: tuple[Any, Content], until: Awaitable[Any] | None = None) -> None:
        self.heard: list[tuple[Any, Content]] = []
        self.ended = 0
        self._answers = answers
        self._until = until
        self.begun = asyncio.Event()

    async def answers(self, head: Head, body: Content) -> AsyncIterator[tuple[Head, Content]]:
        document = head
        self.heard.append((document, body))
        self.begun.set()
        try:
            if document["say"] == "call":
                if self._until is not None:
                    await self._until
                for answer, content in self._answers:
                    yield answer, content
        finally:
            self.ended += 1

    def listen(self, listener: int) -> None:
        raise AssertionError(listener)


def asking(head: Any, body: Content = b"") -> Request:
    return Request(head=head, body=body)


async def say(session: Session, head: Any = None, body: Content = b"", host: Host | None = None) -> Reply:
    return await session.call(asking(head, body), doorway=host)


Scene = Callable[[Session], Awaitable[Any]]


def play(bench: Bench, launch: Launch, scene: Scene) -> Any:
    """What a scene in a session returns. No descriptor is left when it is over."""
    results: list[Any] = []

    async def go() -> None:
        async with bench.session(launch) as session:
            results.append(await scene(session))

    before = descriptors()
    try:
        run(go())
    finally:
        assert before == descriptors()
    return results.pop()


# --- Calls ------------------------------------------------------------------------------------

ECHO = """
    count = 0
    while True:
        head, body, files = receive()
        count += 1
        print("call", count, flush=True)
        send({"say": "returned", "count": count, "asked": head}, body[::-1])
"""


def test_call_has_a_head_and_a_body(bench: Bench) -> None:
    """Both go there and come back; the process keeps its state, each reply quotes its own prints."""

    async def scene(session: Session) -> list[Reply]:
        return [await say(session, {"do": "call", "n": n}, b"abc") for n in (1, 2)]

    replies = play(bench, talking(bench, ECHO), scene)

    assert [b"cba", b"cba"] == [reply.output for reply in replies]
    assert ["call 1\n", "call 2\n"] == [reply.log_tail for reply in replies]
    expected = [{"say": "returned", "count": n, "asked": {"do": "call", "n": n}} for n in (1, 2)]
    assert expected == [reply.head for reply in replies]
    assert [0, 0] == [reply.exit_code for reply in replies]


def test_failed_call_is_no_end(bench: Bench) -> None:
    """A process that says that a call failed answers the next one."""
    script = """
        while True:
            head, _, _ = receive()
            send({"say": "failed" if head else "returned", "type": "ValueError"})
    """

    async def scene(session: Session) -> list[Any]:
        return [(await say(session, head)).head["say"] for head in (1, 0, 1)]

    assert ["failed", "returned", "failed"] == play(bench, talking(bench, script), scene)


def test_module_is_served(bench: Bench) -> None:
    """What talks may be a module."""
    launch = talking(bench, ECHO, command=("python", "-m", "local", "target"))

    async def scene(session: Session) -> Content:
        return (await say(session, {}, b"ab")).output

    assert b"ba" == play(bench, launch, scene)


def test_seed_of_the_first_call_holds(bench: Bench) -> None:
    script = """
        import random
        while True:
            receive()
            send({"say": "returned", "drawn": random.random()})
    """

    def drawn(seed: int) -> Any:
        async def scene(session: Session) -> Any:
            return (await session.call(asking({}), seed=seed)).head["drawn"]

        return play(bench, talking(bench, script), scene)

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)


# --- Questions and remarks --------------------------------------------------------------------

ASKER = """
    while True:
        head, body, files = receive()
        for number in range(head["questions"]):
            send({"say": "progress", "n": number})
            send({"say": "call", "n": number}, b"question")
            answers = []
            while not answers or answers[-1][0]["do"] != "end":
                head, body, files = receive()
                answers.append([head, (read(files[0]) if files else body).decode("latin-1")])
                for file in files:
                    os.close(file)
            send({"say": "log", "answers": [[head, len(text), text[:3]] for head, text in answers]})
        send({"say": "returned"}, b"result")
"""


def test_questions_are_answered_one_after_another(bench: Bench) -> None:
    """The doorway hears what is asked and said, in order, and its frames reach the process."""
    host = Host(({"do": "part", "site": "a"}, b"one"), ({"do": "part"}, b""), ({"do": "end"}, b""))

    async def scene(session: Session) -> Content:
        return (await say(session, {"questions": 2}, host=host)).output

    assert b"result" == play(bench, talking(bench, ASKER), scene)
    answers = [[{"do": "part", "site": "a"}, 3, "one"], [{"do": "part"}, 0, ""], [{"do": "end"}, 0, ""]]
    expected = [
        each
        for n in (0, 1)
        for each in (
            ({"say": "progress", "n": n}, b""),
            ({"say": "call", "n": n}, b"question"),
            ({"say": "log", "answers": answers}, b""),
        )
    ]
    assert expected == host.heard
    assert 6 == host.ended


def test_error_of_the_doorway_ends_the_call(bench: Bench) -> None:
    """What a doorway raises is what the call raises, and its process is gone."""

    async def fail() -> None:
        raise LimitReached("too deep")

    async def scene(session: Session) -> None:
        with pytest.raises(LimitReached, match="too deep"):
            await say(session, {"questions": 1}, host=Host(until=fail()))
        with pytest.raises(AlgorithmFailed, match="can't answer another call"):
            await say(session)

    play(bench, talking(bench, ASKER), scene)


def test_question_in_a_call_without_a_doorway_is_refused(bench: Bench) -> None:
    async def scene(session: Session) -> None:
        with pytest.raises(ReplyInvalid, match="nobody was to be asked"):
            await say(session, {"questions": 1})

    play(bench, talking(bench, ASKER), scene)


def test_process_that_dies_in_a_question_is_told(bench: Bench) -> None:
    """Nobody goes on answering a process that has ended."""
    script = """
        receive()
        send({"say": "call"})
        os._exit(9)
    """

    async def scene(session: Session) -> tuple[int, int]:
        host = Host(until=asyncio.get_running_loop().create_future())
        reply = await say(session, host=host)
        with pytest.raises(AlgorithmFailed, match="can't answer another call"):
            await say(session, host=host)
        return reply.exit_code, len(host.heard) - host.ended

    assert (9, 0) == play(bench, talking(bench, script), scene)


def test_process_that_leaves_is_told(bench: Bench) -> None:
    """An end without an answer is an error, even if it is a peaceful one."""

    async def scene(session: Session) -> None:
        with pytest.raises(AlgorithmFailed, match="without an answer: expected it to answer calls until"):
            await say(session)

    play(bench, talking(bench, "receive()"), scene)


def test_time_limit_holds_in_a_question(bench: Bench) -> None:
    async def scene(session: Session) -> int:
        host = Host(until=asyncio.get_running_loop().create_future())
        with pytest.raises(LimitReached, match=r"longer than 1\.5 seconds"):
            await say(session, {"questions": 1}, host=host)
        return len(host.heard) - host.ended

    assert 0 == play(bench, talking(bench, ASKER, limits=CallLimits(seconds=1.5)), scene)


def test_cancelled_question_leaves_nothing(bench: Bench) -> None:
    """Who cancels a call while it asks may be sure that the process and the asking are over."""

    async def scene(session: Session) -> int:
        host = Host(until=asyncio.get_running_loop().create_future())
        call = asyncio.create_task(say(session, {"questions": 1}, b"x" * HELD_BYTES_MIN, host))
        await host.begun.wait()
        while len(host.heard) < 2:
            await asyncio.sleep(0)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        return len(host.heard) - host.ended

    assert 0 == play(bench, talking(bench, ASKER), scene)


FLOOD = """
    receive()
    while True:
        send({"say": "log", "text": "again"})
"""


def test_flood_of_remarks_holds_nobody_up(bench: Bench) -> None:
    """While one process talks without end, another one is served; then its time is over."""
    flood = talking(bench, FLOOD, limits=CallLimits(seconds=1.5))

    async def scene(session: Session) -> bool:
        host = Host()
        flooding = asyncio.create_task(say(session, host=host))
        await host.begun.wait()
        heard = len(host.heard)
        other = talking(bench, ECHO, seat="local1")
        async with bench.session(other) as second:
            for _ in range(20):
                await say(second)
        with pytest.raises(LimitReached, match=r"longer than 1\.5 seconds"):
            await flooding
        return len(host.heard) > heard

    assert play(bench, flood, scene)


def test_frames_before_an_answer_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.runtimes.served._FRAMES_MAX", 100)

    async def scene(session: Session) -> int:
        host = Host()
        with pytest.raises(LimitReached, match="100 questions and remarks"):
            await say(session, host=host)
        return len(host.heard)

    assert 100 == play(bench, talking(bench, FLOOD), scene)


# --- What is large ----------------------------------------------------------------------------

LARGE = """
    while True:
        head, body, files = receive()
        told = [len(files), len(body), len(read(files[0])) if files else None]
        if files:
            try:
                mmap.mmap(files[0], 0)
                told.append("writable")
            except (OSError, ValueError):
                told.append("sealed")
            body = read(files[0])
            os.close(files[0])
        if head["held"]:
            file = memory(body[::-1])
            send({"say": "returned", "told": told}, b"", [file])
            os.close(file)
        else:
            send({"say": "returned", "told": told}, body[::-1])
"""


@pytest.mark.parametrize("held", [False, True])
def test_large_bodies_travel_in_memory(bench: Bench, held: bool) -> None:
    """From a size on a body goes as a sealed file; either form may come back, at any size."""
    small, large = b"ab" * 3, b"ab" * HELD_BYTES_MIN

    async def scene(session: Session) -> list[Any]:
        host = Host()
        seen = []
        for body in (small, MemoryFile.of(small), large, MemoryFile.of(large)):
            reply = await say(session, {"held": held}, body, host)
            right = whole(reply.output) == whole(body)[::-1]
            seen.append([reply.head["told"], isinstance(reply.output, bytes), right])
        return seen

    size = len(large)
    expected = [
        [[0, 6, None], not held, True],
        [[1, 0, 6, "sealed"], not held, True],
        [[1, 0, size, "sealed"], not held, True],
        [[1, 0, size, "sealed"], not held, True],
    ]
    assert expected == play(bench, talking(bench, LARGE), scene)


def test_answers_to_questions_may_be_large(bench: Bench) -> None:
    body = MemoryFile.of(b"xyz" * HELD_BYTES_MIN)
    host = Host(({"do": "part"}, body), ({"do": "part"}, body), ({"do": "end"}, whole(body)))

    async def scene(session: Session) -> None:
        await say(session, {"questions": 1}, host=host)

    play(bench, talking(bench, ASKER), scene)

    size = 3 * HELD_BYTES_MIN
    answers = [[{"do": do}, size, "xyz"] for do in ("part", "part", "end")]
    assert {"say": "log", "answers": answers} == host.heard[-1][0]


def test_large_body_has_a_position_of_its_own(bench: Bench) -> None:
    """Processes that are given the same file can't tell each other anything by reading it."""
    script = """
        while True:
            _, _, files = receive()
            position = os.lseek(files[0], 0, os.SEEK_CUR)
            os.lseek(files[0], 77, os.SEEK_SET)
            send({"say": "returned", "position": position})
    """
    body = MemoryFile.of(b"x" * 100)

    async def scene(session: Session) -> list[Any]:
        return [(await say(session, {}, body)).head["position"] for _ in range(2)]

    assert [0, 0] == play(bench, talking(bench, script), scene)


def test_received_file_stays_as_it_was(bench: Bench) -> None:
    """The process that made a file can't change it any more, nor keep anyone from reading it."""
    script = """
        receive()
        file = memory(b"as it was", 2 | 4 | 8)
        send({"say": "call"}, b"", [file])
        receive()
        failed = []
        for change in (lambda: os.pwrite(file, b"x", 0), lambda: os.ftruncate(file, 1),
                       lambda: os.truncate("/proc/self/fd/%d" % file, 0), lambda: mmap.mmap(file, 9)):
            try:
                change()
            except (OSError, ValueError):
                failed.append(True)
        os.lseek(file, 5, os.SEEK_SET)
        os.fchmod(file, 0)
        send({"say": "returned", "failed": len(failed)})
    """
    host = Host(({"do": "end"}, b""))

    async def scene(session: Session) -> tuple[int, bytes]:
        reply = await say(session, host=host)
        ((_, body),) = host.heard
        host.heard.clear()
        return reply.head["failed"], whole(body)

    assert (4, b"as it was") == play(bench, talking(bench, script), scene)


def test_answer_is_bounded_in_either_form(bench: Bench) -> None:
    """The bound itself is allowed, one byte more isn't, in a frame or beside it."""
    script = """
        head, _, _ = receive()
        body = b"x" * head["size"]
        send({"say": "returned"}, b"" if head["held"] else body, [memory(body)] if head["held"] else [])
        receive()
    """
    launch = talking(bench, script, limits=CallLimits(reply_bytes=1000))

    def size(asked: int, held: bool) -> Any:
        async def scene(session: Session) -> int:
            return len(whole((await say(session, {"size": asked, "held": held})).output))

        return play(bench, launch, scene)

    for held in (False, True):
        assert 1000 == size(1000, held)
        with pytest.raises(LimitReached, match="more than 1000 bytes"):
            size(1001, held)


# --- What is no frame -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "b''",
        "bytes(3)",
        "bytes(4)",
        "(5).to_bytes(4, 'big') + b'null'",
        "(2**32 - 1).to_bytes(4, 'big') + b'{}'",
        "(4).to_bytes(4, 'big') + b'null'",
        "(4).to_bytes(4, 'big') + b'{say'",
        "(2).to_bytes(4, 'big') + b'{}'",
        "(9).to_bytes(4, 'big') + b'{\"say\":1}'",
        "(1).to_bytes(4, 'big') + b'\\xff'",
        "(400000).to_bytes(4, 'big') + b'[' * 400000",
        "(1048577).to_bytes(4, 'big') + b' ' * 1048577",
    ],
)
def test_malformed_frame_ends_the_process(bench: Bench, content: str) -> None:
    script = f"receive(); raw({content}); signal.pause()"

    async def scene(session: Session) -> None:
        with pytest.raises(ReplyInvalid, match="the algorithm sent a frame"):
            await say(session, host=Host())
        with pytest.raises(AlgorithmFailed, match="can't answer another call"):
            await say(session, host=Host())

    play(bench, talking(bench, script), scene)


def test_announced_size_is_not_believed(bench: Bench) -> None:
    """A frame that is said to be enormous is refused before it comes."""
    script = "receive(); raw(b'', prefix=2**63); signal.pause()"

    async def scene(session: Session) -> None:
        with pytest.raises(LimitReached, match="more than"):
            await say(session, host=Host())

    play(bench, talking(bench, script), scene)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ("memory(b'x', 1 | 2 | 4)", "other than a sealed memory file"),
        ("memory(b'x', 2 | 4 | 16)", "other than a sealed memory file"),
        ("0", "other than a sealed memory file"),
        ("line.fileno()", "other than a sealed memory file"),
        ("os.open('/', os.O_PATH)", "other than a sealed memory file"),
        ("os.open('/dev/shm', os.O_RDWR | os.O_TMPFILE)", "other than a sealed memory file"),
        ("memory(b'x'), memory(b'y')", "descriptors that nobody expects"),
        ("*[memory(b'x')] * 200", "descriptors that nobody expects"),
    ],
)
def test_only_a_sealed_memory_file_is_taken(bench: Bench, files: str, reason: str) -> None:
    """Whatever else comes with a frame is closed, and the process is ended."""
    script = f"receive(); send({{'say': 'returned'}}, files=[{files}]); signal.pause()"

    async def scene(session: Session) -> None:
        with pytest.raises(ReplyInvalid, match=reason):
            await say(session, host=Host())

    play(bench, talking(bench, script), scene)


@pytest.mark.parametrize(
    ("sending", "reason"),
    [
        ("send({'say': 'returned'}, b'body', [memory(b'x')])", "a body and a memory file"),
        ("line.sendall(bytes([0] * 7 + [9])); raw(b'', [memory(b'x')])", "descriptors that nobody expects"),
    ],
)
def test_file_comes_in_a_bodys_stead(bench: Bench, sending: str, reason: str) -> None:
    """It goes with the frame's first byte, and the frame has no body then."""

    async def scene(session: Session) -> None:
        with pytest.raises(ReplyInvalid, match=reason):
            await say(session, host=Host())

    play(bench, talking(bench, f"receive(); {sending}; signal.pause()"), scene)


def test_memory_limit_holds(bench: Bench) -> None:
    script = """
        receive()
        held = [b"x" * 10_000_000 for _ in range(100)]
    """

    async def scene(session: Session) -> None:
        with pytest.raises(LimitReached, match="300000000 bytes of memory"):
            await say(session)

    play(bench, talking(bench, script, limits=CallLimits(memory_bytes=300_000_000)), scene)
