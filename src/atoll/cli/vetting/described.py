"""What an algorithm is made of, in the same words for every dialect."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from atoll.cli.vetting.findings import Finding, Level


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What whoever starts a run may say."""

    name: str
    type: str = ""
    required: bool = True
    #: As it is written.
    default: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a function is given of a site's data."""

    name: str
    #: ``pandas.DataFrame``, ``pathlib.Path``, … : what it is given them as.
    type: str
    #: The database that it takes whatever was asked for; None: the next that was asked for.
    label: str | None = None
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """One function or script that can be called."""

    name: str
    #: In the dialect's word: ``partial``, ``central``, ``local``, ``data_extraction``, …
    role: str
    #: Where that is: ``each site``, ``one site``, …
    runs: str
    file: str
    line: int
    summary: str = ""
    arguments: tuple[Taken, ...] = ()
    databases: tuple[Read, ...] = ()
    #: Whether it may have functions called at other sites.
    asks: bool = False
    #: What it returns, as written.
    returns: str = ""
    #: Whether what it returns stays at the site.
    stays: bool = False
    #: What leaves, as declared: by the key of the result, or under ``""``.
    kinds: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vetted:
    """An algorithm that was read."""

    path: str
    dialect: str
    name: str
    functions: tuple[Described, ...]
    findings: tuple[Finding, ...]
    files_read: int

    def count(self, level: Level) -> int:
        """How many findings are of a level."""
        return sum(one.rule.level is level for one in self.findings)

    def is_objectionable(self, *, strict: bool) -> bool:
        """Whether a site has something to object to: also where nothing could be read."""
        if not self.files_read:
            return True
        return bool(self.findings) if strict else self.count(Level.OBJECTION) > 0

    def document(self, *, strict: bool) -> dict[str, Any]:
        """All of it, as JSON."""
        return {
            "path": self.path,
            "dialect": self.dialect,
            "name": self.name,
            "accepted": not self.is_objectionable(strict=strict),
            "objections": self.count(Level.OBJECTION),
            "remarks": self.count(Level.REMARK),
            "files": self.files_read,
            "functions": [asdict(function) for function in self.functions],
            "findings": [
                {
                    "rule": one.rule.id,
                    "level": one.rule.level.value,
                    "file": one.file,
                    "line": one.line or None,
                    "message": one.message,
                    "remedy": one.rule.remedy,
                }
                for one in self.findings
            ],
            "error": None,
        }
