"""What a simulation needs to know of what was asked for, once all of it is read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.model.work import Seat
from atoll.simulator.world import Plan

#: The data-less seat of the aggregator.
REMOTE = Seat("remote")


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedStep:
    """One step, as its documents describe it."""

    name: str
    #: Its specification and its inputs, and digests of their texts.
    spec_path: Path
    inputs_path: Path
    digests: Mapping[str, str]
    #: Whether it is written as functions that a session serves: else its scripts start anew.
    serves: bool
    #: Whether an aggregator has the last word: else each site has a result of its own.
    aggregated: bool
    #: How its author wants the result shown, and the labels of its outputs.
    display: Sequence[Mapping[str, Any]]
    outputs: Mapping[str, Any]
    #: What the first site was asked: an input may name pages to show.
    inputs: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A plan, and what the person is told and shown."""

    plan: Plan
    steps: tuple[PreparedStep, ...]
    warnings: tuple[str, ...]

    @property
    def sources(self) -> list[Path]:
        """Folders and files of this machine that the algorithms will be shown."""
        code = [installed.code for installed in self.plan.installed.values()]
        data = [site.folder for site in self.plan.data.values()]
        return [*code, *data, *(path for site in self.plan.data.values() for path in site.outside)]
