"""COINSTAC's order of work: every site, then the aggregator, then every site again.

::

    aggregated:   sites -> aggregator -> sites -> ... -> aggregator (success) -> delivery
    local only:   each site by itself, until it says success

Only ids are routed here; no body is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from atoll.engine.ports import Following
from atoll.model.work import Job, MessageId, Order, Orders, Role, Round, Run, Seat, Work


def opening(run: Run, step: int) -> Orders:
    """All sites, each with the message that the submitter wrote for it."""
    orders = tuple(
        Order(seat=site, inbox=(run.steps[step].opening_for(position),))
        for position, site in enumerate(run.sites)
        if site not in run.dropped
    )
    return Orders(step=step, iteration=1, role=Role.SITE, work=Work.CALL, orders=orders)


def following(run: Run, ended: Round, jobs: Sequence[Job]) -> Following:
    """What a round of this dialect is followed by."""
    if ended.work is Work.DELIVER:
        return Following(orders=None)
    if not run.steps[ended.step].aggregated:
        return _each_for_itself(ended, jobs)
    if ended.role is Role.SITE:
        return Following(orders=_to_aggregator(run, ended, jobs))
    return _from_aggregator(run, ended, jobs[0])


def _to_aggregator(run: Run, ended: Round, jobs: Sequence[Job]) -> Orders:
    assert run.aggregator is not None  # Run checks that an aggregated step has one.
    order = Order(seat=run.aggregator, inbox=tuple(_message(job) for job in jobs))
    return Orders(
        step=ended.step, iteration=ended.iteration, role=Role.AGGREGATOR, work=Work.CALL, orders=(order,)
    )


def _from_aggregator(run: Run, ended: Round, job: Job) -> Following:
    """The next iteration; or, at the end, a delivery: files and output must reach every site."""
    assert job.outcome is not None
    final = job.outcome.final
    message = _message(job)
    orders = Orders(
        step=ended.step,
        iteration=ended.iteration if final else ended.iteration + 1,
        role=Role.SITE,
        work=Work.DELIVER if final else Work.CALL,
        orders=tuple(Order(seat=site, inbox=(message,)) for site in run.present),
    )
    return Following(orders=orders, settled=((job.seat, message),) if final else ())


def _each_for_itself(ended: Round, jobs: Sequence[Job]) -> Following:
    settled: list[tuple[Seat, MessageId]] = []
    again: list[Order] = []
    for job in jobs:
        assert job.outcome is not None
        if job.outcome.final:
            settled.append((job.seat, _message(job)))
        else:
            again.append(Order(seat=job.seat, inbox=(_message(job),)))
    orders = None
    if again:
        orders = Orders(
            step=ended.step,
            iteration=ended.iteration + 1,
            role=Role.SITE,
            work=Work.CALL,
            orders=tuple(again),
        )
    return Following(orders=orders, settled=tuple(settled))


def _message(job: Job) -> MessageId:
    assert job.outcome is not None  # A round ends only when all its jobs are done,
    assert job.outcome.message is not None  # and only a delivery leaves no message.
    return job.outcome.message.id
