"""What a site's own rules are told of a job before it begins, and of what it would send afterwards.

A policy looks at a ticket, and on whose behalf it asks; a check looks at what is about to leave.
Either says nothing, or raises `JobRefused` with a sentence. The built-in ones have no other way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from atoll.model.work import Content, Ticket


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """What a job is about to send."""

    body: Content
    #: The folder with its files, where it has some.
    files: Path | None = None

    @property
    def body_bytes(self) -> int:
        """How much its body weighs."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.size_bytes


#: Raises `JobRefused` for a job that the site doesn't do.
Policy = Callable[[Ticket], None]
#: Raises `JobRefused` for what may not leave the site.
Check = Callable[[Ticket, Outgoing], None]
