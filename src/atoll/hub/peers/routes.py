"""Streams between jobs of one run, over HTTP and WebSockets: for nodes alone.

Each WebSocket begins with a form of the node's. What is refused is told on it, as a problem; nothing
that is said on it is read before the node is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketDisconnected

from atoll.engine.limits import STREAM_ANSWER_SECONDS
from atoll.engine.peers import Standing
from atoll.hub.answers import answer
from atoll.hub.described import described
from atoll.hub.parts import room
from atoll.hub.peers.pipe import End
from atoll.hub.peers.service import PeerService
from atoll.hub.peers.switchboard import Announcement
from atoll.hub.principal import AuthenticatedNode, Principal, node_of
from atoll.hub.problems import is_fault, problem
from atoll.model.errors import Malformed, NotYours, StaleEvent, StreamBroken
from atoll.model.work import JobId, RunId
from atoll.transports import peer_forms
from atoll.transports.peer_forms import PIECE_BYTES_MAX, TEXT_BYTES_MAX, Greeting, Peers

router = APIRouter(prefix="/node/peers", tags=["node"])
_LOG = logging.getLogger(__name__)
#: The code of a connection that is closed since what it asks for is refused.
_REFUSED = 1008

_ASKED = {"job": "The job that asks.", "attempt": "Which claim of it."}


@router.get("/{run}", **described("node", answer=Peers, queries=_ASKED, errors=(StaleEvent, NotYours)))
async def peers(request: Request, run: str, node: AuthenticatedNode) -> Response:
    """The jobs of a run that others of it may call, as a job of this node's sees them."""
    query = request.query_params
    attempt = query.get("attempt", "")
    if not (attempt.isascii() and attempt.isdigit() and len(attempt) < 10):
        raise Malformed("attempt is no number: expected the one that the job's ticket has")
    standing = Standing(run_id=RunId(run), job_id=JobId(query.get("job", "")), attempt=int(attempt))
    return answer(Peers(peers=tuple(await room(request, PeerService).peers(node, standing))))


async def announce(socket: WebSocket) -> None:
    """A job takes calls for as long as this connection lasts; each is told on it."""

    async def serve(node: Principal, first: str) -> None:
        form = peer_forms.announce.decode(first.encode())
        standing = Standing(run_id=_run(socket), job_id=form.job, attempt=form.attempt)
        announcement = await room(socket, PeerService).announce(node, standing, form.ports)
        try:
            await socket.send_text(peer_forms.encode(Greeting()).decode())
            await _first_of(_tell(socket, announcement), _hear(socket, announcement))
        finally:
            await announcement.close()

    await _meet(socket, serve)


async def connect(socket: WebSocket) -> None:
    """A job calls another; once it has answered, this connection is the stream."""

    async def serve(node: Principal, first: str) -> None:
        form = peer_forms.connect.decode(first.encode())
        standing = Standing(run_id=_run(socket), job_id=form.job, attempt=form.attempt)
        calling = room(socket, PeerService).connect(node, standing, form.to, form.port, form.key)
        end, key = await calling
        await _carry(socket, end, Greeting(key=key))

    await _meet(socket, serve)


async def answer_call(socket: WebSocket) -> None:
    """A job takes a call; this connection is the stream."""

    async def serve(node: Principal, first: str) -> None:
        form = peer_forms.answer_call.decode(first.encode())
        standing = Standing(run_id=_run(socket), job_id=form.job, attempt=form.attempt)
        end = await room(socket, PeerService).answer(node, standing, form.stream, form.key)
        await _carry(socket, end, Greeting())

    await _meet(socket, serve)


#: What is spoken over WebSockets, by the path below the room's own.
SOCKETS: Mapping[str, Callable[[WebSocket], Awaitable[None]]] = {
    f"{router.prefix}/{{run}}/announce": announce,
    f"{router.prefix}/{{run}}/connect": connect,
    f"{router.prefix}/{{run}}/answer": answer_call,
}


async def _meet(socket: WebSocket, serve: Callable[[Principal, str], Awaitable[None]]) -> None:
    """Take up a connection of a node, and serve it."""
    try:
        # Before it is known who asks: a refusal with a status would say no more than that.
        await socket.accept()
        node = await node_of(socket)
        async with asyncio.timeout(STREAM_ANSWER_SECONDS):
            first = await _text(socket)
        await serve(node, first)
        await socket.close()
    except (WebSocketDisconnect, WebSocketDisconnected):
        pass  # It has gone.
    except Exception as error:  # whatever it is, who asked hears of it, and the hub goes on
        with suppress(WebSocketDisconnect, WebSocketDisconnected):
            await socket.send_text(bytes(_told(error).body).decode())
            await socket.close(_REFUSED)


def _told(error: Exception) -> Response:
    if isinstance(error, TimeoutError):
        error = Malformed("nothing was said on this connection: expected what it is for")
    if is_fault(error):
        _LOG.error("a connection between jobs failed", exc_info=error)
    return problem(error)


async def _text(socket: WebSocket) -> str:
    """The next text of the node's.

    Raises:
        WebSocketDisconnect: it has gone.
        Malformed: it says something else.
    """
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    text = message.get("text")
    if text is None or len(text) > TEXT_BYTES_MAX:
        raise Malformed(f"expected a text of at most {TEXT_BYTES_MAX} characters")
    return str(text)


async def _tell(socket: WebSocket, announcement: Announcement) -> None:
    while True:
        await socket.send_text(peer_forms.encode(await announcement.knock()).decode())


async def _hear(socket: WebSocket, announcement: Announcement) -> None:
    while True:
        refused = peer_forms.refuse.decode((await _text(socket)).encode())
        await announcement.refuse(refused.stream, refused.sentence)


async def _carry(socket: WebSocket, end: End, greeting: Greeting) -> None:
    """Carry pieces between a node and its end of a stream, until one of the two is over."""
    try:
        await socket.send_text(peer_forms.encode(greeting).decode())
        await _first_of(_up(socket, end), _down(socket, end))
    finally:
        await end.close()


async def _up(socket: WebSocket, end: End) -> None:
    while True:
        message = await socket.receive()
        if message["type"] == "websocket.disconnect":
            return
        piece = message.get("bytes")
        if not piece or len(piece) > PIECE_BYTES_MAX:
            raise Malformed(f"a piece of a stream has 1 to {PIECE_BYTES_MAX} bytes, and this has not")
        # Nobody reads it any more: what was written before may still be on its way here.
        with suppress(StreamBroken):
            await end.send(piece)


async def _down(socket: WebSocket, end: End) -> None:
    while (piece := await end.receive()) is not None:
        await socket.send_bytes(piece)


async def _first_of(*works: Coroutine[Any, Any, None]) -> None:
    """Do several things until one is done; its error, if it has one."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _run(socket: WebSocket) -> RunId:
    return RunId(socket.path_params["run"])
