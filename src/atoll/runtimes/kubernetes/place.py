"""Where the calls of one launch run: each in a pod of its own.

::

    in --> file --> Job, its Secret --> (queued, told) --> pod at work --> ended --> files --> out, log
                                                                |
                                                                '--> killed: the Job removed, the pod gone

The three files lie in the volume that the node and its pods share. No word is spoken to a pod.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

from atoll.engine.limits import CHUNK_BYTES, PULL_SECONDS_MAX, START_SECONDS_MAX
from atoll.engine.running import Launch, Outlet
from atoll.model.errors import LimitReached, RuntimeUnavailable
from atoll.runtimes.boxes import new_name
from atoll.runtimes.children import Streams
from atoll.runtimes.doors import Doors
from atoll.runtimes.kubernetes.cluster import Cluster, ClusterSilentError
from atoll.runtimes.kubernetes.manifest import BLANK, CALL, IN, LOG, OUT, Call, Manifests
from atoll.runtimes.kubernetes.standing import (
    Ended,
    Failed,
    Lost,
    Runs,
    Standing,
    Starts,
    Waits,
    read_pod,
    too_long,
)
from atoll.runtimes.points import Points
from atoll.runtimes.sessions import Running
from atoll.runtimes.warm import ParentLost

_log = logging.getLogger(__name__)

_TEMPORARY = "/tmp"  # noqa: S108 -- the pod's own
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a cluster is looked at, and for how long it is waited for."""

    #: Seconds of one stream of changes. Then the pods are listed again, so that no change can be missed for longer.
    stream_seconds: float = 60.0
    #: Seconds before the next try where there was no stream, or no answer.
    poll_seconds: float = 2.0
    #: Seconds between two looks at what a call has written.
    look_seconds: float = 1.0
    #: Seconds that a pod may take to be gone.
    gone_seconds: float = 60.0


class PodPlace:
    """The calls of one launch.

    Args:
        launch: what is started.
        cluster: where.
        manifests: say how.
        folder: where calls' folders are made; in the claim's volume.
        user: whom algorithms run as, where it isn't this process's own.
        pace: how often one looks.
        volumes: folders of the image over which room is laid that is bounded.
    """

    def __init__(
        self,
        launch: Launch,
        cluster: Cluster,
        manifests: Manifests,
        folder: Path,
        user: tuple[int, int] | None,
        pace: Pace,
        volumes: Sequence[str] = (),
    ) -> None:
        self.limits = launch.limits
        self.log = launch.log
        self.doors = Doors()
        mounts = [mount.source for mount in launch.mounts if mount.writable]
        self.writable: Sequence[Path] = [launch.temporary, *mounts]
        self._launch = launch
        self._cluster = cluster
        self._manifests = manifests
        self._folder = folder
        self._user = user
        self._pace = pace
        self._volumes = tuple(volumes)
        shown = [(mount.source, os.path.normpath(mount.target)) for mount in launch.mounts]
        self._points = Points([*shown, (launch.temporary, _TEMPORARY)], str(launch.seat))

    async def start(self, streams: Streams, seed: int | None, environment: Mapping[str, str]) -> Running:
        """Start a call; returns when its pod is at work, or has failed, which whoever waits for its end is told."""
        folder = self._make_folder()  # Not in a thread, so that whoever gives up in between leaves none.
        call = Call(
            name=new_name(),
            launch=self._launch,
            folder=folder,
            environment={**self._launch.environment, **environment},
            user=self._user or (os.geteuid(), os.getegid()),
            groups=() if self._user else tuple(group for group in os.getgroups() if group),
            volumes=self._volumes,
        )
        run = PodRun(call, self._cluster, self._manifests, streams, self._pace)
        try:
            await asyncio.shield(run.begun)
        except asyncio.CancelledError:
            run.kill()
            run.watched.set()
            await asyncio.wait({run.ended})
            raise
        run.watched.set()
        return run

    def _make_folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="call-", dir=self._folder))
        for name in (IN, OUT, LOG, BLANK):
            (folder / name).touch(mode=0o600)
            if self._user is not None:
                os.chown(folder / name, *self._user)
        return folder

    def inside(self, path: Path) -> str:
        """Where a call sees a path."""
        return self._points.inside(path)

    def memory_kills(self) -> int | None:
        """Not counted: a pod says itself why it has ended."""
        return None

    def refusals(self) -> int | None:
        """Not told by a cluster."""
        return None

    def members(self) -> Collection[int]:
        """None of them is this machine's."""
        return ()

    async def sweep(self) -> None:
        """Nothing: a pod ends with all that is in it."""

    async def offer(self, outlet: Outlet) -> None:
        """Nothing can be offered to what has no network."""
        raise RuntimeUnavailable(f"nothing can be offered to an algorithm in a pod at port {outlet.port}")

    async def reach(self, port: int) -> int:
        """Nobody reaches what has no network."""
        raise RuntimeUnavailable(f"an algorithm in a pod can't be reached at port {port}")

    async def close(self) -> None:
        """Nothing: no call leaves anything."""


class PodRun:
    """One call in its pod.

    Args:
        call: what is called.
        cluster: where.
        manifests: say how.
        streams: the call's; whoever gave them may close them once it has begun, or has ended.
        pace: how often one looks.
    """

    def __init__(
        self, call: Call, cluster: Cluster, manifests: Manifests, streams: Streams, pace: Pace
    ) -> None:
        loop = asyncio.get_running_loop()
        self._call = call
        self._cluster = cluster
        self._manifests = manifests
        self._pace = pace
        self._selector = f"{CALL}={call.name}"
        self._input = os.dup(streams.stdin)
        self._pump = Pump(call.folder, streams)
        self._made = self._killed = False
        #: Is done when it is at work, or won't be.
        self.begun: asyncio.Future[None] = loop.create_future()
        #: Is set when whoever has started it watches what it writes: until then nothing is passed on.
        self.watched = asyncio.Event()
        #: Its exit status, or minus the signal that ended it; or why it has neither.
        self.ended: asyncio.Future[int] = loop.create_future()
        self._working = loop.create_task(self._work())

    def kill(self) -> None:
        """End it; `ended` is set when its pod is gone, or the cluster has had its time for that."""
        if not self._killed and not self.ended.done():
            self._killed = True
            self._working.cancel()

    async def _work(self) -> None:
        outcome: int | Exception = -signal.SIGKILL
        try:
            outcome = await self._run()
        except asyncio.CancelledError:
            pass  # killed: the outcome says so already
        except ClusterSilentError as error:
            outcome = RuntimeUnavailable(f"Kubernetes doesn't run the call: {error}")
        except Exception as error:  # Whatever it was: whoever waits for the call's end is told.
            outcome = error
        # From here on nothing is cancelled: `kill` does it once, and not any more.
        self._killed = True
        try:
            await self._clear(wait=not isinstance(outcome, int) or outcome == -signal.SIGKILL)
        finally:
            if isinstance(outcome, int):
                self.ended.set_result(outcome)
            else:
                self.ended.set_exception(outcome)
                self.ended.exception()  # Whoever was to hear of it may wait no more.

    async def _run(self) -> int:
        making = asyncio.create_task(self._make())
        try:
            await asyncio.shield(making)
        except asyncio.CancelledError:
            # What a thread has asked for can't be taken back: else it would be there after it was removed.
            await asyncio.gather(making, return_exceptions=True)
            raise
        looking = asyncio.create_task(self._look())
        try:
            return await self._until_ended()
        finally:
            looking.cancel()
            await asyncio.wait({looking})

    async def _make(self) -> None:
        job = self._manifests.job(self._call)
        await asyncio.to_thread(_keep, self._input, self._call.folder / IN)
        self._made = True
        await self._cluster.make_secret(self._manifests.secret(self._call))
        await self._cluster.make_job(job)

    async def _look(self) -> None:
        """Pass on what it writes while it is at work."""
        await self.watched.wait()
        await self._pump.work(self._pace.look_seconds)

    async def _until_ended(self) -> int:
        """Wait for the pod's end, and tell what it waits for until then."""
        told, has_machine = "", False
        queued_seconds = self._manifests.settings.queued_seconds
        try:
            async with asyncio.timeout(queued_seconds) as bound, aclosing(self._standings()) as standings:
                async for standing in standings:
                    if isinstance(standing, Failed):
                        raise standing.error
                    if isinstance(standing, Lost):
                        raise ParentLost(standing.why)
                    if isinstance(standing, Ended):
                        return standing.exit_code
                    if standing.text != told and self._call.launch.waits is not None:
                        self._call.launch.waits(told := standing.text)
                    if isinstance(standing, Starts) and not has_machine:
                        has_machine = True
                        bound.reschedule(_from_now(PULL_SECONDS_MAX + START_SECONDS_MAX))
                    if isinstance(standing, Runs) and not self.begun.done():
                        bound.reschedule(None)  # From now on whoever has started it counts.
                        self.begun.set_result(None)
        except TimeoutError:
            if has_machine:
                raise RuntimeUnavailable(
                    f"the call's pod was not started within {PULL_SECONDS_MAX + START_SECONDS_MAX:g} seconds"
                ) from None
            raise LimitReached(
                f"the call was queued in Kubernetes for {queued_seconds:g} seconds, the most that it may wait, and was "
                "taken back. Raise 'kubernetes: queued_seconds', or ask for less"
            ) from None
        raise AssertionError("standings have no end")

    async def _standings(self) -> AsyncGenerator[Standing]:
        """Where the call stands, each time that this may have changed."""
        limits, seen = self._call.launch.limits, False
        while True:
            try:
                pods, version = await self._cluster.pods(self._selector)
                standing = read_pod(pods[0], limits) if pods else await self._without_pod(seen=seen)
            except ClusterSilentError as error:
                if error.for_good:
                    raise
                await asyncio.sleep(self._pace.poll_seconds)
                continue
            seen = seen or bool(pods)
            yield standing
            stirred = False
            changes = self._cluster.changes(self._selector, version, self._pace.stream_seconds)
            async with aclosing(changes) as happened:
                async for change in happened:
                    seen = stirred = True
                    standing = read_pod(change.pod, limits)
                    ended = isinstance(standing, Ended | Failed)
                    yield standing if ended or not change.gone else Lost("its pod was removed")
            if not stirred:
                await asyncio.sleep(self._pace.poll_seconds)

    async def _without_pod(self, *, seen: bool) -> Standing:
        """Where a call stands that has no pod yet, or none any more."""
        if seen:
            return Lost("its pod is there no more")
        job = await self._cluster.job(self._call.name)
        if job is None:
            return Lost("its Job was removed")
        for condition in (job.get("status") or {}).get("conditions") or ():
            if condition.get("type") == "Failed" and condition.get("status") == "True":
                if condition.get("reason") == "DeadlineExceeded":
                    return Failed(too_long(self._call.launch.limits))
                return Lost(str(condition.get("reason")))
        return Waits(f"queued in Kubernetes as job {self._call.name}")

    async def _clear(self, *, wait: bool) -> None:
        """Remove what the call has in the cluster and in the volume."""
        if self._made:
            try:
                async with asyncio.timeout(self._pace.gone_seconds):
                    await self._remove()
                    if wait:
                        await until_gone(self._cluster, self._selector, self._pace)
            except (ClusterSilentError, TimeoutError) as error:
                # It ends by itself in time, and is removed at this node's next start.
                _log.warning(
                    "the Job %s or its pod may be there still: %s", self._call.name, str(error) or "no answer"
                )
        if not self.begun.done():
            self.begun.set_result(None)
        await self.watched.wait()
        await self._pump.finish()
        os.close(self._input)
        await asyncio.to_thread(shutil.rmtree, self._call.folder, ignore_errors=True)

    async def _remove(self) -> None:
        """Remove the Job and its Secret. A cluster that doesn't answer is asked again."""
        while True:
            try:
                await self._cluster.end(self._call.name)
            except ClusterSilentError as error:
                if error.for_good:
                    raise
                await asyncio.sleep(self._pace.poll_seconds)
            else:
                return


class Pump:
    """Passes on what a call writes to its files.

    Args:
        folder: holds the files.
        streams: where it goes.
    """

    def __init__(self, folder: Path, streams: Streams) -> None:
        self._ways = [
            _Way(folder / OUT, os.dup(streams.stdout)),
            _Way(folder / LOG, os.dup(streams.stderr)),
        ]
        self._passing: asyncio.Future[None] | None = None

    async def work(self, seconds: float) -> None:
        """Look every few seconds, until this is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self._pass()

    async def finish(self) -> None:
        """Pass on the rest, and close what it goes to."""
        if self._passing is not None:
            await asyncio.wait({self._passing})
        await self._pass()
        for way in self._ways:
            os.close(way.target)

    async def _pass(self) -> None:
        # A thread can't be cancelled: it is waited for before its descriptors are closed.
        self._passing = asyncio.ensure_future(asyncio.to_thread(self._pass_all))
        await asyncio.shield(self._passing)

    def _pass_all(self) -> None:
        for way in self._ways:
            way.go()


class _Way:
    """From a file that grows to a descriptor."""

    def __init__(self, path: Path, target: int) -> None:
        self.target = target
        self._path = path
        self._at = 0

    def go(self) -> None:
        """Pass on what is new. Opened anew each time: on a shared file system, that shows what others wrote."""
        with suppress(OSError):  # Nobody reads it any more, or it is gone.
            file = os.open(self._path, _READ)
            try:
                while chunk := os.pread(file, CHUNK_BYTES, self._at):
                    self._at += len(chunk)
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[os.write(self.target, rest) :]
            finally:
                os.close(file)


async def until_gone(cluster: Cluster, selector: str, pace: Pace) -> None:
    """Wait until there are no pods with a label.

    Raises:
        ClusterSilentError: the cluster doesn't answer.
    """
    while True:
        pods, version = await cluster.pods(selector)
        if not pods:
            return
        async with aclosing(cluster.changes(selector, version, pace.stream_seconds)) as happened:
            async for change in happened:
                if change.gone:
                    break
            else:
                await asyncio.sleep(pace.poll_seconds)


def _keep(source: int, path: Path) -> None:
    """Write down what a call is to read."""
    with path.open("wb") as file:
        while chunk := os.read(source, CHUNK_BYTES):
            file.write(chunk)


def _from_now(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds
