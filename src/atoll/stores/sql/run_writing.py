"""One event's changes, written: rows, then what is told of them.

Everything here happens in one transaction, which holds the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Executable, Row

from atoll.engine.ports import Changes
from atoll.model.work import Job, JobStatus, Message, Round, Run, RunId
from atoll.stores.sql import run_statements as ask
from atoll.stores.sql.database import Connection
from atoll.stores.sql.events import Told, tell
from atoll.stores.sql.run_rows import (
    Kept,
    Made,
    blob_values,
    job_id,
    job_of,
    job_values,
    json_of,
    key_of,
    message_values,
    round_values,
    run_state,
)
from atoll.stores.sql.shown import job_form, round_form, run_form


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBefore:
    """A run as it was read, in the transaction that now changes it."""

    run: Run
    collaboration_id: str | None
    started_at: float | None


class Writing:
    """Writes the changes of one event.

    Args:
        connection: its transaction.
        run_id: the run, whose row is locked.
        made: what never changes of it.
        now: when the event is taken in.
        lease_seconds: how long a node that claims a job is believed to work at it.
    """

    def __init__(
        self, connection: Connection, run_id: RunId, made: Made, *, now: float, lease_seconds: float
    ) -> None:
        self._connection = connection
        self._run_id = run_id
        self._made = made
        self._now = now
        self._lease_until = now + lease_seconds
        #: Bytes of bodies that are kept now and were not before; less than zero where some have gone.
        self._bytes = 0
        #: The latest row of each thing that changed, by its number or id.
        self._rounds: dict[int, Any] = {}
        self._jobs: dict[tuple[int, int], Any] = {}
        self._cancelled: list[Job] = []
        #: Whether the run itself has changed.
        self._is_moved = False

    async def write(
        self, changes: Changes, messages: Sequence[Message], before: RunBefore | None
    ) -> Sequence[Job]:
        """Write it all.

        Args:
            changes: what the event changed.
            messages: what it brought.
            before: the run as it was read before the event, where that is known.

        Returns:
            The jobs that were cancelled without being listed, of those that a node had claimed.
        """
        # First, as a new main round may be opened, and messages of what lies below the last one go.
        if changes.cancel_below is not None:
            await self._end_below([changes.cancel_below])
        opened = [round_ for round_ in changes.rounds if round_.open_count == round_.job_count]
        if messages:
            await self._take(changes, messages, opened)
        await self._settle(changes)
        await self._enter(changes, opened)
        starts = await self._put(changes, opened)
        if changes.cancel_open_jobs:
            await self._cancel_all()
        if changes.cancel_round is not None:
            await self._cancel_round(changes.cancel_round)
        if changes.run.status.ended:
            await self._drop(ask.DROP_PASSING)
        if before is None or before.run is not changes.run:
            await self._move(changes.run, opened)
            self._is_moved = True
        if starts and (before is None or before.started_at is None):
            parameters = {"run": self._run_id, "now": self._now}
            answer = await self._connection.execute(ask.RUN_STARTED, parameters)
            self._is_moved = self._is_moved or answer.count > 0
        if self._bytes:
            parameters = {"run": self._run_id, "more": self._bytes}
            await self._connection.execute(ask.RUN_WEIGHS, parameters)
        await self._tell(before)
        return self._cancelled

    # --- Messages -----------------------------------------------------------------------------

    async def _take(self, changes: Changes, messages: Sequence[Message], opened: Sequence[Round]) -> None:
        """Keep what the event brought: what a child round is asked, or what a job has left."""
        asked = [round_ for round_ in opened if round_.parent is not None]
        if asked:
            kept, number = Kept.ASKED, asked[-1].number
        else:
            number = changes.jobs[0].round_number
            of = {round_.number: round_ for round_ in changes.rounds}[number]
            kept = Kept.MAIN if of.parent is None else Kept.LEFT
        rows = [message_values(self._run_id, message, kept, number) for message in messages]
        await self._connection.execute(ask.ADD_MESSAGES, rows)
        self._bytes += sum(len(row["body"]) for row in rows)
        if named := [row for message in messages for row in blob_values(self._run_id, message)]:
            await self._connection.execute(ask.ADD_MESSAGE_BLOBS, named)

    async def _settle(self, changes: Changes) -> None:
        if not changes.settled:
            return
        run = self._run_id
        places = [{"run": run, "at": step, "whose": seat} for step, seat, _ in changes.settled]
        await self._connection.execute(ask.DROP_SETTLED, places)
        rows = [
            {"run_id": run, "step": step, "seat": seat, "message_id": message_id}
            for step, seat, message_id in changes.settled
        ]
        await self._connection.execute(ask.ADD_SETTLED, rows)
        kept = [{"run": run, "message": message_id} for _, _, message_id in changes.settled]
        await self._connection.execute(ask.SETTLE, kept)

    async def _drop(self, statement: Executable, **which: Any) -> None:
        gone = (await self._connection.execute(statement, {"run": self._run_id, **which})).rows
        self._bytes -= sum(row.weight for row in gone)

    # --- Rounds and jobs ----------------------------------------------------------------------

    async def _enter(self, changes: Changes, opened: Sequence[Round]) -> None:
        """Write rounds: new ones, and known ones that have moved."""
        for round_ in changes.rounds:
            if round_ not in opened:
                await self._move_round(round_.number, round_.open_count, is_child=round_.parent is not None)
        if not opened:
            return
        rows = [round_values(self._run_id, round_, self._now) for round_ in opened]
        await self._connection.execute(ask.ADD_ROUNDS, rows)
        for row in rows:
            self._rounds[row["number"]] = _Values(row)
        if (main := _main(opened)) is not None:
            # What was left in the round that has just ended is read in this one; earlier ones' by nobody.
            before = [
                round_.number for round_ in changes.rounds if round_.number != main and not round_.depth
            ]
            await self._drop(ask.DROP_MAIN, round=before[-1] if before else main)

    async def _move_round(self, number: int, open_count: int, *, is_child: bool) -> None:
        has_ended = open_count == 0
        parameters = {
            "run": self._run_id,
            "round": number,
            "new_open_count": open_count,
            "new_ended_at": self._now if has_ended else None,
        }
        self._rounds[number] = (await self._connection.execute(ask.ROUND_MOVED, parameters)).first
        if has_ended and is_child:
            # All have answered: nobody reads what they were asked.
            await self._drop(ask.DROP_ASKED, round=number)

    async def _put(self, changes: Changes, opened: Sequence[Round]) -> bool:
        """Write jobs: those of new rounds, and known ones that have moved. Whether one was claimed."""
        new = {round_.number for round_ in opened}
        rows = [job_values(job, self._now) for job in changes.jobs if job.round_number in new]
        if rows:
            await self._connection.execute(ask.ADD_JOBS, rows)
            for row in rows:
                self._jobs[row["round_number"], row["position"]] = _Values(row)
        askers = {round_.parent for round_ in opened if round_.parent is not None}
        starts = False
        for job in changes.jobs:
            if job.round_number not in new:
                await self._move_job(job, only_asks=job.id in askers)
                starts |= job.status is JobStatus.ACTIVE
        return starts

    async def _move_job(self, job: Job, *, only_asks: bool) -> None:
        key = key_of(self._run_id, job.id)
        which: dict[str, Any] = {"run": self._run_id, "round": key.round_number, "place": key.position}
        if only_asks:
            # Nothing of it is shown.
            await self._connection.execute(ask.JOB_ASKED, which | {"new_asked": job.asked})
            return
        which["now"] = self._now
        match job.status:
            case JobStatus.ACTIVE:
                statement: Executable = ask.JOB_CLAIMED
                which |= {"new_attempt": job.attempt, "new_lease_until": self._lease_until}
            case JobStatus.QUEUED:
                statement = ask.JOB_QUEUED
            case _:
                statement = ask.JOB_ENDED
                message = job.outcome.message if job.outcome else None
                which |= {
                    "new_status": job.status.value,
                    "new_message_id": None if message is None else message.id,
                    "new_final": bool(job.outcome and job.outcome.final),
                    "new_failure": None if job.failure is None else json_of(job.failure),
                }
        row = (await self._connection.execute(statement, which)).first
        self._jobs[key.round_number, key.position] = row

    # --- What ends without being listed -------------------------------------------------------

    async def _cancel_all(self) -> None:
        """End every open job, and the rounds that they are of."""
        open_jobs = (await self._connection.execute(ask.OPEN_JOBS, {"run": self._run_id})).rows
        if open_jobs:
            await self._connection.execute(ask.CANCEL_JOBS, {"run": self._run_id, "now": self._now})
            self._note(open_jobs)
        for row in (await self._connection.execute(ask.OPEN_ROUNDS, {"run": self._run_id})).rows:
            await self._move_round(row.number, 0, is_child=row.parent is not None)

    async def _cancel_round(self, number: int) -> None:
        """End the open jobs of a child round, and with them what they have asked for."""
        which = {"run": self._run_id, "round": number}
        open_jobs = (await self._connection.execute(ask.OPEN_JOBS_OF_ROUND, which)).rows
        if open_jobs:
            await self._connection.execute(ask.CANCEL_JOBS_OF_ROUND, which | {"now": self._now})
            self._note(open_jobs)
        await self._move_round(number, 0, is_child=True)
        await self._end_below(
            [job_id(self._run_id, row.round_number, row.position) for row in open_jobs if row.asked]
        )

    async def _end_below(self, parents: Sequence[str]) -> None:
        """End what jobs have asked for, however deep; nobody else may ask about it."""
        for parent in parents:
            which = {"run": self._run_id, "by": parent}
            for row in (await self._connection.execute(ask.OPEN_BELOW, which)).rows:
                await self._cancel_round(row.number)
            await self._drop(ask.DROP_BELOW, by=parent)
            await self._connection.execute(ask.BELOW_IS_OVER, which)

    def _note(self, open_jobs: Sequence[Row[Any]]) -> None:
        for row in open_jobs:
            if row.status == JobStatus.ACTIVE.value:
                self._cancelled.append(job_of(row).moved(JobStatus.CANCELLED))
            ended = {
                "status": JobStatus.CANCELLED.value,
                "ended_at": self._now,
                "failure": None,
                "fraction": None,
                "progress_text": None,
            }
            self._jobs[row.round_number, row.position] = _Values({**row._asdict(), **ended})

    # --- The run itself, and what is told -----------------------------------------------------

    async def _move(self, run: Run, opened: Sequence[Round]) -> None:
        parameters = {
            "run": self._run_id,
            **{f"new_{name}": value for name, value in run_state(run).items()},
            "new_main_round": _main(opened),
            "new_ended_at": self._now if run.status.ended else None,
        }
        await self._connection.execute(ask.RUN_MOVED, parameters)

    async def _tell(self, before: RunBefore | None) -> None:
        """Tell what has changed: of each thing its form as it is now."""
        shown = []
        if self._is_moved or before is None:
            row = (await self._connection.execute(ask.SHOWN_RUN, {"run": self._run_id})).first
            assert row is not None
            owner = row.collaboration_id
            shown.append(("run", run_form(row, self._made)))
        else:
            owner = before.collaboration_id
        shown += [("round", round_form(row)) for row in self._rounds.values()]
        shown += [("job", job_form(row)) for row in self._jobs.values()]
        told = [
            Told(kind=kind, subject_id=form["id"], form=form, run_id=self._run_id, collaboration_id=owner)
            for kind, form in shown
        ]
        if told:
            await tell(self._connection, told, self._now)


class _Values:
    """A row that has just been written: its columns as attributes."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def __getattr__(self, name: str) -> Any:
        return self._values[name]


def _main(opened: Sequence[Round]) -> int | None:
    """The number of the main round that was opened, if one was."""
    return next((round_.number for round_ in opened if round_.parent is None), None)
