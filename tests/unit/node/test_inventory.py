"""An image says what it has, once: its own Python is asked, or its shell."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from atoll.engine import running
from atoll.engine.running import Doorway, Image, ImageKind, Launch, Outlet, Reply, Request
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.node import inventory
from atoll.node.inventory import Inventories, Inventory
from atoll.runtimes.inline import InlineRuntime
from atoll.runtimes.process import ProcessRuntime

IMAGE = Image(kind=ImageKind.OCI, name="registry.example/stats", digest="sha256:" + 64 * "a")
PYTHON = b'hello\n{"python": [3, 11], "modules": ["pandas"], "programs": ["sh"], "tools": 4}\n'


@dataclass
class Session:
    """Gives one reply."""

    reply: Reply
    address: tuple[str, int] | None = None

    def inside(self, path: Path) -> str:
        """As it lies outside."""
        return str(path)

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        """The reply."""
        return self.reply

    async def offer(self, outlet: Outlet) -> None:
        """Nothing is reached."""

    async def reach(self, port: int) -> int:
        """Nobody listens."""
        raise ConnectionRefusedError

    async def close(self) -> None:
        """Nothing is left."""


class Boxes(InlineRuntime):
    """Says what an image would, by the program that it is asked to start."""

    def __init__(self, **replies: Reply | Exception) -> None:
        super().__init__()
        self.replies: Mapping[str, Reply | Exception] = replies
        self.launches: list[Launch] = []

    async def start(self, launch: Launch) -> Session:
        """Answer as the program would."""
        self.launches.append(launch)
        reply = self.replies.get(launch.command[0], Reply(output=b"", exit_code=127))
        if isinstance(reply, Exception):
            raise reply
        return Session(reply)


def asked(folder: Path, runtime: Boxes) -> Inventory:
    """What an image is found to have."""
    return asyncio.run(Inventories(folder).of(IMAGE, runtime))


def test_an_image_is_asked_once_and_what_it_says_outlives_the_node(tmp_path: Path) -> None:
    runtime = Boxes(python=Reply(output=PYTHON))

    async def twice() -> list[Inventory]:
        inventories = Inventories(tmp_path / "kept")
        return list(await asyncio.gather(*(inventories.of(IMAGE, runtime) for _ in range(2))))

    first, second = asyncio.run(twice())
    third = asked(tmp_path / "kept", Boxes())

    expected = Inventory(python=(3, 11), modules=frozenset({"pandas"}), programs=frozenset({"sh"}), tools=4)
    assert [first, second, third] == 3 * [expected]
    assert [launch.image for launch in runtime.launches] == [IMAGE]
    assert runtime.launches[0].chosen_here
    assert [path.name for path in (tmp_path / "kept").iterdir()] == [f"{64 * 'a'}.json"]


def test_what_nobody_needs_any_more_is_removed(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    Inventories(kept).sweep()  # There is nothing yet.
    asked(kept, Boxes(python=Reply(output=PYTHON)))
    for name in ("old.json", "asking-old/tmp", "asking-new/tmp"):
        (kept / name).parent.mkdir(exist_ok=True)
        (kept / name).touch()
    for name in ("old.json", "asking-old", f"{64 * 'a'}.json"):
        os.utime(kept / name, (0, 0))
    asked(kept, Boxes())

    Inventories(kept).sweep()

    assert sorted(path.name for path in kept.iterdir()) == [f"{64 * 'a'}.json", "asking-new"]


@pytest.mark.parametrize("kept", ["{", '{"format": 0}'])
def test_what_was_written_by_another_version_is_asked_anew(tmp_path: Path, kept: str) -> None:
    (tmp_path / f"{64 * 'a'}.json").write_text(kept)

    assert asked(tmp_path, Boxes(python=Reply(output=PYTHON))).python == (3, 11)


@pytest.mark.parametrize(
    "python",
    [Reply(output=b"", exit_code=127), Reply(output=b"\n"), AlgorithmFailed("it doesn't start")],
)
def test_an_image_without_python_is_asked_by_its_shell(tmp_path: Path, python: Reply | Exception) -> None:
    said = b"python 2 7\nprogram Rscript\nprogram sh\nnoise\n"

    found = asked(tmp_path, Boxes(python=python, sh=Reply(output=said)))

    assert found == Inventory(programs=frozenset({"Rscript", "sh"}))


def test_a_python_that_could_not_be_asked_is_not_taken_for_none(tmp_path: Path) -> None:
    boxes = Boxes(
        python=Reply(output=b"", exit_code=1, log_tail="it was busy\n"),
        sh=Reply(output=b"python 3 12\nprogram sh\n"),
    )

    with pytest.raises(
        RuntimeUnavailable, match=r"has Python 3\.12, .*it ended with status 1 \(it was busy\)"
    ):
        asked(tmp_path, boxes)
    assert not list(tmp_path.iterdir()), "nothing is remembered"


@pytest.mark.parametrize(
    "sh", [Reply(output=b"", exit_code=127), Reply(output=b"program sh\n", exit_code=-9)]
)
def test_an_image_that_does_not_say_all_of_it_is_told(tmp_path: Path, sh: Reply) -> None:
    with pytest.raises(RuntimeUnavailable, match="neither a Python nor a shell that says what it has"):
        asked(tmp_path, Boxes(sh=sh))


class Here(InlineRuntime):
    """Shows this machine as if it were an image.

    Args:
        python: whether its Python works.
    """

    def __init__(self, *, python: bool) -> None:
        super().__init__()
        self._runtime = ProcessRuntime()
        self._python = python

    async def start(self, launch: Launch) -> running.Session:
        """Start the program in a folder with nothing in it."""
        if launch.command[0] == "python" and not self._python:
            raise AlgorithmFailed("it is broken")
        return await self._runtime.start(replace(launch, image=None, code=launch.temporary))

    async def close(self) -> None:
        """End what was started."""
        await self._runtime.close()


async def look(folder: Path, *, python: bool) -> Inventory:
    """What this machine has."""
    here = Here(python=python)
    try:
        return await inventory.ask(IMAGE, here, folder)
    finally:
        await here.close()


def test_a_python_says_what_can_be_imported_and_what_can_be_started(tmp_path: Path) -> None:
    found = asyncio.run(look(tmp_path, python=True))

    assert found.python == sys.version_info[:2]
    assert {"pytest", "yaml", "msgspec"} <= found.modules
    assert found.modules.isdisjoint({"os", "json", "guest", "__pycache__"})
    assert "sh" in found.programs
    assert found.tools is None


def test_a_shell_says_which_python_it_finds(tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeUnavailable, match=r"has Python 3\.\d+, which doesn't say what it has: it is broken"
    ):
        asyncio.run(look(tmp_path, python=False))
