"""Trying functions on a federation in this process: for pytest, and for notebooks.

::

    from atoll.testing import federation


    def test_the_mean_is_that_of_all_rows():
        sites = federation([frame.iloc[:40], frame.iloc[40:]])
        assert sites.run(mean, column="age") == pytest.approx(frame["age"].mean())

The hub and the nodes are the real ones; only the sites' data and the way to the hub are in this
process. A function may be stepped through, and prints where the caller prints.
"""

from __future__ import annotations

import asyncio
import inspect
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from atoll.algorithms.calling import seats_for
from atoll.algorithms.installed import Installed
from atoll.dialects.functions.convention import Convention
from atoll.engine.running import Runtime, whole
from atoll.model.errors import RunFailed, SpecInvalid
from atoll.model.work import (
    Algorithm as Named,
)
from atoll.model.work import Failure, Message, MessageId, Role, Run, RunId, RunStatus, Seat, Step, Ticket
from atoll.node.databases import TYPES
from atoll.node.offer import Offer, Source
from atoll.runtimes.inline import InlineRuntime
from atoll.simulator.choice import slots
from atoll.simulator.world import Ended, Plan, Settings, World
from atoll_algorithm._body import join, pack, unpack

__all__ = ["Federation", "RunFailed", "federation"]

#: One site's data: a frame, a file, or either by label.
Data = Any
_ENDINGS = {
    ".csv": "csv",
    ".parquet": "parquet",
    ".xlsx": "excel",
    ".xls": "excel",
    ".sqlite": "sql",
    ".db": "sql",
}
_CENTRAL = frozenset({"central", "remote", "all_reduce"})
_SUBMITTER = Seat("submitter")


def federation(data: Sequence[Data] | Mapping[str, Data], *, seed: int | None = None) -> Federation:
    """A federation of sites that have these data.

    Args:
        data: one entry for each site, which is then called ``local0``, ``local1``, …; or a mapping
            from names. An entry is a data frame, the path of a file or folder, or a mapping from
            labels of databases to either; None is a site without data.
        seed: for the generators that functions are given; None: they draw what they like.

    Raises:
        SpecInvalid: there is no site, or an entry is something else.
    """
    if isinstance(data, str | PathLike) or hasattr(data, "columns"):
        raise SpecInvalid(
            f"this is one site's data ({type(data).__name__}): expected a list with an entry for each site, such "
            "as [frame[:40], frame[40:]], or a mapping from the sites' names"
        )
    named = data if isinstance(data, Mapping) else {f"local{n}": entry for n, entry in enumerate(data)}
    if not named:
        raise SpecInvalid("a federation needs at least one site")
    return Federation({Seat(name): _offer(name, entry) for name, entry in named.items()}, seed=seed)


class Federation:
    """Sites with data in this process. Made by `federation`."""

    def __init__(self, offers: Mapping[Seat, Offer], *, seed: int | None = None) -> None:
        self._offers = offers
        self._seed = seed

    @property
    def sites(self) -> tuple[str, ...]:
        """The names of the sites, in their order."""
        return tuple(self._offers)

    def run(
        self,
        function: Callable[..., Any],
        /,
        *,
        at: str | None = None,
        databases: Sequence[str] | None = None,
        **arguments: Any,
    ) -> Any:
        """Run a function over the sites, and return what it returned.

        Args:
            function: one with a decorator of `atoll_algorithm`.
            at: where it runs: ``central``, ``all``, or names of sites. Default: as its decorator says.
            databases: the labels that are asked for, in order. Default: all of each site, in its order.
            arguments: the function's own. They travel: a function gets a copy.

        Returns:
            What a function returned that ran at one site as its decorator says; else a mapping from
            the names of the sites to what it returned there.

        Raises:
            RunFailed: the run failed. A function's own exception is its cause where it was raised
                at the site that the function runs at.
            SpecInvalid: the function has no decorator.
        """
        mark = getattr(function, "__atoll__", None)
        if mark is None:
            raise SpecInvalid(
                f"{getattr(function, '__name__', function)} can't be run over sites: expected a function with "
                "a decorator of atoll_algorithm, such as @partial or @central"
            )
        seats, role = seats_for(at, central=mark.style in _CENTRAL, sites=tuple(self._offers))
        runtime = InlineRuntime(_functions_around(function))
        body = join(pack({"function": function.__name__, "args": arguments, "databases": databases}))
        plan = self._plan(function.__name__, seats, role, body)
        ended = _wait(lambda: self._simulate(plan, runtime))
        if ended.run.status is not RunStatus.DONE:
            assert ended.run.failure is not None
            raise _failed(ended.run.failure) from runtime.error
        make = runtime.make
        values = {str(seat): unpack(whole(content), make) for seat, content in ended.settled.items()}
        return values[seats[0]] if role is Role.AGGREGATOR and len(seats) == 1 else values

    def _plan(self, name: str, seats: tuple[Seat, ...], role: Role, body: bytes) -> Plan:
        opening = Message(id=MessageId("opening.0.0"), sender=_SUBMITTER, readers=seats, body=body)
        step = Step(
            algorithm=Named(dialect="functions", digest="here", name=name),
            aggregated=False,
            openings=(opening.id,),
            seats=seats,
            role=role,
        )
        run = Run(
            id=RunId("run"), steps=(step,), sites=tuple(self._offers), aggregator=None, iterations_max=1
        )
        installed = Installed(convention=Convention(target="here"), code=Path())
        return Plan(run=run, messages=(opening,), installed={"here": installed}, offers=self._offers)

    async def _simulate(self, plan: Plan, runtime: Runtime) -> Ended:
        with tempfile.TemporaryDirectory(prefix="atoll-") as folder:
            settings = Settings(
                runtime=runtime,
                scratch=Path(folder, "scratch"),
                outputs=Path(folder, "output"),
                logs=Path(folder),
                slots=slots(),
                seed=self._seed,
            )
            return await World(plan, settings, _Silent()).run()


class _Silent:
    """Hears what happens at the nodes, and keeps it to itself."""

    def started(self, ticket: Ticket, request: bytes) -> None:
        """Nothing."""

    def finished(self, ticket: Ticket, seconds: float, message: Message | None) -> None:
        """Nothing."""

    def warned(self, ticket: Ticket, text: str) -> None:
        """Nothing."""

    def progressed(self, ticket: Ticket, fraction: float | None, text: str) -> None:
        """Nothing."""

    def waits(self, ticket: Ticket, text: str) -> None:
        """Nothing."""

    def broke(self, ticket: Ticket, kind: str, sentence: str) -> None:
        """Nothing: it is raised."""

    def refused(self, ticket: Ticket, sentence: str) -> None:
        """Nothing: who asked is told."""


def _offer(site: str, entry: Data) -> Offer:
    if entry is None:
        return Offer()
    if isinstance(entry, Mapping):
        return Offer(databases={label: _source(f"{site}, {label}", each) for label, each in entry.items()})
    return Offer(databases={"default": _source(site, entry)})


def _source(where: str, entry: Data) -> Source:
    if isinstance(entry, str | PathLike):
        path = Path(entry)
        if not path.exists():
            raise SpecInvalid(f"{where}: {path} is not there: expected a file, a folder or a data frame")
        kind = "folder" if path.is_dir() else _ENDINGS.get(path.suffix.lower(), "other")
        assert kind in TYPES
        return Source(type=kind, path=path.resolve())
    if not hasattr(entry, "columns"):
        raise SpecInvalid(
            f"{where}: {type(entry).__name__} is no data: expected a data frame, or the path of a file"
        )
    return Source(type="table", table=entry)


def _functions_around(function: Callable[..., Any]) -> list[Any]:
    """The decorated functions that a function can name: those of its module, and those it closes over."""
    known = inspect.unwrap(function)
    around = [
        *known.__globals__.values(),
        *(cell.cell_contents for cell in known.__closure__ or () if cell is not None),
    ]
    found = [each for each in around if getattr(each, "__atoll__", None) is not None and callable(each)]
    return list({id(each): each for each in [function, *found]}.values())


def _failed(failure: Failure) -> RunFailed:
    return RunFailed(failure.message, type=failure.type, site=failure.site)


def _wait(work: Callable[[], Any]) -> Any:
    """Run to the end, also where an event loop is running already, as in a notebook."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _in_loop(work)
    ended: list[Any] = []
    thread = threading.Thread(target=lambda: ended.append(_caught(work)))
    thread.start()
    thread.join()
    value, error = ended[0]
    if error is not None:
        raise error
    return value


def _in_loop(work: Callable[[], Any]) -> Any:
    kept: list[Any] = []

    async def main() -> None:
        kept.append(await work())

    # The main task returns nothing: asyncio.run would write out a large result, see cli/conduct.py.
    asyncio.run(main())
    return kept[0]


def _caught(work: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return _in_loop(work), None
    except BaseException as error:  # It is raised again, in the thread that waits.
        return None, error
