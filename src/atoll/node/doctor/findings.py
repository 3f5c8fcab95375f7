"""What a look at a data station finds: each with its remedy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Level(Enum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"  #: the node works, but not as well as it could
    FAULT = "fault"  #: the node doesn't work


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    #: What was looked at: ``name``, ``tls``, ``database patients``.
    subject: str
    level: Level
    #: What was found.
    words: str
    #: What to do; empty where all is well.
    remedy: str = ""

    def document(self) -> dict[str, str]:
        """The finding for a program."""
        return {
            "subject": self.subject,
            "level": self.level.value,
            "words": self.words,
            "remedy": self.remedy,
        }


def fine(subject: str, words: str) -> Finding:
    """All is well."""
    return Finding(subject=subject, level=Level.OK, words=words)


def doubt(subject: str, words: str, remedy: str) -> Finding:
    """The node works, but not as well as it could."""
    return Finding(subject=subject, level=Level.WARNING, words=words, remedy=remedy)


def fault(subject: str, words: str, remedy: str) -> Finding:
    """The node doesn't work."""
    return Finding(subject=subject, level=Level.FAULT, words=words, remedy=remedy)
