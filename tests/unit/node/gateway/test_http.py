"""HTTP from hostile code is served within bounds, and an answer that was not heard is known."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.descriptors import descriptors

from atoll.engine.running import HttpRequest, HttpResponse
from atoll.node.gateway.http import Bounds, HttpServer

Respond = Callable[[HttpRequest], Awaitable[HttpResponse]]


def told(value: Any, **more: Any) -> HttpResponse:
    """An answer."""
    return HttpResponse(status=200, body=json.dumps(value).encode(), **more)


async def echo(request: HttpRequest) -> HttpResponse:
    """Answer with what was asked."""
    body = request.body.decode("latin-1")
    return told([request.method, request.path, dict(request.query), request.token, body])


@dataclass
class Line:
    """A connection to the server, on which a test writes what it likes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, text: str | bytes) -> None:
        """Send something."""
        self.writer.write(text if isinstance(text, bytes) else text.encode())

    def ask(self, head: str, *headers: str, body: str = "") -> None:
        """Send a request."""
        length = [f"Content-Length: {len(body)}"] if body else []
        self.say("\r\n".join([f"{head} HTTP/1.1", "Host: node", *headers, *length, "", body]))

    async def heard(self, *, empty: bool = False) -> tuple[int, dict[str, str], bytes]:
        """The next answer: its status, its headers and its body."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = [line.split(": ", 1) for line in head[1:] if line]
        headers = {name.lower(): value for name, value in pairs}
        if empty:
            return int(head[0].split()[1]), headers, b""
        if headers.get("transfer-encoding") == "chunked":
            return int(head[0].split()[1]), headers, await self._chunks()
        length = int(headers.get("content-length", 0))
        return int(head[0].split()[1]), headers, await self.reader.readexactly(length)

    async def answer(self) -> Any:
        """The JSON of the next answer, which must be no error."""
        status, _, body = await self.heard()
        assert status == 200, body
        return json.loads(body)

    async def chunk(self) -> bytes:
        """The next piece of an answer."""
        size = int(await self.reader.readline(), 16)
        piece = await self.reader.readexactly(size + 2)
        return piece[:-2]

    async def ended(self) -> bool:
        """Wait for the server to close the line."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        """Close the line as it should be."""
        self.writer.close()
        await self.writer.wait_closed()

    def reset(self) -> None:
        """Break the line."""
        linger = struct.pack("ii", 1, 0)
        connection = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.writer.transport.abort()

    async def _chunks(self) -> bytes:
        pieces = []
        while piece := await self.chunk():
            pieces.append(piece)
        return b"".join(pieces)


@dataclass
class Served:
    """A server on loopback."""

    server: HttpServer
    port: int
    lines: list[Line] = field(default_factory=list)

    async def line(self) -> Line:
        """Connect."""
        line = Line(*await asyncio.open_connection("127.0.0.1", self.port))
        self.lines.append(line)
        return line


@asynccontextmanager
async def serving(respond: Respond = echo, **bounds: Any) -> AsyncIterator[Served]:
    """A server, with these bounds."""
    listening = socket.create_server(("127.0.0.1", 0))
    port = listening.getsockname()[1]
    server = HttpServer(respond, bounds=Bounds(**bounds))
    server.listen(listening.detach())
    served = Served(server, port)
    try:
        yield served
    finally:
        await server.close()
        for line in served.lines:
            line.writer.transport.abort()
        await asyncio.sleep(0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop run until something holds."""
    while not condition():
        await asyncio.sleep(0)


# --- Requests ---------------------------------------------------------------------------------


def test_a_request_arrives_taken_apart_and_its_answer_is_json() -> None:
    async def scenario() -> None:
        async with serving() as served:
            line = await served.line()
            line.ask("GET /task/3%2F4/%C3%A9?task_id=3&name=a%20b&empty=", "Authorization: Bearer  a.b.c ")

            status, headers, body = await line.heard()

            assert (200, "application/json") == (status, headers["content-type"])
            query = {"task_id": "3", "name": "a b", "empty": ""}
            assert ["GET", "/task/3/4/é", query, "a.b.c", ""] == json.loads(body)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "header", ["", "Authorization: Basic x", "Authorization: Bearer", "X-Token: Bearer x"]
)
def test_what_shows_no_token_has_none(header: str) -> None:
    async def scenario() -> None:
        async with serving() as served:
            line = await served.line()
            line.ask("GET /a", *([header] if header else []))

            assert "" == (await line.answer())[3]

    asyncio.run(scenario())


def test_a_connection_serves_one_request_after_the_other() -> None:
    async def scenario() -> None:
        async with serving() as served:
            line = await served.line()
            line.ask("GET /1")
            assert "/1" == (await line.answer())[1]
            line.ask("POST /2", body="two")
            line.ask("GET http://node:80/3?x=1")  # Before the other is answered.

            assert ["/2", "two"] == (await line.answer())[1::3]
            assert ["GET", "/3", {"x": "1"}] == (await line.answer())[:3]

    asyncio.run(scenario())


def test_a_connection_is_closed_where_the_other_side_asks_for_that() -> None:
    async def scenario() -> None:
        async with serving() as served:
            line = await served.line()
            line.ask("GET /", "Connection: close")

            assert "close" == (await line.heard())[1]["connection"]
            assert await line.ended()

    asyncio.run(scenario())


def test_bodies_come_in_chunks_and_after_leave_was_given() -> None:
    async def scenario() -> None:
        async with serving() as served:
            line = await served.line()
            line.ask("POST /", "Transfer-Encoding: chunked")
            for piece in ("3\r\nabc\r\n", "2\r\nde\r\n", "0\r\n\r\n"):
                line.say(piece)
            assert "abcde" == (await line.answer())[4]

            line.ask("POST /", "Expect: 100-continue", "Content-Length: 3")
            assert 100 == (await line.heard(empty=True))[0]
            line.say("xyz")
            assert "xyz" == (await line.answer())[4]

    asyncio.run(scenario())


def test_a_large_body_and_a_large_answer_pass() -> None:
    size = 9_000_000

    async def respond(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=200, body=request.body)

    async def scenario() -> None:
        async with serving(respond) as served:
            line = await served.line()
            line.ask("POST /", body="x" * size)

            assert size == len((await line.heard())[2])

    asyncio.run(scenario())


def test_it_listens_where_it_is_told_to_and_closes_that() -> None:
    async def scenario(path: Path) -> None:
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        listening.listen()
        descriptor = listening.detach()
        server = HttpServer(echo)
        server.listen(descriptor)
        line = Line(*await asyncio.open_unix_connection(str(path)))
        line.ask("GET /")
        assert "/" == (await line.answer())[1]

        await server.close()
        await server.close()

        assert await line.ended()
        await line.close()
        descriptors()  # once all is closed that is being closed
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)

    path = Path("/tmp") / f"atoll-{os.getpid()}.socket"  # A short one: the system allows 108 bytes.
    try:
        asyncio.run(scenario(path))
    finally:
        path.unlink()


# --- What is refused --------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_other_methods_are_refused(method: str) -> None:
    async def scenario() -> None:
        async with serving() as served:
            line = await served.line()
            line.ask(f"{method} /")

            assert 405 == (await line.heard(empty=method == "HEAD"))[0]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("HELO\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),  # without a host
        ("GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9 + "\r\n\r\n", 400),
        (f"GET /{'x' * 2000} HTTP/1.1\r\nHost: x\r\n", 431),
        (f"GET /?{'&'.join(f'n{number}=1' for number in range(101))} HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    ],
)
def test_what_is_no_request_is_refused(said: str, status: int) -> None:
    async def scenario() -> None:
        async with serving(head_bytes=1500) as served:
            line = await served.line()
            line.say(said.encode("latin-1"))

            code, _, body = await line.heard()

            assert status == code
            assert ["msg"] == list(json.loads(body))

    asyncio.run(scenario())


@pytest.mark.parametrize("ending", ["POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", "GET", ""])
def test_a_request_that_ends_in_its_middle_is_forgotten(ending: str) -> None:
    async def scenario() -> None:
        asked = []

        async def respond(request: HttpRequest) -> HttpResponse:
            asked.append(request)
            return told(1)

        async with serving(respond) as served:
            line = await served.line()
            line.say(ending)
            line.writer.write_eof()
            await line.reader.read()

            other = await served.line()
            other.ask("GET /")
            await other.answer()

        assert 1 == len(asked)

    asyncio.run(scenario())


def test_a_body_beyond_the_bound_is_refused_before_it_is_sent_where_that_is_told() -> None:
    async def scenario() -> None:
        async with serving(body_bytes=10) as served:
            line = await served.line()
            line.ask("POST /", "Expect: 100-continue", "Content-Length: 11")
            assert 413 == (await line.heard())[0]

            chunked = await served.line()
            chunked.ask("POST /", "Transfer-Encoding: chunked")
            chunked.say("b\r\nabcdefghijk\r\n0\r\n\r\n")
            assert 413 == (await chunked.heard())[0]
            assert await chunked.ended()

            within = await served.line()
            within.ask("POST /", body="abcdefghij")
            assert "abcdefghij" == (await within.answer())[4]

    asyncio.run(scenario())


def test_the_bound_holds_for_all_bodies_together() -> None:
    async def scenario() -> None:
        async with serving(body_bytes=10) as served:
            first, second = await served.line(), await served.line()
            first.ask("POST /1", "Content-Length: 9")
            first.say("12345678")
            await until(lambda: served.server._room_bytes == 2)

            second.ask("POST /2", body="abc")
            assert 413 == (await second.heard())[0]
            first.say("9")

            assert "123456789" == (await first.answer())[4]
            await until(lambda: served.server._room_bytes == 10)

    asyncio.run(scenario())


def test_a_fault_of_the_node_is_told_to_its_operator_alone() -> None:
    async def respond(_: HttpRequest) -> HttpResponse:
        raise KeyError("secret")

    async def scenario() -> None:
        reported: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
        async with serving(respond) as served:
            line = await served.line()
            for _ in range(2):
                line.ask("POST /path", "Authorization: Bearer token", body="a body")

                status, _, body = await line.heard()

                assert (500, {"msg": "this node could not answer"}) == (status, json.loads(body))
        assert ["KeyError('secret')"] * 2 == [repr(context["exception"]) for context in reported]
        assert {"a request of a running algorithm could not be answered"} == {
            context["message"] for context in reported
        }

    asyncio.run(scenario())


# --- Bounds on time and number ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("begun", "bound"),
    [
        ("", "head_seconds"),
        ("GET / HTTP/1.1\r\nHost:", "head_seconds"),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", "stall_seconds"),
    ],
)
def test_who_keeps_a_connection_waiting_loses_it(begun: str, bound: str) -> None:
    async def scenario() -> None:
        bounds: dict[str, Any] = {bound: 0.05}
        async with serving(**bounds) as served:
            line = await served.line()
            line.say(begun)

            assert await line.ended()

    asyncio.run(scenario())


def test_who_reads_no_answer_loses_it_and_holds_nobody_up() -> None:
    async def respond(request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=200, body=b"x" * (30_000_000 if request.path == "/large" else 1))

    async def scenario() -> None:
        async with serving(respond, stall_seconds=0.2) as served:
            slow, other = await served.line(), await served.line()
            slow.ask("GET /large")
            await until(served.server.turn.locked)
            other.ask("GET /small")

            assert b"x" == (await other.heard())[2]
            with pytest.raises(asyncio.IncompleteReadError):
                await slow.heard()

    asyncio.run(scenario())


def test_there_are_only_so_many_connections() -> None:
    async def scenario() -> None:
        async with serving(connections=2) as served:
            lines = [await served.line() for _ in range(3)]
            while len(served.server._serving) < 2:
                await asyncio.sleep(0)
            for line in lines:
                line.ask("GET /")
            # Where there are many, none is kept for another request.
            status, headers, _ = await lines[0].heard()
            assert (200, "close") == (status, headers["connection"])
            assert 2 >= len(served.server._serving)

            for line in lines:
                await line.close()

            last = await served.line()
            last.ask("GET /last")
            assert "/last" == (await last.answer())[1]

    asyncio.run(scenario())


def test_one_request_is_answered_at_a_time() -> None:
    async def scenario() -> None:
        under_way: list[str] = []
        together: list[int] = []
        go_on = asyncio.Event()

        async def respond(request: HttpRequest) -> HttpResponse:
            under_way.append(request.path)
            together.append(len(under_way))
            await go_on.wait()
            under_way.remove(request.path)
            return told(request.path)

        async with serving(respond) as served:
            lines = [await served.line() for _ in range(3)]
            for number, line in enumerate(lines):
                line.ask(f"POST /{number}")
            await until(lambda: bool(together))

            go_on.set()

            assert ["/0", "/1", "/2"] == [await line.answer() for line in lines]
        assert [1, 1, 1] == together

    asyncio.run(scenario())


def test_the_next_request_may_be_there_before_this_one_is_answered() -> None:
    async def scenario() -> None:
        losing = Losing()
        async with serving(losing.respond) as served:
            line = await served.line()
            line.ask("POST /1")
            await until(lambda: losing.asked == ["/1"])
            line.ask("POST /2")
            for _ in range(10):
                await asyncio.sleep(0)

            losing.go_on.set()

            assert [201, 201] == [(await line.heard())[0] for _ in range(2)]
            assert ["/1", "/2"] == losing.done

    asyncio.run(scenario())


def test_nothing_outlives_the_server() -> None:
    async def scenario() -> None:
        cancelled = asyncio.Event()

        async def respond(_: HttpRequest) -> HttpResponse:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()
            raise AssertionError

        async with serving(respond) as served:
            asking, idle = await served.line(), await served.line()
            asking.ask("POST /")
            await until(served.server.turn.locked)
            await asyncio.sleep(0)

            await served.server.close()

            assert cancelled.is_set()
            assert await asking.ended()
            assert await idle.ended()
            with pytest.raises(ConnectionRefusedError):
                await served.line()
            assert {asyncio.current_task()} == asyncio.all_tasks()

    asyncio.run(scenario())


# --- Answers that come later ------------------------------------------------------------------


@dataclass
class Slow:
    """Answers when it is told to."""

    ready: asyncio.Event = field(default_factory=asyncio.Event)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    fault: Exception | None = None

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Promise an answer."""
        return HttpResponse(status=200, later=self.later) if request.path == "/slow" else await echo(request)

    async def later(self) -> bytes:
        """The answer."""
        self.waiting.set()
        try:
            await self.ready.wait()
        except asyncio.CancelledError:
            self.left.set()
            raise
        if self.fault:
            raise self.fault
        return b'{"status": "completed"}'


def test_an_answer_that_comes_soon_is_like_any_other() -> None:
    async def scenario() -> None:
        slow = Slow()
        slow.ready.set()
        async with serving(slow.respond) as served:
            line = await served.line()
            line.ask("GET /slow")

            _, headers, body = await line.heard()

            assert {"status": "completed"} == json.loads(body)
            assert str(len(body)) == headers["content-length"]

    asyncio.run(scenario())


def test_who_waits_for_an_answer_hears_that_the_line_is_alive_and_holds_nobody_up() -> None:
    async def scenario() -> None:
        slow = Slow()
        async with serving(slow.respond, quiet_seconds=0.01) as served:
            line, other = await served.line(), await served.line()
            line.ask("GET /slow")
            head = await line.reader.readuntil(b"\r\n\r\n")
            assert b" " == await line.chunk()
            other.ask("GET /other")
            assert "/other" == (await other.answer())[1]

            slow.ready.set()
            text = await line._chunks()

            assert b"200" in head
            assert {"status": "completed"} == json.loads(text)
            line.ask("GET /again")
            assert "/again" == (await line.answer())[1]

    asyncio.run(scenario())


@pytest.mark.parametrize("quiet", [60.0, 0.01])
def test_who_waits_for_an_answer_may_leave(quiet: float) -> None:
    async def scenario() -> None:
        slow = Slow()
        async with serving(slow.respond, quiet_seconds=quiet) as served:
            line = await served.line()
            line.ask("GET /slow")
            await slow.waiting.wait()

            line.reset()

            await slow.left.wait()

    asyncio.run(scenario())


def test_an_answer_that_never_comes_is_told_of_while_it_can_be() -> None:
    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        slow = Slow(fault=KeyError("secret"))
        async with serving(slow.respond, quiet_seconds=0.01) as served:
            waiting = await served.line()
            waiting.ask("GET /slow")
            await waiting.reader.readuntil(b"\r\n\r\n")
            slow.ready.set()
            with pytest.raises((asyncio.IncompleteReadError, ValueError)):
                await waiting._chunks()

            line = await served.line()
            line.ask("GET /slow")
            assert 500 == (await line.heard())[0]

    asyncio.run(scenario())


# --- Answers that are not heard ---------------------------------------------------------------


@dataclass
class Losing:
    """Answers, and remembers which of its answers was lost."""

    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    size: int = 1

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """Answer when it is time."""
        path = request.path
        self.asked.append(path)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cancelled.append(path)
            raise
        self.done.append(path)
        return HttpResponse(status=201, body=b"1" * self.size, lost=lambda: self.lost.append(path))


def test_what_was_asked_for_is_done_though_nobody_waits_and_its_answer_is_known_to_be_lost() -> None:
    async def scenario() -> None:
        losing = Losing()
        async with serving(losing.respond) as served:
            line = await served.line()
            line.ask("POST /1")
            await until(lambda: losing.asked == ["/1"])
            await line.close()
            again = await served.line()
            again.ask("POST /2")

            losing.go_on.set()

            assert 201 == (await again.heard())[0]
            # The first was done, and known to be lost, before the second began.
            assert (["/1", "/2"], ["/1"]) == (losing.done, losing.lost)

    asyncio.run(scenario())


def test_a_question_that_changes_nothing_ends_with_who_asked() -> None:
    async def scenario() -> None:
        losing = Losing()
        async with serving(losing.respond) as served:
            line = await served.line()
            line.ask("GET /1")
            await until(lambda: losing.asked == ["/1"])

            line.reset()

            await until(lambda: losing.cancelled == ["/1"])
            assert [] == losing.lost

    asyncio.run(scenario())


def test_an_answer_on_a_line_that_breaks_before_it_is_read_is_lost() -> None:
    async def scenario() -> None:
        losing = Losing()
        losing.go_on.set()
        async with serving(losing.respond) as served:
            line = await served.line()
            line.writer.transport.pause_reading()  # type: ignore[attr-defined] # a socket's transport can
            line.ask("POST /1")
            await until(lambda: losing.done == ["/1"])

            line.reset()

            await until(lambda: losing.lost == ["/1"])

    asyncio.run(scenario())


def test_an_answer_that_can_not_be_written_is_lost() -> None:
    async def scenario() -> None:
        losing = Losing(size=30_000_000)
        losing.go_on.set()
        async with serving(losing.respond, stall_seconds=0.05) as served:
            line = await served.line()
            line.ask("POST /1")

            await until(lambda: losing.lost == ["/1"])

    asyncio.run(scenario())


def test_an_answer_is_heard_where_the_line_goes_on_or_ends_as_it_should() -> None:
    async def scenario() -> None:
        losing = Losing()
        losing.go_on.set()
        async with serving(losing.respond) as served:
            first, second = await served.line(), await served.line()
            for line in (first, second):
                line.ask("POST /1")
                await line.heard()
            first.ask("GET /2")
            await first.heard()
            first.reset()
            await second.close()
            await until(lambda: not served.server._serving)

        # Only the answer that came last on the broken line may not have been heard.
        assert ["/2"] == losing.lost

    asyncio.run(scenario())
