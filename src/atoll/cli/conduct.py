"""Carrying out ``atoll simulate``, from its arguments to its exit status."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

from atoll.cli.exits import DONE, FAILED, INTERRUPTED
from atoll.cli.progress import Progress
from atoll.cli.refusal import print_document
from atoll.model.errors import SpecInvalid
from atoll.simulator import simulation
from atoll.simulator.arguments import Arguments
from atoll.simulator.prepared import PreparedStep
from atoll.simulator.watch import Watcher

T = TypeVar("T")


class _View(Watcher, Protocol):
    """A watcher that keeps what it has heard; None where nothing began."""

    progress: Progress | None


def conduct(asked: Arguments, *, kept: Path | None, iteration: int | None, as_json: bool) -> int:
    """Simulate, or repeat an iteration; show the end, and return the exit status.

    Raises:
        Unusable: what was asked for can't be begun.
    """
    with _prints_aside(as_json=as_json):
        step, document, heard = _carry_out(asked, kept, iteration)
    if as_json:
        print_document(document)
    # Imported here and in `_watcher`, so that a run begins before anything is drawn.
    from atoll.cli.output import console, show

    show(step, document, console(error=as_json), with_result=not as_json, heard=heard)
    return _status(document)


def _carry_out(
    asked: Arguments, folder: Path | None, iteration: int | None
) -> tuple[PreparedStep, dict[str, Any], Progress | None]:
    if (folder is None) != (iteration is None):
        raise SpecInvalid("--resume FOLDER and --from ITERATION go together: which iteration of which run?")
    if folder is None or iteration is None:
        views: list[_View] = []

        def watch() -> Watcher:
            views.append(_watcher(asked))
            return views[-1]

        prepared, report = _run(simulation.simulate(asked, watch))
        heard = views[-1].progress
        return prepared.steps[-1], _with_unanswered(report.document(), heard), heard
    # Imported here for the start-up time of everything else.
    from atoll.simulator import resume

    kept = resume.find(folder, iteration)
    asked = kept.changed_by(asked)
    view = _watcher(asked)
    prepared, report = _run(resume.repeat(kept, asked, view))
    return prepared.steps[kept.step], report.document(), view.progress


def _with_unanswered(document: dict[str, Any], heard: Progress | None) -> dict[str, Any]:
    """The document, and among its warnings the calls that a function went on without."""
    if heard is not None:
        told = heard.unanswered(late=document["status"] == "done")
        document["warnings"] += [": ".join(filter(None, (one.sentence, one.reason))) for one in told]
    return document


def _watcher(asked: Arguments) -> _View:
    # Late, as above. Whoever watches is made when the algorithm has been read.
    from atoll.cli.output import watcher
    from atoll.simulator.dialects import is_coinstac

    iterates = asked.dialect == "coinstac" or (asked.dialect == "auto" and is_coinstac(asked))
    return watcher(inline=asked.runtime == "inline", iterates=iterates)


def _run(work: Coroutine[None, None, T]) -> T:
    ended: list[T] = []

    async def main() -> None:
        ended.append(await _ended_by_signals(work))

    # The main task returns nothing: asyncio.run would write out a large report only to compare
    # signal handlers, whose text holds their task's and so its result's.
    asyncio.run(main())
    return ended[0]


async def _ended_by_signals(work: Coroutine[None, None, T]) -> T:
    """Let a request to terminate end the work as Ctrl-C does: with everything that it started."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    return await work


@contextlib.contextmanager
def _prints_aside(*, as_json: bool) -> Iterator[None]:
    """Keep what inline code prints off the standard output that holds the one document."""
    if not as_json:
        yield
        return
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _status(document: Mapping[str, Any]) -> int:
    if document["status"] == "done":
        return DONE
    return INTERRUPTED if document["error"]["type"] == "Interrupted" else FAILED
