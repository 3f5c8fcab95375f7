"""Which runtime a simulation takes, and starting it before all is known.

Starting a warm parent, and importing an algorithm's libraries in it, takes as long as reading
and checking what was asked for. So it begins first, with what the arguments alone say; where
that turns out not to be enough, another one is started.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from atoll.engine.running import Launch, Runtime, Style
from atoll.model.errors import RuntimeUnavailable
from atoll.model.work import Job, JobId, Role, Seat, Ticket, Work
from atoll.runtimes import bubblewrap, environment, interpreter, outside
from atoll.runtimes.bubblewrap import BubblewrapRuntime
from atoll.runtimes.inline import InlineRuntime
from atoll.runtimes.outside import RuntimeContext
from atoll.runtimes.process import ProcessRuntime
from atoll.simulator.arguments import Arguments
from atoll.simulator.images import ImageRuntime, Packed
from atoll.simulator.prepared import REMOTE, Prepared
from atoll.simulator.record import RunFolder
from atoll.simulator.sources import directory_of, masked

#: The words that ask for a runtime of Atoll's own.
KNOWN = ("auto", "inline", "process", "bubblewrap", "docker", "podman", "apptainer")
#: Runtimes that run nothing but images.
IMAGE_RUNTIMES = ("docker", "podman", "apptainer")
#: What stands before the path of a file that holds an image.
OF_FILE = "sif:"
#: How a specification says that its computation is served.
_SERVED = re.compile(r'"compspecVersion"\s*:\s*2\b')


def choose(asked: Arguments) -> tuple[str, tuple[str, ...]]:
    """Which runtime it will be, and a sentence where the choice was Atoll's.

    Raises:
        RuntimeUnavailable: the one that was asked for does not work here.
    """
    wanted = asked.runtime
    if wanted not in KNOWN and wanted not in outside.names():
        raise RuntimeUnavailable(outside.unknown(wanted, KNOWN))
    if asked.image is not None or wanted in IMAGE_RUNTIMES:
        return _choose_for_image(asked)
    if wanted == "inline" and asked.python is not None:
        raise RuntimeUnavailable("--runtime inline runs in Atoll's own interpreter: leave --python out")
    interpreter.describe(asked.python)
    if wanted not in ("auto", "bubblewrap"):
        return wanted, ()
    reason = bubblewrap.probe()
    if reason is None:
        return "bubblewrap", ()
    if wanted == "bubblewrap":
        raise RuntimeUnavailable(f"bubblewrap does not work here: {reason}")
    return "process", (f"bubblewrap does not work here ({reason}), so code runs as plain processes",)


def _choose_for_image(asked: Arguments) -> tuple[str, tuple[str, ...]]:
    """Which runtime it will be for what is packed in an image."""
    wanted = asked.runtime
    of_file = asked.image is not None and asked.image.startswith(OF_FILE)
    fitting = ("bubblewrap", "apptainer") if of_file else ("docker", "podman")
    if asked.python is not None:
        raise RuntimeUnavailable("an image brings its own interpreter: leave --python out")
    if wanted not in ("auto", *fitting) and (asked.image is not None or wanted != "apptainer"):
        what = "a file that holds an image" if of_file else "an image"
        raise RuntimeUnavailable(
            f"--runtime {wanted} doesn't run {what}: expected {' or '.join(fitting)}, or auto"
        )
    if wanted != "auto":
        return wanted, ()
    if of_file:
        reason = bubblewrap.probe()
        return ("bubblewrap", ()) if reason is None else ("apptainer", (f"{reason}, so Apptainer runs it",))
    return "docker", ()


def called(asked: Arguments) -> str:
    """What the folder of a run is called after."""
    if asked.packed and asked.image is not None:
        return asked.image.removeprefix(OF_FILE).rpartition("/")[2].partition("@")[0]
    return asked.path.resolve().name


def check(name: str, prepared: Prepared) -> None:
    """Refuse a plan that the runtime of this name can't carry out.

    Raises:
        RuntimeUnavailable: with what can't be run, and another way.
    """
    if name != "inline":
        return
    if prepared.dialect == "vantage6":
        raise RuntimeUnavailable(
            "--runtime inline calls functions in Atoll's own process, and vantage6's wrappers need one of "
            "their own. Use --runtime process or bubblewrap"
        )
    anew = [step.spec_path for step in prepared.steps if not step.serves]
    if anew:
        raise RuntimeUnavailable(
            f"--runtime inline calls functions, and {anew[0]} is a computation of protocol 1, whose "
            "scripts are started anew for each call. Use --runtime process or bubblewrap"
        )


def told_of(runtime: Runtime, asked: Arguments) -> Sequence[str]:
    """What a person is told of what a runtime doesn't do; the run's record has all of it."""
    return runtime.caveats() if asked.bounded or not runtime.isolated else ()


def make_runtime(name: str, asked: Arguments, roots: Sequence[Path]) -> Runtime:
    """The runtime of this name, for algorithms that are shown what lies under `roots`."""
    if asked.image is not None or name in IMAGE_RUNTIMES:
        return _image_runtime(name, asked)
    if name == "inline":
        return InlineRuntime()
    if name == "process":
        return ProcessRuntime(python=asked.python)
    if name not in KNOWN:
        context = RuntimeContext(owner=f"simulation.{os.getpid()}", roots=tuple(roots), python=asked.python)
        return outside.load(name)(context)
    return BubblewrapRuntime(python=asked.python, roots=roots)


def _image_runtime(name: str, asked: Arguments) -> ImageRuntime:
    if name in ("docker", "podman"):
        try:
            # Imported here: who runs no image needs none of it, and may not have it.
            from atoll.runtimes.containers.docker import DockerRuntime
            from atoll.runtimes.containers.owners import passing_owner
            from atoll.runtimes.containers.settings import ContainerSettings
        except ModuleNotFoundError as error:
            raise RuntimeUnavailable(
                f"containers need the package {error.name}: pip install 'atoll[containers]'"
            ) from None
        # Whoever says docker means an image of an engine's, whichever engine that is.
        engine = "auto" if name == "docker" else name
        settings = ContainerSettings(engine=engine, helper_image=asked.helper_image)
        return DockerRuntime(settings, passing_owner())
    # Late, as above.
    from atoll.runtimes.apptainer import ApptainerRuntime
    from atoll.runtimes.rootfs import RootfsRuntime
    from atoll.simulator.files import FileImages

    kind = ApptainerRuntime if name == "apptainer" else RootfsRuntime
    return FileImages(
        kind(cache=environment.image_cache()), asked.path if asked.path.is_dir() else asked.path.parent
    )


async def look_into(runtime: Runtime, asked: Arguments) -> Packed | None:
    """What the images of what was asked for hold; None where there are none."""
    if asked.image is None and runtime.name not in IMAGE_RUNTIMES:
        return None
    # Late, as above.
    from atoll.simulator.looking import look

    await runtime.recover()
    return await look(asked, cast(ImageRuntime, runtime))


class EarlyRuntime:
    """A runtime that is started by what the arguments say, and replaced if that was not enough."""

    def __init__(self, name: str, asked: Arguments, folder: RunFolder) -> None:
        self._name = name
        self._asked = asked
        self._folder = folder
        self._runtime: Runtime | None = None
        self._roots: list[Path] = []
        self._warming: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Start what the algorithm will need, if the arguments say what that is."""
        if self._asked.image is not None or self._name in IMAGE_RUNTIMES:
            self._runtime = make_runtime(self._name, self._asked, [])
            return
        code = _code_of(self._asked)
        if code is None:
            self._begin_functions()
            return
        directory = directory_of(self._asked, code)
        self._roots = [self._folder.path, code, *([directory] if directory.is_dir() else [])]
        self._runtime = make_runtime(self._name, self._asked, self._roots)
        serves = bool(_SERVED.search((code / "compspec.json").read_text(errors="replace")))
        launch = Launch(
            seat=REMOTE,
            style=Style.SERVE if serves else Style.CALL,
            code=code,
            command=("python", "/computation/"),
            masked=masked(code, directory, self._asked.runs, [Seat("local0"), REMOTE]),
            temporary=self._folder.scratch,
            log=self._folder.logs / f"{REMOTE}.log",
        )
        self._warm(launch)

    def _warm(self, launch: Launch) -> None:
        assert self._runtime is not None
        self._warming = asyncio.create_task(self._runtime.warm_up(launch))
        # Only a hint: what goes wrong here goes wrong again where it can be told.
        self._warming.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _begin_functions(self) -> None:
        if self._name == "inline" or self._asked.pipeline is not None:
            return
        # Imported here: what reads functions is of no use to who runs a computation.
        from atoll.simulator.glance import glance

        seen = glance(self._asked, self._folder)
        if seen is not None:
            launch, self._roots = seen
            self._runtime = make_runtime(self._name, self._asked, self._roots)
            self._warm(launch)

    async def look(self) -> Packed | None:
        """What the images of what was asked for hold, where it is in images."""
        return None if self._runtime is None else await look_into(self._runtime, self._asked)

    def hear(self, prepared: Prepared) -> None:
        """The plan is known: start what it will need, if that has not begun."""
        if self._runtime is None and prepared.dialect != "coinstac":
            self._roots = [self._folder.path, *prepared.sources]
            self._runtime = make_runtime(self._name, self._asked, self._roots)
            self._warm(_launch_of(prepared, self._folder))

    async def settle(self, prepared: Prepared) -> Runtime:
        """The runtime for this plan."""
        needed = [path.resolve() for path in prepared.sources]
        if self._runtime is not None and (self._asked.image is not None or self._name in IMAGE_RUNTIMES):
            return self._runtime
        if self._runtime is not None:
            roots = [Path(os.path.realpath(root)) for root in self._roots]
            if all(any(path.is_relative_to(root) for root in roots) for path in needed):
                return self._runtime
        await self.close()
        self._runtime = make_runtime(self._name, self._asked, [self._folder.path, *needed])
        return self._runtime

    async def close(self) -> None:
        """End what was started."""
        if self._warming is not None:
            self._warming.cancel()
        if self._runtime is not None:
            await self._runtime.close()


def _launch_of(prepared: Prepared, folder: RunFolder) -> Launch:
    """What the last step's calls at the first site are started with, but for the site's own folders."""
    run = prepared.plan.run
    algorithm = run.steps[-1].algorithm
    installed = prepared.plan.installed[algorithm.digest]
    seat = run.sites[0]
    job = Job(id=JobId("early.0.0"), run_id=run.id, round_number=0, position=0, seat=seat, inbox=())
    ticket = Ticket(
        job=job,
        algorithm=algorithm,
        step=len(run.steps) - 1,
        iteration=1,
        role=Role.SITE,
        work=Work.CALL,
        inbox=(),
        readers=(),
    )
    style, command = installed.convention.launch(ticket)
    return Launch(
        seat=seat,
        style=style,
        code=installed.code,
        image=installed.image,
        code_name=installed.code_name,
        command=command,
        masked=installed.masked,
        temporary=folder.scratch,
        log=folder.logs / f"{seat}.log",
        modules=installed.modules,
        libraries=installed.libraries,
        speaks_http=installed.speaks_http,
    )


def slots() -> int:
    """How many calls run at a time: one for each processor that this process may use."""
    return len(os.sched_getaffinity(0))


def _code_of(asked: Arguments) -> Path | None:
    """The one computation's folder; None where only the documents say which ones there are."""
    if asked.pipeline is not None:
        return None
    named = asked.compspec or (asked.path if asked.path.is_file() else asked.path / "compspec.json")
    return named.parent.resolve() if named.name == "compspec.json" and named.is_file() else None
