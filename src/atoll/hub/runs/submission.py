"""From what a person submits to a run and the messages that open it. Pure: nothing is stored here.

What opens a step was written by the submitter for the seats that it calls. It is passed on as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atoll.engine.limits import BODY_BYTES_INSIDE_MAX, ITERATIONS_MAX, STEPS_MAX
from atoll.model.errors import Malformed
from atoll.model.work import (
    Algorithm,
    Blob,
    Loss,
    Message,
    MessageId,
    Role,
    Run,
    RunId,
    Seat,
    Step,
)

#: The aggregator's seat, as COINSTAC's computations know it.
REMOTE = Seat("remote")
#: Who writes the messages that open a run.
SUBMITTER = Seat("submitter")
#: Dialects whose aggregator is a seat of its own.
_WITH_REMOTE = frozenset({"coinstac"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """What opens a step at one seat, or at all that it calls."""

    body: bytes = b""
    #: The body, where it is too large to travel inside.
    body_blob: Blob | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStep:
    """A step as it is submitted."""

    algorithm: Algorithm
    aggregated: bool
    openings: tuple[Opening, ...]
    role: Role = Role.SITE
    seats: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A run as it is submitted."""

    collaboration: str
    steps: tuple[NewStep, ...]
    id: str | None = None
    study: str | None = None
    name: str = ""
    #: Names of nodes; None for all that the collaboration or the study has.
    sites: tuple[str, ...] | None = None
    #: The name of the node at which the aggregator's seat is served; None for the collaboration's.
    aggregator: str | None = None
    iterations_max: int = ITERATIONS_MAX
    min_sites: int = 0
    on_refusal: Loss = Loss.FAIL
    on_failure: Loss = Loss.FAIL
    deadline_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The nodes that a run may use, by name, in the collaboration's order."""

    #: Those with data.
    data: Sequence[str]
    #: All of them: one without data may serve the aggregator's seat.
    nodes: Sequence[str]
    #: Where the aggregator's seat is served unless the submitter says otherwise.
    default_aggregator: str | None
    #: What `data` is of, for sentences: ``collaboration islands``.
    what: str


def made(run_id: RunId, submission: Submission, places: Places) -> tuple[Run, list[Message]]:
    """The run as it begins, and the messages that open its steps.

    Raises:
        Malformed: something is not there, or doesn't fit together; with every fault, a line each.
    """
    faults: list[str] = []
    sites = _sites(submission, places, faults)
    aggregator = _aggregator(submission, places, faults)
    _check_numbers(submission, sites, faults)
    steps: list[Step] = []
    messages: list[Message] = []
    for number, step in enumerate(submission.steps):
        seats = _seats(step, number, sites, faults)
        opened = _openings(step, number, seats, faults)
        messages += opened
        steps.append(
            Step(
                algorithm=step.algorithm,
                aggregated=step.aggregated,
                openings=tuple(message.id for message in opened),
                seats=None if step.seats is None else seats,
                role=step.role,
            )
        )
    if faults:
        raise Malformed("\n".join(faults))
    run = Run(
        id=run_id,
        steps=tuple(steps),
        sites=sites,
        aggregator=None if aggregator is None else REMOTE,
        aggregator_node=aggregator,
        iterations_max=submission.iterations_max,
        min_sites=submission.min_sites,
        on_refusal=submission.on_refusal,
        on_failure=submission.on_failure,
    )
    return run, messages


def _sites(submission: Submission, places: Places, faults: list[str]) -> tuple[Seat, ...]:
    if submission.sites is None:
        if not places.data:
            faults.append(f"the {places.what} has no node with data: add one before a run is submitted to it")
        return tuple(Seat(name) for name in places.data)
    unknown = [name for name in submission.sites if name not in places.data]
    if unknown:
        faults.append(
            f"no node with data of the {places.what} is called {unknown[0]!r}: expected some of "
            f"{', '.join(places.data) or 'none: it has no node with data'}"
        )
    if not submission.sites:
        faults.append("a run needs at least one site: leave 'sites' out for all of them")
    if len(set(submission.sites)) != len(submission.sites):
        faults.append("a site is named twice: expected each once")
    return tuple(Seat(name) for name in submission.sites)


def _aggregator(submission: Submission, places: Places, faults: list[str]) -> str | None:
    """The node at which the aggregator's seat is served; None where no step has such a seat."""
    if not any(_has_remote(step) for step in submission.steps):
        return None
    name = submission.aggregator or places.default_aggregator
    if name is None:
        faults.append(
            f"this algorithm has an aggregator, and the {places.what} names no node for it: name one with the run, "
            "or as the collaboration's default aggregator"
        )
    elif name not in places.nodes:
        faults.append(
            f"no node of the {places.what} is called {name!r}, which should be the aggregator's: expected one of "
            f"{', '.join(places.nodes)}"
        )
    return name


def _has_remote(step: NewStep) -> bool:
    return step.aggregated and step.algorithm.dialect in _WITH_REMOTE


def _check_numbers(submission: Submission, sites: Sequence[Seat], faults: list[str]) -> None:
    if not 1 <= len(submission.steps) <= STEPS_MAX:
        faults.append(f"a run of {len(submission.steps)} steps can't be: expected 1 to {STEPS_MAX}")
    if not 1 <= submission.iterations_max <= ITERATIONS_MAX:
        faults.append(f"iterations_max is {submission.iterations_max}: expected 1 to {ITERATIONS_MAX}")
    if not 0 <= submission.min_sites <= len(sites):
        faults.append(
            f"min_sites is {submission.min_sites}, and there are {len(sites)} sites: expected no more than those"
        )
    seconds = submission.deadline_seconds
    if seconds is not None and not 0 < seconds <= _DEADLINE_SECONDS_MAX:
        faults.append(f"a deadline of {seconds} seconds can't be: expected more than 0 and at most a year")


#: A year: what a run may take at most.
_DEADLINE_SECONDS_MAX = 366 * 86_400.0


def _seats(step: NewStep, number: int, sites: tuple[Seat, ...], faults: list[str]) -> tuple[Seat, ...]:
    if step.algorithm.dialect not in ("coinstac", "vantage6", "functions"):
        faults.append(
            f"step {number}: the dialect is {step.algorithm.dialect!r}: expected coinstac, vantage6 or functions"
        )
    elif step.aggregated and not _has_remote(step):
        faults.append(f"step {number}: an algorithm of this dialect has no seat for an aggregator")
    if step.seats is None:
        return sites
    seats = tuple(Seat(name) for name in step.seats)
    strangers = [name for name in seats if name not in sites]
    if strangers or not seats or len(set(seats)) != len(seats):
        named = strangers[0] if strangers else "no site, or one twice"
        faults.append(
            f"step {number} calls {named!r}: expected sites of the run, each once: {', '.join(sites)}"
        )
    return seats


def _openings(step: NewStep, number: int, seats: tuple[Seat, ...], faults: list[str]) -> list[Message]:
    if len(step.openings) not in (1, len(seats)):
        faults.append(
            f"step {number} has {len(step.openings)} openings and calls {len(seats)} seats: expected one for all, or "
            "one for each in their order"
        )
    messages = []
    for position, opening in enumerate(step.openings):
        if len(opening.body) > BODY_BYTES_INSIDE_MAX:
            faults.append(
                f"step {number}, opening {position} has {len(opening.body)} bytes: expected at most "
                f"{BODY_BYTES_INSIDE_MAX}. Upload what is larger, and name it"
            )
        messages.append(
            Message(
                id=MessageId(f"opening.{number}.{position}"),
                sender=SUBMITTER,
                readers=seats if len(step.openings) == 1 else seats[position : position + 1],
                body=opening.body,
                body_blob=opening.body_blob,
            )
        )
    return messages


def blobs_of(submission: Submission) -> Mapping[str, Blob]:
    """The files that a submission names, by digest: they must be there before the run begins."""
    return {
        opening.body_blob.digest: opening.body_blob
        for step in submission.steps
        for opening in step.openings
        if opening.body_blob is not None
    }
