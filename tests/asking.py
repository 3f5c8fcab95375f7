"""Functions that ask for one another, in this process: what a central function is to the engine.

The dialect is the real one, and so are the hub, the nodes, their gates and their doors. What is
fake is the algorithm alone: coroutines, which a test can hold up and let go, instead of processes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.federation import RUN, Heard, seats

from atoll.algorithms.installed import Installed
from atoll.dialects.functions.body import call_body, plain, read_call
from atoll.dialects.functions.container import pack
from atoll.dialects.functions.convention import Convention
from atoll.engine.gate import Gate
from atoll.engine.running import Doorway, Launch, Reply, Request, Session
from atoll.hub.hub import Listener
from atoll.model.errors import AlgorithmFailed
from atoll.model.work import Algorithm, Message, MessageId, Role, Run, Seat, Step
from atoll.node.offer import Offer
from atoll.runtimes.functions import NoWayIn
from atoll.simulator.record import Recorder
from atoll.simulator.world import Ended, Plan, Settings, World

DIGEST = "sha256:functions"


class Stop(Exception):
    """What a function raises to fail with a message that may leave the site."""


class Refused(Exception):
    """What a function was not allowed to ask."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one site answered."""

    site: str
    status: str
    value: Any = None
    failure: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a function has while it runs."""

    seat: Seat
    args: Mapping[str, Any]
    head: Mapping[str, Any]
    #: What the session that it runs in keeps from call to call.
    kept: dict[str, Any]
    doorway: Doorway

    async def parts(
        self,
        function: str,
        *,
        sites: Sequence[str] | None = None,
        deadline: float | None = None,
        keep: str | None = None,
        **args: Any,
    ) -> list[Answer]:
        """Call a function at sites; what each of them answered, in the order of the answers.

        Raises:
            Refused: the node doesn't allow it.
        """
        named = None if sites is None else list(sites)
        question = {"say": "call", "function": function, "sites": named, "deadline": deadline, "keep": keep}
        parts: list[Answer] = []
        async for head, body in self.doorway.answers(question, call_body(function, args)):
            match head["do"]:
                case "part":
                    value = plain(body) if head["status"] == "done" else None
                    parts.append(
                        Answer(site=head["site"], status=head["status"], value=value, failure=head["failure"])
                    )
                case "refused":
                    raise Refused(head["message"])
        return parts

    async def ask(self, function: str, **how: Any) -> list[Any]:
        """What the sites returned, one after another; each must have returned something."""
        parts = await self.parts(function, **how)
        assert all(part.status == "done" for part in parts), parts
        return [part.value for part in parts]

    @property
    def gate(self) -> Gate:
        """The gate itself, for what the dialect has no words for: several rounds at a time."""
        gate: Gate = self.doorway._door._gate  # type: ignore[attr-defined]  # The real porch, and its door.
        return gate

    async def say(self, **remark: Any) -> None:
        """Say something that isn't answered."""
        async for frame in self.doorway.answers(remark, b""):
            raise AssertionError(frame)


Function = Callable[[Call], Awaitable[Any]]


class TalkingRuntime:
    """Runs coroutines as functions, each session as a process would: one that was killed stays dead."""

    name = "talking"
    isolated = False

    def __init__(self, functions: Mapping[str, Function]) -> None:
        self.functions = functions
        self.launches: list[Launch] = []
        self.closed: list[Seat] = []

    def caveats(self) -> Sequence[str]:
        """None: it is a fake."""
        return ()

    async def recover(self) -> None:
        """Nothing was left."""

    async def warm_up(self, launch: Launch) -> None:
        """Nothing is shared."""

    async def start(self, launch: Launch) -> Session:
        """Make a session and remember what it was asked for."""
        self.launches.append(launch)
        return _TalkingSession(self, launch.seat)

    async def close(self) -> None:
        """Nothing outlives a session."""


class _TalkingSession(NoWayIn):
    def __init__(self, runtime: TalkingRuntime, seat: Seat) -> None:
        self._runtime, self._seat = runtime, seat
        self._kept: dict[str, Any] = {}
        self._dead = False
        self._busy = False

    @property
    def address(self) -> tuple[str, int] | None:
        return None

    def inside(self, path: Path) -> str:
        return str(path)

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        if self._dead:
            raise AlgorithmFailed("the algorithm's process can't answer another call")
        assert not self._busy, "two calls at a time in one session"
        assert doorway is not None
        asked = read_call(request.body)
        call = Call(seat=self._seat, args=asked.args, head=request.head, kept=self._kept, doorway=doorway)
        self._busy = self._dead = True
        try:
            value = await self._runtime.functions[asked.function](call)
        except Stop as stop:
            said = {"say": "failed", "type": "Stop", "message": str(stop), "frames": []}
            self._dead = False
            return Reply(output=b"", head=said)
        finally:
            self._busy = False
        self._dead = False
        return Reply(output=pack(value), head={"say": "returned"})

    async def close(self) -> None:
        self._dead = True
        self._runtime.closed.append(self._seat)


def asking_run(
    sites: Sequence[Seat], called: Sequence[Seat] | None = None, *, steps: int = 1, role: Role | None = None
) -> Run:
    """A run that calls a function at some of its sites: one there combines, and several don't."""
    at = tuple(called or sites[:1])
    return Run(
        id=RUN,
        steps=tuple(
            Step(
                algorithm=Algorithm(dialect="functions", digest=DIGEST, name="functions"),
                aggregated=False,
                openings=(MessageId(f"opening.{number}.0"),),
                seats=at,
                role=role or (Role.AGGREGATOR if len(at) == 1 else Role.SITE),
            )
            for number in range(steps)
        ),
        sites=tuple(sites),
        aggregator=None,
        iterations_max=1,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Talked:
    """How a run of functions ended, and what was heard of it."""

    ended: Ended
    heard: Heard
    runtime: TalkingRuntime
    world: World

    @property
    def results(self) -> dict[str, Any]:
        """What the function returned at each seat that was called."""
        return {seat: plain(body) for seat, body in self.ended.settled.items()}

    @property
    def result(self) -> Any:
        """What the one function returned."""
        assert self.ended.run.failure is None, self.ended.run.failure
        (result,) = self.results.values()
        return result


@dataclass(kw_only=True)
class Federation:
    """Sites whose functions are coroutines of a test."""

    root: Path
    functions: Mapping[str, Function]
    sites: Sequence[Seat] = field(default_factory=lambda: seats(3))
    #: Where the function runs: at the first site, if nobody says where.
    called: Sequence[Seat] | None = None
    offers: Mapping[Seat, Offer] = field(default_factory=dict)
    slots: int = 2
    seed: int | None = 0
    steps: int = 1

    #: Who hears what happens at the nodes and at the hub, beside the test.
    recorder: Recorder | None = None

    async def talk(self, function: str = "central", **args: Any) -> Talked:
        """Run a function to its end, with the real hub and the real agents."""
        heard, runtime = Heard(), TalkingRuntime(self.functions)
        run = asking_run(self.sites, self.called, steps=self.steps)
        messages = tuple(
            Message(id=id_, sender=Seat("submitter"), readers=(), body=call_body(function, args))
            for step in run.steps
            for id_ in step.openings
        )
        installed = Installed(convention=Convention(target="functions.py"), code=self.root)
        plan = Plan(run=run, messages=messages, installed={DIGEST: installed}, offers=self.offers)
        (self.root / "logs").mkdir(parents=True, exist_ok=True)
        settings = Settings(
            runtime=runtime,
            scratch=self.root / "scratch",
            outputs=self.root / "outputs",
            logs=self.root / "logs",
            slots=self.slots,
            seed=self.seed,
        )
        listeners: list[Listener] = [heard, *([] if self.recorder is None else [self.recorder])]
        world = World(plan, settings, self.recorder or heard, listeners)
        async with asyncio.timeout(15):
            ended = await world.run()
        return Talked(ended=ended, heard=heard, runtime=runtime, world=world)

    def run(self, function: str = "central", **args: Any) -> Talked:
        """As `talk`, for tests that have no loop of their own."""

        async def whole() -> Talked:
            return await self.talk(function, **args)

        return asyncio.run(whole())
