"""Every runtime keeps what it promises: the suite that is shipped, over each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from atoll.runtimes.conformance import CHECKS, Check, Subject, Verdict, examine
from atoll.runtimes.conformance.own import OWN


@dataclass(frozen=True)
class Maker:
    """How a runtime is had here."""

    #: Called when its first check begins; it may start an engine, or look for an image.
    make: Callable[[], Subject]
    #: What it needs of this machine; see `tests/conftest.py`.
    needs: tuple[str, ...] = ()

    @property
    def marks(self) -> list[pytest.MarkDecorator]:
        engines = [need for need in self.needs if need != "bubblewrap"]
        heavy = [pytest.mark.acceptance, pytest.mark.timeout(120)] if engines else []
        return [*(pytest.mark.needs(need) for need in self.needs), *heavy]


MAKERS: dict[str, Maker] = {
    "process": Maker(lambda: Subject(name="process", make=OWN["process"])),
    "bubblewrap": Maker(lambda: Subject(name="bubblewrap", make=OWN["bubblewrap"]), needs=("bubblewrap",)),
}


@pytest.mark.parametrize("check", CHECKS, ids=[check.name for check in CHECKS])
@pytest.mark.parametrize("name", [pytest.param(name, marks=maker.marks) for name, maker in MAKERS.items()])
def test_promise_is_kept(name: str, check: Check, tmp_path: Path) -> None:
    """A runtime keeps the promise that the check names, or says that it doesn't make it."""
    finding = asyncio.run(examine(check, MAKERS[name].make(), tmp_path))

    if finding.verdict is Verdict.NOT_PROMISED:
        pytest.skip(f"not promised: {finding.why}")
    assert Verdict.KEPT is finding.verdict, f"{check.what} {finding.why}"
