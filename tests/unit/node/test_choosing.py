"""A node runs algorithms in the way that its settings name, or not at all."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from atoll.model.errors import RuntimeUnavailable
from atoll.node.choosing import Runtimes, why_not
from atoll.node.settings import NodeSettings

PROBE = "atoll.runtimes.bubblewrap.probe"


def settings(root: Path, runtime: str, *, allowed: bool = True) -> NodeSettings:
    """Settings that name a runtime."""
    return NodeSettings(
        hub="http://localhost",
        key_file=root / "key",
        runtime=runtime,
        allow_unsandboxed=allowed,
        workspace=root,
        data_maps=root / "maps",
    )


@pytest.mark.parametrize("runtime", ["bubblewrap", "process", "inline"])
def test_each_interpreter_has_one_runtime_of_the_kind_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, runtime: str
) -> None:
    monkeypatch.setattr(PROBE, lambda: None)
    runtimes = Runtimes(settings(tmp_path, runtime), [tmp_path])

    assert runtimes.of(None).name == runtime
    assert runtimes.of(None) is runtimes.of(None)
    asyncio.run(runtimes.close())


def test_nothing_with_less_isolation_is_taken_where_the_sandbox_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PROBE, lambda: "bubblewrap is not installed")

    with pytest.raises(RuntimeUnavailable, match=r"bubblewrap is not installed. Install bubblewrap"):
        Runtimes(settings(tmp_path, "bubblewrap"), []).of(None)


@pytest.mark.parametrize("runtime", ["process", "inline"])
def test_what_has_no_walls_must_be_allowed(tmp_path: Path, runtime: str) -> None:
    assert why_not(settings(tmp_path, runtime)) is None
    assert "allow_unsandboxed" in (why_not(settings(tmp_path, runtime, allowed=False)) or "")
    with pytest.raises(RuntimeUnavailable):
        Runtimes(settings(tmp_path, runtime, allowed=False), []).of(None)


def test_code_in_the_nodes_own_process_has_no_other_interpreter(tmp_path: Path) -> None:
    with pytest.raises(RuntimeUnavailable, match="can't use another environment"):
        Runtimes(settings(tmp_path, "inline"), []).of(Path(sys.executable))
