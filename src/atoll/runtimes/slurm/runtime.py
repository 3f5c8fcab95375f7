"""Sessions as jobs of a Slurm cluster: one job for each, which runs another runtime on a compute node.

::

    start: session's folder -> sbatch -> (queued, told) -> the job's program calls back, proven -> ready
    close: the job is told -> it ends its session, and itself; else scancel

What a call may take is seen to by the runtime inside, beside the algorithm. Slurm bounds the session.
"""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from atoll.engine.limits import START_SECONDS_MAX
from atoll.engine.running import ImageKind, Launch, Session
from atoll.model.errors import LimitReached, RuntimeUnavailable
from atoll.runtimes.slurm import faults, spec
from atoll.runtimes.slurm.frames import Frames, Keys, LineBrokenError, keep_alive
from atoll.runtimes.slurm.options import ISOLATED, RUNS_CODE, RUNS_IMAGES, SlurmOptions, Talk
from atoll.runtimes.slurm.queue import Queue, SlurmSilentError, Standing, why_not
from atoll.runtimes.slurm.session import Berth, SlurmSession
from atoll.runtimes.slurm.sockets import Listener
from atoll.runtimes.slurm.spec import Pace, Spec
from atoll.runtimes.slurm.spool import SessionFolder, Spool

#: Seconds before the first look at the queue; each further one comes twice as late.
_FIRST_LOOK_SECONDS = 0.25
#: What a job runs. Slurm keeps a copy, so that it can say what is missing on a compute node.
_SCRIPT = """#!/bin/sh
if ! [ -e {spec} ] || ! [ -x {python} ]; then
  echo "$(hostname) has no {what}: expected both on a file system which compute nodes share" >&2
  exit 3
fi
exec {python} -P -m {program} {spec}
"""
_PROGRAM = "atoll.runtimes.slurm.seat"

T = TypeVar("T")
#: A line to a job, and the first that it has said.
_Arrival = tuple[Frames, dict[str, Any]]


class SlurmRuntime:
    """Runs sessions as Slurm jobs.

    Args:
        folder: where sessions' folders are made; compute nodes see it at the same path.
        options: what the site says of its cluster.
        python: the interpreter that stands for ``python`` in a command. Default: Atoll's own.
        roots: folders under which the folders of all launches lie.
        pace: how often both sides look.
    """

    name = "slurm"

    def __init__(
        self,
        *,
        folder: Path,
        options: SlurmOptions | None = None,
        python: Path | None = None,
        roots: Sequence[Path] = (),
        pace: Pace | None = None,
    ) -> None:
        self._options = options or SlurmOptions()
        self._python = python
        self._roots = tuple(roots)
        self._pace = pace or Pace()
        self._spool = Spool(folder)
        self._listener = Listener(self._options.address, self._options.port)
        self._sessions: set[SlurmSession] = set()
        self._made_queue: Queue | None = None

    @property
    def isolated(self) -> bool:
        """Whether the runtime inside keeps the algorithm from the rest of its compute node."""
        return self._options.inner in ISOLATED

    def caveats(self) -> Sequence[str]:
        """What is not contained here."""
        said = [
            "what an algorithm is sent and answers crosses the cluster's own network, where it can be read"
        ]
        if not self.isolated:
            said.append(
                "processes run without isolation on compute nodes: they see the files and the network that this user "
                "sees there. Use them for code that you trust"
            )
        return said

    async def recover(self) -> None:
        """End the jobs that an earlier life of this owner has left, and remove their folders.

        Raises:
            RuntimeUnavailable: Slurm doesn't answer.
        """
        try:
            await self._queue().cancel_all()
        except SlurmSilentError as error:
            raise RuntimeUnavailable(
                f"Slurm jobs of an earlier start of this node can't be ended: {error}"
            ) from None
        self._spool.clear()

    async def warm_up(self, launch: Launch) -> None:
        """Nothing: a session has its warm parent in its own job."""

    async def start(self, launch: Launch) -> Session:
        """Put a session's job into the queue, and wait until it is ready, however long it is queued.

        Raises:
            RuntimeUnavailable: Slurm doesn't take the job, or its compute node can't run the session.
            AlgorithmFailed: the command can't be started.
            LimitReached: the job was queued for too long.
        """
        self._check_kind(launch)
        if (reason := await asyncio.to_thread(why_not, self._options.conf)) is not None:
            raise RuntimeUnavailable(reason)
        queue = self._queue()
        folder = self._spool.new()
        submitting: asyncio.Task[int] | None = None
        arriving: asyncio.Task[_Arrival] | None = None
        try:
            told, arrival = await self._prepare(launch, folder)
            arriving = asyncio.create_task(arrival)
            submitting = asyncio.create_task(
                queue.submit(_script(folder), self._options.words(launch.limits), folder.output)
            )
            job = await asyncio.shield(submitting)
            berth = Berth(job=job, queue=queue, folder=folder)
            frames, ready = await self._arrived(arriving, berth, launch)
        except BaseException:
            self._listener.forget(folder.name)  # Before: nobody takes up who would come now.
            if arriving is not None:
                await _give_up(arriving)
            if submitting is not None:
                # Slurm may just be taking it.
                with suppress(RuntimeUnavailable, SlurmSilentError):
                    await queue.cancel(await submitting)
            folder.remove(failed=True)
            raise
        if launch.waits is not None:
            launch.waits(f"runs in Slurm as job {job} on {ready['host']}")
        session = SlurmSession(told, berth, frames, ready, isolated=self.isolated)
        self._sessions.add(session)
        session.when_closed(lambda: self._sessions.discard(session))
        return session

    async def close(self) -> None:
        """End every session that is left."""
        await asyncio.gather(*(session.close() for session in list(self._sessions)))
        await self._listener.close()

    def _check_kind(self, launch: Launch) -> None:
        """Refuse what would only be refused when it has been queued."""
        inner, image = self._options.inner, launch.image
        if image is None and inner not in RUNS_CODE:
            raise RuntimeUnavailable(
                f"the algorithm is code of a folder, and compute nodes run images alone: 'slurm: inner' is {inner}. "
                "Expected bubblewrap, or an image of the algorithm"
            )
        if image is not None and (inner not in RUNS_IMAGES or image.kind is not ImageKind.SIF):
            raise RuntimeUnavailable(
                f"the algorithm is packed in the image {image.name}, and compute nodes don't run it: expected a file "
                "of Apptainer's format, or a folder with a root file system, and 'slurm: inner' to be bubblewrap or "
                "apptainer"
            )

    def _queue(self) -> Queue:
        if self._made_queue is None:
            self._made_queue = Queue(self._spool.owner(), self._options.conf)
        return self._made_queue

    async def _prepare(
        self, launch: Launch, folder: SessionFolder
    ) -> tuple[Spec, Coroutine[Any, Any, _Arrival]]:
        """Write down what is to be started; that, and what waits for it."""
        secret = _written(folder, folder.make)
        bound = launch.limits.reply_bytes

        def line(pieces: Any, keys: Keys) -> Frames:
            return Frames(pieces, own=keys.node, others=keys.seat, body_bytes_max=bound)

        address = None
        if self._options.talk is Talk.SOCKET:
            host, port, came = await self._listener.expect(folder.name, secret)
            address = (host, port)

            async def arrival() -> _Arrival:
                try:
                    arrived = await came
                except asyncio.CancelledError:
                    if not came.cancelled():  # It has come at this very moment.
                        await came.result()[0].close()
                    raise
                return await _first(line(*arrived), self._pace)
        else:
            frames = line(folder.of_node(), Keys.of(secret, folder.name.encode()))

            async def arrival() -> _Arrival:
                return await _first(frames, self._pace)

        told = Spec(
            launch=launch,
            inner=self._options.inner,
            python=self._python,
            roots=self._roots,
            address=address,
            pace=self._pace,
        )
        _written(folder, partial(folder.write_spec, spec.encode(told)))
        return told, arrival()

    async def _arrived(self, arriving: asyncio.Task[_Arrival], berth: Berth, launch: Launch) -> _Arrival:
        """Wait for a job to begin and to be ready, and tell what it waits for."""
        loop = asyncio.get_running_loop()
        queued_until, started_until = loop.time() + self._options.queued_seconds, None
        look_seconds, told = _FIRST_LOOK_SECONDS, ""
        while True:
            await asyncio.wait({arriving}, timeout=look_seconds)
            if arriving.done():
                try:
                    return arriving.result()
                except LineBrokenError as error:
                    raise _not_begun(berth, str(error)) from None
            look_seconds = min(2 * look_seconds, self._pace.poll_seconds)
            try:
                standing = await berth.queue.standing(berth.job)
            except SlurmSilentError as error:
                text = f"queued in Slurm as job {berth.job} ({error})"
            else:
                if standing is None or not (standing.waits or standing.runs):
                    # It may have said why it ended, and that is on its way.
                    await asyncio.wait({arriving}, timeout=self._pace.poll_seconds)
                    if arriving.done():
                        continue
                text = _standing(berth, standing)
                if standing is not None and standing.runs:
                    started_until = started_until or loop.time() + START_SECONDS_MAX
            if launch.waits is not None and text != told:
                launch.waits(told := text)
            if started_until is not None and loop.time() > started_until:
                raise _not_begun(berth, f"it was silent for {START_SECONDS_MAX:g} seconds")
            if started_until is None and loop.time() > queued_until:
                raise LimitReached(
                    f"the session's Slurm job {berth.job} was queued for {self._options.queued_seconds:g} seconds, the "
                    "most that it may wait, and was taken back. Raise 'slurm: queued_seconds', or ask for less"
                )


def _written(folder: SessionFolder, write: Callable[[], T]) -> T:
    """Write something into a session's folder.

    Raises:
        RuntimeUnavailable: it can't be.
    """
    try:
        return write()
    except OSError as error:
        raise RuntimeUnavailable(
            f"the session's folder {folder.path} can't be made: {error.strerror}"
        ) from None


async def _first(frames: Frames, pace: Pace) -> _Arrival:
    """The first that a job says beside signs of life. To unpack an image may take it long."""
    alive: asyncio.Task[None] | None = None
    try:
        while (head := (await frames.receive())[0])["say"] not in ("ready", "unready"):
            if alive is None:  # It is there, and would end by itself if nobody answered.
                alive = asyncio.create_task(
                    keep_alive(frames, beat_seconds=pace.beat_seconds, silent_seconds=pace.silent_seconds)
                )
        if head["say"] == "ready":
            return frames, head
    except BaseException:
        await frames.close()
        raise
    finally:
        if alive is not None:
            alive.cancel()
            await asyncio.gather(alive, return_exceptions=True)
    await frames.close()
    raise faults.heard(head["error"])


async def _give_up(arriving: asyncio.Task[_Arrival]) -> None:
    """Wait for a job no more."""
    arriving.cancel()
    await asyncio.gather(arriving, return_exceptions=True)
    if not arriving.cancelled() and arriving.exception() is None:
        await arriving.result()[0].close()


def _standing(berth: Berth, standing: Standing | None) -> str:
    """Where a job stands, in a sentence.

    Raises:
        RuntimeUnavailable: it won't begin.
    """
    if standing is None:
        raise _not_begun(berth, "Slurm doesn't know it any more")
    if standing.hopeless:
        raise RuntimeUnavailable(
            f"the session's Slurm job {berth.job} would wait for ever, as Slurm gives {standing.reason} as the reason: "
            "look at the section 'slurm' of node.yaml, and at what the partition allows"
        )
    if standing.waits:
        reason = f" (reason: {standing.reason})" if standing.reason else ""
        return f"queued in Slurm as job {berth.job}{reason}"
    if standing.runs:
        return f"starts in Slurm as job {berth.job} on {standing.node}"
    raise _not_begun(berth, f"Slurm calls it {standing.state}")


def _not_begun(berth: Berth, why: str) -> RuntimeUnavailable:
    printed = berth.folder.printed()
    said = (
        f"What it printed:\n{printed}"
        if printed
        else (
            f"It printed nothing: expected {berth.folder.path} on a file system which compute nodes share at the same "
            "path"
        )
    )
    return RuntimeUnavailable(f"the session's Slurm job {berth.job} did not get ready: {why}. {said}")


def _script(folder: SessionFolder) -> str:
    """What a job runs. All that stands in it is Atoll's own, and quoted."""
    python, file = shlex.quote(sys.executable), shlex.quote(str(folder.spec))
    return _SCRIPT.format(python=python, spec=file, program=_PROGRAM, what="such file and interpreter")
