"""One run from Python: waiting for it, and what it leaves."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from atoll.algorithms.opening import REMOTE
from atoll.client import progress
from atoll.client.algorithms import Finder
from atoll.client.core import Background, Core, part
from atoll.client.following import follow_run
from atoll.client.records import Event, LogLine, Waiting
from atoll.client.results import Results, frame, read_results, shown, table
from atoll.model.errors import BlobMismatch, NotThere, RunFailed, WaitTimeout
from atoll.model.work import Blob, RunId, check_blob_name
from atoll.transports import files

#: Seconds that one question whether a run has ended is held open.
_WAIT_SECONDS = 25.0
_ENDED = ("done", "failed")


class _File(msgspec.Struct):
    digest: str
    size_bytes: int
    name: str = "body"


class _Left(msgspec.Struct):
    seat: str
    body: bytes | None
    body_blob: _File | None
    blobs: list[_File]


class _Results(msgspec.Struct):
    dialect: str
    results: list[_Left]


class Listed(msgspec.Struct):
    """A page of forms."""

    items: list[dict[str, Any]]


class _Logs(msgspec.Struct):
    items: list[LogLine]


class _Waiting(msgspec.Struct):
    items: list[Waiting]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """How a client reaches its hub."""

    core: Core
    background: Background
    finder: Finder


class Run:
    """A run at a hub."""

    def __init__(self, reach: Reach, id_: str, form: dict[str, Any] | None = None) -> None:
        #: Its id.
        self.id = id_
        #: Sentences about what was tolerated when it was submitted.
        self.warnings: tuple[str, ...] = ()
        self._reach = reach
        self._form = form
        self._results: Results | None = None
        self._left: _Results | None = None
        #: Whether it is known to be done.
        self._done = False

    @property
    def form(self) -> Mapping[str, Any]:
        """All that the hub tells of it now."""
        if self._form is None or self._form["status"] not in _ENDED:
            self._form = self._get("").json
        assert self._form is not None
        return self._form

    @property
    def status(self) -> str:
        """``done``, ``failed``, or a state on the way."""
        return str(self.form["status"])

    @property
    def name(self) -> str:
        """What it was called."""
        return str(self.form["name"])

    @property
    def sites(self) -> tuple[str, ...]:
        """Its data-holding sites, in their order."""
        return tuple(self.form["sites"])

    @property
    def iterations(self) -> int:
        """How often its sites were called, over all COINSTAC steps; 0 of functions."""
        steps = {
            number
            for number, step in enumerate(self.form["steps"])
            if step["algorithm"]["dialect"] == "coinstac"
        }

        async def counted() -> int:
            count = 0
            async for page in self._reach.core.pages(f"/runs/{part(self.id)}/rounds"):
                for one in msgspec.json.decode(page, type=Listed).items:
                    called = one["role"] == "site" and one["work"] == "call" and one["depth"] == 0
                    count += called and one["step"] in steps
            return count

        return self._reach.background.run(counted()) if steps else 0

    def wait(self, timeout: float | None = None) -> Run:
        """Wait until it has ended.

        Args:
            timeout: seconds; None: as long as it takes.

        Raises:
            RunFailed: it has failed.
            WaitTimeout: it goes on.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            seconds = (
                _WAIT_SECONDS if until is None else max(0.0, min(_WAIT_SECONDS, until - time.monotonic()))
            )
            told = self._get("/wait", seconds=round(seconds, 3)).json
            if told["ended"]:
                break
            if until is not None and time.monotonic() >= until:
                raise WaitTimeout(
                    f"run {self.id} goes on after {timeout:g} seconds{self._held_up()}. Wait again, or cancel it"
                )
        if told["status"] != "done":
            self._check_done()
        self._done = True
        return self

    @property
    def result(self) -> Any:
        """What the aggregator, or the only central function, has left; else None.

        Raises:
            RunFailed: it has failed.
            WaitTimeout: it goes on.
        """
        return self._read().result

    @property
    def results(self) -> Mapping[str, Any]:
        """What each site has: of a decentralized computation the last output that it received.

        Raises:
            RunFailed: it has failed.
            WaitTimeout: it goes on.
        """
        return self._read().results

    def frame(self, site: str | None = None) -> Any:
        """The result, or that of a site, as a data frame of pandas.

        Raises:
            AtollError: it is no table, or pandas is missing.
        """
        return frame(self.result if site is None else self.results[site])

    @property
    def waiting_for(self) -> list[Waiting]:
        """The jobs that it waits for, and whether their nodes are there."""
        return msgspec.json.decode(self._get("/waiting").body, type=_Waiting).items

    def logs(self, site: str | None = None) -> list[LogLine]:
        """What sites have let out of their logs."""

        async def fetched() -> list[LogLine]:
            path = f"/runs/{part(self.id)}/logs"
            lines: list[LogLine] = []
            async for page in self._reach.core.pages(path, seat=site):
                lines += msgspec.json.decode(page, type=_Logs).items
            return lines

        return self._reach.background.run(fetched())

    def files(self, site: str, folder: str | Path | None = None) -> list[Path]:
        """Download the files that came with a site's result.

        Args:
            site: its name.
            folder: where to; None: ``atoll-runs/RUN/SITE``.

        Raises:
            NotThere: the site has no result.
        """
        self._check_done()
        target = Path(folder) if folder is not None else Path("atoll-runs", self.id, site)
        left = {one.seat: one for one in self._fetch_results().results}
        found = left.get(site) or (left.get(REMOTE) if site in self.sites else None)
        if found is None:
            raise NotThere(
                f"{site} has no result in run {self.id}: expected one of {', '.join(left) or 'none'}"
            )
        return self._reach.background.run(self._download(found.blobs, target))

    def cancel(self, reason: str = "") -> None:
        """End it. What runs at the sites is ended there."""
        self._post("/cancel", {"reason": reason})

    def decide(self, site: str, decision: str) -> None:
        """Say what is to be done about a job that broke at a site, or that is waited for too long.

        Args:
            site: its name.
            decision: ``retry``, ``drop`` or ``fail``.

        Raises:
            NotThere: nothing is waited for there.
        """
        waiting = [one for one in self.waiting_for if one.seat == site]
        held = [one for one in waiting if one.status == "held"] or waiting
        if not held:
            raise NotThere(f"run {self.id} waits for nothing at {site}: there is nothing to decide")
        for one in held:
            self._post(f"/jobs/{part(one.id)}/decide", {"decision": decision})

    def record(self) -> dict[str, Any]:
        """How it came about: who asked whom for what, by digest, and how each job ended."""
        told: dict[str, Any] = self._get("/record").json
        return told

    def events(self) -> Iterator[Event]:
        """What happens in it, from its state now to its end."""
        return self._reach.background.iterate(follow_run(self._reach.core, self.id))

    def progress(self) -> Run:
        """Show how far it is until it has ended.

        Raises:
            RunFailed: it has failed.
        """
        progress.show(self.events(), self.waiting_for)
        return self.wait()

    def _repr_html_(self) -> str:
        form = self.form
        failure = form["failure"] or {}
        rows = [
            ("run", self.id),
            ("name", form["name"]),
            ("status", form["status"]),
            ("sites", ", ".join(form["sites"])),
            ("rounds", form["call_round_count"]),
            ("error", failure.get("message")),
            ("at", failure.get("site")),
        ]
        if self._results is None:
            return table(rows)
        value = self._results.results if self._results.result is None else self._results.result
        return table(rows) + shown(value)

    def __repr__(self) -> str:
        """Its id, and its state where it has ended."""
        status = f", {self._form['status']}" if self._form and self._form["status"] in _ENDED else ""
        return f"<Run {self.id}{status}>"

    def _check_done(self) -> None:
        form = self.form
        failure = form["failure"]
        if form["status"] == "failed":
            told = failure or {"type": "RunFailed", "message": "it failed", "site": None}
            raise RunFailed(told["message"], type=told["type"], site=told["site"])
        if form["status"] != "done":
            raise WaitTimeout(f"run {self.id} goes on{self._held_up()}: wait for it with wait()")

    def _held_up(self) -> str:
        waiting = self.waiting_for
        named = ", ".join(
            f"{one.seat} ({one.status}{'' if one.online else ', its node is away'})" for one in waiting[:5]
        )
        more = f" and {len(waiting) - 5} more" if len(waiting) > 5 else ""
        return f", and waits for {named}{more}" if waiting else ""

    def _fetch_results(self) -> _Results:
        if self._left is None:
            self._left = msgspec.json.decode(self._get("/results").body, type=_Results)
        return self._left

    def _read(self) -> Results:
        if self._results is None:
            if not self._done:
                self._check_done()
            self._results = self._reach.background.run(self._read_all())
        return self._results

    async def _read_all(self) -> Results:
        core, path = self._reach.core, f"/runs/{part(self.id)}"
        if self._form is None or self._form["status"] not in _ENDED:
            form, results = await asyncio.gather(core.get(path), core.get(f"{path}/results"))
            self._form = form.json
        else:
            results = await core.get(f"{path}/results")
        assert self._form is not None
        self._left = msgspec.json.decode(results.body, type=_Results)
        return read_results(self._form, self._left.dialect, await self._bodies(self._left))

    async def _bodies(self, left: _Results) -> dict[str, bytes]:
        bodies = {}
        for one in left.results:
            if one.body_blob is None:
                bodies[one.seat] = one.body or b""
            else:
                chunks = [chunk async for chunk in self._content(one.body_blob)]
                bodies[one.seat] = b"".join(chunks)
        return bodies

    async def _download(self, blobs: Sequence[_File], folder: Path) -> list[Path]:
        written = []
        for file in blobs:
            check_blob_name(file.name)
            path = folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as target:
                async for chunk in self._content(file):
                    target.write(chunk)
            written.append(path)
        return written

    async def _content(self, file: _File) -> AsyncIterator[bytes]:
        """A file's content; what was read is an error where it is not what it is named by."""
        digest = hashlib.sha256()
        blob = Blob(name=file.name, digest=file.digest, size_bytes=file.size_bytes)
        async for chunk in files.fetch(self._reach.core, RunId(self.id), blob):
            digest.update(chunk)
            yield chunk
        found = f"sha256:{digest.hexdigest()}"
        if found != file.digest:
            raise BlobMismatch(f"{file.name!r} arrived as {found}: expected {file.digest}. Fetch it again")

    def _get(self, path: str, **query: Any) -> Any:
        return self._reach.background.run(self._reach.core.get(f"/runs/{part(self.id)}{path}", **query))

    def _post(self, path: str, body: Any) -> None:
        self._reach.background.run(self._reach.core.send("POST", f"/runs/{part(self.id)}{path}", body))
