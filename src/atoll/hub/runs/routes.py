"""Runs over HTTP, for people."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from atoll.engine.limits import WAIT_SECONDS_MAX
from atoll.hub.answers import answer, decoded, nothing
from atoll.hub.described import ONCE, described
from atoll.hub.parts import room
from atoll.hub.principal import AuthenticatedUser
from atoll.hub.runs.forms import (
    Choice,
    Ended,
    NewRun,
    Reason,
    ResultForm,
    Results,
    Submitted,
    file_form,
    submission_of,
)
from atoll.hub.runs.service import Runs
from atoll.model.errors import Malformed, NotYours, QuotaReached, StaleEvent
from atoll.model.events import Decision
from atoll.model.work import JobId, RunId

router = APIRouter(tags=["runs"])


@router.post(
    "/runs",
    **described(
        "run:create", body=NewRun, answer=Submitted, status=201, headers=ONCE, errors=(QuotaReached,)
    ),
)
async def submit(request: Request, who: AuthenticatedUser) -> Response:
    """Begin a run."""
    form = await decoded(request, NewRun)
    run = await room(request, Runs).submit(who, submission_of(form))
    return answer(Submitted(id=run), 201)


@router.get(
    "/runs/{run}/wait",
    **described("run:view", answer=Ended, queries={"seconds": "How long the answer may take, at most 50."}),
)
async def wait(request: Request, who: AuthenticatedUser, run: str) -> Response:
    """Wait until a run has ended, or for some seconds."""
    seconds = _seconds(request.query_params.get("seconds", "30"))
    runs = room(request, Runs)
    ended = await runs.wait(who, RunId(run), seconds)
    return answer(Ended(ended=ended, status=await runs.status(who, RunId(run))))


@router.post("/runs/{run}/cancel", **described("run:send", body=Reason, errors=(StaleEvent,)))
async def cancel(request: Request, who: AuthenticatedUser, run: str) -> Response:
    """End a run before its time. What runs at the sites is ended there."""
    form = await decoded(request, Reason)
    await room(request, Runs).cancel(who, RunId(run), form.reason)
    return nothing()


@router.post(
    "/runs/{run}/jobs/{job}/decide", **described("run:send", body=Choice, errors=(StaleEvent, NotYours))
)
async def decide(request: Request, who: AuthenticatedUser, run: str, job: str) -> Response:
    """Say what is to be done about a job that broke, or that is waited for too long."""
    form = await decoded(request, Choice)
    await room(request, Runs).decide(who, RunId(run), JobId(job), Decision(form.decision))
    return nothing()


@router.get("/runs/{run}/results", **described("result:view", answer=Results))
async def results(request: Request, who: AuthenticatedUser, run: str) -> Response:
    """What the seats left at the end. The hub doesn't read it; a client does."""
    found, messages = await room(request, Runs).results(who, RunId(run))
    step = len(found.steps) - 1
    told = [
        ResultForm(
            seat=seat,
            body=None if message.body_blob is not None else bytes(message.body),  # type: ignore[arg-type]  # kept in a database, it is nothing else
            body_blob=None if message.body_blob is None else file_form(message.body_blob),
            blobs=[file_form(blob) for blob in message.blobs],
        )
        for seat, message in messages.items()
    ]
    return answer(
        Results(
            status=found.status.value,
            dialect=found.steps[step].algorithm.dialect,
            step=step,
            results=told,
        )
    )


def _seconds(text: str) -> float:
    """How long a client waits.

    Raises:
        Malformed: the text is no such number.
    """
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= WAIT_SECONDS_MAX:
        raise Malformed(f"seconds is no number from 0 to {WAIT_SECONDS_MAX:g}")
    return seconds
