"""What `runs` asks the database, written out once: nothing is built anew for an event.

A state that an index is limited to stands as text in a statement: with a parameter in its place
SQLite couldn't know that the index will do.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BindParameter,
    Select,
    and_,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    select,
    text,
    update,
)

from atoll.stores.sql.run_rows import JOB, MESSAGE, ROUND, RUN_STATE
from atoll.stores.sql.run_tables import jobs, message_blobs, messages, rounds, run_blobs, runs, settled

RUN: BindParameter[str] = bindparam("run")
NUMBER: BindParameter[int] = bindparam("round")
NOW: BindParameter[float] = bindparam("now")
#: Values of an `IN` at a time. SQLite takes 32,766 parameters, PostgreSQL 65,535.
IDS_AT_A_TIME = 1_000

_is_queued = text("jobs.status = 'queued'")
_is_open = text("jobs.status IN ('queued', 'active', 'held')")
_of_run = runs.c.id == RUN
_the_round = and_(rounds.c.run_id == RUN, rounds.c.number == NUMBER)
_the_job = and_(jobs.c.run_id == RUN, jobs.c.round_number == NUMBER, jobs.c.position == bindparam("place"))
_asked_by = and_(rounds.c.run_id == RUN, rounds.c.parent == bindparam("by"))


def _locking(statement: Select[Any]) -> Select[Any]:
    # Rows that refer to the run may still be inserted by others: a line of a log.
    return statement.with_for_update(of=runs, key_share=True)


# --- Runs -------------------------------------------------------------------------------------

GET = select(*RUN_STATE).where(_of_run)
GET_LOCKED = _locking(GET)
LOCK = _locking(select(runs.c.id).where(_of_run))
MADE = select(runs.c.made).where(_of_run)
#: A run as it is shown, but for what never changes.
SHOWN_RUN = select(*(column for column in runs.c if column.name != "made")).where(_of_run)
ADD_RUN = insert(runs)
RUN_MOVED = (
    update(runs)
    .where(_of_run)
    .values(
        status=bindparam("new_status"),
        dropped=bindparam("new_dropped"),
        failure=bindparam("new_failure"),
        round_count=bindparam("new_round_count"),
        call_round_count=bindparam("new_call_round_count"),
        job_count=bindparam("new_job_count"),
        main_round=func.coalesce(bindparam("new_main_round"), runs.c.main_round),
        ended_at=func.coalesce(runs.c.ended_at, bindparam("new_ended_at")),
    )
)
RUN_STARTED = update(runs).where(and_(_of_run, runs.c.started_at.is_(None))).values(started_at=NOW)
_files = (
    select(func.coalesce(func.sum(run_blobs.c.size_bytes), 0))
    .where(and_(run_blobs.c.run_id == RUN, run_blobs.c.is_whole))
    .scalar_subquery()
)
RUN_HAS_FILES = update(runs).where(_of_run).values(bytes=runs.c.bytes + _files)
RUN_WEIGHS = update(runs).where(_of_run).values(bytes=runs.c.bytes + bindparam("more"))

# --- Rounds -----------------------------------------------------------------------------------

_round_columns = [column.label(f"round_{column.name}") for column in ROUND]
#: A job with its round, which comes under names that begin with ``round_``.
JOB_AND_ROUND = (
    select(*(column.label(f"job_{column.name}") for column in JOB), *_round_columns)
    .select_from(
        jobs.join(rounds, and_(rounds.c.run_id == jobs.c.run_id, rounds.c.number == jobs.c.round_number))
    )
    .where(_the_job)
)
ROUND_ROW = select(*ROUND).where(_the_round)
CHILD_BY_REQUEST = select(*ROUND).where(
    and_(_asked_by, rounds.c.iteration == bindparam("request"), rounds.c.is_over.is_(False))
)
ADD_ROUNDS = insert(rounds)
ROUND_MOVED = (
    update(rounds)
    .where(_the_round)
    .values(open_count=bindparam("new_open_count"), ended_at=bindparam("new_ended_at"))
    .returning(*ROUND)
)
#: Rounds that a job has asked for and that have open jobs; and all of a run that have.
OPEN_BELOW = select(*ROUND).where(and_(_asked_by, rounds.c.open_count > 0))
OPEN_ROUNDS = select(*ROUND).where(and_(rounds.c.run_id == RUN, rounds.c.open_count > 0))
BELOW_IS_OVER = update(rounds).where(_asked_by).values(is_over=True)

# --- Jobs -------------------------------------------------------------------------------------

JOBS_OF_ROUND = (
    select(*JOB).where(and_(jobs.c.run_id == RUN, jobs.c.round_number == NUMBER)).order_by(jobs.c.position)
)
OPEN_JOBS_OF_ROUND = JOBS_OF_ROUND.where(_is_open)
OPEN_JOBS = (
    select(*JOB).where(and_(jobs.c.run_id == RUN, _is_open)).order_by(jobs.c.round_number, jobs.c.position)
)
NEXT_JOB = (
    select(*JOB)
    .where(and_(jobs.c.node == bindparam("node"), _is_queued))
    .order_by(jobs.c.queued_at, jobs.c.run_id, jobs.c.ordinal)
    .limit(1)
)
ADD_JOBS = insert(jobs)
_nobody_is_at_it = {"lease_until": None, "fraction": None, "progress_text": None}
JOB_ASKED = update(jobs).where(_the_job).values(asked=bindparam("new_asked"))
JOB_CLAIMED = (
    update(jobs)
    .where(_the_job)
    .values(
        status="active",
        attempt=bindparam("new_attempt"),
        claimed_at=NOW,
        lease_until=bindparam("new_lease_until"),
        fraction=None,
        progress_text=None,
    )
    .returning(*JOB)
)
JOB_QUEUED = (
    update(jobs)
    .where(_the_job)
    .values(status="queued", queued_at=NOW, claimed_at=None, ended_at=None, failure=None, **_nobody_is_at_it)
    .returning(*JOB)
)
JOB_ENDED = (
    update(jobs)
    .where(_the_job)
    .values(
        status=bindparam("new_status"),
        message_id=bindparam("new_message_id"),
        final=bindparam("new_final"),
        failure=bindparam("new_failure"),
        ended_at=NOW,
        **_nobody_is_at_it,
    )
    .returning(*JOB)
)
_cancelled = {"status": "cancelled", "ended_at": NOW, "failure": None, **_nobody_is_at_it}
CANCEL_JOBS = update(jobs).where(and_(jobs.c.run_id == RUN, _is_open)).values(**_cancelled)
CANCEL_JOBS_OF_ROUND = CANCEL_JOBS.where(jobs.c.round_number == NUMBER)

# --- Messages ---------------------------------------------------------------------------------

ADD_MESSAGES = insert(messages)
ADD_MESSAGE_BLOBS = insert(message_blobs)
MESSAGES = select(*MESSAGE).where(
    and_(messages.c.run_id == RUN, messages.c.id.in_(bindparam("ids", expanding=True)))
)
LEFT_IN_ROUND = select(*MESSAGE).where(
    and_(messages.c.run_id == RUN, messages.c.kept == "left", messages.c.round_number == NUMBER)
)
SETTLE = (
    update(messages)
    .where(and_(messages.c.run_id == RUN, messages.c.id == bindparam("message")))
    .values(kept="settled")
)
_weight = func.length(messages.c.body).label("weight")
DROP_MAIN = (
    delete(messages)
    .where(and_(messages.c.run_id == RUN, messages.c.kept == "main", messages.c.round_number < NUMBER))
    .returning(_weight)
)
DROP_ASKED = (
    delete(messages)
    .where(and_(messages.c.run_id == RUN, messages.c.kept == "asked", messages.c.round_number == NUMBER))
    .returning(_weight)
)
_below = select(rounds.c.number).where(_asked_by).scalar_subquery()
DROP_BELOW = (
    delete(messages)
    .where(
        and_(
            messages.c.run_id == RUN,
            messages.c.kept.in_([literal_column("'asked'"), literal_column("'left'")]),
            messages.c.round_number.in_(_below),
        )
    )
    .returning(_weight)
)
DROP_PASSING = (
    delete(messages)
    .where(
        and_(
            messages.c.run_id == RUN,
            messages.c.kept.in_(
                [literal_column("'main'"), literal_column("'asked'"), literal_column("'left'")]
            ),
        )
    )
    .returning(_weight)
)
ADD_SETTLED = insert(settled)
DROP_SETTLED = delete(settled).where(
    and_(settled.c.run_id == RUN, settled.c.step == bindparam("at"), settled.c.seat == bindparam("whose"))
)
SETTLED = select(settled.c.seat, settled.c.message_id).where(
    and_(settled.c.run_id == RUN, settled.c.step == bindparam("at"))
)
