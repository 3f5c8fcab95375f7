"""Make the environments that tests run published algorithms in, each beside Atoll's own.

An algorithm lives among its own pins, which are never Atoll's. ``python -m
requirements.environments NAME…`` makes ``.environments/NAME`` from ``requirements/NAME.txt``, unless
it was made from that very file.
"""

import fcntl
import hashlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from requirements.install import install

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent


def python_of(name: str) -> Path:
    """Where the interpreter of an environment is, once it is made."""
    return ROOT / ".environments" / name / "bin" / "python"


def is_stamped(name: str) -> bool:
    """Whether an environment was made from its lock file as it is now."""
    return _stamp(name).exists() and _stamp(name).read_text() == _digest(name)


def is_fresh(name: str) -> bool:
    """The same, and the Python that it was made by is still there."""
    return is_stamped(name) and python_of(name).exists()


def stamp(name: str) -> None:
    """Write down what an environment was made from."""
    _stamp(name).write_text(_digest(name))


def _stamp(name: str) -> Path:
    return ROOT / ".environments" / name / ".made-from-lock"


def _digest(name: str) -> str:
    return hashlib.sha256((FOLDER / f"{name}.txt").read_bytes()).hexdigest()


def make(name: str) -> None:
    """Make an environment anew.

    Raises:
        subprocess.CalledProcessError: A package is missing, or isn't the one that was locked.
    """
    shutil.rmtree(_stamp(name).parent, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", _stamp(name).parent], check=True)
    install(python_of(name), FOLDER / f"{name}.txt")
    stamp(name)


def main(names: list[str]) -> None:
    """Make what isn't fresh; wait for whoever makes it already."""
    (ROOT / ".environments").mkdir(exist_ok=True)
    with (ROOT / ".environments" / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        stale = [name for name in names if not is_fresh(name)]
        if stale:
            print(f"Making {' and '.join(f'.environments/{name}' for name in stale)}. Takes a minute.")
        with ThreadPoolExecutor() as pool:
            list(pool.map(make, stale))


if __name__ == "__main__":
    main(sys.argv[1:])
