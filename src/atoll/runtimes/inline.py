"""Calls functions in this process: for tests, for scale, and for a debugger.

There is no isolation and no time limit: a `breakpoint()` in a function works, and a `print`
goes where the process prints. Each seat of a protocol-2 computation gets modules of its own, so
that what it keeps in its globals stays at its seat. Functions of the SDK are loaded once for all
seats (see ``functions.py``): of their globals nothing is promised.
"""

from __future__ import annotations

import json
import sys
import traceback
import types
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from atoll.engine.limits import LOG_TAIL_BYTES
from atoll.engine.running import Doorway, Launch, Reply, Request, Session, Style, whole
from atoll.model.errors import AlgorithmFailed, RuntimeUnavailable
from atoll.runtimes.command import code_of
from atoll.runtimes.functions import FunctionSession, Loaded, NoWayIn, let_others, reseed, target_of
from atoll.runtimes.streams import too_large

Function = Callable[[Any], Any]


class InlineRuntime:
    """Runs algorithms as functions of this process.

    Args:
        functions: decorated functions that are in this process already, and are called whatever a
            launch names. Default: those that launches name.
    """

    name = "inline"
    isolated = False

    def __init__(self, functions: Sequence[Any] = ()) -> None:
        self._loaded: dict[Path, Loaded] = {}
        self._given = Loaded(functions) if functions else None

    @property
    def make(self) -> Callable[[str, dict[str, Any]], Any] | None:
        """Makes the dataclasses of the given functions' modules, for who reads what they returned."""
        algorithm = None if self._given is None else self._given.algorithm
        return None if algorithm is None else algorithm.make

    @property
    def error(self) -> BaseException | None:
        """What one of the given functions raised last, for whoever gave them."""
        return None if self._given is None else self._given.error

    def caveats(self) -> Sequence[str]:
        """What inline code is not kept from."""
        return (
            "inline code runs inside Atoll's own process, without isolation or limits: use it for code you trust",
        )

    async def recover(self) -> None:
        """Nothing: what ran here ended with its process."""

    async def warm_up(self, launch: Launch) -> None:
        """There is nothing to share: sessions are this process."""

    async def start(self, launch: Launch) -> Session:
        """Load the algorithm's functions.

        Raises:
            RuntimeUnavailable: the algorithm is not written as functions.
            AlgorithmFailed: a computation's entry script can't be loaded, or starts nothing.
        """
        if launch.style is Style.TALK and self._given is not None:
            return FunctionSession(launch, self._given)
        if launch.style is Style.TALK:
            target = target_of(launch)
            if target not in self._loaded:
                self._loaded[target] = Loaded(target)
            return FunctionSession(launch, self._loaded[target])
        if launch.style is not Style.SERVE:
            raise RuntimeUnavailable(
                "--runtime inline calls functions in Atoll's own process: expected decorated functions, or a "
                'computation of protocol 2 ("compspecVersion": 2). This algorithm is started anew for each call: '
                "use --runtime process or bubblewrap"
            )
        session = _InlineSession(launch, *_load(launch))
        # A function may import what lies beside the script as late as in its first call.
        sys.path.insert(0, session.folder)
        return session

    async def close(self) -> None:
        """Nothing outlives a session here."""


class _InlineSession(NoWayIn):
    def __init__(self, launch: Launch, local: Function, remote: Function) -> None:
        self._launch = launch
        self._functions = {"local": local, "remote": remote}
        self.folder = str(_script(launch).parent)

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        document = json.loads(whole(request.body))
        if seed is not None:
            reseed(seed)
        try:
            output = json.dumps(self._functions[document["mode"]](document["data"])).encode()
        # Whatever a computation raises is its failure, not ours; `sys.exit` would end the simulation.
        except (Exception, SystemExit):
            return self._broken(traceback.format_exc())
        await let_others()
        if len(output) > self._launch.limits.reply_bytes:
            raise too_large(self._launch.limits.reply_bytes)
        return Reply(output=output)

    async def close(self) -> None:
        if self.folder in sys.path:
            sys.path.remove(self.folder)

    def _broken(self, text: str) -> Reply:
        with self._launch.log.open("a") as log:
            log.write(text)
        return Reply(output=b"", exit_code=1, log_tail=text[-LOG_TAIL_BYTES:])


def _load(launch: Launch) -> tuple[Function, Function]:
    """Run the entry script with a `coinstac` module that notes what it is asked to start."""
    caught: list[tuple[Function, Function]] = []
    stand_in = types.ModuleType("coinstac")
    stand_in.start = lambda local, remote: caught.append((local, remote))  # type: ignore[attr-defined]  # A module takes any name.
    script = _script(launch)
    with _modules_of_its_own(code_of(launch), script.parent, stand_in):
        try:
            source = _compiled(str(script), script.stat().st_mtime_ns)
            main = {"__name__": "__main__", "__file__": str(script), "__builtins__": __builtins__}
            exec(source, main)  # noqa: S102  # Running the computation in this process is what inline is.
        except (Exception, SystemExit) as error:  # As above: its failure, not ours.
            text = traceback.format_exc()
            with launch.log.open("a") as log:
                log.write(text)
            raise AlgorithmFailed(f"{script.name} could not be loaded:\n{text[-LOG_TAIL_BYTES:]}") from error
    if not caught:
        raise AlgorithmFailed(
            f"{script.name} called no coinstac.start(local, remote): expected a protocol-2 entry script. "
            "Name another one with --entry"
        )
    return caught[-1]


@lru_cache(maxsize=16)
def _compiled(script: str, _changed_at_ns: int) -> types.CodeType:
    """A script's code: the same for a thousand seats."""
    return compile(Path(script).read_bytes(), script, "exec")


def _script(launch: Launch) -> Path:
    return Path(launch.command[1].replace("/computation", str(code_of(launch)), 1))


@contextmanager
def _modules_of_its_own(code: Path, folder: Path, stand_in: types.ModuleType) -> Any:
    """Import what lies in the computation's folder anew, and forget it afterwards."""
    before = dict(sys.modules)
    path = sys.path[:]
    sys.modules["coinstac"] = stand_in
    sys.path[:0] = [str(folder)]
    try:
        yield
    finally:
        sys.path[:] = path
        # Asking every module of the process would cost more than loading the script.
        for name in [name for name in sys.modules if name not in before]:
            module = sys.modules[name]
            # A folder without an __init__.py is a module that has a path and no file.
            place = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
            if place and Path(place).is_relative_to(code):
                del sys.modules[name]
        del sys.modules["coinstac"]
        if "coinstac" in before:
            sys.modules["coinstac"] = before["coinstac"]
