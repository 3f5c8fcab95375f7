"""The environments that real published algorithms run in.

``make test`` makes those of both generations of vantage6, `.ci/trixie` a Debian with Python 3.13. A
test that uses one is marked ``needs("vantage6-4")``, and so on.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from requirements import environments

#: Each with who makes it.
MADE_BY = {"vantage6-4": "make test", "vantage6-5": "make test", "trixie": ".ci/trixie"}
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
#: A whole Debian 13, whatever this machine is. Checkouts share it.
TRIXIE = _CACHE / "atoll" / "trixie"
#: Where the checkout lies inside it, and where the only folder that can be written to.
SRC = Path("/src")
HERE = Path("/tmp/here")


def why_missing(name: str) -> str | None:
    """A sentence about why an environment can't be used, or None where it can."""
    if name == "trixie" and not (shutil.which("bwrap") and (TRIXIE / ".made").exists()):
        return f"there is no Debian 13 in {TRIXIE}: run {MADE_BY[name]}"
    # Trixie's interpreter isn't one of this machine's: its link leads nowhere here.
    fresh = environments.is_stamped(name) if name == "trixie" else environments.is_fresh(name)
    if not fresh:
        return f".environments/{name} isn't made from requirements/{name}.txt: run {MADE_BY[name]}"
    if name == "trixie" and _changed_since(environments.ROOT / ".environments" / name / ".made-from-code"):
        return f".environments/{name} isn't made from this code: run {MADE_BY[name]}"
    return None


def _changed_since(stamp: Path) -> bool:
    """Whether a module was written after a stamp, or there is none."""
    trees = (environments.ROOT / "src", environments.ROOT / "algorithm" / "src")
    written = max(path.stat().st_mtime for tree in trees for path in tree.rglob("*.py"))
    return not stamp.exists() or written > stamp.stat().st_mtime


def python_of(name: str) -> Path:
    """The interpreter of an environment; the test fails where it isn't made."""
    reason = why_missing(name)
    if reason:
        pytest.fail(reason, pytrace=False)
    return environments.python_of(name)


def inside_trixie(*words: str | Path, folder: Path) -> list[str]:
    """What runs a command inside Debian 13, off the network, in a folder that is `HERE` to it.

    The checkout lies at `SRC`, and ``atoll`` and ``python`` are those of ``.environments/trixie``.
    Nothing else of this machine is there.
    """
    python = SRC / environments.python_of("trixie").relative_to(environments.ROOT)
    return [
        *("bwrap", "--ro-bind", str(TRIXIE), "/", "--dev", "/dev", "--proc", "/proc", "--tmpfs", "/tmp"),
        *("--ro-bind", str(environments.ROOT), str(SRC), "--bind", str(folder), str(HERE)),
        *("--unshare-all", "--die-with-parent", "--clearenv", "--setenv", "HOME", str(HERE)),
        *("--setenv", "LANG", "C.UTF-8", "--setenv", "PATH", f"{python.parent}:/usr/bin:/bin"),
        *("--chdir", str(HERE), *map(str, words)),
    ]
