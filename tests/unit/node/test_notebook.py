"""A node writes down what happens there, and tells its hub the little that it may."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.federation import make_ticket

from atoll.engine.limits import LOG_TOLD_BYTES_MAX
from atoll.node import notebook as module
from atoll.node.notebook import Notebook


def told(notebook: Notebook) -> list[tuple[str, str]]:
    """What the hub is told, if there is something."""

    async def soon() -> list[tuple[str, str]]:
        async with asyncio.timeout(0.01):
            return [(each.level, each.text) for each in await notebook.remarks()]

    try:
        return asyncio.run(soon())
    except TimeoutError:
        return []


def test_progress_goes_to_whoever_tells_it_with_the_next_heartbeat() -> None:
    heard: list[Any] = []
    notebook = Notebook(lambda *said: heard.append(said))
    ticket = make_ticket()

    notebook.started(ticket, b"{}")
    notebook.progressed(ticket, 0.5, "half")

    assert heard == [(ticket.job.id, 0.5, "half")]
    assert told(notebook) == []


def test_warnings_and_refusals_are_told_in_their_order() -> None:
    notebook = Notebook(lambda *_: None)

    notebook.warned(make_ticket(), "passed over")
    notebook.refused(make_ticket(), "not allowed")

    assert told(notebook) == [("warning", "passed over"), ("warning", "not allowed")]


def test_the_end_of_a_log_is_told_only_where_it_may_be_and_only_of_a_job_that_failed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * LOG_TOLD_BYTES_MAX + "end")
    quiet, open_ = Notebook(lambda *_: None), Notebook(lambda *_: None, lambda _: log)

    quiet.finished(make_ticket(), 1.0, None)
    open_.finished(make_ticket(), 1.0, None)

    assert told(quiet) == []
    ((level, text),) = told(open_)
    assert (level, len(text), text[-3:]) == ("error", LOG_TOLD_BYTES_MAX, "end")
    log.unlink()
    open_.finished(make_ticket(), 1.0, None)
    assert told(open_) == []


def test_who_says_too_much_is_not_waited_for() -> None:
    notebook = Notebook(lambda *_: None)

    for _ in range(module._WAITING_MAX + 5):
        notebook.warned(make_ticket(), "again")

    assert len(told(notebook)) == module._WAITING_MAX
