"""From what somebody asks for to a run that is submitted."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
import string
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from atoll.algorithms.opening import Asked, OpenedStep, open_run
from atoll.algorithms.words import PYTHON, Words
from atoll.client.algorithms import Finder, Found, missing
from atoll.client.core import Core, part
from atoll.client.records import Collaboration, Node, Study
from atoll.engine.limits import BODY_BYTES_INSIDE_MAX, CHUNK_BYTES
from atoll.model.errors import NotThere, SpecInvalid, Taken
from atoll.model.work import Blob, RunId, Seat
from atoll.transports import files

_ID_CHARACTERS = string.ascii_lowercase + string.digits
_LOSSES = ("fail", "drop", "ask")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One algorithm of a run, and what it is asked."""

    #: A path, an image (``docker:NAME``, ``NAME@sha256:…``), a digest, or the name of one that the
    #: collaboration has.
    algorithm: str | Path
    #: Of functions: which is called, and its arguments.
    function: str | None = None
    args: Mapping[str, Any] = field(default_factory=dict)
    #: Labels of databases, in order. None: each site's first.
    databases: Sequence[str | Mapping[str, Any]] | None = None
    #: ``central``, ``all``, or names of sites with commas between them. None: as the decorator says.
    at: str | None = None
    #: COINSTAC: an inputspec.
    inputs: Any = None
    #: vantage6 5: the steps before the function.
    extract: str | None = None
    preprocess: Sequence[str] = ()
    #: Of a path or an image: how it is written. Of an image that can't be looked into here also
    #: ``vantage6-4`` or ``vantage6-5``.
    dialect: str = "auto"
    #: Of a path: which package is meant, and which script starts it.
    package: str | None = None
    entry: str | None = None
    #: Of a path: the image that it runs in; ``compspec`` for what its compspec.json names.
    image: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A run that somebody wants."""

    #: Its name or id.
    collaboration: str
    steps: Sequence[Step]
    study: str | None = None
    name: str | None = None
    sites: Sequence[str] | None = None
    aggregator: str | None = None
    min_sites: int | None = None
    on_failure: str | None = None
    on_refusal: str | None = None
    deadline_seconds: float | None = None
    iterations_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A run that has begun."""

    id: str
    #: Sentences about what was tolerated.
    warnings: tuple[str, ...] = ()


class _Collaborations(msgspec.Struct):
    items: list[Collaboration]


class _Studies(msgspec.Struct):
    items: list[Study]


class _Nodes(msgspec.Struct):
    items: list[Node]


async def submit(core: Core, finder: Finder, wanted: Wanted, words: Words = PYTHON) -> Submitted:
    """Submit a run.

    Raises:
        SpecInvalid: it can't be begun so.
        Refused: the hub doesn't take it.
    """
    _check(wanted)
    id_ = finder.places.get(wanted.collaboration)
    if id_ is None:
        id_ = (await find_collaboration(core, wanted.collaboration)).id
        finder.places[wanted.collaboration] = id_
    # At the same time: each is a question to the hub, or reads files.
    asking = asyncio.gather(*(_found(finder, step, id_) for step in wanted.steps))
    try:
        (collaboration, study, sites), found = await asyncio.gather(_placed(core, id_, wanted), asking)
    except NotThere:
        finder.places.pop(wanted.collaboration, None)  # It may be another by now.
        raise
    if not sites:
        raise SpecInvalid(f"{(study or collaboration).name} has no node with data: there is nowhere to run")
    asked = [_asked(one, step) for one, step in zip(found, wanted.steps, strict=True)]
    opening = open_run(asked, [Seat(site) for site in sites], words)
    run_id = RunId("run_" + "".join(secrets.choice(_ID_CHARACTERS) for _ in range(26)))
    body = {
        "id": run_id,
        "collaboration": collaboration.id,
        "study": None if study is None else study.id,
        "name": wanted.name or "",
        "sites": sites,
        "aggregator": wanted.aggregator,
        "steps": [await _step(core, run_id, step) for step in opening.steps],
        "min_sites": wanted.min_sites,
        "deadline_seconds": wanted.deadline_seconds,
    }
    for name in ("on_failure", "on_refusal", "iterations_max"):
        if getattr(wanted, name) is not None:
            body[name] = getattr(wanted, name)
    try:
        await core.send("POST", "/runs", body)
    except Taken:
        # The answer to the first try was lost. Nobody else can have chosen this name.
        await core.get(f"/runs/{run_id}")
    warnings = (warning for one in found for warning in one.warnings)
    return Submitted(id=run_id, warnings=tuple(dict.fromkeys((*warnings, *opening.warnings))))


async def find_collaboration(core: Core, name: str) -> Collaboration:
    """The collaboration with a name or id.

    Raises:
        NotThere: there is none, or not for who asks.
    """
    if name.startswith("col_"):
        try:
            told = await core.get(f"/collaborations/{part(name)}")
        except NotThere:
            pass  # A name may begin so, too.
        else:
            return msgspec.json.decode(told.body, type=Collaboration)
    there = []
    async for page in core.pages("/collaborations"):
        for one in msgspec.json.decode(page, type=_Collaborations).items:
            if one.name.casefold() == name.casefold():
                return one
            there.append(one.name)
    raise missing(name, "collaboration", there)


async def find_study(core: Core, collaboration: Collaboration, name: str) -> Study:
    """The study of a collaboration with a name or id.

    Raises:
        NotThere: there is none, or not for who asks.
    """
    there = []
    async for page in core.pages(f"/collaborations/{part(collaboration.id)}/studies"):
        for one in msgspec.json.decode(page, type=_Studies).items:
            if one.id == name or one.name.casefold() == name.casefold():
                return one
            there.append(one.name)
    raise missing(name, f"study of {collaboration.name}", there)


async def _placed(core: Core, id_: str, wanted: Wanted) -> tuple[Collaboration, Study | None, list[str]]:
    """Where a run takes place: its sites are the nodes with data, in the order of what has them."""
    if wanted.sites is not None and wanted.study is None:
        return Collaboration(id=id_, name=wanted.collaboration), None, list(wanted.sites)
    told, nodes = await asyncio.gather(core.get(f"/collaborations/{part(id_)}"), _nodes(core, id_, wanted))
    collaboration = msgspec.json.decode(told.body, type=Collaboration)
    study = None if wanted.study is None else await find_study(core, collaboration, wanted.study)
    if wanted.sites is not None:
        return collaboration, study, list(wanted.sites)
    ids = (study or collaboration).nodes
    return collaboration, study, [nodes[id_].name for id_ in ids if id_ in nodes and nodes[id_].holds_data]


async def _nodes(core: Core, collaboration: str, wanted: Wanted) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    if wanted.sites is None:
        async for page in core.pages("/nodes", collaboration=collaboration):
            nodes |= {node.id: node for node in msgspec.json.decode(page, type=_Nodes).items}
    return nodes


async def _found(finder: Finder, step: Step, collaboration: str) -> Found:
    return await finder.find(
        step.algorithm,
        collaboration,
        dialect=step.dialect,
        package=step.package,
        entry=step.entry,
        image=step.image,
    )


def _asked(found: Found, step: Step) -> Asked:
    return Asked(
        manifest=found.manifest,
        digest=found.digest,
        function=step.function,
        args=step.args,
        databases=step.databases,
        at=step.at,
        inputs=step.inputs,
        extract=step.extract,
        preprocess=tuple(step.preprocess),
    )


async def _step(core: Core, run_id: RunId, step: OpenedStep) -> dict[str, Any]:
    openings: dict[bytes, dict[str, Any]] = {}
    for body in step.bodies:
        if body not in openings:
            openings[body] = await _opening(core, run_id, body)
    return {
        "algorithm": {
            "dialect": step.dialect,
            "digest": step.digest,
            "name": step.name,
            "kind": "bundle",
        },
        "aggregated": step.aggregated,
        "role": step.role.value,
        "seats": None if step.seats is None else list(step.seats),
        "openings": [openings[body] for body in step.bodies],
    }


async def _opening(core: Core, run_id: RunId, body: bytes) -> dict[str, Any]:
    if len(body) <= BODY_BYTES_INSIDE_MAX:
        return {"body": base64.b64encode(body).decode()}
    digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
    blob = Blob(name="body", digest=digest, size_bytes=len(body))

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), CHUNK_BYTES):
            yield body[start : start + CHUNK_BYTES]

    await files.bring(core, run_id, blob, chunks())
    return {"blob": {"digest": digest, "size_bytes": len(body), "name": "body"}}


def _check(wanted: Wanted) -> None:
    for name in ("on_failure", "on_refusal"):
        value = getattr(wanted, name)
        if value is not None and value not in _LOSSES:
            raise SpecInvalid(f"{name} is {value!r}: expected one of {', '.join(_LOSSES)}")
    if isinstance(wanted.sites, str):
        raise SpecInvalid(f"sites is the text {wanted.sites!r}: expected a list of names")
    for step in wanted.steps:
        if isinstance(step.preprocess, str):
            raise SpecInvalid(f"preprocess is the text {step.preprocess!r}: expected a list of functions")
