"""The tables of runs, and of what happens in them.

A run's rounds and jobs stay as long as the run, as people look at them. Its messages go when nobody
can read them any more. A row of `runs` doesn't refer to tables of people and collaborations: a run
is shown with their ids long after they have gone.

What `model.work` never changes of a run stands in one column of JSON, `made`: it may name ten
thousand sites, and is read once and kept in memory.

Small rows that are found by their key alone have ``sqlite_with_rowid=False``: SQLite keeps them in the
index of that key, and so writes at one place instead of two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    event,
    insert,
    text,
)

from atoll.stores.sql.base import Count, Json, Time, cascading, metadata

runs = Table(
    "runs",
    metadata,
    Column("id", Text, primary_key=True),
    # Whose it is. Empty in a hub without people.
    Column("collaboration_id", Text),
    Column("study_id", Text),
    Column("submitter_id", Text),
    # The submitter's organization, when it was submitted.
    Column("organization_id", Text),
    Column("name", Text, nullable=False, server_default=""),
    # What never changes: steps, sites, seats and rules.
    Column("made", Json, nullable=False),
    # What an event may change.
    Column("status", Text, nullable=False),
    Column("dropped", Json, nullable=False),
    Column("failure", Json),
    Column("round_count", Integer, nullable=False),
    Column("call_round_count", Integer, nullable=False),
    Column("job_count", Integer, nullable=False),
    # The number of the latest main round; -1 before the first. Jobs of earlier ones are over.
    Column("main_round", Integer, nullable=False),
    Column("created_at", Time, nullable=False),
    # When its first job was claimed.
    Column("started_at", Time),
    Column("ended_at", Time),
    # When it fails, whatever it does then. None: never.
    Column("deadline_at", Time),
    # What its files weigh, and the bodies of its messages that are kept now.
    Column("bytes", BigInteger, nullable=False, server_default="0"),
    Index("ix_runs_created_at_id", "created_at", "id"),
    Index("ix_runs_collaboration_id_created_at_id", "collaboration_id", "created_at", "id"),
    Index("ix_runs_submitter_id_created_at_id", "submitter_id", "created_at", "id"),
    Index(
        "ix_runs_deadline_at",
        "deadline_at",
        sqlite_where=text("status = 'active' AND deadline_at IS NOT NULL"),
        postgresql_where=text("status = 'active' AND deadline_at IS NOT NULL"),
    ),
)

rounds = Table(
    "rounds",
    metadata,
    Column("run_id", Text, cascading("runs.id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("step", Integer, nullable=False),
    Column("iteration", Integer, nullable=False),
    Column("role", Text, nullable=False),
    Column("work", Text, nullable=False),
    Column("job_count", Integer, nullable=False),
    Column("open_count", Integer, nullable=False),
    # The job that asked for it, and its seat; empty for a main round.
    Column("parent", Text),
    Column("asker", Text),
    Column("depth", Integer, nullable=False),
    Column("origin", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("name", Text, nullable=False),
    # Whether the job that asked for it has ended, so that nobody may ask about it any more.
    Column("is_over", Boolean, nullable=False, server_default=text("false")),
    Column("opened_at", Time, nullable=False),
    Column("ended_at", Time),
    # A job's requests are numbered, and a child round's iteration is one more.
    Index(
        "ix_rounds_run_id_parent_iteration",
        "run_id",
        "parent",
        "iteration",
        sqlite_where=text("parent IS NOT NULL"),
        postgresql_where=text("parent IS NOT NULL"),
    ),
    sqlite_with_rowid=False,
)

#: A job's id is ``RUN.ROUND.POSITION``.
jobs = Table(
    "jobs",
    metadata,
    Column("run_id", Text, cascading("runs.id"), primary_key=True),
    Column("round_number", Integer, primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("seat", Text, nullable=False),
    # The node that serves it, by name.
    Column("node", Text, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("inbox", Json, nullable=False),
    Column("session", Json),
    Column("asked", Integer, nullable=False),
    # How often it was claimed: the fencing number.
    Column("attempt", Integer, nullable=False),
    Column("status", Text, nullable=False),
    # What it left: the id of its message, and whether its seat says that the step may end.
    Column("message_id", Text),
    Column("final", Boolean, nullable=False, server_default=text("false")),
    Column("failure", Json),
    Column("queued_at", Time, nullable=False),
    Column("claimed_at", Time),
    # When it ended, or broke and somebody was asked.
    Column("ended_at", Time),
    # Until when its node is believed to work at it, unless it is heard of again.
    Column("lease_until", Time),
    # How far it says that it is: from 0 to 1, and a line of text.
    Column("fraction", Double),
    Column("progress_text", Text),
    # What a node claims next: other nodes' jobs and other states cost nothing.
    Index(
        "ix_jobs_node_queued",
        "node",
        "queued_at",
        "run_id",
        "ordinal",
        sqlite_where=text("status = 'queued'"),
        postgresql_where=text("status = 'queued'"),
    ),
    # What a node works at. So few jobs are claimed at a time that a sweep looks at all of them.
    Index(
        "ix_jobs_node_active",
        "node",
        "lease_until",
        sqlite_where=text("status = 'active'"),
        postgresql_where=text("status = 'active'"),
    ),
    # Who is waited for.
    Index(
        "ix_jobs_run_id_open",
        "run_id",
        "round_number",
        "position",
        sqlite_where=text("status IN ('queued', 'active', 'held')"),
        postgresql_where=text("status IN ('queued', 'active', 'held')"),
    ),
    sqlite_with_rowid=False,
)

#: Bodies are opaque: nothing here looks into one.
messages = Table(
    "messages",
    metadata,
    Column("run_id", Text, cascading("runs.id"), primary_key=True),
    Column("id", Text, primary_key=True),
    # Why it is kept: see `run_rows.Kept`.
    Column("kept", Text, nullable=False),
    # The round that it belongs to: where it was left, or what it asks; -1 of an opening.
    Column("round_number", Integer, nullable=False),
    Column("sender", Text, nullable=False),
    Column("readers", Json, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("body_blob", Json),
    Column("blobs", Json, nullable=False),
    Index("ix_messages_run_id_kept_round_number", "run_id", "kept", "round_number"),
)

#: Which messages name a file: who may read it.
message_blobs = Table(
    "message_blobs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("message_id", Text, primary_key=True),
    ForeignKeyConstraint(["run_id", "message_id"], ["messages.run_id", "messages.id"], ondelete="CASCADE"),
    Index("ix_message_blobs_run_id_message_id", "run_id", "message_id"),
    sqlite_with_rowid=False,
)

#: The last message of each seat in each step.
settled = Table(
    "settled",
    metadata,
    Column("run_id", Text, cascading("runs.id"), primary_key=True),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("seat", Text, primary_key=True),
    Column("message_id", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: What nodes tell about their jobs, a line or a few each.
run_logs = Table(
    "run_logs",
    metadata,
    Column("id", Count, primary_key=True, autoincrement=True),
    Column("run_id", Text, cascading("runs.id"), nullable=False),
    Column("job_id", Text, nullable=False),
    Column("seat", Text, nullable=False),
    Column("at", Time, nullable=False),
    # ``info``, ``warning`` or ``error``.
    Column("level", Text, nullable=False),
    Column("text", Text, nullable=False),
    Index("ix_run_logs_run_id_id", "run_id", "id"),
    Index("ix_run_logs_run_id_seat_id", "run_id", "seat", "id"),
)

#: Files of runs, whole or on their way. They may come before their run does.
run_blobs = Table(
    "run_blobs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("digest", Text, primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("is_whole", Boolean, nullable=False, server_default=text("false")),
    # The id of the node or the person that announced it.
    Column("uploader_id", Text, nullable=False),
    Column("created_at", Time, nullable=False),
    Index("ix_run_blobs_created_at", "created_at"),
)

#: What was told to whoever follows: the whole public form of what changed, each with its number.
events = Table(
    "events",
    metadata,
    Column("cursor", BigInteger, primary_key=True, autoincrement=False),
    # ``run``, ``round``, ``job`` or ``log``.
    Column("kind", Text, nullable=False),
    # Of what it is about, so that the latest form replaces an earlier one.
    Column("subject_id", Text, nullable=False),
    Column("run_id", Text),
    Column("collaboration_id", Text),
    Column("at", Time, nullable=False),
    Column("form", Json, nullable=False),
    Index("ix_events_run_id_cursor", "run_id", "cursor"),
)

#: One row. Whoever tells an event raises it last: its lock makes numbers come in the order of commits.
event_cursor = Table(
    "event_cursor",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("value", BigInteger, nullable=False),
    # Events up to this one are kept no longer.
    Column("gone", BigInteger, nullable=False),
)


@event.listens_for(event_cursor, "after_create")
def _begin_to_count(_: Table, connection: Connection, **__: object) -> None:
    connection.execute(insert(event_cursor).values(id=1, value=0, gone=0))


#: Answers to requests that create something, for whoever asks the same again.
idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("principal_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    # sha256 of method, path and body.
    Column("request_digest", Text, nullable=False),
    # Empty while the request is under way.
    Column("status", Integer),
    Column("answer", LargeBinary),
    Column("created_at", Time, nullable=False),
    Index("ix_idempotency_keys_created_at", "created_at"),
)
