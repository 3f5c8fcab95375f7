"""The hub over HTTP, as one node sees it. The node calls; nobody calls the node.

Two tasks go on as long as the link: one listens to what wakes the node, the other says again and
again that it is there and what it works at. What they learn is waited for by who does the work.

Each claim of a job has a number. The link remembers it, and says it with all that is told about
the job: who was thought to be lost, and comes back, changes nothing any more.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Collection, Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from atoll import __version__
from atoll.engine.limits import BODY_BYTES_INSIDE_MAX, CHUNK_BYTES, LOG_LINES_MAX
from atoll.engine.ports import ChildState
from atoll.model.errors import (
    AtollError,
    HubUnreachable,
    NotAllowed,
    NotLoggedIn,
    StaleEvent,
    VersionMismatch,
)
from atoll.model.events import JobBroke, JobLost, JobReported, RoundGivenUp, RoundRequested
from atoll.model.work import Blob, JobId, Message, RunId, Ticket
from atoll.transports import files, forms, wire
from atoll.transports.connection import AGAIN, Connection, HubFailed
from atoll.transports.forms import Claim, Claimed, Hello, Log, Logs
from atoll.transports.peers import HttpPeers

_LOG = logging.getLogger(__name__)
#: After these nothing more can be done: the node's key is over, or its version is too far away.
_FINAL = (NotLoggedIn, NotAllowed, VersionMismatch)
#: Seconds that a question about a child round is held open.
_WAIT_SECONDS = 25

E = TypeVar("E", JobReported, JobBroke, RoundRequested, RoundGivenUp)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a node says of itself."""

    #: The labels of its databases, in its order.
    databases: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()
    runtimes: tuple[str, ...] = ()
    holds_data: bool = True


class HttpLink:
    """A hub over HTTP.

    Args:
        connection: calls it.
        facts: what the node says of itself.
    """

    def __init__(self, connection: Connection, facts: Facts | None = None) -> None:
        self._connection = connection
        self._facts = facts or Facts()
        #: Where jobs talk to others of their runs.
        self.peers = HttpPeers(connection)
        #: The node's name, as its hub has it; known when it has started.
        self.node = ""
        self._heartbeat_seconds = 15.0
        self._working: dict[JobId, Claimed] = {}
        #: Runs that something is kept of here.
        self._runs: set[RunId] = set()
        self._work = asyncio.Event()
        self._cancelled: asyncio.Queue[JobId] = asyncio.Queue()
        self._ended: asyncio.Queue[RunId] = asyncio.Queue()
        #: One claim at a time: what one has got must be known before the next says what is known.
        self._claiming = asyncio.Lock()
        self._unheard = False
        self._listening = asyncio.Lock()
        self._tasks: list[asyncio.Task[None]] = []
        self._over: asyncio.Future[None] | None = None

    async def start(
        self, working: Sequence[Claimed] = (), runs: Collection[RunId] = (), *, listens: bool = True
    ) -> None:
        """Say hello, and begin to listen.

        Args:
            working: jobs that still go on here since the node was started last.
            runs: those that something is kept of here.
            listens: whether to hear of work, and to say that the node is there.

        Raises:
            NotLoggedIn: the hub doesn't know the node's key.
            VersionMismatch: they are too far apart.
        """
        self._over = asyncio.get_running_loop().create_future()
        self._working = {each.job: each for each in working}
        self._runs = set(runs)
        await self._hello()
        if listens:
            listening = asyncio.Event()
            self._go_on(self._listen(listening))
            self._go_on(self._beat())
            first = asyncio.create_task(listening.wait())
            waited_for: list[asyncio.Future[Any]] = [first, self._over]
            try:
                await asyncio.wait(waited_for, return_when=asyncio.FIRST_COMPLETED)
            finally:
                first.cancel()
            if self._over.done():
                self._over.result()

    async def close(self) -> None:
        """End what goes on, and close all connections. Claimed jobs stay claimed until their leases end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        if self._over is not None and not self._over.done():
            self._over.cancel()
        await self._connection.close()

    async def over(self) -> None:
        """Wait until the hub doesn't know this node any more, or can't be listened to.

        Raises:
            Exception: why.
        """
        assert self._over is not None
        await asyncio.shield(self._over)

    # --- Jobs ---------------------------------------------------------------------------------

    async def listen(self) -> None:
        # One at a time: for one job the hub isn't asked by everybody who has nothing to do.
        async with self._listening:
            await self._work.wait()
            self._work.clear()

    async def claim(self) -> Ticket | None:
        async with self._claiming:
            # What was told until now, this claim finds.
            self._work.clear()
            try:
                answered = await self._connection.call("POST", "/node/claim", self._claim)
            except BaseException:
                self._work.set()
                raise
            ticket = wire.decode_ticket(answered.body) if answered.status == 200 else None
            if ticket is not None and answered.headers.get(forms.MORE) != "no":
                self._work.set()
            if ticket is not None:
                job = ticket.job
                self._working[job.id] = Claimed(run=job.run_id, job=job.id, attempt=job.attempt)
                self._runs.add(job.run_id)
            self._unheard = False
        return ticket

    async def report(self, event: JobReported | JobBroke) -> None:
        if isinstance(event, JobBroke):
            event = self._numbered(event)
            body = wire.encode_report(event)
        else:
            message = event.outcome.message
            light = None if message is None else await self._light(event.run_id, message)
            event = replace(self._numbered(event), outcome=replace(event.outcome, message=light))
            body = wire.encode_report(event)
        await self._tell_end("/node/report", event, body)

    async def lost(self, event: JobLost) -> None:
        """Say that nobody works at a job any more: it may be claimed anew.

        Raises:
            StaleEvent: it has ended, or was claimed anew already.
        """
        await self._tell_end("/node/lost", event, wire.encode_lost(event))

    async def ask(self, event: RoundRequested, messages: Sequence[Message]) -> int:
        light = tuple([await self._light(event.run_id, message) for message in messages])
        body = wire.encode_ask(self._numbered(event), light)
        return forms.number.decode((await self._connection.call("POST", "/node/ask", body)).body).number

    async def child(self, run_id: RunId, job_id: JobId, number: int) -> ChildState:
        path = f"/node/child?run={run_id}&job={job_id}&number={number}"
        return wire.decode_child((await self._connection.call("GET", path)).body)

    async def child_ended(self, run_id: RunId, job_id: JobId, number: int) -> None:
        path = f"/node/child/ended?run={run_id}&job={job_id}&number={number}&wait={_WAIT_SECONDS}"
        while not forms.ended.decode((await self._connection.call("GET", path)).body).ended:
            pass  # It was held open for as long as it may be.

    async def give_up(self, event: RoundGivenUp) -> None:
        await self._connection.call("POST", "/node/give_up", wire.encode_give_up(self._numbered(event)))

    async def release(self, run_id: RunId, job_id: JobId, number: int) -> None:
        body = forms.encode(forms.Child(run=run_id, job=job_id, number=number))
        await self._connection.call("POST", "/node/release", body)

    async def cancelled(self) -> JobId:
        return await self._cancelled.get()

    async def ended(self) -> RunId:
        """Wait for a run to end that something is kept of here. Each is told once."""
        return await self._ended.get()

    def progressed(self, job_id: JobId, fraction: float | None, text: str) -> None:
        """Remember how far a job says that it is: the next heartbeat tells it."""
        claimed = self._working.get(job_id)
        if claimed is not None:
            self._working[job_id] = Claimed(
                run=claimed.run, job=job_id, attempt=claimed.attempt, fraction=fraction, text=text
            )

    async def log(self, logs: Sequence[Log]) -> None:
        """Tell something of jobs for people to read. It may be told twice."""
        for start in range(0, len(logs), LOG_LINES_MAX):
            body = forms.encode(Logs(logs=list(logs[start : start + LOG_LINES_MAX])))
            await self._connection.call("POST", "/node/logs", body)

    # --- Files --------------------------------------------------------------------------------

    async def put_blob(self, run_id: RunId, blob: Blob, chunks: AsyncIterator[bytes]) -> None:
        await files.bring(self._connection, run_id, blob, chunks)

    def get_blob(self, run_id: RunId, blob: Blob) -> AsyncIterator[bytes]:
        return files.fetch(self._connection, run_id, blob)

    def get_bundle(self, digest: str) -> AsyncIterator[bytes]:
        """An algorithm's bundle, in chunks. The reader verifies it.

        Raises:
            NotThere: there is none, or not for this node.
        """
        return files.fetch_path(self._connection, f"/algorithms/{digest}/bundle")

    # --- What goes on -------------------------------------------------------------------------

    async def _hello(self) -> None:
        def body() -> bytes:
            return forms.encode(
                Hello(
                    version=__version__,
                    databases=list(self._facts.databases),
                    dialects=list(self._facts.dialects),
                    runtimes=list(self._facts.runtimes),
                    holds_data=self._facts.holds_data,
                    working=list(self._working.values()),
                    runs=sorted(self._runs),
                )
            )

        welcome = forms.welcome.decode((await self._connection.call("POST", "/node/hello", body)).body)
        self.node = welcome.node
        self._heartbeat_seconds = welcome.heartbeat_seconds
        self._learn(welcome.stale, welcome.ended)

    async def _beat(self) -> None:
        while True:
            await self._connection.pace.sleep(self._heartbeat_seconds)
            try:
                await self._say_there()
            except _FINAL:
                raise
            except AtollError as error:  # The next one may go better.
                _LOG.warning("the hub did not take a heartbeat: %s", error)

    async def _say_there(self) -> None:
        sent: dict[JobId, int] = {}

        def body() -> bytes:
            sent.clear()
            sent.update({each.job: each.attempt for each in self._working.values()})
            return forms.encode(
                forms.Heartbeat(working=list(self._working.values()), runs=sorted(self._runs))
            )

        heard = forms.heard.decode((await self._connection.call("POST", "/node/heartbeat", body)).body)
        # A job that was claimed anew meanwhile is another's.
        same = [
            job for job in heard.stale if (now := self._working.get(job)) and now.attempt == sent.get(job)
        ]
        self._learn(same, heard.ended)

    async def _listen(self, listening: asyncio.Event) -> None:
        tries = self._connection.tries()
        broken = False
        while True:
            try:
                async with self._connection.request("GET", "/node/events") as response:
                    async for line in response.content:
                        if not listening.is_set():
                            listening.set()
                        elif broken:
                            # Whatever was told while nobody listened.
                            self._work.set()
                            await self._say_there()
                        broken = False
                        tries.begin_anew()
                        await self._hear(line)
                trouble: Exception = HubUnreachable("the hub has ended the stream")
            except _FINAL:
                raise
            except HubFailed as error:  # It is waited for like one that is away: a deaf node is of no use.
                trouble = error.error
            except (*AGAIN, AtollError) as error:
                trouble = error
            broken = True
            await tries.wait(trouble)

    async def _hear(self, line: bytes) -> None:
        signal = forms.signal.decode(line)
        if signal.cancelled is not None:
            self._learn([signal.cancelled], [])
        if signal.ended is not None:
            self._learn([], [signal.ended])
        if signal.work:
            self._work.set()
        if signal.look:
            await self._say_there()

    def _learn(self, stale: Collection[JobId], ended: Collection[RunId]) -> None:
        for job_id in stale:
            if self._working.pop(job_id, None) is not None:
                self._cancelled.put_nowait(job_id)
        for run_id in ended:
            if run_id in self._runs:
                self._runs.discard(run_id)
                self._ended.put_nowait(run_id)

    def _go_on(self, work: Coroutine[Any, Any, None]) -> None:
        async def until_refused() -> None:
            try:
                await work
            except Exception as error:  # whatever it is: a node that doesn't hear its hub is of no use
                if isinstance(error, _FINAL):
                    _LOG.error("the hub refuses this node: %s", error)  # The sentence says it all.
                if self._over is not None and not self._over.done():
                    self._over.set_exception(error)

        self._tasks.append(asyncio.create_task(until_refused()))

    # --- What is sent -------------------------------------------------------------------------

    def _claim(self) -> bytes:
        unheard, self._unheard = self._unheard, True
        working = list(self._working.values()) if unheard else []
        return forms.encode(Claim(unheard=unheard, working=working))

    def _numbered(self, event: E) -> E:
        claimed = self._working.get(event.job_id)
        if event.attempt is None and claimed is not None:
            return replace(event, attempt=claimed.attempt)
        return event

    async def _tell_end(self, path: str, event: JobReported | JobBroke | JobLost, body: bytes) -> None:
        """Say that this node is done with a job."""
        sent = 0

        def counted() -> bytes:
            nonlocal sent
            sent += 1
            return body

        try:
            await self._connection.call("POST", path, counted)
        except StaleEvent:
            # Sent twice: it arrived the first time, or the job has ended without it. All is said.
            if sent == 1:
                raise
        finally:
            now = self._working.get(event.job_id)
            # A later try of it may be at work here by now.
            if now is not None and event.attempt in (None, now.attempt):
                del self._working[event.job_id]

    async def _light(self, run_id: RunId, message: Message) -> Message:
        """A message whose body travels beside it, where it is too large to travel inside."""
        body = message.body
        size_bytes = len(body) if isinstance(body, bytes) else body.size_bytes
        whole = body if isinstance(body, bytes) else await asyncio.to_thread(body.read)
        if size_bytes <= BODY_BYTES_INSIDE_MAX:
            return message if whole is body else replace(message, body=whole)
        digest = (await asyncio.to_thread(hashlib.sha256, whole)).hexdigest()
        blob = Blob(name="body", digest=f"sha256:{digest}", size_bytes=size_bytes)
        await self.put_blob(run_id, blob, _slices(whole))
        return replace(message, body=b"", body_blob=blob)


async def _slices(body: bytes) -> AsyncIterator[bytes]:
    view = memoryview(body)
    for start in range(0, len(body), CHUNK_BYTES):
        yield bytes(view[start : start + CHUNK_BYTES])
