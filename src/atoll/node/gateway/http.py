"""HTTP for one call, on a socket that listens where the algorithm can reach it.

What connects is hostile code, and bounds hold for all of its connections together: how many there
are, what they send, and how long they take for it. One request is answered at a time. So at most
one answer is in memory, and a request that is sent again finds how the first one ended. Nothing
here knows what is asked, and nothing is logged of it.

::

    accept -> head -> body -> answered in its turn -> written -> head …
                                   \\-- an answer that comes later is waited for out of turn

Whoever waits for a later answer is sent spaces, which JSON may begin with: so nobody takes the
line for dead. Whether an answer was heard shows in what comes after it: another request, or the
proper end of the connection. Where it breaks instead, the one who answered is told.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import parse_qsl, unquote

import h11

from atoll.engine.limits import CHUNK_BYTES, HTTP_BODY_BYTES_MAX
from atoll.engine.running import HttpRequest, HttpResponse
from atoll.runtimes.outlets import accept, end

#: What the one who answers is asked. Everything else is refused here.
_METHODS = frozenset((b"GET", b"POST", b"PUT", b"PATCH", b"DELETE"))
#: Names in a query. No client sends more than a few.
_QUERY_NAMES_MAX = 100
#: Pieces of a body that are taken before other work of the loop gets its turn.
_PIECES_AT_A_TIME = 256
_JSON = ("content-type", "application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What the connections of one call may take, and for how long."""

    #: At once. More wait until one of these ends.
    connections: int = 64
    #: Of all bodies that are being received or answered.
    body_bytes: int = HTTP_BODY_BYTES_MAX
    #: Of a request line and its headers: a token names the queries of all databases.
    head_bytes: int = 256 * 1024
    #: For a request to begin, and its head to be whole.
    head_seconds: float = 60.0
    #: Without a byte that is received or sent.
    stall_seconds: float = 60.0
    #: That whoever waits for a later answer hears nothing. Clients give up after a minute or more.
    quiet_seconds: float = 20.0
    #: For the other side to close a connection that is closed here.
    linger_seconds: float = 2.0


class HttpServer:
    """Serves HTTP until it is closed."""

    def __init__(
        self, respond: Callable[[HttpRequest], Awaitable[HttpResponse]], *, bounds: Bounds | None = None
    ) -> None:
        self._respond = respond
        self.bounds = bounds or Bounds()
        #: Held by the request that is being answered.
        self.turn = asyncio.Lock()
        self._room_bytes = self.bounds.body_bytes
        self._free = asyncio.Semaphore(self.bounds.connections)
        self._sockets: list[socket.socket] = []
        self._accepting: list[asyncio.Task[None]] = []
        self._serving: set[asyncio.Task[None]] = set()

    def listen(self, listener: int) -> None:
        """Serve on a socket that listens. From now on it is this server's to close.

        Args:
            listener: its descriptor.
        """
        listening = socket.socket(fileno=listener)
        listening.setblocking(False)
        self._sockets.append(listening)
        self._accepting.append(asyncio.get_running_loop().create_task(self._accept(listening)))

    async def close(self) -> None:
        """End every connection, and listen no more. May be called twice."""
        await _end(*self._accepting, *self._serving)
        for listening in self._sockets:
            end(listening)

    @property
    def crowded(self) -> bool:
        """Whether connections should not be kept for another request."""
        return 2 * len(self._serving) > self.bounds.connections

    def take(self, size_bytes: int) -> bool:
        """Make room for a part of a body; False where there is none."""
        if size_bytes > self._room_bytes:
            return False
        self._room_bytes -= size_bytes
        return True

    def give_back(self, size_bytes: int) -> None:
        """A body is not needed any more."""
        self._room_bytes += size_bytes

    async def answer(self, request: HttpRequest) -> HttpResponse:
        """The answer to a request. A fault of the one who answers is not the algorithm's to know."""
        try:
            return await self._respond(request)
        except Exception as error:  # A node outlives its mistakes, and its operator is told.
            _report(error)
            return _said(500, "this node could not answer")

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._free.acquire()
            try:
                accepted = await accept(listening)
            except OSError:
                # Too many files are open at this node, or the caller has gone again.
                self._free.release()
                await asyncio.sleep(0.1)
                continue
            serving = loop.create_task(_Connection(self, accepted).serve())
            self._serving.add(serving)
            serving.add_done_callback(partial(self._served, accepted))

    def _served(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        accepted.close()
        self._serving.discard(task)
        self._free.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            _report(error)


class _TooLargeError(Exception):
    """A body is larger than there is room for."""


class _Connection:
    """One connection of the algorithm's."""

    def __init__(self, server: HttpServer, accepted: socket.socket) -> None:
        self._server = server
        self._bounds = server.bounds
        self._socket = accepted
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._protocol = h11.Connection(h11.SERVER, max_incomplete_event_size=self._bounds.head_bytes)
        #: Of a body, while it is received and answered.
        self._taken_bytes = 0
        #: Is called if the connection breaks now.
        self._unheard: Callable[[], None] | None = None

    async def serve(self) -> None:
        """Answer one request after the other, until one side has had enough."""
        try:
            while await self._exchange():
                self._protocol.start_next_cycle()
            await self._linger()
        except h11.RemoteProtocolError as error:
            if self._protocol.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                with suppress(OSError):
                    await self._deliver(_said(error.error_status_hint, "this is not HTTP as it should be"))
                    await self._linger()
        except OSError:
            pass  # It has gone, or took too long.

    async def _exchange(self) -> bool:
        """One request and its answer; whether another may follow."""
        async with asyncio.timeout(self._bounds.head_seconds):
            head = await self._next()
        if not isinstance(head, h11.Request):
            return False
        if head.method not in _METHODS:
            await self._deliver(_said(405, "there is no such method here"), empty=head.method == b"HEAD")
            return False
        try:
            request = _request(head, await self._receive_body(head))
            if request is None:
                return await self._deliver(_said(400, "the query has too many names"))
            return await self._answer(request)
        except _TooLargeError:
            await self._deliver(
                _said(
                    413, f"what is sent at once may have {self._bounds.body_bytes} bytes, and this has more"
                )
            )
            return False
        finally:
            self._server.give_back(self._taken_bytes)
            self._taken_bytes = 0

    async def _receive_body(self, head: h11.Request) -> bytes:
        # Not a list: pieces of one byte would take many times their size.
        body = bytearray()
        for name, value in head.headers:
            # Told before it is sent: a client that waits for leave to send it needn't.
            if name == b"content-length" and int(value) > self._bounds.body_bytes:
                raise _TooLargeError
        for count in itertools.count(1):
            async with asyncio.timeout(self._bounds.stall_seconds):
                event = await self._next()
            if not isinstance(event, h11.Data):
                break
            if not self._server.take(len(event.data)):
                raise _TooLargeError
            self._taken_bytes += len(event.data)
            body += event.data
            if count % _PIECES_AT_A_TIME == 0:
                await asyncio.sleep(0)
        return bytes(body)

    async def _next(self) -> object:
        """What the other side says next.

        Raises:
            h11.RemoteProtocolError: something that is not HTTP.
        """
        while True:
            event = self._protocol.next_event()
            if event is not h11.NEED_DATA:
                return event
            if self._protocol.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason="Continue")
                await self._write(self._protocol.send_with_data_passthrough(go_on) or [])
            self._protocol.receive_data(await self._receive())

    async def _receive(self) -> bytes:
        """What has arrived; empty where the other side has closed the connection."""
        try:
            data = await self._loop.sock_recv(self._socket, CHUNK_BYTES)
        except OSError:
            self._break()
            raise
        self._unheard = None
        # Where the next piece is there already, nothing else would get a turn.
        await asyncio.sleep(0)
        return data

    # --- Answers ------------------------------------------------------------------------------

    async def _answer(self, request: HttpRequest) -> bool:
        """Answer a request; whether another may follow."""
        async with self._server.turn:
            response = await self._unless_left(self._server.answer(request), always=request.method != "GET")
            if response is None:
                return False
            if response.later is None:
                return await self._deliver(response)
        return await self._deliver_later(response.status, response.later)

    async def _unless_left(
        self, answer: Coroutine[Any, Any, HttpResponse], *, always: bool
    ) -> HttpResponse | None:
        """An answer, or None where nobody waits for it any more.

        Args:
            answer: gives it.
            always: even when nobody waits: the question changes something.
        """
        answering = self._loop.create_task(answer)
        leaving = self._loop.create_task(self._left())
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not always and not answering.done():
                return None
            response = await answering
            self._unheard = response.lost
            if leaving.done():
                self._break()
                return None
            return response
        finally:
            await _end(answering, leaving)

    async def _deliver(self, response: HttpResponse, *, empty: bool = False) -> bool:
        """Write an answer; whether another request may follow."""
        headers = [_JSON, ("content-length", str(len(response.body)))]
        if self._server.crowded:
            headers.append(("connection", "close"))
        events: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers)]
        if not empty:
            events.append(h11.Data(data=response.body))
        await self._say(*events, h11.EndOfMessage())
        return self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE

    async def _deliver_later(self, status: int, later: Callable[[], Awaitable[bytes]]) -> bool:
        """Wait for an answer and write it; whether another request may follow."""
        waiting = self._loop.create_task(_awaited(later))
        leaving = self._loop.create_task(self._left())
        begun = False
        try:
            while True:
                await asyncio.wait(
                    (waiting, leaving),
                    timeout=self._bounds.quiet_seconds,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                if waiting.done():
                    break
                if leaving.done():
                    return False
                if not begun:
                    await self._say(h11.Response(status_code=status, headers=[_JSON]))
                    begun = True
                await self._say(h11.Data(data=b" "))
            body = waiting.result()
        finally:
            await _end(waiting, leaving)
        if not begun:
            failed = _said(500, "this node could not answer")
            return await self._deliver(failed if body is None else HttpResponse(status=status, body=body))
        if body is None:
            return False  # It breaks off, as its status was told already.
        await self._say(h11.Data(data=body), h11.EndOfMessage())
        return self._protocol.our_state is h11.DONE and self._protocol.their_state is h11.DONE

    async def _say(self, *events: h11.Event) -> None:
        pieces: list[bytes] = []
        for event in events:
            pieces += self._protocol.send_with_data_passthrough(event) or []
        await self._write(pieces)

    async def _write(self, pieces: Sequence[bytes]) -> None:
        # What is small goes out at once: each write would be a packet of its own.
        joined = [b"".join(pieces)] if sum(map(len, pieces)) <= CHUNK_BYTES else pieces
        try:
            for piece in joined:
                view = memoryview(piece)
                for start in range(0, len(view), CHUNK_BYTES):
                    async with asyncio.timeout(self._bounds.stall_seconds):
                        await self._loop.sock_sendall(self._socket, view[start : start + CHUNK_BYTES])
        except OSError:
            self._break()
            raise

    # --- The end ------------------------------------------------------------------------------

    def _break(self) -> None:
        """The connection broke: an answer that may not have been heard was not."""
        unheard, self._unheard = self._unheard, None
        if unheard is not None:
            unheard()

    async def _left(self) -> None:
        """Return when the other side has closed the connection. Nothing that it sends is taken."""
        while True:
            await self._readable()
            try:
                if not self._socket.recv(1, socket.MSG_PEEK):
                    return
            except BlockingIOError:
                continue
            except OSError:
                return
            # Its next request is there already. It can't be told any more whether it leaves.
            await self._loop.create_future()

    async def _readable(self) -> None:
        readable: asyncio.Future[None] = self._loop.create_future()
        descriptor = self._socket.fileno()
        self._loop.add_reader(descriptor, _wake, readable)
        try:
            await readable
        finally:
            self._loop.remove_reader(descriptor)

    async def _linger(self) -> None:
        """Close this side, and let the other read to the end what was sent."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
            async with asyncio.timeout(self._bounds.linger_seconds):
                while await self._receive():
                    pass


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _awaited(later: Callable[[], Awaitable[bytes]]) -> bytes | None:
    try:
        return await later()
    except Exception as error:  # A node outlives its mistakes, and its operator is told.
        _report(error)
        return None


def _report(error: BaseException) -> None:
    """Tell the node's operator of a fault of its own. No request is quoted."""
    message = "a request of a running algorithm could not be answered"
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": error})


def _said(status: int, sentence: str) -> HttpResponse:
    return HttpResponse(status=status, body=b'{"msg": "%s"}' % sentence.encode())


def _request(head: h11.Request, body: bytes) -> HttpRequest | None:
    """The request as it is handed on; None where its query can't be read."""
    path, _, query = head.target.decode("latin-1").partition("?")
    if "://" in path:  # As it is told to a proxy.
        path = "/" + path.partition("://")[2].partition("/")[2]
    try:
        names = parse_qsl(query, keep_blank_values=True, max_num_fields=_QUERY_NAMES_MAX)
    except ValueError:
        return None
    scheme, _, token = _header(head, b"authorization").partition(" ")
    return HttpRequest(
        method=head.method.decode("ascii"),
        path=unquote(path),
        query=dict(names),
        token=token.strip() if scheme.lower() == "bearer" else "",
        body=body,
    )


def _header(head: h11.Request, name: bytes) -> str:
    return next((value.decode("latin-1") for each, value in head.headers if each == name), "")
