"""Runs over HTTP, for people."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response

from atoll.engine.limits import WAIT_SECONDS_MAX
from atoll.hub.answers import Page, answer, decoded, encoded, nothing, said, wanted
from atoll.hub.described import ONCE, PAGED, described
from atoll.hub.once import Once
from atoll.hub.parts import room
from atoll.hub.principal import AuthenticatedUser
from atoll.hub.remembered import Remembered
from atoll.hub.runs.forms import (
    Choice,
    Ended,
    JobForm,
    LogForm,
    NewRun,
    Reason,
    Record,
    ResultForm,
    Results,
    RoundForm,
    RunForm,
    Submitted,
    Waiting,
    file_form,
    submission_of,
)
from atoll.hub.runs.looking import Looking
from atoll.hub.runs.service import Runs
from atoll.model.errors import Malformed, NotYours, QuotaReached, StaleEvent, Taken
from atoll.model.events import Decision
from atoll.model.work import JobId, RunId
from atoll.stores.sql.run_lists import JobFilter, Listed, RunFilter
from atoll.stores.sql.shown import Form

router = APIRouter(tags=["runs"])

_FILTERS = {
    "collaboration": "Only of the collaboration with this id.",
    "study": "Only of the study with this id.",
    "status": "Only those that are `active`, `done` or `failed`.",
    "submitter": "Only of the person with this id.",
    "name": "Only those whose name has this in it.",
}
_JOB_FILTERS = {
    "round": "Only of the round with this number.",
    "seat": "Only of this seat.",
    "status": "Only in this state.",
}


@router.post(
    "/runs",
    **described(
        "run:create", body=NewRun, answer=Submitted, status=201, headers=ONCE, errors=(QuotaReached,)
    ),
)
async def submit(request: Request, who: AuthenticatedUser) -> Response:
    """Begin a run."""
    once = room(request, Once)
    if (before := await once.find(who, request)) is not None:
        return before
    form = await decoded(request, NewRun)

    async def keep(run: RunId) -> None:
        await once.keep(who, request, answer(Submitted(id=run), 201))

    try:
        run = await room(request, Runs).submit(who, submission_of(form), keep)
    except Taken:
        # The same request may have been here at the same time.
        if (before := await once.find(who, request)) is not None:
            return before
        raise
    return answer(Submitted(id=run), 201)


@router.get("/runs", **described("run:view", answer=Page[RunForm], queries={**PAGED, **_FILTERS}))
async def runs(request: Request, who: AuthenticatedUser) -> Response:
    """The runs that the caller may see, the newest first."""
    looking, remembered = room(request, Looking), room(request, Remembered)
    cursor = await looking.cursor()
    asked_for: bytes = request.scope["query_string"]
    body = remembered.find(who, "runs", asked_for, cursor)
    if body is None:
        query = request.query_params
        which = RunFilter(**{name: query[name] for name in _FILTERS if query.get(name)})
        asked = wanted(request, (float, str))
        found = await looking.runs(who, which, asked.after, asked.limit + 1)
        body = encoded(asked.page(found, _key, _form))
        remembered.keep(who, "runs", asked_for, cursor, body)
    return said(body, headers=_at(cursor))


@router.get("/runs/{run}", **described("run:view", answer=RunForm))
async def run_(request: Request, who: AuthenticatedUser, run: str) -> Response:
    """One run."""
    looking = room(request, Looking)
    cursor = await looking.cursor()
    return _told(await looking.run(who, RunId(run)), cursor)


@router.delete("/runs/{run}", **described("run:delete", errors=(StaleEvent,)))
async def remove(request: Request, who: AuthenticatedUser, run: str) -> Response:
    """Remove a run that has ended, with its results and files."""
    await room(request, Runs).remove(who, RunId(run))
    return nothing()


@router.get("/runs/{run}/rounds", **described("run:view", answer=Page[RoundForm], queries=PAGED))
async def rounds(request: Request, who: AuthenticatedUser, run: str) -> Response:
    """The rounds of a run, the first first."""
    looking = room(request, Looking)
    asked = wanted(request, (int,))
    cursor = await looking.cursor()
    found = await looking.rounds(who, RunId(run), asked.after, asked.limit + 1)
    return _told(asked.page(found, _key, _form), cursor)


@router.get(
    "/runs/{run}/jobs", **described("run:view", answer=Page[JobForm], queries={**PAGED, **_JOB_FILTERS})
)
async def jobs(request: Request, who: AuthenticatedUser, run: str) -> Response:
    """The jobs of a run, those of its first round first."""
    looking = room(request, Looking)
    query = request.query_params
    number = query.get("round")
    if number and not (number.isascii() and number.isdigit() and len(number) < 10):
        raise Malformed("round is no number of a round")
    which = JobFilter(
        round_number=int(number) if number else None,
        seat=query.get("seat") or None,
        status=query.get("status") or None,
    )
    asked = wanted(request, (int, int))
    cursor = await looking.cursor()
    found = await looking.jobs(who, RunId(run), which, asked.after, asked.limit + 1)
    return _told(asked.page(found, _key, _form), cursor)


@router.get(
    "/runs/{run}/logs",
    **described("log:view", answer=Page[LogForm], queries={**PAGED, "seat": "Only of this seat."}),
)
async def logs(request: Request, who: AuthenticatedUser, run: str) -> Response:
    """What sites have let out of their logs, the first first."""
    looking = room(request, Looking)
    asked = wanted(request, (int,))
    seat = request.query_params.get("seat") or None
    cursor = await looking.cursor()
    found = await looking.logs(who, RunId(run), seat, asked.after, asked.limit + 1)
    return _told(asked.page(found, _key, _form), cursor)


@router.get("/runs/{run}/waiting", **described("run:view", answer=Waiting))
async def waiting(request: Request, who: AuthenticatedUser, run: str) -> Response:
    """The jobs that a run waits for, and whether their nodes are there."""
    looking = room(request, Looking)
    cursor = await looking.cursor()
    return _told({"items": await looking.waiting(who, RunId(run))}, cursor)


@router.get("/runs/{run}/record", **described("run:view", answer=Record))
async def record(request: Request, who: AuthenticatedUser, run: str) -> Response:
    """How a run came about: who asked whom for what, by digest, and how each job ended."""
    return answer(await room(request, Looking).record(who, RunId(run)))


@router.get(
    "/runs/{run}/wait",
    **described("run:view", answer=Ended, queries={"seconds": "How long the answer may take, at most 50."}),
)
async def wait(request: Request, who: AuthenticatedUser, run: str) -> Response:
    """Wait until a run has ended, or for some seconds."""
    seconds = _seconds(request.query_params.get("seconds", "30"))
    status = await room(request, Runs).wait(who, RunId(run), seconds)
    return answer(Ended(ended=status.ended, status=status.value))


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


def _told(value: Any, cursor: int) -> Response:
    return answer(value, headers=_at(cursor))


def _at(cursor: int) -> dict[str, str]:
    return {"Atoll-Cursor": str(cursor)}


def _key(listed: Listed) -> tuple[Any, ...]:
    return listed.key


def _form(listed: Listed) -> Form:
    return listed.form


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
