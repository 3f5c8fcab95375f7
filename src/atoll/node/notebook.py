"""What a node writes down of its jobs, and the little of it that it tells its hub."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from pathlib import Path

from atoll.engine.limits import LOG_TOLD_BYTES_MAX
from atoll.model.work import JobId, Message, Ticket, Work
from atoll.transports.forms import Log

_log = logging.getLogger(__name__)
#: Remarks that wait to be told. Whoever makes more loses the later ones: they are in this node's log.
_WAITING_MAX = 1_000
#: Seconds after which it is written down again what a job waits for, where only a number has changed.
_WAIT_SECONDS = 10.0
_NUMBERS = re.compile(r"\d+")


class Notebook:
    """Hears what happens at this node; see `Observer`.

    Args:
        progressed: is told how far a job is, with the next heartbeat.
        log_of: the file with what a ticket's algorithm prints.
        sends: whether the hub is told the end of that file when a job fails.
        now: the time, in seconds.
    """

    def __init__(
        self,
        progressed: Callable[[JobId, float | None, str], None],
        log_of: Callable[[Ticket], Path],
        *,
        sends: bool = False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._progressed = progressed
        self._log_of = log_of
        self._sends = sends
        self._now = now
        #: What was last written down that jobs wait for, without its numbers, and when.
        self._waiting: dict[JobId, tuple[str, float]] = {}
        #: Jobs whose failure is written down, and whose end is still to come.
        self._broken: set[JobId] = set()
        self._remarks: asyncio.Queue[Log] = asyncio.Queue(_WAITING_MAX)

    async def remarks(self) -> list[Log]:
        """Wait until there is something to tell, and take all of it."""
        found = [await self._remarks.get()]
        while not self._remarks.empty():
            found.append(self._remarks.get_nowait())
        return found

    def started(self, ticket: Ticket, request: bytes) -> None:
        """Write down that a job has begun; what it was asked is its own affair."""
        _log.info("job %s of %s%s begins", ticket.job.id, ticket.algorithm.name, _asked_by(ticket))

    def progressed(self, ticket: Ticket, fraction: float | None, text: str) -> None:
        """Tell how far it is."""
        self._progressed(ticket.job.id, fraction, text)

    def waits(self, ticket: Ticket, text: str) -> None:
        """Write down what it waits for, now and then where only a number changes; tell it as how far it is."""
        job_id, now = ticket.job.id, self._now()
        words, at = self._waiting.get(job_id, ("", now))
        if words != (words := _NUMBERS.sub("", text)) or now - at >= _WAIT_SECONDS:
            self._waiting[job_id] = (words, now)
            _log.info("job %s: %s", job_id, text)
        self._progressed(job_id, None, text)

    def refused(self, ticket: Ticket, sentence: str) -> None:
        """Tell what an algorithm asked for that it may not have."""
        self._warn(ticket, sentence)

    def warned(self, ticket: Ticket, text: str) -> None:
        """Tell what was tolerated."""
        self._warn(ticket, text)

    def broke(self, ticket: Ticket, kind: str, sentence: str) -> None:
        """Write down why it failed, and where what it printed can be read."""
        if ticket.work is Work.CALL:
            self._broken.add(ticket.job.id)
        log, job, algorithm = self._log_of(ticket), ticket.job, ticket.algorithm
        where = f". Its log: {log}" if _holds_something(log) else ""
        _log.warning(
            "job %s of %s (%s)%s has failed: %s: %s%s",
            *(job.id, algorithm.name, algorithm.digest, _asked_by(ticket), kind, sentence, where),
        )

    def finished(self, ticket: Ticket, seconds: float, message: Message | None) -> None:
        """Write down how it ended."""
        job_id = ticket.job.id
        failed = job_id in self._broken
        self._broken.discard(job_id)
        self._waiting.pop(job_id, None)
        how = "ended" if message is not None else "failed" if failed else "been given up"
        _log.info("job %s has %s after %.3f s", job_id, how, seconds)
        if failed and self._sends and (end := _end_of(self._log_of(ticket))):
            self._tell(ticket, "error", end)

    def _warn(self, ticket: Ticket, text: str) -> None:
        _log.warning("job %s: %s", ticket.job.id, text)
        self._tell(ticket, "warning", text)

    def _tell(self, ticket: Ticket, level: str, text: str) -> None:
        remark = Log(run=ticket.job.run_id, job=ticket.job.id, level=level, text=text)
        try:
            self._remarks.put_nowait(remark)
        except asyncio.QueueFull:
            _log.debug("the hub is not told of it: too much waits to be told")


def _asked_by(ticket: Ticket) -> str:
    behalf = ticket.behalf
    return f", asked by {behalf.submitter} of {behalf.organization_name}," if behalf.submitter else ""


def _holds_something(log: Path) -> bool:
    try:
        return log.stat().st_size > 0
    except OSError:
        return False


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            size_bytes = file.seek(0, 2)
            file.seek(max(0, size_bytes - LOG_TOLD_BYTES_MAX))
            return file.read(LOG_TOLD_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return ""
