"""What a simulation needs to know of what was asked for, once all of it is read and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atoll.model.work import Content, Seat
from atoll.simulator.world import Plan

#: The data-less seat of the aggregator.
REMOTE = Seat("remote")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedStep:
    """One step, as its documents describe it."""

    name: str
    #: Its specification and its inputs, where there are such files, and digests of what was asked.
    spec_path: Path | None = None
    inputs_path: Path | None = None
    digests: Mapping[str, str] = field(default_factory=dict)
    #: Whether it is written as functions that a session serves: else its scripts start anew.
    serves: bool
    #: Whether one seat has the last word: else each site has a result of its own.
    aggregated: bool
    #: The function that is called, where it is written as functions.
    function: str | None = None
    #: How its author wants the result shown, and the labels of its outputs.
    display: Sequence[Mapping[str, Any]] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)
    #: What the first site was asked: an input may name pages to show.
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A plan, and what the person is told and shown."""

    plan: Plan
    steps: tuple[PreparedStep, ...]
    warnings: tuple[str, ...]
    dialect: str = "coinstac"
    #: Reads what a seat left as plain values.
    read: Callable[[Content], Any]

    @property
    def sources(self) -> list[Path]:
        """Folders and files of this machine that the algorithms will be shown."""
        installed = self.plan.installed.values()
        code = [each.code for each in installed if each.code is not None]
        modules = [path for installed in self.plan.installed.values() for path in installed.modules]
        data = [site.folder for site in self.plan.data.values()]
        outside = [path for site in self.plan.data.values() for path in site.outside]
        offered = [
            source.path
            for offer in self.plan.offers.values()
            for source in offer.databases.values()
            if source.path is not None
        ]
        return [*code, *modules, *data, *outside, *offered]
