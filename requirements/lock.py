"""Make the lock files, or say whether they are fresh; the latter needs no network.

``lock.py make`` resolves what is asked for, and writes every version with the digests of its
files, but no address: where packages come from is the installing machine's business. ``lock.py
make dev`` does so for one lock file. ``lock.py check`` compares a digest of what is asked for with
the one that each lock file was made from.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
#: A release that was withdrawn as harmful was mostly withdrawn within days.
COOLDOWN = "1 week"
#: The oldest Python that Atoll runs on: what it can install, later ones can.
PYTHON = "3.11"
_DIGEST_LINE = re.compile(r"^# made from: sha256:([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True)
class Lock:
    """One lock file, and what it is made from."""

    name: str
    #: What is asked for: files, from the root of the tree.
    sources: tuple[str, ...]
    #: What uv is told besides.
    options: tuple[str, ...] = ()
    #: The Python that the packages are chosen for.
    python: str = PYTHON
    #: Packages whose names begin so declare a later Python than they need, and uv believes them.
    #: What they depend on is resolved without them, and they are locked as they are.
    declare_too_much: str | None = None

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.txt"

    @property
    def wanted_digest(self) -> str:
        """A digest of all that the lock file depends on."""
        wanted = [_wanted(ROOT / source) for source in self.sources]
        return hashlib.sha256(
            json.dumps([self.python, self.options, wanted], sort_keys=True).encode()
        ).hexdigest()

    @property
    def is_fresh(self) -> bool:
        found = _DIGEST_LINE.search(self.path.read_text()) if self.path.exists() else None
        return found is not None and found[1] == self.wanted_digest


LOCKS = (
    Lock(name="dev", sources=("pyproject.toml",), options=("--group", "dev", "--all-extras")),
    Lock(name="vantage6-4", sources=("requirements/vantage6-4.in",)),
    Lock(name="vantage6-5", sources=("requirements/vantage6-5.in",), declare_too_much="vantage6"),
    # Atoll and the tools of generation 5 beside each other, on the Python that those declare.
    Lock(name="trixie", sources=("pyproject.toml", "requirements/vantage6-5.in"), python="3.13"),
)


def _wanted(source: Path) -> object:
    """What a file asks for: without comments, and without what no package depends on."""
    if source.suffix == ".toml":
        document = tomllib.loads(source.read_text())
        project = document["project"]
        return {
            "build": document["build-system"],
            "python": project["requires-python"],
            "dependencies": project["dependencies"],
            "extras": project.get("optional-dependencies", {}),
            "groups": document["dependency-groups"],
        }
    return _lines(source.read_text())


def _lines(text: str) -> list[str]:
    """The requirements of a file."""
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def _resolve(lock: Lock, sources: tuple[str, ...], asked: str | None = None) -> str:
    """The lines of a lock file: of what the sources ask for, or of what is handed over as text."""
    command = [
        *("uv", "pip", "compile", *sources, *lock.options),
        *("--python-version", lock.python, "--exclude-newer", COOLDOWN, "--upgrade"),
        *("--excludes", "requirements/ours.in"),
        *("--generate-hashes", "--no-header", "--no-emit-index-url", "--no-emit-find-links", "--quiet"),
    ]
    done = subprocess.run(command, cwd=ROOT, check=True, input=asked, stdout=subprocess.PIPE, text=True)
    return done.stdout


def _resolve_what_is_declared(lock: Lock, prefix: str) -> str:
    """Resolve what packages depend on for a Python that they say they don't run on."""
    asked = [line for source in lock.sources for line in _lines((ROOT / source).read_text())]
    waiting = [line for line in asked if line.startswith(prefix)]
    asked = [line for line in asked if line not in waiting]
    locked: dict[str, str] = {}
    while waiting:
        wanted = waiting.pop()
        if wanted in locked:
            continue
        locked[wanted], declared = _wheel(wanted)
        waiting += [line for line in declared if line.startswith(prefix)]
        asked += [line for line in declared if not line.startswith(prefix)]
    return _resolve(lock, ("-",), "\n".join(sorted(set(asked)))) + "".join(
        f"{wanted} \\\n    --hash=sha256:{digest}\n" for wanted, digest in sorted(locked.items())
    )


def _wheel(wanted: str) -> tuple[str, list[str]]:
    """The digest of the wheel of one pinned package, and what it declares to depend on."""
    with tempfile.TemporaryDirectory() as folder:
        fetch = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
        only = ["--no-deps", "--ignore-requires-python", "--only-binary", ":all:", "--dest", folder]
        subprocess.run([*fetch, *only, wanted], check=True)
        (path,) = Path(folder).iterdir()
        with zipfile.ZipFile(path) as wheel:
            (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
            declared = HeaderParser().parsestr(wheel.read(name).decode()).get_all("Requires-Dist", [])
        return (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            [line for line in declared if "extra ==" not in line],
        )


def make(lock: Lock) -> None:
    """Resolve, and write the lock file."""
    before = lock.path.read_text() if lock.path.exists() else ""
    if lock.declare_too_much:
        resolved = _resolve_what_is_declared(lock, lock.declare_too_much)
    else:
        resolved = _resolve(lock, lock.sources)
    header = f"# Written by `make lock`; don't edit.\n# made from: sha256:{lock.wanted_digest}\n"
    lock.path.write_text(header + resolved)
    print(lock.path.relative_to(ROOT), "is as it was" if lock.path.read_text() == before else "has changed")


def check() -> int:
    """Say whether the lock files were made from what is asked for now."""
    stale = [lock for lock in LOCKS if not lock.is_fresh]
    for lock in stale:
        path, sources = lock.path.relative_to(ROOT), " and ".join(lock.sources)
        print(f"{path} is not made from this {sources}: run `make lock`", file=sys.stderr)
    return 1 if stale else 0


def _main(words: list[str]) -> int:
    named = {lock.name: lock for lock in LOCKS}
    match words:
        case ["check"]:
            return check()
        case ["make", *names] if set(names) <= set(named):
            for name in names or named:
                make(named[name])
            return 0
        case _:
            print(
                f"lock.py: expected check, or make and any of {', '.join(named)}; got {words}",
                file=sys.stderr,
            )
            return 2


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
