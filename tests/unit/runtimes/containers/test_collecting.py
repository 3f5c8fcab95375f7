"""Which images go when they are old or too many, and what is written down of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, cast

import aiodocker
import pytest

from atoll.runtimes.containers.collecting import Kept, Ledger, choose, collect_images

DAY = 86_400.0
NOW = 1_000 * DAY


def _kept(name: str, *, days: float, size_bytes: int = 1, busy: bool = False) -> Kept:
    return Kept(name=name, size_bytes=size_bytes, used=NOW - days * DAY, busy=busy)


def _chosen(*kept: Kept, keep_days: float | None = None, keep_bytes: int | None = None) -> list[str]:
    return [each.name for each in choose(kept, now=NOW, keep_days=keep_days, keep_bytes=keep_bytes)]


def test_everything_stays_where_no_bound_is_set() -> None:
    assert [] == _chosen(_kept("old", days=900, size_bytes=10**15))


def test_what_is_older_goes_the_oldest_first() -> None:
    kept = (_kept("young", days=29), _kept("old", days=31), _kept("older", days=400))

    assert ["older", "old"] == _chosen(*kept, keep_days=30)


def test_the_oldest_go_until_the_rest_is_small_enough() -> None:
    kept = [_kept(name, days=days, size_bytes=10) for name, days in (("c", 1), ("a", 3), ("b", 2))]

    assert [] == _chosen(*kept, keep_bytes=30)
    assert ["a"] == _chosen(*kept, keep_bytes=29)
    assert ["a", "b", "c"] == _chosen(*kept, keep_bytes=0)


def test_what_is_in_use_stays_and_counts() -> None:
    kept = (_kept("busy", days=3, size_bytes=10, busy=True), _kept("idle", days=2, size_bytes=10))

    assert ["idle"] == _chosen(*kept, keep_days=1, keep_bytes=15)


def test_what_was_just_asked_for_stays() -> None:
    kept = (_kept("asked for", days=0.001), _kept("not", days=0.01))

    assert ["not"] == _chosen(*kept, keep_days=0, keep_bytes=0)


def test_a_ledger_knows_after_a_start_what_it_was_told_before(tmp_path: Path) -> None:
    path = tmp_path / "images" / "pulled.json"
    times = iter([1.0, 2.0, 100.0, 200.0])
    ledger = Ledger(path, now=lambda: next(times))
    ledger.begin("registry.example/a@sha256:a")
    ledger.end("registry.example/a@sha256:a", "sha256:1")
    ledger.begin("registry.example/b@sha256:b")
    ledger.use("sha256:1")

    again = Ledger(path, now=lambda: 300.0)
    assert ("registry.example/a@sha256:a", "registry.example/b@sha256:b") == again.names()
    assert [200.0, 100.0] == [again.used(name) for name in again.names()]
    again.forget("registry.example/a@sha256:a")
    assert ("registry.example/b@sha256:b",) == Ledger(path).names()


def test_a_use_is_written_down_once_a_minute_and_only_of_what_was_pulled(tmp_path: Path) -> None:
    path = tmp_path / "pulled.json"
    now = [0.0]
    ledger = Ledger(path, now=lambda: now[0])
    ledger.begin("a")
    ledger.end("a", "sha256:1")
    before = path.stat().st_ino
    now[0] = 59.0
    ledger.use("sha256:1")
    ledger.use("sha256:2")
    assert before == path.stat().st_ino
    now[0] = 61.0
    ledger.use("sha256:1")

    assert before != path.stat().st_ino
    assert 61.0 == json.loads(path.read_text())["a"]["used"]
    ledger.forget("b")
    ledger.end("b", "sha256:3")
    assert ("a",) == Ledger(path).names()


@pytest.mark.parametrize("content", ["", "[]", '{"a": {}}', '{"a": {"id": "1", "used": "late"}}'])
def test_a_ledger_that_was_spoilt_is_begun_anew_and_says_so(
    content: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "pulled.json"
    path.write_text(content)

    assert () == Ledger(path).names()
    assert "the images that it names are kept for ever" in caplog.text


def test_a_ledger_without_a_file_remembers_as_long_as_it_lives() -> None:
    ledger = Ledger(None)
    ledger.begin("a")

    assert ("a",) == ledger.names()


class Engine:
    """Has one old image, and nothing runs."""

    def __init__(self) -> None:
        self.images = self.containers = self
        self.deleted: list[str] = []

    async def inspect(self, name: str) -> dict[str, Any]:
        """The image."""
        return {"Id": OWN, "RepoDigests": [name], "Size": 1}

    async def list(self, **_: bool) -> list[Any]:
        """No container."""
        return []

    async def delete(self, name: str) -> None:
        """Note it."""
        self.deleted.append(name)


OWN = "sha256:" + 64 * "b"


@pytest.mark.parametrize(("stay", "removed"), [((), 2), ((OWN,), 0), (("sha256:" + 64 * "a",), 0)])
def test_what_the_site_has_named_stays_however_old_it_is(stay: tuple[str, ...], removed: int) -> None:
    now = 0.0
    ledger = Ledger(None, now=lambda: now)
    for digest in (64 * "a", 64 * "c"):
        ledger.begin(f"registry.example/stats@sha256:{digest}")
        ledger.end(f"registry.example/stats@sha256:{digest}", OWN)
    now = 1e9
    engine = Engine()

    gone = asyncio.run(
        collect_images(cast(aiodocker.Docker, engine), ledger, keep_days=1, keep_bytes=0, stay=stay)
    )

    assert len(gone) == len(engine.deleted) == removed
