"""A runtime under examination, with folders of its own, and what shows whether an algorithm lives."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from atoll.engine.limits import CallLimits
from atoll.engine.running import Doorway, Launch, Mount, Reply, Request, Runtime, Session, Style, whole
from atoll.model.errors import JobFailed
from atoll.model.work import Seat
from atoll.runtimes.conformance.subject import Broken, Subject
from atoll.runtimes.outside import RuntimeContext

T = TypeVar("T")

#: The folder with what algorithms do here.
ACTS = Path(__file__).parent / "acts"
#: Seconds after which what should happen at once has not.
PATIENCE = 20.0
#: Bounds under which nothing of this suite goes on for long, whatever a runtime fails to do.
_LIMITS = CallLimits(seconds=PATIENCE)


class Bench:
    """A runtime, and the folder in which its launches' own folders lie."""

    def __init__(self, subject: Subject, folder: Path, runtime: Runtime) -> None:
        self.subject = subject
        self.folder = folder
        self.runtime = runtime
        self._threads = 0

    @classmethod
    @asynccontextmanager
    async def of(cls, subject: Subject, folder: Path) -> AsyncIterator[Self]:
        """A bench whose runtime is closed at the end."""
        owner = f"conformance-{folder.name}"
        context = RuntimeContext(owner=owner, roots=(folder, ACTS), options=dict(subject.options))
        runtime = subject.make(context)
        try:
            yield cls(subject, folder, runtime)
        finally:
            await runtime.close()

    def not_promised(self) -> Mapping[str, str]:
        """What the runtime says itself that it doesn't do: names of checks, and why."""
        said = getattr(self.runtime, "not_promised", None)
        return {} if said is None else said()

    def launch(
        self, *, seat: str = "local0", style: Style = Style.CALL, script: str = "act", **fields: Any
    ) -> Launch:
        """A launch of one of the scripts, with folders for its seat."""
        own = self.folder / seat
        for name in ("tmp", "output", "data"):
            (own / name).mkdir(parents=True, exist_ok=True)
        launch = Launch(
            seat=Seat(seat),
            style=style,
            code=ACTS,
            image=self.subject.image,
            command=("python3", f"/computation/{script}.py"),
            mounts=(
                Mount(source=own / "output", target="/output", writable=True),
                Mount(source=own / "data", target="/databases/data"),
            ),
            temporary=own / "tmp",
            log=own / "log.txt",
            limits=_LIMITS,
        )
        return replace(launch, **fields)

    @asynccontextmanager
    async def session(self, launch: Launch) -> AsyncIterator[Session]:
        """A session that is closed at the end."""
        session = await in_time(self.runtime.start(launch), "the start of a session")
        try:
            yield session
        finally:
            await in_time(session.close(), "the end of a session")

    def thread(self, launch: Launch) -> Thread:
        """A thread of life for an algorithm of this launch."""
        self._threads += 1
        return Thread(output_of(launch) / f"alive-{self._threads}")


def output_of(launch: Launch) -> Path:
    """The folder that the algorithm may write to."""
    return launch.mounts[0].source


def data_of(launch: Launch) -> Path:
    """The folder that the algorithm may read."""
    return launch.mounts[1].source


def asking(session: Session, launch: Launch, act: str, **details: Any) -> Request:
    """The request for an act. Paths of this machine are told as the algorithm sees them."""
    told = {
        name: session.inside(value) if isinstance(value, Path) else value for name, value in details.items()
    }
    told |= {"act": act, "output": session.inside(output_of(launch))}
    return Request(body=json.dumps(told).encode())


async def ask(
    session: Session,
    launch: Launch,
    act: str,
    *,
    seed: int | None = None,
    doorway: Doorway | None = None,
    environment: Mapping[str, str] | None = None,
    **details: Any,
) -> Any:
    """What an act answers.

    Raises:
        Broken: it failed.
    """
    request = replace(asking(session, launch, act, **details), environment=environment or {})
    reply = await in_time(session.call(request, seed=seed, doorway=doorway), f"the act {act!r}")
    return answered(reply)


def answered(reply: Reply) -> Any:
    """What a reply says.

    Raises:
        Broken: its process failed.
    """
    expect(
        reply.exit_code == 0,
        f"a process that should have answered ended with {reply.exit_code}: {reply.log_tail}",
    )
    return json.loads(whole(reply.output))


async def fails(
    work: Awaitable[Any], error: type[JobFailed], *words: str, within: float = PATIENCE
) -> JobFailed:
    """The error that something ends with, which has one of the words in it, soon enough.

    Raises:
        Broken: it ends otherwise, or too late.
    """
    try:
        found = await in_time(work, "a call that should have been ended", within)
    except error as caught:
        expect(
            not words or any(word in str(caught) for word in words),
            f"the error doesn't say {' or '.join(map(repr, words))}: {caught}",
        )
        return caught
    raise Broken(f"a call that should have failed with {error.__name__} left {found!r}"[:1000])


async def in_time(work: Awaitable[T], what: str, within: float = PATIENCE) -> T:
    """What something gives, within some seconds.

    Raises:
        Broken: it was not over then.
    """
    try:
        async with asyncio.timeout(within) as bound:
            return await work
    except TimeoutError:
        if bound.expired():
            raise Broken(f"{what} was not over after {within:g} seconds") from None
        raise


def expect(holds: bool, otherwise: str) -> None:  # noqa: FBT001 -- a condition is what it is about
    """Say what is wrong, where something is.

    Raises:
        Broken: it doesn't hold.
    """
    if not holds:
        raise Broken(otherwise)


def same(expected: object, found: object, of: str) -> None:
    """Two values are the same.

    Raises:
        Broken: they differ.
    """
    expect(expected == found, f"{of}: expected {expected!r}, and it is {found!r}")


class Thread:
    """A pipe with a name, which an algorithm takes hold of: it tears when the last of its processes has ended.

    Works wherever a folder of this machine is seen by the same kernel: in another process
    namespace, under another user, in a container.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._said = b""
        self._arrived = asyncio.Event()
        self._descriptor = -1

    def __enter__(self) -> Self:
        os.mkfifo(self.path)
        # A runtime may give its algorithms another user.
        self.path.chmod(stat.S_IRUSR | stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop()
        self.path.unlink(missing_ok=True)

    async def taken(self, times: int = 1) -> None:
        """Wait until so many processes have said that they hold it."""

        async def wait() -> None:
            while len(self._said) < times:
                expect(self._descriptor >= 0, "the algorithm's processes ended before they should")
                self._arrived.clear()
                await self._arrived.wait()

        await in_time(wait(), "the start of the algorithm's processes")

    async def torn(self, within: float = PATIENCE) -> None:
        """Wait until all who held it have ended.

        Raises:
            Broken: one of them lives on.
        """

        async def wait() -> None:
            while self._descriptor >= 0:
                self._arrived.clear()
                await self._arrived.wait()

        await in_time(wait(), "the end of the algorithm's processes", within)

    def _read(self) -> None:
        try:
            piece = os.read(self._descriptor, 4096)
        except BlockingIOError:
            return
        self._said += piece
        if not piece:
            self._stop()
        self._arrived.set()

    def _stop(self) -> None:
        if self._descriptor >= 0:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
