"""Pieces over a connection from a compute node to its node, and how the two sides prove who they are.

::

    seat -> node   greeting, the session's name, what the seat has drawn
    node -> seat   what the node has drawn, and its proof
    seat -> node   its proof

Each proof is made of the session's secret, both draws and the side's own word; the secret itself is never
sent. A connection that doesn't know a session which is waited for, or its secret, is closed. The node
listens only while a session is waited for.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import socket
from contextlib import suppress
from dataclasses import dataclass

from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes.slurm.frames import PIECE_BYTES_MAX, SECRET_BYTES, Keys, LineBrokenError, prove

_GREETING = b"atoll seat 1\n"
#: Characters of a session's name, which is a number in hexadecimal digits.
NAME_BYTES = 32
_DRAWN_BYTES = 32
_PROOF_BYTES = 32
#: Seconds that a connection has to prove itself.
_PROVE_SECONDS = 20.0
#: Connections that may be at it at a time; more wait in the system's own queue.
_PROVING_MAX = 64
_BACKLOG = 128
_LENGTH_BYTES = 4
#: Bytes that are read ahead.
_READ_BYTES = 256 * 1024
#: Seconds that the other side has to take what was sent before a connection is closed.
_CLOSE_SECONDS = 5.0
#: Seconds after which the system asks whether the other side is there still.
_KEEP_ALIVE_SECONDS = 30


class SocketPieces:
    """Pieces over a connection, each behind its length."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, piece: bytes) -> None:
        """Send one."""
        if self._writer.is_closing():
            raise LineBrokenError("the connection is closed")
        try:
            # In one go: nobody who is stopped in between leaves a part of it.
            self._writer.write(len(piece).to_bytes(_LENGTH_BYTES, "big") + piece)
            await self._writer.drain()
        except OSError as error:
            raise LineBrokenError(f"the connection broke: {error.strerror or error}") from None

    async def receive(self) -> bytes:
        """The next one."""
        try:
            length = int.from_bytes(await self._reader.readexactly(_LENGTH_BYTES), "big")
            if length > PIECE_BYTES_MAX:
                raise LineBrokenError(f"a piece has {length} bytes, and may have {PIECE_BYTES_MAX}")
            return await self._reader.readexactly(length)
        except asyncio.IncompleteReadError:
            raise LineBrokenError("the other side has closed the connection") from None
        except OSError as error:
            raise LineBrokenError(f"the connection broke: {error.strerror or error}") from None

    async def close(self) -> None:
        """Close the connection, once the other side has taken what was sent, unless it doesn't."""
        self._writer.close()
        with suppress(OSError):
            try:
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self._writer.wait_closed()
            except TimeoutError:
                self._writer.transport.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """A session that is waited for."""

    secret: bytes
    #: Gets its connection.
    came: asyncio.Future[tuple[SocketPieces, Keys]]


class Listener:
    """Where jobs are heard, while one is waited for.

    Args:
        address: the name or the number of this machine that compute nodes reach.
        port: the port; 0 for any that is free.
    """

    def __init__(self, address: str, port: int) -> None:
        self._address = address or socket.gethostname()
        self._port = port
        self._expected: dict[str, Expected] = {}
        self._server: asyncio.Server | None = None
        self._opening = asyncio.Lock()
        self._proving = asyncio.Semaphore(_PROVING_MAX)
        self._talks: set[asyncio.Task[None]] = set()

    @property
    def listens(self) -> bool:
        """Whether somebody would be heard now."""
        return self._server is not None

    async def expect(
        self, name: str, secret: bytes
    ) -> tuple[str, int, asyncio.Future[tuple[SocketPieces, Keys]]]:
        """Wait for a session; where it is to connect, and what gets its connection.

        Raises:
            RuntimeUnavailable: nobody can be heard there.
        """
        came: asyncio.Future[tuple[SocketPieces, Keys]] = asyncio.get_running_loop().create_future()
        async with self._opening:
            if self._server is None:
                self._server = await self._open()
            self._expected[name] = Expected(secret=secret, came=came)
            return self._address, self._server.sockets[0].getsockname()[1], came

    def forget(self, name: str) -> None:
        """Wait for a session no more."""
        self._expected.pop(name, None)
        if not self._expected and self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        """Hear nobody any more."""
        for name in list(self._expected):
            self.forget(name)
        for talk in list(self._talks):
            talk.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _open(self) -> asyncio.Server:
        try:
            return await asyncio.start_server(
                self._greet, self._address, self._port, backlog=_BACKLOG, limit=_READ_BYTES
            )
        except OSError as error:
            raise RuntimeUnavailable(
                f"this node can't listen at {self._address}, port {self._port or 'any'}, where its Slurm jobs are to "
                f"reach it: {error.strerror or error}. Name an address of this machine under 'slurm: address', or say "
                "'slurm: talk: folder'"
            ) from None

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        pieces = SocketPieces(reader, writer)
        taken = False
        try:
            async with self._proving, asyncio.timeout(_PROVE_SECONDS):
                taken = await self._prove(pieces, reader, writer)
        except (OSError, asyncio.IncompleteReadError, LineBrokenError):
            pass  # Whoever it was is not one of ours, or has gone: a job of ours comes again.
        except asyncio.CancelledError:
            pass  # This listener is closed. A server's own task has nobody who would hear of it.
        finally:
            self._talks.discard(task)
            if not taken:
                writer.close()

    async def _prove(
        self, pieces: SocketPieces, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        if await reader.readexactly(len(_GREETING)) != _GREETING:
            return False
        name = (await reader.readexactly(NAME_BYTES)).decode("ascii", "replace")
        theirs = await reader.readexactly(_DRAWN_BYTES)
        expected = self._expected.get(name)
        if expected is None:
            return False
        drawn = name.encode() + theirs + (ours := secrets.token_bytes(_DRAWN_BYTES))
        writer.write(ours + prove(expected.secret, b"node", drawn))
        proof = await reader.readexactly(_PROOF_BYTES)
        right = hmac.compare_digest(prove(expected.secret, b"seat", drawn), proof)
        # Only one of those that know the secret is waited for.
        if not right or self._expected.get(name) is not expected or expected.came.done():
            return False
        _keep_alive(writer)
        expected.came.set_result((pieces, Keys.of(expected.secret, drawn)))
        self.forget(name)
        return True


async def dial(address: str, port: int, name: str, secret: bytes) -> tuple[SocketPieces, Keys]:
    """Connect to the node that waits for this session.

    Raises:
        LineBrokenError: it isn't there, or doesn't know the session's secret.
    """
    async with asyncio.timeout(_PROVE_SECONDS):
        try:
            reader, writer = await asyncio.open_connection(address, port, limit=_READ_BYTES)
        except OSError as error:
            raise LineBrokenError(
                f"{address}, port {port}, can't be reached: {error.strerror or error}"
            ) from None
        try:
            return await _prove_to(reader, writer, name, secret)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()
            raise LineBrokenError(f"{address}, port {port}, doesn't wait for this session") from None
        except BaseException:
            writer.close()
            raise


async def _prove_to(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str, secret: bytes
) -> tuple[SocketPieces, Keys]:
    assert len(name) == NAME_BYTES
    assert len(secret) == SECRET_BYTES
    ours = secrets.token_bytes(_DRAWN_BYTES)
    writer.write(_GREETING + name.encode() + ours)
    drawn = name.encode() + ours + await reader.readexactly(_DRAWN_BYTES)
    proof = await reader.readexactly(_PROOF_BYTES)
    if not hmac.compare_digest(prove(secret, b"node", drawn), proof):
        raise LineBrokenError("whoever answers at the node's address doesn't know the session's secret")
    writer.write(prove(secret, b"seat", drawn))
    _keep_alive(writer)
    return SocketPieces(reader, writer), Keys.of(secret, drawn)


def _keep_alive(writer: asyncio.StreamWriter) -> None:
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEP_ALIVE_SECONDS)
