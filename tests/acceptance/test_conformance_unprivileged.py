"""The suite of checks for whoever is nobody special: no control group, and no right of root's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src"
#: Nobody, on every Linux.
NOBODY = "65534"
ENVIRONMENT = {"PYTHONPATH": str(SOURCE), "PYTHONDONTWRITEBYTECODE": "1", "PATH": os.environ["PATH"]}


def python() -> list[str]:
    """An interpreter of the system's own, as an ordinary user starts it."""
    if os.geteuid() != 0:
        return [sys.executable]
    found = shutil.which("python3", path="/usr/bin")
    if found is None or shutil.which("setpriv") is None:
        pytest.skip(
            "there is no interpreter that every user may start, or no setpriv to be another user with"
        )
    words = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", found]
    tried = subprocess.run(
        [*words, "-c", "import sys, atoll; assert sys.version_info >= (3, 11)"],
        cwd="/",
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
    )
    if tried.returncode != 0:
        pytest.skip(f"{found} is older than Python 3.11, or may not read {SOURCE}")
    return words


@pytest.mark.acceptance
@pytest.mark.timeout(120)
@pytest.mark.needs("bubblewrap")
@pytest.mark.parametrize("warm", ["true", "false"])
def test_sandboxes_of_an_ordinary_user_are_bounded(warm: str) -> None:
    """Where no control group can be made, the system counts a sandbox's processes by itself."""
    checks = ("answer", "hang", "fork-bomb", "memory-hog", "disk-filler", "left", "owner-killed")
    words = [word for check in checks for word in ("--check", check)]

    ended = subprocess.run(
        [*python(), "-m", "atoll.runtimes.conformance", "bubblewrap", "--option", f"warm={warm}", *words],
        cwd="/",
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (0, set(checks)) == (
        ended.returncode,
        {line.split()[1] for line in ended.stdout.splitlines() if line.startswith("kept")},
    ), ended.stdout + ended.stderr
