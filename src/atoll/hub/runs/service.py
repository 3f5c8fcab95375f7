"""Runs, for people: submitting them, waiting for them, deciding about them, fetching what they left."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping

from sqlalchemy import bindparam, select, update
from sqlalchemy.exc import IntegrityError

from atoll.engine.limits import WAIT_SECONDS_MAX
from atoll.hub.algorithms.service import Algorithms
from atoll.hub.blobs.service import Blobs
from atoll.hub.ownership import Ownership
from atoll.hub.parts import Rooms
from atoll.hub.principal import Principal
from atoll.hub.runs.submission import Places, Submission, blobs_of, made
from atoll.model.errors import Cancelled, Malformed, NotThere, QuotaReached, Taken
from atoll.model.events import Decision
from atoll.model.scopes import Whose
from atoll.model.work import Failure, JobId, Message, Run, RunId, RunStatus, Seat
from atoll.stores.sql.places import Found, find_place, used
from atoll.stores.sql.removal import kept_long_enough, remove_run
from atoll.stores.sql.run_tables import run_blobs, runs
from atoll.stores.sql.runs import SqlRunStore

#: What a run that a client has named is called by: the prefix, and random characters.
_ID_PREFIX = "run_"
_ID_LENGTH = len(_ID_PREFIX) + 26
_ID_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")

_DESCRIBE = (
    update(runs)
    .where(runs.c.id == bindparam("run"))
    .values(
        collaboration_id=bindparam("collaboration"),
        study_id=bindparam("study"),
        submitter_id=bindparam("submitter"),
        organization_id=bindparam("organization"),
        name=bindparam("called"),
        deadline_at=bindparam("deadline"),
    )
)
_UPLOADED = select(run_blobs).where(run_blobs.c.run_id == bindparam("run"), run_blobs.c.is_whole)


def new_run_id() -> RunId:
    """A name for a run that nobody can guess."""
    return RunId(_ID_PREFIX + "".join(secrets.choice(sorted(_ID_CHARACTERS)) for _ in range(26)))


class Runs:
    """The runs of one hub, for people.

    Args:
        rooms: the hub's.
    """

    def __init__(self, rooms: Rooms, /) -> None:
        parts = rooms.parts
        assert isinstance(parts.runs, SqlRunStore)
        self._database = parts.database
        self._hub = parts.hub
        self._store = parts.runs
        self._now = parts.now
        self._ownership = rooms.of(Ownership)
        self._blobs = rooms.of(Blobs)
        self._algorithms = rooms.of(Algorithms)

    async def submit(
        self,
        who: Principal,
        submission: Submission,
        keep: Callable[[RunId], Awaitable[None]] | None = None,
    ) -> RunId:
        """Begin a run.

        Args:
            who: submits it.
            submission: what is asked for.
            keep: notes in the same transaction that it was done.

        Raises:
            Malformed: it doesn't fit together, or names files that were not uploaded.
            NotAllowed: who asks may not submit runs there.
            NotThere: there is no such collaboration or study, or not for him.
            QuotaReached: the collaboration has used what it may.
            Taken: there is a run of this name already.
        """
        run_id = _named(submission)
        async with self._database.reading() as connection:
            found = await find_place(connection, submission.collaboration, submission.study)
        whose = Whose(user=who.id, collaborations=frozenset({submission.collaboration}))
        if found is None or submission.collaboration not in who.collaborations:
            # His own run it would be, but it would be at somebody else's collaboration.
            whose = Whose(collaborations=frozenset({submission.collaboration}))
        who.require("run", "create", whose, f"collaboration {submission.collaboration}")
        if found is None:
            raise NotThere(f"there is no collaboration {submission.collaboration}, or no such study of it")
        digests = [step.algorithm.digest for step in submission.steps]
        await self._algorithms.check(submission.collaboration, digests)
        run, messages = made(run_id, submission, _places(found))

        async def also() -> None:
            await self._admit(run_id, found, submission)
            await self._describe(run_id, who, submission)
            if keep is not None:
                await keep(run_id)

        try:
            await self._hub.submit(run, messages, also)
        except IntegrityError as error:
            raise Taken(f"there is a run {run_id} already") from error
        return run_id

    async def wait(self, who: Principal, run_id: RunId, seconds: float) -> RunStatus:
        """Wait until a run has ended, or for some seconds; how far it is then.

        Raises:
            NotThere: there is no such run, or not for who asks.
        """
        await self._ownership.check(who, run_id, "run", "view")
        try:
            async with asyncio.timeout(min(seconds, WAIT_SECONDS_MAX)):
                return (await self._hub.ended(run_id)).status
        except TimeoutError:
            return (await self._store.get(run_id)).status

    async def cancel(self, who: Principal, run_id: RunId, reason: str) -> None:
        """End a run before its time.

        Raises:
            NotAllowed: who asks may not do this, though he sees the run.
            NotThere: there is no such run, or not for him.
            StaleEvent: it has ended already.
        """
        await self._ownership.check(who, run_id, "run", "send")
        because = f": {reason}" if reason else ""
        await self._hub.stop(
            run_id, Failure(type=Cancelled.__name__, message=f"{who.name} ended the run{because}")
        )

    async def decide(self, who: Principal, run_id: RunId, job_id: JobId, decision: Decision) -> None:
        """Say what is to be done about a job that broke, or that is waited for too long.

        Raises:
            NotAllowed: who asks may not do this, though he sees the run.
            NotThere: there is no such run, or not for him; or no such job in it.
            NotYours: that can't be done with this job.
            StaleEvent: the job, or its run, has ended already.
        """
        await self._ownership.check(who, run_id, "run", "send")
        if not job_id.startswith(f"{run_id}."):
            raise NotThere(f"there is no job {job_id} in run {run_id}")
        await self._hub.decide(run_id, job_id, decision)

    async def results(self, who: Principal, run_id: RunId) -> tuple[Run, Mapping[Seat, Message]]:
        """A run, and the last message of each seat that has done its work in its last step.

        Raises:
            NotThere: there is no such run, or its results are not for who asks.
        """
        await self._ownership.check(who, run_id, "result", "view")
        run = await self._store.get(run_id)
        return run, await self._hub.settled(run_id, len(run.steps) - 1)

    async def remove(self, who: Principal, run_id: RunId) -> None:
        """Remove a run that has ended, with its results and files.

        Raises:
            NotAllowed: who asks may not do this, though he sees the run.
            NotThere: there is no such run, or not for him.
            StaleEvent: it goes on.
        """
        await self._ownership.check(who, run_id, "run", "delete")
        await self._remove(run_id)

    async def sweep(self) -> None:
        """Remove what was kept as long as its collaboration wants."""
        for run_id in await kept_long_enough(self._database, self._now()):
            await self._remove(run_id)

    async def _remove(self, run_id: RunId) -> None:
        await remove_run(self._database, run_id, self._now())
        self._ownership.forget(run_id)
        await self._blobs.remove(run_id)
        self._hub.bells.stir()

    async def _admit(self, run_id: RunId, found: Found, submission: Submission) -> None:
        """Refuse what is more than the collaboration may have, or names files that are not there."""
        async with self._database.writing() as connection:
            active, weight = await used(connection, found.collaboration, hold=True)
            uploaded = (await connection.execute(_UPLOADED, {"run": run_id})).rows
        if found.runs_active_max is not None and active >= found.runs_active_max:
            raise QuotaReached(
                f"{active} runs of {found.name} go on, and it may have {found.runs_active_max} at a time: wait for "
                "one to end, or cancel one"
            )
        if found.bytes_max is not None and weight >= found.bytes_max:
            raise QuotaReached(
                f"the runs of {found.name} have {weight} bytes, and it may have {found.bytes_max}: remove old ones"
            )
        there = {row.digest: row.size_bytes for row in uploaded}
        for digest, blob in blobs_of(submission).items():
            if there.get(digest) != blob.size_bytes:
                raise Malformed(
                    f"the run names a file {digest} of {blob.size_bytes} bytes, which was not uploaded for {run_id}"
                )

    async def _describe(self, run_id: RunId, who: Principal, submission: Submission) -> None:
        seconds = submission.deadline_seconds
        described = {
            "run": run_id,
            "collaboration": submission.collaboration,
            "study": submission.study,
            "submitter": who.id,
            "organization": who.organization_id,
            "called": submission.name or submission.steps[-1].algorithm.name,
            "deadline": None if seconds is None else self._now() + seconds,
        }
        async with self._database.writing() as connection:
            await connection.execute(_DESCRIBE, described)


def _named(submission: Submission) -> RunId:
    """The run's id: the client's, or a new one."""
    if submission.id is None:
        return new_run_id()
    rest = submission.id.removeprefix(_ID_PREFIX)
    if len(submission.id) != _ID_LENGTH or len(rest) != 26 or not set(rest) <= _ID_CHARACTERS:
        raise Malformed(
            f"a run can't be called {submission.id[:60]!r}: expected {_ID_PREFIX} and 26 lower-case letters and digits"
        )
    return RunId(submission.id)


def _places(found: Found) -> Places:
    what = f"collaboration {found.name}"
    if found.study_name is not None:
        what = f"study {found.study_name} of the {what}"
    return Places(data=found.data, nodes=found.nodes, default_aggregator=found.default_aggregator, what=what)
