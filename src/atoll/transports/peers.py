"""Jobs of one run that talk to each other, over the hub: each connection is a WebSocket of its node's."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TypeVar

import aiohttp

from atoll.engine.peers import Knock, Peer, Port, Standing
from atoll.model.errors import HubUnreachable, NotLoggedIn, StreamBroken
from atoll.model.work import JobId
from atoll.transports import peer_forms, problem
from atoll.transports.connection import BROKEN, Connection
from atoll.transports.forms import Codec, Form
from atoll.transports.peer_forms import PIECE_BYTES_MAX, TEXT_BYTES_MAX

T = TypeVar("T")

_MESSAGE_BYTES_MAX = max(PIECE_BYTES_MAX, TEXT_BYTES_MAX) + 1
_CUT = "the connection to the hub was cut"


class HttpPeers:
    """The hub over a connection; see `PeerLink`.

    Args:
        connection: calls it.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def peers(self, standing: Standing) -> Sequence[Peer]:
        path = f"/node/peers/{standing.run_id}?job={standing.job_id}&attempt={standing.attempt or 0}"
        return peer_forms.peers.decode((await self._connection.call("GET", path)).body).peers

    async def announce(self, standing: Standing, ports: Sequence[Port]) -> AnnouncedJob:
        first = peer_forms.Announce(job=standing.job_id, attempt=standing.attempt, ports=tuple(ports))
        socket, _ = await self._begin(standing, "announce", first)
        return AnnouncedJob(socket)

    async def connect(
        self, standing: Standing, to: JobId, port: int, key: bytes
    ) -> tuple[SocketChannel, bytes]:
        first = peer_forms.Connect(job=standing.job_id, attempt=standing.attempt, to=to, port=port, key=key)
        socket, theirs = await self._begin(standing, "connect", first)
        return SocketChannel(socket), theirs

    async def answer(self, standing: Standing, stream: str, key: bytes) -> SocketChannel:
        first = peer_forms.AnswerCall(job=standing.job_id, attempt=standing.attempt, stream=stream, key=key)
        socket, _ = await self._begin(standing, "answer", first)
        return SocketChannel(socket)

    async def _begin(
        self, standing: Standing, what: str, first: Form
    ) -> tuple[aiohttp.ClientWebSocketResponse, bytes]:
        """A connection on which the hub has done what is asked for; and what it has said."""
        path = f"/node/peers/{standing.run_id}/{what}"
        try:
            return await self._asked(path, first)
        except NotLoggedIn:
            # The token is over, or the hub has forgotten it. A key that is over is refused for good.
            self._connection.forget_token()
            return await self._asked(path, first)

    async def _asked(self, path: str, first: Form) -> tuple[aiohttp.ClientWebSocketResponse, bytes]:
        try:
            socket = await self._connection.socket(path, message_bytes_max=_MESSAGE_BYTES_MAX)
        except BROKEN as error:
            raise HubUnreachable(f"the hub can't be reached for a stream ({type(error).__name__})") from error
        try:
            await _say(socket, first)
            return socket, (await _heard(socket, peer_forms.greeting)).key
        except BaseException:
            await socket.close()
            raise


class AnnouncedJob:
    """A job that takes calls while its connection lasts; see `Announced`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def knock(self) -> Knock:
        return await _heard(self._socket, peer_forms.knock)

    async def refuse(self, stream: str, sentence: str) -> None:
        await _say(self._socket, peer_forms.Refuse(stream=stream, sentence=sentence))

    async def close(self) -> None:
        await self._socket.close()


class SocketChannel:
    """One end of a stream over a WebSocket; see `Channel`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket

    async def send(self, piece: bytes) -> None:
        try:
            await self._socket.send_bytes(piece)
        except BROKEN as error:
            raise StreamBroken(_CUT) from error

    async def receive(self) -> bytes | None:
        message = await self._socket.receive()
        return message.data if message.type is aiohttp.WSMsgType.BINARY else None

    async def close(self) -> None:
        await self._socket.close()


async def _say(socket: aiohttp.ClientWebSocketResponse, form: Form) -> None:
    # Where the connection is over, whoever reads on it next hears why.
    with suppress(*BROKEN):
        await socket.send_str(peer_forms.encode(form).decode())


async def _heard(socket: aiohttp.ClientWebSocketResponse, codec: Codec[T]) -> T:
    """What the hub says next.

    Raises:
        AtollError: it refuses, or has gone.
    """
    message = await socket.receive()
    if message.type is not aiohttp.WSMsgType.TEXT:
        raise HubUnreachable(_CUT)
    text: bytes = message.data.encode()
    refused = problem.refusal_of(text)
    if refused is not None:
        raise refused
    return codec.decode(text)
