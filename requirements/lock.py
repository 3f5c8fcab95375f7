"""Make the lock file, or say whether it is fresh; the latter needs no network.

``lock.py make`` resolves what ``pyproject.toml`` asks for, and writes every version with the
digests of its files, but no address: where packages come from is the installing machine's
business. ``lock.py check`` compares a digest of what ``pyproject.toml`` asks for with the one
that the lock file was made from.
"""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "requirements" / "dev.txt"
#: A release that was withdrawn as harmful was mostly withdrawn within days.
COOLDOWN = "1 week"
#: The oldest Python that Atoll runs on: what it can install, later ones can.
PYTHON = "3.11"
_DIGEST_LINE = re.compile(r"^# made from: sha256:([0-9a-f]{64})$", re.MULTILINE)


def wanted_digest() -> str:
    """A digest of every table of ``pyproject.toml`` that the lock file depends on."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = document["project"]
    tables = {
        "build": document["build-system"],
        "python": project["requires-python"],
        "dependencies": project["dependencies"],
        "extras": project.get("optional-dependencies", {}),
        "groups": document["dependency-groups"],
    }
    return hashlib.sha256(json.dumps(tables, sort_keys=True).encode()).hexdigest()


def make() -> None:
    """Resolve, and write the lock file."""
    before = LOCK.read_text() if LOCK.exists() else ""
    command = [
        *("uv", "pip", "compile", "pyproject.toml", "--group", "dev", "--all-extras"),
        *("--python-version", PYTHON, "--exclude-newer", COOLDOWN, "--upgrade"),
        *("--excludes", "requirements/ours.txt"),
        *("--generate-hashes", "--no-header", "--no-emit-index-url", "--no-emit-find-links", "--quiet"),
    ]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    header = f"# Written by `make lock`; don't edit.\n# made from: sha256:{wanted_digest()}\n"
    LOCK.write_text(header + done.stdout)
    print("requirements/dev.txt", "is as it was" if LOCK.read_text() == before else "has changed")


def check() -> int:
    """Say whether the lock file was made from what ``pyproject.toml`` asks for now."""
    found = _DIGEST_LINE.search(LOCK.read_text())
    if found and found[1] == wanted_digest():
        return 0
    print("requirements/dev.txt is not made from this pyproject.toml: run `make lock`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make"]:
            make()
        case ["check"]:
            sys.exit(check())
        case other:
            sys.exit(f"lock.py: expected make or check, got {other}")
