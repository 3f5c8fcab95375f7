"""What an image has that code may need: asked of the image itself, once, and remembered by its digest.

The image's own Python is asked in a box, as an algorithm would be: it sees nothing of the site, and has no
network. An image without Python is asked by its shell, which knows its programs alone. What it answers
decides which environment code runs in, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from atoll.engine.limits import (
    INVENTORY_BYTES_MAX,
    INVENTORY_SECONDS_MAX,
    LIBRARY_SECONDS_MAX,
    QUEUED_SECONDS_MAX,
    START_SECONDS_MAX,
    CallLimits,
)
from atoll.engine.running import Image, Launch, Reply, Request, Runtime, Style, whole
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.model.work import Seat

#: The version of what is written down. Another one is asked for anew.
_FORMAT = 1
#: The oldest Python that can be the first process of a box.
_OLDEST = (3, 8)
_LIMITS = CallLimits(
    seconds=INVENTORY_SECONDS_MAX,
    reply_bytes=INVENTORY_BYTES_MAX,
    log_bytes=INVENTORY_BYTES_MAX,
    processes=64,
)
#: Seconds after which a folder that was made for a question is left over. Whoever asks by way of a cluster's queue
#: makes a new one for each question.
_LEFT_SECONDS = QUEUED_SECONDS_MAX + START_SECONDS_MAX + INVENTORY_SECONDS_MAX
#: For Python 3.8 and later. Nothing is imported: installed packages are looked for where they lie.
_OF_PYTHON = """\
import json, os, sys
modules, tools = set(), None
library = os.path.dirname(os.__file__)
for folder in sys.path:
    if folder.startswith("/run/atoll/") or folder in ("", library, library + "/lib-dynload"):
        continue
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if name.startswith("vantage6_algorithm_tools-") and name.endswith(".dist-info"):
            tools = int(name.split("-")[1].split(".")[0])
        if name.endswith((".py", ".so")):
            modules.add(name.split(".")[0])
        elif name.isidentifier() and name != "__pycache__" and os.path.isdir(os.path.join(folder, name)):
            modules.add(name)
programs = set()
for folder in os.environ.get("PATH", "").split(":"):
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            programs.add(name)
told = {"python": sys.version_info[:2], "modules": sorted(modules), "programs": sorted(programs), "tools": tools}
print(json.dumps(told))
"""
#: For any shell. It says which Python it finds, so that one which can't be asked isn't taken for none.
_OF_SHELL = """\
for each in python3 python; do
  "$each" -c 'import sys; print("python %d %d" % sys.version_info[:2])' 2>/dev/null && break
done
IFS=:
for folder in $PATH; do
  for each in "$folder"/*; do
    if [ -f "$each" ] && [ -x "$each" ]; then echo "program ${each##*/}"; fi
  done
done
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What an image has."""

    #: Of what is written down.
    format: int = _FORMAT
    #: The version of its Python; None where it has none that code could run under.
    python: tuple[int, int] | None = None
    #: What can be imported beside Python's own library, by its first name.
    modules: frozenset[str] = frozenset()
    #: What can be started by its name.
    programs: frozenset[str] = frozenset()
    #: The generation of vantage6's tools that it has.
    tools: int | None = None


class Inventories:
    """What images have, as far as somebody has asked.

    Args:
        folder: where it is written down, and where boxes get their folders; made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, Inventory] = {}
        self._asking: dict[str, asyncio.Lock] = {}

    async def of(
        self, image: Image, runtime: Runtime, waits: Callable[[str], None] | None = None
    ) -> Inventory:
        """What an image has. It is asked where nobody has asked it before.

        Args:
            image: by its digest.
            runtime: runs it.
            waits: is told what that waits for.

        Raises:
            AtollError: it can't be had, or can't be asked.
        """
        async with self._asking.setdefault(image.digest, asyncio.Lock()):
            found = self._known.get(image.digest) or self.remembered(image)
            if found is not None:
                with contextlib.suppress(OSError):
                    os.utime(self._file(image))
            else:
                self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                found = await ask(image, runtime, self._folder, waits)
                self._write(image, found)
            self._known[image.digest] = found
            return found

    def remembered(self, image: Image) -> Inventory | None:
        """What an image has, if it was asked before."""
        try:
            found = msgspec.json.decode(self._file(image).read_bytes(), type=Inventory)
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.format == _FORMAT else None

    def sweep(self) -> None:
        """Remove what nobody has needed for long, and what was left by one who was ended while he asked."""
        for path in self._folder.glob("*"):
            with contextlib.suppress(OSError):
                seconds = time.time() - path.stat().st_mtime
                if path.is_dir() and seconds > _LEFT_SECONDS:
                    shutil.rmtree(path)
                elif path.is_file() and seconds > LIBRARY_SECONDS_MAX:
                    path.unlink()

    def _write(self, image: Image, inventory: Inventory) -> None:
        file = self._file(image)
        aside = file.with_suffix(f".{os.getpid()}")  # the node and its doctor may ask at the same time
        aside.write_bytes(msgspec.json.encode(inventory))
        aside.replace(file)

    def _file(self, image: Image) -> Path:
        return self._folder / f"{image.digest.removeprefix('sha256:')}.json"


async def ask(
    image: Image, runtime: Runtime, folder: Path, waits: Callable[[str], None] | None = None
) -> Inventory:
    """Ask an image what it has.

    Args:
        image: which.
        runtime: runs it.
        folder: for a folder of its box.
        waits: is told what its start waits for.

    Raises:
        AtollError: it can't be had, or can't be asked.
    """
    try:
        reply = await _call(image, runtime, folder, ("python", "-c", _OF_PYTHON), waits)
        said = whole(reply.output) if reply.exit_code == 0 else b""
        with contextlib.suppress(msgspec.DecodeError, IndexError):
            # What it prints before is its own affair.
            found = msgspec.json.decode(said.splitlines()[-1], type=Inventory)
            if found.python is not None and found.python >= _OLDEST:
                return found
        why = f"it ended with status {reply.exit_code}{_end_of(reply)}"
    except AlgorithmFailed as error:
        why = str(error)
    return _by_shell(image, await _call(image, runtime, folder, ("sh", "-c", _OF_SHELL), waits), why)


def _by_shell(image: Image, reply: Reply, why: str) -> Inventory:
    """What an image's shell says.

    Args:
        image: which.
        reply: the shell's.
        why: what came of asking its Python.
    """
    lines = [line.split(" ", 1) for line in whole(reply.output).decode(errors="replace").splitlines()]
    for word, *rest in lines:
        version = rest[0].split() if word == "python" and rest else []
        if (
            len(version) == 2
            and all(map(str.isdecimal, version))
            and (int(version[0]), int(version[1])) >= _OLDEST
        ):
            raise RuntimeUnavailable(
                f"the image {image.name} has Python {'.'.join(version)}, which doesn't say what it has: {why}"
            )
    programs = frozenset(rest[0] for word, *rest in lines if word == "program" and rest)
    if not programs or reply.exit_code:
        raise RuntimeUnavailable(
            f"the image {image.name} has neither a Python nor a shell that says what it has: {why}"
        )
    return Inventory(programs=programs)


async def _call(
    image: Image,
    runtime: Runtime,
    folder: Path,
    command: tuple[str, ...],
    waits: Callable[[str], None] | None,
) -> Reply:
    place = Path(tempfile.mkdtemp(prefix="asking-", dir=folder))
    try:
        (place / "tmp").mkdir()
        launch = Launch(
            seat=Seat("environment"),
            style=Style.CALL,
            code=None,
            image=image,
            chosen_here=True,
            command=command,
            temporary=place / "tmp",
            log=place / "log",
            limits=_LIMITS,
            waits=waits,
        )
        session = await runtime.start(launch)
        try:
            return await session.call(Request())
        finally:
            await session.close()
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _end_of(reply: Reply) -> str:
    last = reply.log_tail.strip().splitlines()[-1:]
    return f" ({last[0][:200]})" if last else ""
