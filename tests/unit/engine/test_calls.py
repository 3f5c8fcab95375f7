"""A function is called once at each seat that the step names, and then the step has ended."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.federation import RUN, make_run

from atoll.engine import calls
from atoll.model.work import (
    Job,
    JobId,
    JobStatus,
    Message,
    MessageId,
    Outcome,
    Role,
    Round,
    Run,
    Seat,
    Work,
)


def _with_step(run: Run, seats: tuple[str, ...] | None, role: Role, openings: int = 1) -> Run:
    ids = tuple(MessageId(f"opening.0.{number}") for number in range(openings))
    named = None if seats is None else tuple(map(Seat, seats))
    step = replace(run.steps[0], aggregated=False, seats=named, role=role, openings=ids)
    return replace(run, steps=(step,), aggregator=None)


def test_a_central_function_is_called_at_the_site_that_was_named() -> None:
    run = _with_step(make_run(3), ("local1",), Role.AGGREGATOR)

    orders = calls.opening(run, 0)

    assert [("local1", ("opening.0.0",))] == [(order.seat, order.inbox) for order in orders.orders]
    assert (0, 1, Role.AGGREGATOR, Work.CALL) == (orders.step, orders.iteration, orders.role, orders.work)


def test_without_named_seats_every_site_is_called_in_the_order_that_they_have() -> None:
    run = _with_step(make_run(12), None, Role.SITE)

    orders = calls.opening(run, 0)

    assert list(run.sites) == [order.seat for order in orders.orders]
    assert {("opening.0.0",)} == {order.inbox for order in orders.orders}
    assert Role.SITE is orders.role


def test_each_seat_opens_with_the_message_that_was_written_for_it() -> None:
    run = _with_step(make_run(4), ("local3", "local0"), Role.SITE, openings=2)

    orders = calls.opening(run, 0)

    assert [("local3", ("opening.0.0",)), ("local0", ("opening.0.1",))] == [
        (order.seat, order.inbox) for order in orders.orders
    ]


@given(sites=st.integers(1, 12))
def test_when_all_have_returned_each_message_is_settled_and_nothing_follows(sites: int) -> None:
    run = _with_step(make_run(sites), None, Role.SITE)
    jobs = [_done(number, seat) for number, seat in enumerate(run.sites)]
    ended = Round(
        number=0, step=0, iteration=1, role=Role.SITE, work=Work.CALL, job_count=sites, open_count=0
    )

    following = calls.following(run, ended, jobs)

    assert following.orders is None
    assert tuple((seat, f"said.{seat}") for seat in run.sites) == following.settled


def _done(position: int, seat: Seat) -> Job:
    message = Message(id=MessageId(f"said.{seat}"), sender=seat, readers=(), body=b"{}")
    return Job(
        id=JobId(f"run.0.{position}"),
        run_id=RUN,
        round_number=0,
        position=position,
        seat=seat,
        inbox=(),
        status=JobStatus.DONE,
        outcome=Outcome(message=message, final=True),
    )
