"""Runtimes under test, each with a folder of its own, and scripts that show whether they live."""

from __future__ import annotations

import asyncio
import os
import textwrap
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from atoll.engine.running import Launch, Mount, Reply, Request, Runtime, Session, Style
from atoll.model.work import Seat
from atoll.runtimes.bubblewrap import BubblewrapRuntime
from atoll.runtimes.command import code_of
from atoll.runtimes.process import ProcessRuntime

T = TypeVar("T")


@dataclass(frozen=True)
class Bench:
    """A runtime under test, and a folder in which a launch's own lie."""

    kind: str
    folder: Path
    make: Callable[[], Runtime]

    @property
    def isolated(self) -> bool:
        return self.kind.startswith("bubblewrap")

    def launch(self, script: str = "", seat: str = "local0", **fields: Any) -> Launch:
        """A launch of this script, in folders of its seat's own."""
        code = self.folder / "code"
        own = self.folder / seat
        for folder in (code, own / "tmp", own / "output"):
            folder.mkdir(parents=True, exist_ok=True)
        (code / "local.py").write_text(textwrap.dedent(script))
        defaults: dict[str, Any] = {
            "seat": Seat(seat),
            "style": Style.CALL,
            "code": code,
            "command": ("python", "/computation/local.py"),
            "mounts": (Mount(source=own / "output", target="/output", writable=True),),
            "temporary": own / "tmp",
            "log": own / "log.txt",
        }
        return Launch(**(defaults | fields))

    def served(self, script: str, **fields: Any) -> Launch:
        """A launch of this script as a served process."""
        return self.launch(script, style=Style.SERVE, **fields)

    @asynccontextmanager
    async def session(self, launch: Launch) -> AsyncIterator[Session]:
        """A session that is closed, with its runtime, at the end."""
        runtime = self.make()
        try:
            session = await runtime.start(launch)
            try:
                yield session
            finally:
                await session.close()
        finally:
            await runtime.close()

    def call(self, launch: Launch, request: bytes | Request = b"null", **options: Any) -> Reply:
        """One call in a session of its own."""
        return self.calls(launch, request, **options)[0]

    def calls(self, launch: Launch, *requests: bytes | Request, **options: Any) -> list[Reply]:
        """Calls one after another in one session."""
        replies: list[Reply] = []

        async def go() -> None:
            async with self.session(launch) as session:
                replies.extend([await session.call(asking(request), **options) for request in requests])

        run(go())  # which would make a text of what it returns, however large that is
        return replies


def asking(request: bytes | Request) -> Request:
    return Request(body=request) if isinstance(request, bytes) else request


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


KINDS = [
    "process-cold",
    "process-warm",
    pytest.param("bubblewrap-cold", marks=pytest.mark.needs("bubblewrap")),
    pytest.param("bubblewrap-warm", marks=pytest.mark.needs("bubblewrap")),
]


def make_bench(kind: str, folder: Path, python: Path | None = None) -> Bench:
    warm = kind.endswith("warm")
    if kind.startswith("process"):
        return Bench(kind, folder, lambda: ProcessRuntime(python=python, warm=warm))
    return Bench(kind, folder, lambda: BubblewrapRuntime(python=python, warm=warm, roots=[folder]))


@asynccontextmanager
async def thread_of_life(launch: Launch) -> AsyncIterator[asyncio.Future[bytes]]:
    """A pipe with a name in the output folder; what is said in it, once all its writers are gone."""
    pipe = launch.mounts[0].source / "alive"
    os.mkfifo(pipe)
    descriptor = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    loop = asyncio.get_running_loop()
    gone: asyncio.Future[bytes] = loop.create_future()
    begun: asyncio.Future[bytes] = loop.create_future()
    said = b""

    def read() -> None:
        nonlocal said
        piece = os.read(descriptor, 100)
        said += piece
        if piece and not begun.done():
            begun.set_result(said)
        if not piece:
            loop.remove_reader(descriptor)
            gone.set_result(said)

    loop.add_reader(descriptor, read)
    gone.begun = begun  # type: ignore[attr-defined] # a test's shorthand
    try:
        yield gone
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


#: Says "on" in the named pipe, as does a child in a process group of its own, and waits for ever.
LINGER = """
    import os, signal, sys
    place = "/output" if os.path.isdir("/output") else OUTPUT
    pipe = os.open(place + "/alive", os.O_WRONLY)
    if os.fork() == 0:
        os.setpgid(0, 0)
    os.write(pipe, b"o")
    signal.pause()
"""


def lingering(bench: Bench, **fields: Any) -> Launch:
    launch = bench.launch(**fields)
    text = textwrap.dedent(LINGER).replace("OUTPUT", repr(str(launch.mounts[0].source)))
    (code_of(launch) / "local.py").write_text(text)
    return launch
