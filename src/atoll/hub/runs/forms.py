"""What people and the hub say to each other about runs, as JSON."""

from __future__ import annotations

from typing import Literal

import msgspec

from atoll.engine.limits import ITERATIONS_MAX
from atoll.hub.runs.submission import NewStep, Opening, Submission
from atoll.model.work import Algorithm, Blob, Loss, Role

#: The least number of sites, where some may be lost and nobody says how many are needed.
_FEWEST = 1


class AlgorithmForm(msgspec.Struct, frozen=True, kw_only=True):
    """An algorithm, by dialect and digest."""

    dialect: Literal["coinstac", "vantage6", "functions"]
    digest: str
    name: str
    #: How it is had: as a bundle, from this hub. One that is an image has a bundle, too, which names it.
    kind: Literal["bundle"] = "bundle"


class FileForm(msgspec.Struct, frozen=True, kw_only=True):
    """A file, by what is in it."""

    digest: str
    size_bytes: int
    name: str = "body"


class OpeningForm(msgspec.Struct, frozen=True, kw_only=True):
    """What opens a step. The hub doesn't read it."""

    #: The body in base64, or a file that was uploaded for this run.
    body: bytes | None = None
    blob: FileForm | None = None


class StepForm(msgspec.Struct, frozen=True, kw_only=True):
    """A step that is asked for."""

    algorithm: AlgorithmForm
    #: One for all seats that are called, or one for each in their order.
    openings: list[OpeningForm]
    #: Whether an aggregator combines what the sites send.
    aggregated: bool = False
    #: What the called seats do.
    role: Literal["site", "aggregator"] = "site"
    #: The sites that are called; null for all of the run.
    seats: list[str] | None = None


class NewRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that is asked for."""

    #: The collaboration's id.
    collaboration: str
    steps: list[StepForm]
    #: ``run_`` and 26 lower-case letters and digits, where files were uploaded for it before; else null.
    id: str | None = None
    #: A study's id.
    study: str | None = None
    #: For people.
    name: str = ""
    #: Names of nodes, in the order that the run has them; null for all with data.
    sites: list[str] | None = None
    #: The name of the node that serves the aggregator's seat; null for the collaboration's.
    aggregator: str | None = None
    iterations_max: int = ITERATIONS_MAX
    #: Sites without which there is no result. Null: all; or one, where some may be lost.
    min_sites: int | None = None
    #: What it means that a site's rules refuse a job.
    on_refusal: Literal["fail", "drop", "ask"] = "fail"
    #: What it means that a job fails at a site.
    on_failure: Literal["fail", "drop", "ask"] = "fail"
    #: Seconds after which the run ends, whatever it does then.
    deadline_seconds: float | None = None


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """A run has begun."""

    id: str


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a run has ended."""

    ended: bool
    status: str


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run is cancelled, for people to read."""

    reason: str = ""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done about a job."""

    decision: Literal["retry", "drop", "fail"]


class ResultForm(msgspec.Struct, frozen=True, kw_only=True):
    """What one seat left at the end. The hub doesn't read it."""

    seat: str
    #: In base64; null where it is a file.
    body: bytes | None
    body_blob: FileForm | None
    blobs: list[FileForm]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What the seats left at the end of a run."""

    status: str
    #: Of the last step: how its bodies are read.
    dialect: str
    #: The position of the last step.
    step: int
    #: In the order of the sites; the aggregator's comes last.
    results: list[ResultForm]


class FailureForm(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job or a run failed."""

    #: The class name of the error.
    type: str
    message: str
    site: str | None
    #: The class name of what a function raised, where that is why.
    raised: str | None


class MadeStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step of a run."""

    algorithm: dict[str, str]
    aggregated: bool
    role: str
    seats: list[str] | None


class RunForm(msgspec.Struct, frozen=True, kw_only=True):
    """A run."""

    id: str
    name: str
    #: Ids.
    collaboration: str | None
    study: str | None
    submitter: str | None
    organization: str | None
    #: ``active``, ``done`` or ``failed``.
    status: str
    failure: FailureForm | None
    steps: list[MadeStep]
    #: The seats with data, in their order.
    sites: list[str]
    #: Sites that the run goes on without.
    dropped: list[str]
    aggregator: str | None
    #: The node that serves the aggregator's seat.
    aggregator_node: str | None
    iterations_max: int
    min_sites: int
    on_refusal: str
    on_failure: str
    #: Rounds opened so far, those in which the algorithm was called, and jobs made.
    round_count: int
    call_round_count: int
    job_count: int
    created_at: str
    started_at: str | None
    ended_at: str | None
    deadline_at: str | None


class RoundForm(msgspec.Struct, frozen=True, kw_only=True):
    """A round of a run."""

    id: str
    run: str
    number: int
    #: The position of its step.
    step: int
    iteration: int
    role: str
    work: str
    job_count: int
    open_count: int
    #: The job that asked for it, and its seat.
    parent: str | None
    asker: str | None
    depth: int
    origin: str
    #: The function that is called, where one asked for it.
    name: str
    opened_at: str
    ended_at: str | None


class JobForm(msgspec.Struct, frozen=True, kw_only=True):
    """A job of a run."""

    id: str
    run: str
    round: int
    position: int
    ordinal: int
    seat: str
    node: str
    #: ``queued``, ``active``, ``held``, ``done``, ``failed`` or ``cancelled``.
    status: str
    attempt: int
    final: bool
    failure: FailureForm | None
    #: How far it says that it is.
    fraction: float | None
    text: str | None
    queued_at: str
    claimed_at: str | None
    ended_at: str | None


class WaitingForm(JobForm, frozen=True, kw_only=True):
    """A job that a run waits for; one that is held waits for somebody's decision."""

    #: Since when it is in its state.
    since: str | None
    #: Whether its node was heard of lately.
    online: bool


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a run waits for."""

    items: list[WaitingForm]


class LogForm(msgspec.Struct, frozen=True, kw_only=True):
    """A line that a site has let out of its logs."""

    id: int
    run: str
    job: str
    seat: str
    at: str
    #: ``info``, ``warning`` or ``error``.
    level: str
    text: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """How a run came about."""

    run: RunForm
    hub_version: str
    #: By the names of nodes.
    node_versions: dict[str, str | None]
    rounds: list[RoundForm]
    jobs: list[JobForm]


def submission_of(form: NewRun) -> Submission:
    """What is asked for, as the hub's own value."""
    losing = (form.on_refusal, form.on_failure) != ("fail", "fail")
    fewest = form.min_sites if form.min_sites is not None else _FEWEST if losing else 0
    return Submission(
        collaboration=form.collaboration,
        steps=tuple(map(_step, form.steps)),
        id=form.id,
        study=form.study,
        name=form.name,
        sites=None if form.sites is None else tuple(form.sites),
        aggregator=form.aggregator,
        iterations_max=form.iterations_max,
        min_sites=fewest,
        on_refusal=Loss(form.on_refusal),
        on_failure=Loss(form.on_failure),
        deadline_seconds=form.deadline_seconds,
    )


def _step(form: StepForm) -> NewStep:
    algorithm = form.algorithm
    return NewStep(
        algorithm=Algorithm(dialect=algorithm.dialect, digest=algorithm.digest, name=algorithm.name),
        aggregated=form.aggregated,
        openings=tuple(map(_opening, form.openings)),
        role=Role(form.role),
        seats=None if form.seats is None else tuple(form.seats),
    )


def _opening(form: OpeningForm) -> Opening:
    blob = form.blob
    file = None if blob is None else Blob(name=blob.name, digest=blob.digest, size_bytes=blob.size_bytes)
    return Opening(body=form.body or b"", body_blob=file)


def file_form(blob: Blob) -> FileForm:
    """A file as it is told."""
    return FileForm(digest=blob.digest, size_bytes=blob.size_bytes, name=blob.name)
