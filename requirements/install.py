"""Install what a lock file names, all of it checked: ``python -m requirements.install PYTHON LOCK``.

It holds no address: packages come from where the machine's pip and uv find them. uv is several
times as fast as pip, and knows nothing of places that only pip was told of, so whatever it can't
install is left to pip.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

#: One package of a lock file, with its digests.
_PACKAGE = re.compile(r"^([a-z0-9._-]+)==.*(?:\n .*)*\n", re.MULTILINE)
#: These declare a later Python than they need. Only pip can be told so.
_DECLARES_TOO_MUCH = re.compile(r"vantage6-")


def install(python: Path, lock: Path) -> None:
    """Install a lock file's packages for an interpreter that need not have pip.

    Raises:
        subprocess.CalledProcessError: A package is missing, or isn't the one that was locked.
    """
    packages = {found[1]: found[0] for found in _PACKAGE.finditer(lock.read_text())}
    with tempfile.TemporaryDirectory() as folder:
        part = Path(folder) / "requirements.txt"
        if not shutil.which("uv") and "uv" in packages:
            part.write_text(packages["uv"])
            _pip(python, part)
        part.write_text(
            "".join(text for name, text in packages.items() if not _DECLARES_TOO_MUCH.match(name))
        )
        _uv(python, part)
    _pip(python, lock)


def _uv(python: Path, packages: Path) -> None:
    beside = python.with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        return
    command = [program, "pip", "install", "--python", str(python), "--no-deps", "--require-hashes", "-qq"]
    # Sandboxes can't write: what isn't compiled here would be compiled at every start.
    subprocess.run([*command, "--compile-bytecode", "--requirements", str(packages)], check=False)


def _pip(python: Path, packages: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python), "install"]
    how = ["--quiet", "--no-deps", "--ignore-requires-python", "--require-hashes"]
    subprocess.run([*command, *how, "--requirement", str(packages)], check=True)


if __name__ == "__main__":
    install(Path(sys.argv[1]), Path(sys.argv[2]))
