"""What a Slurm job runs on its compute node: a session of another runtime, at the service of the node.

::

    python -P -m atoll.runtimes.slurm.seat SPEC

    spec -> the node, proven -> what is shared -> inner runtime -> session -> ready
         -> calls, questions, connections … -> closed

It ends by itself when its node has gone or is silent for long, and with it all that it has started. Which
runtimes there are to be inside stands in a table: the drivers of runtimes don't know each other.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from atoll.engine.limits import REPLY_BYTES_MAX
from atoll.engine.running import Head, Launch, Outlet, Reply, Request, Runtime, Session, whole
from atoll.model.errors import AtollError, RuntimeUnavailable
from atoll.model.work import Content
from atoll.runtimes.slurm import faults
from atoll.runtimes.slurm.frames import Frames, Keys, LineBrokenError, keep_alive
from atoll.runtimes.slurm.relay import WORDS, Relay
from atoll.runtimes.slurm.sockets import dial
from atoll.runtimes.slurm.spec import Spec, decode, paths_of
from atoll.runtimes.slurm.spool import SessionFolder

_log = logging.getLogger(__name__)
#: The runtimes that may be inside, for code of a folder and for images that are files: where each is found.
_FOR_CODE = {
    "bubblewrap": ("atoll.runtimes.bubblewrap", "BubblewrapRuntime"),
    "process": ("atoll.runtimes.process", "ProcessRuntime"),
}
_FOR_IMAGES = {
    "apptainer": ("atoll.runtimes.apptainer", "ApptainerRuntime"),
    "bubblewrap": ("atoll.runtimes.rootfs", "RootfsRuntime"),
}
#: Seconds between two tries to reach the node.
_AGAIN_SECONDS = 1.0
#: Seconds within which Slurm has told all processes of a job that it ends.
_TOLD_SECONDS = 0.5
_UNUSABLE = 3


def main() -> None:
    """Serve one session, and end with the status of a program that did what it was for, or didn't."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(levelname)s: %(message)s")
    try:
        asyncio.run(_serve(Path(sys.argv[1])))
    except AtollError as error:
        _log.error("%s", error)
        sys.exit(_UNUSABLE)


async def _serve(file: Path) -> None:
    here = SessionFolder(file.parent)
    try:
        spec = decode(file.read_bytes())
        secret = here.take_secret()
    except OSError as error:
        raise RuntimeUnavailable(
            f"{file} can't be read on the compute node {socket.gethostname()}: {error.strerror}. Expected the node's "
            "workspace on a file system which compute nodes share at the same path, and its node still at work"
        ) from None
    frames = await _line(spec, here, secret)
    try:
        await _Service(spec, frames, here.images).run()
    finally:
        await frames.close()


async def _line(spec: Spec, here: SessionFolder, secret: bytes) -> Frames:
    """The line to the node, which may be busy, or may have gone long ago."""
    # What a site bounds is what its algorithm answers. It is asked with what many others answered.
    bound = REPLY_BYTES_MAX
    if spec.address is None:
        keys = Keys.of(secret, here.name.encode())
        return Frames(here.of_seat(), own=keys.seat, others=keys.node, body_bytes_max=bound)
    address, port = spec.address
    over = asyncio.get_running_loop().time() + spec.pace.silent_seconds
    while True:
        try:
            pieces, keys = await dial(address, port, here.name, secret)
            return Frames(pieces, own=keys.seat, others=keys.node, body_bytes_max=bound)
        except (LineBrokenError, TimeoutError) as error:
            if asyncio.get_running_loop().time() > over:
                raise RuntimeUnavailable(
                    f"the node is not reached from the compute node {socket.gethostname()}: {error}. Expected 'slurm: "
                    "address' in node.yaml to name the node's machine as compute nodes reach it"
                ) from None
        await asyncio.sleep(_AGAIN_SECONDS)


def _inner(spec: Spec, cache: Path) -> Runtime:
    """The runtime that starts the algorithm here; it may keep unpacked images."""
    of_image = spec.launch.image is not None
    module, name = (_FOR_IMAGES if of_image else _FOR_CODE)[spec.inner]
    fields: dict[str, Any] = {"cache": cache} if of_image else {"python": spec.python}
    if name == "BubblewrapRuntime":
        fields["roots"] = list(spec.roots)
    runtime: Runtime = getattr(importlib.import_module(module), name)(**fields)
    return runtime


def _check_shared(spec: Spec) -> None:
    """See to it that what the node has named is here."""
    missing = [str(path) for path in paths_of(spec) if not path.exists()]
    if missing:
        raise RuntimeUnavailable(
            f"{', '.join(missing)} is not on the compute node {socket.gethostname()}: expected the workspace, the "
            "databases and the interpreters on a file system which compute nodes share at the same path"
        )


class _Service:
    """Serves one session over a line."""

    def __init__(self, spec: Spec, frames: Frames, cache: Path) -> None:
        self._spec = spec
        self._cache = cache
        self._frames = frames
        self._relay = Relay(frames, first=1)
        self._session: Session | None = None
        #: The call that is under way, with its number.
        self._call: asyncio.Task[None] | None = None
        self._doorway: _Doorway | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    def _outlet(self, number: int, host: str, port: int, alias: str) -> Outlet:
        """An outlet whose connections are carried to the node."""
        words = {"to": "outlet", "outlet": number}

        def take(descriptor: int) -> None:
            self._relay.open(socket.socket(fileno=descriptor), words)

        return Outlet(host=host, port=port, alias=alias, take=take)

    def _launch(self) -> Launch:
        launch = self._spec.launch
        outlets = [
            self._outlet(number, each.host, each.port, each.alias)
            for number, each in enumerate(launch.outlets)
        ]
        return replace(launch, outlets=tuple(outlets))

    async def run(self) -> None:
        """Start the session, and serve it until it is closed or the node has gone."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._over.set)
        pace = self._spec.pace
        self._spawn(
            keep_alive(self._frames, beat_seconds=pace.beat_seconds, silent_seconds=pace.silent_seconds)
        )
        self._spawn(self._listen())
        working = loop.create_task(self._work())
        over = loop.create_task(self._over.wait())
        try:
            await asyncio.wait({working, over}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            with suppress(LineBrokenError, TimeoutError):
                async with asyncio.timeout(pace.end_seconds):
                    await self._relay.close()
                    await self._frames.send({"say": "closed"})
            over.cancel()
            tasks = [*self._tasks]
            for task in tasks:
                task.cancel()
            await asyncio.gather(over, *tasks, return_exceptions=True)

    async def _work(self) -> None:
        """The session's life, between an inner runtime's start and its end."""
        runtime: Runtime | None = None
        try:
            _check_shared(self._spec)
            runtime = _inner(self._spec, self._cache)
            await runtime.recover()
            session = self._session = await runtime.start(self._launch())
            await self._frames.send(
                {
                    "say": "ready",
                    "address": session.address,
                    "inside": self._inside(session),
                    "host": socket.gethostname(),
                }
            )
            await self._over.wait()
        except LineBrokenError:
            pass
        except Exception as error:  # The node is told, whatever it is, and raises it.
            _report(error)
            with suppress(LineBrokenError):
                await self._frames.send({"say": "unready", "error": faults.told(error)})
        finally:
            if self._call is not None:
                self._call.cancel()
                await asyncio.gather(self._call, return_exceptions=True)
            if self._session is not None:
                await self._session.close()
            if runtime is not None:
                await runtime.close()

    def _inside(self, session: Session) -> dict[str, str]:
        """Where the algorithm sees what it is shown."""
        launch = self._spec.launch
        paths = [mount.source for mount in launch.mounts] + [launch.temporary]
        return {str(path): session.inside(path) for path in paths + ([launch.code] if launch.code else [])}

    async def _listen(self) -> None:
        """Hear the node. Nothing is sent from here: two that only send would wait for each other."""
        try:
            while True:
                self._hear(*await self._frames.receive())
        except LineBrokenError as error:
            _log.info("the session ends: %s", error)

    def _hear(self, head: dict[str, Any], body: Content) -> None:
        match head["say"]:
            case word if word in WORDS:
                self._relay.hear(head, whole(body))
            case "call":
                self._doorway = _Doorway(self._frames, self._relay)
                self._call = asyncio.create_task(self._answer(head, body, self._doorway))
            case "stop":
                if self._call is not None:
                    # Not before it has begun: it has an answer to give.
                    asyncio.get_running_loop().call_soon(self._call.cancel)
            case "answer" | "answered":
                if self._doorway is not None:
                    self._doorway.hear(head, body)
            case "offer":
                self._spawn(self._offer(head), ends=False)
            case "reach":
                self._spawn(self._reach(head), ends=False)
            case "close":
                self._over.set()
            case _:
                pass  # A sign of life.

    async def _answer(self, head: dict[str, Any], body: Content, doorway: _Doorway) -> None:
        """One call, and its one answer."""
        assert self._session is not None
        request = Request(body=body, head=head["head"], environment=head["environment"])
        words: dict[str, Any]
        output: Content = b""
        try:
            reply = await self._session.call(
                request, seed=head["seed"], doorway=doorway if head["doorway"] else None
            )
            ended = reply.exit_code == -signal.SIGTERM and await self._is_ending()
            words, output = ({"say": "stopped"}, b"") if ended else (_replied(reply), reply.output)
        except asyncio.CancelledError:
            words = {"say": "stopped"}
        except LineBrokenError:
            return  # Nobody would hear it.
        except Exception as error:  # The node is told, whatever it is, and raises it.
            _report(error)
            words = {"say": "failed", "error": faults.told(error)}
        finally:
            doorway.close()
        with suppress(LineBrokenError):
            await self._frames.send(words, output)

    async def _is_ending(self) -> bool:
        """Whether Slurm ends the job: it tells each process of it, the algorithm's as well as this one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_TOLD_SECONDS):
                await self._over.wait()
        return self._over.is_set()

    async def _offer(self, head: dict[str, Any]) -> None:
        assert self._session is not None
        words: dict[str, Any] = {"say": "offered", "outlet": head["outlet"]}
        try:
            await self._session.offer(self._outlet(head["outlet"], head["host"], head["port"], head["alias"]))
        except Exception as error:  # The node is told, whatever it is, and raises it.
            words["error"] = faults.told(error)
        with suppress(LineBrokenError):
            await self._frames.send(words)

    async def _reach(self, head: dict[str, Any]) -> None:
        assert self._session is not None
        number = head["stream"]
        words: dict[str, Any] = {"say": "reached", "stream": number}
        try:
            descriptor = await self._session.reach(head["port"])
        except Exception as error:  # The node is told, whatever it is, and raises it.
            words["error"] = faults.told(error)
        else:
            self._relay.accept(number, socket.socket(fileno=descriptor))
        with suppress(LineBrokenError):
            await self._frames.send(words)

    def _spawn(self, work: Coroutine[Any, Any, None], *, ends: bool = True) -> None:
        """Do something beside; where it `ends`, all ends with it."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if ends:
            task.add_done_callback(lambda _: self._over.set())


class _Doorway:
    """Who answers the algorithm during one call: the node, over the line."""

    def __init__(self, frames: Frames, relay: Relay) -> None:
        self._frames = frames
        self._relay = relay
        self._asked = 0
        self._answers: asyncio.Queue[tuple[dict[str, Any], Content]] = asyncio.Queue()
        self._listeners: dict[socket.socket, asyncio.Task[None]] = {}
        self._streams: list[int] = []

    def hear(self, head: dict[str, Any], body: Content) -> None:
        """The node answers a question, or has answered it."""
        if head["question"] == self._asked:
            self._answers.put_nowait((head, body))

    async def answers(self, head: Head, body: Content) -> AsyncIterator[tuple[Head, Content]]:
        """The frames that answer a question."""
        self._asked += 1
        number = self._asked
        await self._frames.send({"say": "question", "question": number, "head": head}, body)
        answered = False
        try:
            while True:
                said, content = await self._answers.get()
                if said["question"] != number:
                    continue  # It answers a question whose asker has gone.
                if said["say"] == "answered":
                    answered = True
                    return
                yield said["head"], content
        finally:
            if not answered:
                await self._frames.send({"say": "enough", "question": number})

    def listen(self, listener: int) -> None:
        """Carry what connects to a listener to the node."""
        listening = socket.socket(fileno=listener)
        listening.setblocking(False)
        self._listeners[listening] = asyncio.create_task(self._accept(listening))

    def close(self) -> None:
        """The call has ended, and what it has connected."""
        for listening, task in self._listeners.items():
            task.cancel()
            # The loop looks at it no more once the task has ended.
            task.add_done_callback(partial(_close, listening))
        for number in self._streams:
            self._relay.drop(number)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, _ = await loop.sock_accept(listening)
            except OSError:
                # Too many files are open here, or the caller has gone again.
                await asyncio.sleep(0.1)
                continue
            self._streams.append(self._relay.open(accepted, {"to": "door"}))


def _close(listening: socket.socket, _task: object) -> None:
    listening.close()


def _replied(reply: Reply) -> dict[str, Any]:
    return {"say": "reply", "head": reply.head, "exit_code": reply.exit_code, "log_tail": reply.log_tail}


def _report(error: Exception) -> None:
    if not isinstance(error, AtollError):
        traceback.print_exception(error)
    sys.stderr.flush()


if __name__ == "__main__":
    main()
