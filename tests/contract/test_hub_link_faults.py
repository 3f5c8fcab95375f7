"""What a link over a network promises when the network breaks: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from tests import served
from tests.federation import LOCAL0, REMOTE, RUN, blob_of, in_chunks, joined, make_run, openings, said
from tests.harbour import FAILURE, broken, done, request
from tests.served import Cutter, Elsewhere

from atoll.engine.limits import PART_BYTES
from atoll.model.errors import StaleEvent
from atoll.model.events import JobBroke, JobReported
from atoll.model.work import Run, RunStatus, Ticket
from atoll.transports.forms import Claimed
from atoll.transports.http import HttpLink

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Strait:
    """A hub, a node that reaches it through something that cuts, and one that reaches it as ever."""

    hub: Elsewhere
    cutter: Cutter
    link: HttpLink
    remote: HttpLink
    port: int

    def again(self) -> HttpLink:
        """The same node, started anew."""
        return HttpLink(served.over_tcp(self.port, LOCAL0))


@asynccontextmanager
async def strait(folder: Path) -> AsyncIterator[Strait]:
    """A run of one site has just begun."""
    with served.in_thread(folder, [LOCAL0, REMOTE]) as (port, hub):
        async with served.cutting(port) as cutter:
            link = HttpLink(served.over_tcp(cutter.port, LOCAL0))
            remote = HttpLink(served.over_tcp(port, REMOTE))
            await link.start()
            await remote.start()
            run = make_run(1)
            await hub.submit(run, openings(run, {"a": 1}))
            try:
                yield Strait(hub=hub, cutter=cutter, link=link, remote=remote, port=port)
            finally:
                await link.close()
                await remote.close()


def crossing(folder: Path, work: Callable[[Strait], Coroutine[Any, Any, T]]) -> T:
    """Do something at a strait."""

    async def cross() -> T:
        async with strait(folder) as here, asyncio.timeout(15):
            return await work(here)

    return asyncio.run(cross())


async def claimed(link: HttpLink) -> Ticket:
    """A job, which must be there."""
    ticket = await link.claim()
    assert ticket is not None
    return ticket


# --- Cut connections --------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["request", "answer"])
def test_a_claim_that_was_cut_gets_the_job_all_the_same(tmp_path: Path, where: str) -> None:
    async def work(here: Strait) -> tuple[Ticket, Ticket | None, Run]:
        cuts = here.cutter.cut_request if where == "request" else here.cutter.cut_answer
        cuts[b"/node/claim"] = 1
        ticket = await claimed(here.link)
        more = await here.link.claim()
        await here.link.report(done(ticket))
        await here.remote.report(done(await claimed(here.remote), final=True))
        await here.link.report(done(await claimed(here.link)))
        return ticket, more, await here.hub.ended(RUN)

    ticket, more, run = crossing(tmp_path, work)

    # The claim that nobody heard of is lost, and counts.
    assert (1 if where == "request" else 2) == ticket.job.attempt
    assert more is None
    assert RunStatus.DONE is run.status


@pytest.mark.parametrize("where", ["request", "answer"])
def test_a_report_that_was_cut_is_taken_in_once(tmp_path: Path, where: str) -> None:
    async def work(here: Strait) -> tuple[int, Ticket, Ticket | None]:
        ticket = await claimed(here.link)
        cuts = here.cutter.cut_request if where == "request" else here.cutter.cut_answer
        cuts[b"/node/report"] = 1
        await here.link.report(done(ticket, body=b'{"n":1}'))
        return here.cutter.cuts, await claimed(here.remote), await here.remote.claim()

    cuts, ticket, more = crossing(tmp_path, work)

    assert 1 == cuts
    assert [b'{"n":1}'] == [message.body for message in ticket.inbox]
    assert more is None


def test_a_failure_whose_answer_was_cut_is_told_once(tmp_path: Path) -> None:
    async def work(here: Strait) -> Run:
        ticket = await claimed(here.link)
        here.cutter.cut_answer[b"/node/report"] = 1
        await here.link.report(broken(ticket))
        run: Run = await here.hub.ended(RUN)
        return run

    run = crossing(tmp_path, work)

    assert run.failure is not None
    assert (RunStatus.FAILED, FAILURE.type) == (run.status, run.failure.type)


def test_a_report_that_comes_too_late_is_refused_as_ever(tmp_path: Path) -> None:
    async def work(here: Strait) -> None:
        ticket = await claimed(here.link)
        await here.link.report(done(ticket))
        with pytest.raises(StaleEvent):
            await here.link.report(done(ticket))

    crossing(tmp_path, work)


def test_a_stream_that_was_cut_is_taken_up_and_misses_nothing(tmp_path: Path) -> None:
    async def work(here: Strait) -> Ticket:
        await here.link.report(done(await claimed(here.link)))
        await here.link.listen()
        here.cutter.cut_all()
        await here.remote.report(done(await claimed(here.remote)))
        while (ticket := await here.link.claim()) is None:
            await here.link.listen()
        return ticket

    assert 2 == crossing(tmp_path, work).iteration


def test_a_file_that_is_cut_on_its_way_arrives_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * (PART_BYTES // 256 * 2 + 77)
    blob = blob_of(content)

    async def work(here: Strait) -> tuple[int, bytes]:
        ticket = await claimed(here.link)
        here.cutter.cut_after_bytes = PART_BYTES + 100_000
        await here.link.put_blob(RUN, blob, in_chunks(content, 1 << 20))
        await here.link.report(done(ticket, blobs=(blob,)))
        return here.cutter.cuts, await joined(here.remote.get_blob(RUN, blob))

    cuts, arrived = crossing(tmp_path, work)

    assert 1 == cuts
    assert content == arrived


def test_a_file_whose_last_answer_was_cut_is_kept(tmp_path: Path) -> None:
    blob = blob_of(b"maps")

    async def work(here: Strait) -> bytes:
        ticket = await claimed(here.link)
        here.cutter.cut_answer[b"PATCH /v1"] = 1
        await here.link.put_blob(RUN, blob, in_chunks(b"maps"))
        await here.link.report(done(ticket, blobs=(blob,)))
        return await joined(here.remote.get_blob(RUN, blob))

    assert b"maps" == crossing(tmp_path, work)


def test_a_file_that_is_cut_while_it_is_fetched_comes_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000
    blob = blob_of(content)

    async def work(here: Strait) -> bytes:
        await here.link.report(done(await claimed(here.link)))
        ticket = await claimed(here.remote)
        await here.remote.put_blob(RUN, blob, in_chunks(content, 1 << 20))
        await here.remote.report(done(ticket, blobs=(blob,)))
        chunks: list[bytes] = []
        async for chunk in here.link.get_blob(RUN, blob):
            if not chunks:
                here.cutter.cut_all()
            chunks.append(chunk)
        return b"".join(chunks)

    assert content == crossing(tmp_path, work)


def test_a_question_whose_answer_was_cut_is_asked_once(tmp_path: Path) -> None:
    async def work(here: Strait) -> list[int]:
        ticket = await claimed(here.link)
        here.cutter.cut_answer[b"/node/ask"] = 1
        numbers = []
        for number in (0, 1):
            event, messages = request(ticket, LOCAL0, number=number)
            numbers.append(await here.link.ask(event, messages))
        return numbers

    assert [1, 2] == crossing(tmp_path, work)


# --- Ghosts -----------------------------------------------------------------------------------


def test_a_ghost_with_an_earlier_claim_changes_nothing(tmp_path: Path) -> None:
    async def work(here: Strait) -> tuple[list[int], list[str], Ticket]:
        first = await claimed(here.link)
        # The same node, started anew, without knowing of the job.
        anew = here.again()
        await anew.start()
        second = await claimed(anew)
        refusals = []
        events: list[JobReported | JobBroke] = [done(first, body=b'{"ghost":1}'), broken(first)]
        for event in events:
            with pytest.raises(StaleEvent) as refused:
                await here.link.report(event)
            refusals.append(str(refused.value))
        question, messages = request(first, LOCAL0)
        with pytest.raises(StaleEvent):
            await here.link.ask(question, messages)
        await anew.report(done(second, body=b'{"alive":1}'))
        ticket = await claimed(here.remote)
        await anew.close()
        return [first.job.attempt, second.job.attempt], refusals, ticket

    attempts, refusals, ticket = crossing(tmp_path, work)

    assert [1, 2] == attempts
    assert all("claim" in refusal for refusal in refusals)
    assert [b'{"alive":1}'] == [message.body for message in ticket.inbox]


def test_a_node_that_comes_back_and_still_works_keeps_its_job(tmp_path: Path) -> None:
    async def work(here: Strait) -> Ticket:
        ticket = await claimed(here.link)
        anew = here.again()
        await anew.start([Claimed(run=RUN, job=ticket.job.id, attempt=ticket.job.attempt)], [RUN])
        assert await anew.claim() is None
        await anew.report(JobReported(run_id=RUN, job_id=ticket.job.id, outcome=said(ticket)))
        await anew.close()
        return await claimed(here.remote)

    assert REMOTE == crossing(tmp_path, work).job.seat


def test_a_node_hears_of_the_end_of_a_run_that_it_keeps_something_of(tmp_path: Path) -> None:
    async def work(here: Strait) -> list[Any]:
        ticket = await claimed(here.link)
        ended = asyncio.create_task(here.link.ended())
        await here.link.report(broken(ticket))
        return [await ended]

    assert [RUN] == crossing(tmp_path, work)
