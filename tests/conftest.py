"""What every test stands on: how a real engine is asked for, and how examples are generated."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache

import hypothesis
import pytest

#: How to find out whether an engine works here. Finding its program is not enough: a container
#: often has bubblewrap and not the right to make a namespace.
_PROBES = {
    "bubblewrap": ("bwrap", "--ro-bind", "/", "/", "--unshare-all", "true"),
    "node": ("node", "--version"),
}

# A failing example is printed and kept; a slow machine is no failure, pytest-timeout is the limit.
hypothesis.settings.register_profile("atoll", deadline=None, print_blob=True)
hypothesis.settings.load_profile("atoll")


@cache
def _why_missing(engine: str) -> str | None:
    """A sentence about why an engine can't be used here, or None where it can."""
    command = _PROBES[engine]
    if shutil.which(command[0]) is None:
        return f"{engine} is not installed: there is no program {command[0]}"
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    if done.returncode:
        return f"{engine} doesn't work here: {done.stderr.strip()}"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs an engine that this machine lacks; fail it where real engines are a must."""
    for mark in item.iter_markers("needs"):
        reason = _why_missing(mark.args[0])
        if reason and os.environ.get("ATOLL_REQUIRE_REAL"):
            pytest.fail(reason, pytrace=False)
        if reason:
            pytest.skip(reason)
