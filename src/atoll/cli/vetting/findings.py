"""What somebody who vets an algorithm should look at, and what its author can do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How much a finding weighs."""

    #: A site has every reason to refuse.
    OBJECTION = "objection"
    #: A site should look at the place, and may have questions.
    REMARK = "remark"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Something that sites look for."""

    id: str
    level: Level
    #: For the author, and for who must decide.
    remedy: str


def _rules(level: Level, remedies: dict[str, str]) -> Iterable[tuple[str, Rule]]:
    return ((id_, Rule(id=id_, level=level, remedy=remedy)) for id_, remedy in remedies.items())


RULES: dict[str, Rule] = {
    **dict(
        _rules(
            Level.OBJECTION,
            {
                "rows": "Return counts, sums, or a model's parameters: what is made from many rows, and tells of none",
                "table": "Say what kind of table it is, with kind=… in the decorator; rows of the data must not leave",
                "unknown-kind": "Choose one of the kinds that Atoll knows; the function can't be loaded otherwise",
                "unpickling": "What is unpickled may run any code. Use JSON, numpy without pickles, or Parquet",
                "dynamic-code": "Code that is made while it runs can't be vetted. Write it out",
                "native-code": "Native code can't be vetted. Use a library that the site has installed",
                "process": "A function has no business with other programs. Use a library instead",
                "network": "At a site there is no network. Take data from the site's databases, and ask other "
                "sites through the platform",
                "unreadable": "A site can't vet what it can't read. Mend the file, or leave it out",
                "spec": "",
            },
        )
    ),
    **dict(
        _rules(
            Level.REMARK,
            {
                "kind": 'Say in the decorator what leaves: kind="frequencies", or a kind for each key of the result',
                "files": "A site's data come by database label or folder, and nothing else is there. Name no paths",
                "environment": "Take it as an argument. What a site sets for algorithms is its own affair",
                "star-import": "Import by name, so that a reader sees what the names stand for",
                "global-state": "Keep it in the function. What one call leaves there, the next may find, or may not",
                "undecorated": "Generation 4 calls any name of the package: give names that are not for callers "
                "to modules that __init__ doesn't import",
                "unclear": "Write it so that it can be read without being run, or explain it to the site",
                "not-python": "Atoll reads Python alone: read this file yourself",
                "not-read": "Read it yourself, or leave it out of the algorithm",
                "spec-advice": "",
            },
        )
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing at one place."""

    rule: Rule
    #: As it can be opened from where the command was typed.
    file: str
    #: 0: the file as a whole.
    line: int
    message: str

    @property
    def place(self) -> str:
        """Where, as editors and terminals know it."""
        return f"{self.file}:{self.line}" if self.line else self.file


def finding(rule: str, file: str, line: int, message: str) -> Finding:
    """A finding by its rule's name."""
    return Finding(rule=RULES[rule], file=file, line=line, message=message)
