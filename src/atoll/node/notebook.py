"""What a node writes down of its jobs, and the little of it that it tells its hub."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from atoll.engine.limits import LOG_TOLD_BYTES_MAX
from atoll.model.work import JobId, Message, Ticket
from atoll.transports.forms import Log

_log = logging.getLogger(__name__)
#: Remarks that wait to be told. Whoever makes more loses the later ones: they are in this node's log.
_WAITING_MAX = 1_000


class Notebook:
    """Hears what happens at this node; see `Observer`.

    Args:
        progressed: is told how far a job is, with the next heartbeat.
        log_of: the file with what a ticket's algorithm prints, where its end may be told. Default:
            nothing of it is.
    """

    def __init__(
        self,
        progressed: Callable[[JobId, float | None, str], None],
        log_of: Callable[[Ticket], Path] | None = None,
    ) -> None:
        self._progressed = progressed
        self._log_of = log_of
        self._remarks: asyncio.Queue[Log] = asyncio.Queue(_WAITING_MAX)

    async def remarks(self) -> list[Log]:
        """Wait until there is something to tell, and take all of it."""
        found = [await self._remarks.get()]
        while not self._remarks.empty():
            found.append(self._remarks.get_nowait())
        return found

    def started(self, ticket: Ticket, request: bytes) -> None:
        """Write down that a job has begun; what it was asked is its own affair."""
        _log.info("job %s of %s begins", ticket.job.id, ticket.algorithm.name)

    def progressed(self, ticket: Ticket, fraction: float | None, text: str) -> None:
        """Tell how far it is."""
        self._progressed(ticket.job.id, fraction, text)

    def refused(self, ticket: Ticket, sentence: str) -> None:
        """Tell what an algorithm asked for that it may not have."""
        self._tell(ticket, "warning", sentence)

    def warned(self, ticket: Ticket, text: str) -> None:
        """Tell what was tolerated."""
        self._tell(ticket, "warning", text)

    def finished(self, ticket: Ticket, seconds: float, message: Message | None) -> None:
        """Write down how it ended."""
        _log.info(
            "job %s has %s after %.3f s", ticket.job.id, "failed" if message is None else "ended", seconds
        )
        if message is None and self._log_of is not None and (end := _end_of(self._log_of(ticket))):
            self._tell(ticket, "error", end)

    def _tell(self, ticket: Ticket, level: str, text: str) -> None:
        _log.warning("job %s: %s", ticket.job.id, text)
        remark = Log(run=ticket.job.run_id, job=ticket.job.id, level=level, text=text)
        try:
            self._remarks.put_nowait(remark)
        except asyncio.QueueFull:
            _log.debug("the hub is not told of it: too much waits to be told")


def _end_of(log: Path) -> str:
    try:
        with log.open("rb") as file:
            size_bytes = file.seek(0, 2)
            file.seek(max(0, size_bytes - LOG_TOLD_BYTES_MAX))
            return file.read(LOG_TOLD_BYTES_MAX).decode("utf-8", "replace")
    except OSError:
        return ""
