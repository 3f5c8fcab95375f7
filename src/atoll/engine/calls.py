"""The order of work of dialects whose algorithms are functions: one call, and what it asks for.

::

    the called sites -> the end of the step
       \\-- child rounds, as many as each call asks for; nothing follows them

A central function is called at one site and combines what it asks others for; a partial one may
be called at every site. Either way a step is one round. Only ids are routed here; no body is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from atoll.engine.ports import Following
from atoll.model.work import Job, MessageId, Order, Orders, Round, Run, Work


def opening(run: Run, step: int) -> Orders:
    """The seats that the step names, or all sites, each with the message written for it."""
    asked = run.steps[step]
    seats = run.sites if asked.seats is None else asked.seats
    orders = tuple(
        Order(seat=seat, inbox=(asked.opening_for(position),))
        for position, seat in enumerate(seats)
        if seat not in run.dropped
    )
    return Orders(step=step, iteration=1, role=asked.role, work=Work.CALL, orders=orders)


def following(run: Run, ended: Round, jobs: Sequence[Job]) -> Following:
    """Nothing: what each seat has returned is what it leaves of the step."""
    del run, ended  # Neither matters: a step of this kind has one round.
    return Following(orders=None, settled=tuple((job.seat, _message(job)) for job in jobs))


def _message(job: Job) -> MessageId:
    assert job.outcome is not None  # A round ends only when all its jobs are done,
    assert job.outcome.message is not None  # and a call leaves a message.
    return job.outcome.message.id
