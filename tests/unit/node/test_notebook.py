"""A node writes down what happens there, and tells its hub the little that it may."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.federation import make_ticket, said

from atoll.engine.limits import LOG_TOLD_BYTES_MAX
from atoll.model.work import Behalf, Work
from atoll.node import notebook as module
from atoll.node.notebook import Notebook


def made(
    progressed: Callable[..., None] = lambda *_: None, log: Path = Path("nowhere"), *, sends: bool = False
) -> Notebook:
    """A notebook of a node whose jobs have one log."""
    return Notebook(progressed, lambda _: log, sends=sends)


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
    notebook = made(lambda *said: heard.append(said))
    ticket = make_ticket()

    notebook.started(ticket, b"{}")
    notebook.progressed(ticket, 0.5, "half")

    assert heard == [(ticket.job.id, 0.5, "half")]
    assert told(notebook) == []


def test_what_a_job_waits_for_is_written_down_and_told(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[Any] = []
    ticket = make_ticket()

    with caplog.at_level(logging.INFO):
        made(lambda *said: heard.append(said)).waits(ticket, "queued")

    assert heard == [(ticket.job.id, None, "queued")]
    assert caplog.messages == [f"job {ticket.job.id}: queued"]


def test_numbers_that_change_are_written_down_now_and_then_and_told_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    heard: list[Any] = []
    times = iter([0.0, 1.0, 9.0, 11.0, 12.0])
    ticket = make_ticket()
    notebook = Notebook(lambda *said: heard.append(said[2]), lambda _: Path("nowhere"), now=times.__next__)
    texts = ["1 of 9 MB", "2 of 9 MB", "3 of 9 MB", "4 of 9 MB", "all is here"]

    with caplog.at_level(logging.INFO):
        for text in texts:
            notebook.waits(ticket, text)

    assert heard == texts
    assert caplog.messages == [f"job {ticket.job.id}: {text}" for text in ("1 of 9 MB", *texts[3:])]


def test_what_an_algorithm_says_of_its_progress_is_not_written_down(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        made().progressed(make_ticket(), 0.5, "Jane Doe is read")

    assert caplog.messages == []


def test_warnings_and_refusals_are_told_in_their_order() -> None:
    notebook = made()

    notebook.warned(make_ticket(), "passed over")
    notebook.refused(make_ticket(), "not allowed")

    assert told(notebook) == [("warning", "passed over"), ("warning", "not allowed")]


def test_why_a_job_failed_is_written_down_with_the_log_to_look_into(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "local0.log"
    log.write_text("what it printed")
    behalf = Behalf(submitter="ann", organization_name="Utrecht")
    ticket, notebook = replace(make_ticket(), behalf=behalf), made(log=log)

    with caplog.at_level(logging.INFO):
        notebook.broke(ticket, "AlgorithmFailed", "it ended with exit status 1")
        notebook.finished(ticket, 1.0, None)

    words = "has failed: AlgorithmFailed: it ended with exit status 1"
    assert caplog.messages == [
        f"job {ticket.job.id} of step0 (sha256:0), asked by ann of Utrecht, {words}. Its log: {log}",
        f"job {ticket.job.id} has failed after 1.000 s",
    ]


def test_a_log_that_holds_nothing_is_not_pointed_to(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    ticket = make_ticket(work=Work.DELIVER)

    made().broke(ticket, "JobRefused", "not on Fridays")
    made(log=tmp_path / "log").broke(ticket, "JobRefused", "not on Fridays")

    assert (
        caplog.messages
        == [f"job {ticket.job.id} of step0 (sha256:0) has failed: JobRefused: not on Fridays"] * 2
    )


def test_a_job_that_nobody_waits_for_any_more_has_not_failed(caplog: pytest.LogCaptureFixture) -> None:
    ticket, notebook = make_ticket(), made()

    with caplog.at_level(logging.INFO):
        notebook.finished(ticket, 1.0, None)
        notebook.finished(ticket, 2.0, said(ticket).message)

    assert caplog.messages == [
        f"job {ticket.job.id} has been given up after 1.000 s",
        f"job {ticket.job.id} has ended after 2.000 s",
    ]


def test_the_end_of_a_log_is_told_only_where_it_may_be_and_only_of_a_job_that_failed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("x" * LOG_TOLD_BYTES_MAX + "end")
    quiet, open_ = made(log=log), made(log=log, sends=True)

    open_.finished(make_ticket(), 1.0, None)  # It was given up.
    for each in (quiet, open_):
        each.broke(make_ticket(), "AlgorithmFailed", "it failed")
        each.finished(make_ticket(), 1.0, None)

    assert told(quiet) == []
    ((level, text),) = told(open_)
    assert (level, len(text), text[-3:]) == ("error", LOG_TOLD_BYTES_MAX, "end")
    log.unlink()
    open_.broke(make_ticket(), "AlgorithmFailed", "it failed")
    open_.finished(make_ticket(), 1.0, None)
    assert told(open_) == []


def test_what_an_algorithm_printed_is_not_written_down(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "log").write_text("Jane Doe, 47")
    notebook = made(log=tmp_path / "log", sends=True)

    notebook.broke(make_ticket(), "AlgorithmFailed", "it failed")
    notebook.finished(make_ticket(), 1.0, None)

    assert told(notebook) == [("error", "Jane Doe, 47")]
    assert "Jane" not in caplog.text


def test_who_says_too_much_is_not_waited_for() -> None:
    notebook = made()

    for _ in range(module._WAITING_MAX + 5):
        notebook.warned(make_ticket(), "again")

    assert len(told(notebook)) == module._WAITING_MAX
