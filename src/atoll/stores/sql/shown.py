"""Runs, rounds, jobs and logs as the API shows them: pure functions from a row to its public form.

A list, a single answer and an event show the same form, so that whoever holds one replaces it by the
next. A form holds nothing that changes without an event: no sum of bytes, no lease. And never a
message's body: that is its readers' alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from atoll.stores.sql.run_rows import AnyRow, Made, failure_of, job_id, seats_of

Form = dict[str, Any]


def moment(seconds: float | None) -> str | None:
    """A point in time as RFC 3339 text in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_form(row: AnyRow, made: Made) -> Form:
    """A run, of a whole row of `runs`."""
    return {
        "id": row.id,
        "name": row.name,
        "collaboration": row.collaboration_id,
        "study": row.study_id,
        "submitter": row.submitter_id,
        "organization": row.organization_id,
        "status": row.status,
        "failure": _failure(row.failure),
        "steps": [
            {
                "algorithm": msgspec.to_builtins(step.algorithm),
                "aggregated": step.aggregated,
                "role": step.role.value,
                "seats": step.seats,
            }
            for step in made.steps
        ],
        "sites": made.sites,
        "dropped": seats_of(row.dropped),
        "aggregator": made.aggregator,
        "aggregator_node": made.aggregator_node,
        "iterations_max": made.iterations_max,
        "min_sites": made.min_sites,
        "on_refusal": made.on_refusal.value,
        "on_failure": made.on_failure.value,
        "round_count": row.round_count,
        "call_round_count": row.call_round_count,
        "job_count": row.job_count,
        "created_at": moment(row.created_at),
        "started_at": moment(row.started_at),
        "ended_at": moment(row.ended_at),
        "deadline_at": moment(row.deadline_at),
    }


def round_form(row: AnyRow) -> Form:
    """A round, of a row of `rounds`."""
    return {
        "id": f"{row.run_id}.{row.number}",
        "run": row.run_id,
        "number": row.number,
        "step": row.step,
        "iteration": row.iteration,
        "role": row.role,
        "work": row.work,
        "job_count": row.job_count,
        "open_count": row.open_count,
        "parent": row.parent,
        "asker": row.asker,
        "depth": row.depth,
        "origin": row.origin,
        "name": row.name,
        "opened_at": moment(row.opened_at),
        "ended_at": moment(row.ended_at),
    }


def job_form(row: AnyRow) -> Form:
    """A job, of a row of `jobs`."""
    return {
        "id": job_id(row.run_id, row.round_number, row.position),
        "run": row.run_id,
        "round": row.round_number,
        "position": row.position,
        "ordinal": row.ordinal,
        "seat": row.seat,
        "node": row.node,
        "status": row.status,
        "attempt": row.attempt,
        "final": row.final,
        "failure": _failure(row.failure),
        "fraction": row.fraction,
        "text": row.progress_text,
        "queued_at": moment(row.queued_at),
        "claimed_at": moment(row.claimed_at),
        "ended_at": moment(row.ended_at),
    }


def log_form(row: AnyRow) -> Form:
    """A line of a log, of a row of `run_logs`."""
    return {
        "id": row.id,
        "run": row.run_id,
        "job": row.job_id,
        "seat": row.seat,
        "at": moment(row.at),
        "level": row.level,
        "text": row.text,
    }


def _failure(text: str | None) -> Form | None:
    failure = failure_of(text)
    if failure is None:
        return None
    return {
        "type": failure.type,
        "message": failure.message,
        "site": failure.site,
        "raised": failure.raised,
    }
