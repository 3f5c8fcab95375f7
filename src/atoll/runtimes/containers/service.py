"""A computation of COINSTAC that its image serves by itself: a WebSocket at port 8881.

::

    protocol 1   for each call, a connection. To the service: the command, what the command reads, and an
                 empty message for its end. From it: pieces of what the command prints, and its status.
    protocol 2   for each call, a connection. To the service: which function, and its argument. From it: what
                 the function returned, or its traceback.

The service listens inside its box. The node gets there as it gets to any port of a box.
"""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection, connect

from atoll.engine.limits import LOG_TAIL_BYTES
from atoll.engine.running import Doorway, Launch, Reply, Request, Style, whole
from atoll.model.errors import AlgorithmFailed, ReplyInvalid, RuntimeUnavailable
from atoll.runtimes.children import Streams
from atoll.runtimes.outlets import Shared
from atoll.runtimes.sessions import KILLED, Place, Running, Seated
from atoll.runtimes.streams import Log, too_large
from atoll.runtimes.warm import ParentLost

#: Where the service of an image listens.
PORT = 8881
#: Seconds that a service may take until it listens, as its own simulator grants; and seconds between looks.
_LISTENS_SECONDS, _LOOK_SECONDS = 46.0, 0.1
#: Bytes that stand around an answer in its message.
_AROUND_BYTES = 64 * 1024


class ServiceSession(Seated):
    """Calls of a service that an image starts.

    Args:
        place: starts the image's own command.
        launch: what is called.
    """

    def __init__(self, place: Place, launch: Launch) -> None:
        super().__init__(place)
        self._command = launch.command
        self._serves = launch.style is Style.SERVE
        self._running: Running | None = None
        self._log: Log | None = None
        self._kills: int | None = None

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        try:
            return await self._call(request)
        except BaseException:
            # What goes on in there would mix with the next call.
            await self._stop()
            raise
        finally:
            self.watch.end()

    async def close(self) -> None:
        try:
            await self._stop()
        finally:
            if self._log is not None:
                self._log.close()
            await self.place.close()

    async def _call(self, request: Request) -> Reply:
        if self._running is None:
            await self._start()
        assert self._running is not None
        assert self._log is not None
        self._log.mark()
        self.watch.begin(self._running, self._log)
        work = asyncio.ensure_future(self._exchange(whole(request.body)))
        either: set[asyncio.Future[Any]] = {work, self._running.ended}
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
            if not work.cancelled():
                work.exception()  # It was looked at, even where something else is raised.
        await self.watch.settle()
        if not work.cancelled():
            return work.result()
        try:
            exit_code = self._running.ended.result()
        except ParentLost:  # with the whole box
            exit_code = KILLED
        tail = self._log.tail()
        self.check_memory(self._kills, exit_code or 1, tail)
        raise AlgorithmFailed(
            f"the image's own service ended with status {exit_code} during a call: {tail[-300:]}"
        )

    async def _start(self) -> None:
        self._kills = self.place.memory_kills()
        if self._log is None:
            self._log = Log(self.open_log())
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            descriptor = self._log.descriptor
            streams = Streams(stdin=nothing, stdout=descriptor, stderr=descriptor)
            self._running = await self.place.start(streams, None, {})
        finally:
            os.close(nothing)

    async def _stop(self) -> None:
        running, self._running = self._running, None
        if running is not None and not running.ended.done():
            running.kill()
            await asyncio.wait({running.ended})

    async def _exchange(self, body: bytes) -> Reply:
        try:
            async with await self._connected() as connection:
                exchange = self._second if self._serves else self._first
                return await exchange(connection, body)
        except websockets.exceptions.PayloadTooBig:
            raise too_large(self.place.limits.reply_bytes) from None
        except websockets.exceptions.ConnectionClosed as error:
            if error.sent is not None and error.sent.code == websockets.frames.CloseCode.MESSAGE_TOO_BIG:
                raise too_large(self.place.limits.reply_bytes) from None
            raise AlgorithmFailed("the image's own service broke the connection off during a call") from None
        except (websockets.exceptions.WebSocketException, OSError) as error:
            raise AlgorithmFailed(
                f"what listens at port {PORT} in the image does not speak as COINSTAC's images do: "
                f"{type(error).__name__}"
            ) from None

    async def _connected(self) -> ClientConnection:
        """A connection to the service, once it listens."""
        loop = asyncio.get_running_loop()
        until = loop.time() + min(_LISTENS_SECONDS, self.place.limits.seconds)
        while True:
            try:
                descriptor = await self.place.reach(PORT)
            except ConnectionRefusedError:
                if loop.time() > until:
                    raise RuntimeUnavailable(
                        f"the image's own service did not listen at port {PORT} within {_LISTENS_SECONDS:g} seconds. "
                        "Does the image start it by itself?"
                    ) from None
                await asyncio.sleep(_LOOK_SECONDS)
                continue
            connection = Shared(fileno=descriptor)
            return await connect(
                f"ws://127.0.0.1:{PORT}/",
                sock=connection,
                max_size=self.place.limits.reply_bytes + _AROUND_BYTES,
                compression=None,
                proxy=None,
                # A computation of its own language may be deaf while it works.
                ping_interval=None,
                close_timeout=1,
            )

    async def _first(self, connection: ClientConnection, body: bytes) -> Reply:
        """Protocol 1: a command that the service starts."""
        assert self._log is not None
        await connection.send(json.dumps({"command": self._command[0], "args": list(self._command[1:])}))
        await connection.send(body.decode())
        await connection.send("")
        output: list[str] = []
        room = self.place.limits.reply_bytes
        async for text in connection:
            message = _read(text)
            kind, data = message.get("type"), message.get("data")
            if kind == "stdout" and isinstance(data, str):
                room -= max(1, len(data))
                if room < 0:
                    raise too_large(self.place.limits.reply_bytes)
                output.append(data)
            elif kind == "stderr" and isinstance(data, str):
                os.write(self._log.descriptor, data.encode("utf-8", "backslashreplace"))
            elif kind == "error":
                raise AlgorithmFailed(
                    f"the image's own service can't start {self._command[0]!r}: {str(message.get('error'))[:300]}"
                )
            elif kind == "close":
                code = message.get("code")
                exit_code = code if isinstance(code, int) else 1
                tail = self._log.tail()
                self.check_memory(self._kills, exit_code, tail)
                return Reply(output=_encoded("".join(output)), exit_code=exit_code, log_tail=tail)
        raise AlgorithmFailed("the image's own service ended a call without saying how the command ended")

    async def _second(self, connection: ClientConnection, body: bytes) -> Reply:
        """Protocol 2: a function of the image's own process."""
        assert self._log is not None
        await connection.send(body.decode())
        message = _read(await connection.recv())
        if message.get("type") == "stdout" and "data" in message:
            output = json.dumps(message["data"]).encode()
            if len(output) > self.place.limits.reply_bytes:
                raise too_large(self.place.limits.reply_bytes)
            return Reply(output=output, log_tail=self._log.tail())
        said = str(message.get("data", ""))
        os.write(self._log.descriptor, said.encode("utf-8", "backslashreplace"))
        return Reply(output=b"", exit_code=1, log_tail=self._log.tail() or said[-LOG_TAIL_BYTES:])


def _read(text: str | bytes) -> dict[str, Any]:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise ReplyInvalid("the image's own service sent a message that is no JSON object")
    return message


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise ReplyInvalid(
            "the image's own service sent half a pair of surrogates: expected text in UTF-8"
        ) from None
