"""A function asks for others: every site answers, whoever ends first, and nobody waits for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.asking import Call, Federation, Refused, Stop, Talked
from tests.federation import seats

from atoll.dialects.functions.body import call_body, plain
from atoll.engine import limits
from atoll.model.errors import AlgorithmFailed
from atoll.model.work import RunStatus, Seat

A, B, C = sites = tuple(map(Seat, ("alpha", "beta", "gamma")))


async def double(call: Call) -> Any:
    """Twice what was asked."""
    return [call.seat, 2 * call.args.get("n", 1)]


async def summed(call: Call) -> Any:
    """What all sites say, together."""
    parts = await call.ask("double", n=call.args.get("n", 1))
    return {"order": [seat for seat, _ in parts], "sum": sum(n for _, n in parts)}


def federation(root: Path, **functions: Callable[[Call], Coroutine[Any, Any, Any]]) -> Federation:
    """Three sites with these functions, and one that doubles."""
    return Federation(root=root, functions={"double": double, **functions}, sites=sites)


# --- What is answered -------------------------------------------------------------------------


def test_a_central_function_reads_the_sites_in_their_order(tmp_path: Path) -> None:
    talked = federation(tmp_path, central=summed).run(n=7)

    assert {"order": ["alpha", "beta", "gamma"], "sum": 42} == talked.result
    # The central job and three others, and no slot more than there are.
    assert (4, 2, 1) == (
        talked.ended.run.job_count,
        talked.ended.run.round_count,
        talked.ended.run.call_round_count,
    )


def test_some_sites_are_asked_in_the_order_in_which_they_are_named(tmp_path: Path) -> None:
    async def central(call: Call) -> Any:
        return [seat for seat, _ in await call.ask("double", sites=["gamma", "alpha"])]

    assert ["gamma", "alpha"] == federation(tmp_path, central=central).run().result


def test_a_function_may_run_at_every_site_and_each_returns_its_own(tmp_path: Path) -> None:
    federation_ = federation(tmp_path)
    federation_.called = [C, A]

    talked = federation_.run("double", n=2)

    assert {"alpha": ["alpha", 4], "gamma": ["gamma", 4]} == talked.results


def test_calls_at_one_site_share_a_session_and_the_one_that_asks_keeps_its_own(tmp_path: Path) -> None:
    async def central(call: Call) -> Any:
        for _ in range(5):
            await call.ask("double")
        return "done"

    talked = federation(tmp_path, central=central).run()

    assert "done" == talked.result
    assert [A, A, B, C] == sorted(launch.seat for launch in talked.runtime.launches)
    assert sorted(talked.runtime.closed) == [A, A, B, C]


def test_paused_functions_are_met_again_in_the_session_that_was_kept(tmp_path: Path) -> None:
    async def central(call: Call) -> Any:
        first = await call.ask("count", keep="one")
        await call.ask("count")
        await call.ask("count", keep="other")
        return [first, await call.ask("count", keep="one")]

    async def count(call: Call) -> Any:
        call.kept["count"] = call.kept.get("count", 0) + 1
        return call.kept["count"]

    talked = federation(tmp_path, central=central, count=count).run()

    assert [[1, 1, 1], [2, 2, 2]] == talked.result


def test_what_a_site_makes_of_itself_it_tells_alone(tmp_path: Path) -> None:
    """Remarks of a call are its seat's; they are no questions."""

    async def central(call: Call) -> Any:
        await call.say(say="progress", fraction=0.25, text="on the way")
        await call.say(say="log", text="noted")
        return await call.ask("chatty")

    async def chatty(call: Call) -> Any:
        await call.say(say="log", text=f"a line of {call.seat}")
        await call.say(say="progress", fraction=None, text=call.seat)
        return None

    talked = federation(tmp_path, central=central, chatty=chatty).run()

    assert [None] * 3 == talked.result
    assert [(A, 0.25, "on the way"), *((site, None, site) for site in sites)] == sorted(
        talked.heard.progress, key=lambda said: (said[1] is None, said[0])
    )
    logs = {site: (tmp_path / "logs" / f"{site}.log").read_text() for site in sites}
    assert {A: "noted\na line of alpha\n", B: "a line of beta\n", C: "a line of gamma\n"} == logs


# --- Nobody waits for itself ------------------------------------------------------------------


async def nested(call: Call) -> Any:
    """Ask all sites to do the same, one level deeper each time."""
    depth = call.args["depth"]
    if depth == 0:
        return 1
    parts = await call.ask("central", depth=depth - 1)
    return 1 + sum(parts)


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_with_one_slot_nested_calls_of_every_site_end(tmp_path: Path, depth: int, slots: int) -> None:
    federation_ = federation(tmp_path, central=nested)
    federation_.slots = slots

    assert sum(3**level for level in range(depth + 1)) == federation_.run(depth=depth).result


def test_only_as_many_calls_compute_at_a_time_as_there_are_slots(tmp_path: Path) -> None:
    computing: list[int] = [0]
    most: list[int] = []

    async def central(call: Call) -> Any:
        return sum(await call.ask("compute"))

    async def compute(_call: Call) -> Any:
        computing[0] += 1
        most.append(computing[0])
        for _ in range(5):
            await asyncio.sleep(0)
        computing[0] -= 1
        return 1

    federation_ = federation(tmp_path, central=central, compute=compute)
    federation_.sites = seats(10)
    federation_.slots = 3

    assert 10 == federation_.run().result
    assert 3 == max(most)


@pytest.mark.parametrize("seed", range(10))
def test_a_site_that_is_done_early_serves_those_who_ask_later(tmp_path: Path, seed: int) -> None:
    """Some sites of a round ask all of them for more, while others are done and wait to say so."""

    async def central(call: Call) -> Any:
        return await call.ask("middle")

    async def middle(call: Call) -> Any:
        return len(await call.ask("double")) if call.seat != A else 0

    federation_ = federation(tmp_path, central=central, middle=middle)
    federation_.slots, federation_.seed = 1, seed

    assert [0, 3, 3] == federation_.run().result


@pytest.mark.parametrize("seed", range(10))
def test_every_site_may_ask_every_site(tmp_path: Path, seed: int) -> None:
    async def each(call: Call) -> Any:
        if call.seat == B:
            return "done"
        return await call.ask("double", n=len(call.seat))

    federation_ = federation(tmp_path, each=each)
    federation_.called, federation_.slots, federation_.seed = sites, 1, seed

    assert {
        "alpha": [["alpha", 10], ["beta", 10], ["gamma", 10]],
        "beta": "done",
        "gamma": [["alpha", 10], ["beta", 10], ["gamma", 10]],
    } == federation_.run("each").results


@given(
    order=st.permutations(sites),
    seed=st.integers(0, 10_000),
    plan=st.lists(st.lists(st.sampled_from(sites), unique=True), min_size=3, max_size=3),
)
def test_whoever_asks_whomever_and_ends_whenever_the_result_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, order: list[Seat], seed: int, plan: list[list[Seat]]
) -> None:
    """Sites that ask others for more, in whatever order all of them end."""
    asks = dict(zip(sites, plan, strict=True))

    async def central(call: Call) -> Any:
        return await call.ask("middle")

    async def middle(call: Call) -> Any:
        for _ in range(3 * order.index(call.seat)):
            await asyncio.sleep(0)
        wanted = asks[call.seat]
        parts = await call.ask("slow", sites=wanted) if wanted else []
        return [call.seat, parts]

    async def slow(call: Call) -> Any:
        for _ in range(2 * order.index(call.seat)):
            await asyncio.sleep(0)
        return call.seat

    federation_ = federation(tmp_path_factory.getbasetemp(), central=central, middle=middle, slow=slow)
    federation_.slots, federation_.seed = 1, seed

    assert [[site, asks[site]] for site in sites] == federation_.run().result


# --- Several rounds at a time -----------------------------------------------------------------


async def both(call: Call) -> Any:
    """Two rounds at a time, read in the order in which they were asked for."""
    bodies = [call_body("double", {"n": n}) for n in (10, 20)]
    numbers = [await call.gate.ask("double", [(site, body) for site in sites]) for body in bodies]
    await asyncio.gather(*(call.gate.ended(number) for number in numbers))
    children = [await call.gate.child(number) for number in numbers]
    return [[plain(part.body) for part in child.parts if part.body is not None] for child in children]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("slots", [1, 4])
def test_rounds_may_be_open_at_a_time(tmp_path: Path, seed: int, slots: int) -> None:
    federation_ = federation(tmp_path, central=both)
    federation_.slots, federation_.seed = slots, seed

    assert [[[site, n] for site in sites] for n in (20, 40)] == federation_.run().result


# --- What fails -------------------------------------------------------------------------------


def told(talked: Talked) -> tuple[str, str, str | None]:
    """How a run failed."""
    failure = talked.ended.run.failure
    assert RunStatus.FAILED is talked.ended.run.status
    assert failure is not None
    return failure.type, failure.message, failure.site


def test_a_site_that_fails_is_told_to_who_asked_and_serves_again(tmp_path: Path) -> None:
    async def central(call: Call) -> Any:
        first = await call.parts("fails", who=["beta"])
        second = await call.parts("dies", who=["beta"])
        third = await call.ask("double")
        return [
            [[part.status, part.failure and part.failure["type"]] for part in parts]
            for parts in (first, second)
        ] + [len(third)]

    async def fails(call: Call) -> Any:
        if call.seat in call.args["who"]:
            raise Stop("no such column")
        return 1

    async def dies(call: Call) -> Any:
        if call.seat in call.args["who"]:
            raise AlgorithmFailed("its process was killed")  # as a runtime says it
        return 1

    talked = federation(tmp_path, central=central, fails=fails, dies=dies).run()

    # What a function raised is told by its own name.
    done, failed, died = ["done", None], ["failed", "Stop"], ["failed", "AlgorithmFailed"]
    assert [[done, failed, done], [done, died, done], 3] == talked.result
    # The session that was lost is replaced by another.
    assert 2 == sum(launch.seat == B for launch in talked.runtime.launches)


def test_a_central_function_that_fails_ends_the_run_and_is_named(tmp_path: Path) -> None:
    async def central(call: Call) -> Any:
        await call.ask("double")
        raise Stop("there are too few rows")

    kind, message, site = told(federation(tmp_path, central=central).run())

    assert ("AlgorithmFailed", A) == (kind, site)
    assert "there are too few rows" in message


def test_a_node_that_fails_with_one_of_several_jobs_ends_the_run_while_others_go_on(tmp_path: Path) -> None:
    """The simulation ends, however long they would have taken."""

    async def each(call: Call) -> Any:
        if call.seat == C:
            raise Stop("no")
        if call.seat == A:
            await call.ask("endless")
        await asyncio.Event().wait()

    async def endless(_call: Call) -> Any:
        await asyncio.Event().wait()

    federation_ = federation(tmp_path, each=each, endless=endless)
    federation_.called, federation_.slots = sites, 6

    assert C == told(federation_.run("each"))[2]


def test_what_a_function_may_not_ask_is_refused_and_recorded_and_it_goes_on(tmp_path: Path) -> None:
    async def central(call: Call) -> Any:
        refusals = []
        for strange in (["delta"], ["alpha", "alpha"]):
            with pytest.raises(Refused) as refused:
                await call.parts("double", sites=strange)
            refusals.append(str(refused.value))
        return [refusals, len(await call.ask("double"))]

    talked = federation(tmp_path, central=central).run()

    refusals, count = talked.result
    assert 3 == count
    assert [(A, sentence) for sentence in refusals] == talked.heard.refusals


def test_a_function_that_asks_for_itself_without_end_is_stopped(tmp_path: Path) -> None:
    async def central(call: Call) -> Any:
        try:
            return await call.ask("central", sites=["beta"])
        except Refused as refused:
            return str(refused)

    talked = federation(tmp_path, central=central).run()

    sentence = talked.result
    for _ in range(limits.CHILD_DEPTH_MAX):
        (sentence,) = sentence
    assert sentence.startswith("a function asked for calls that lie 9 deep: the most is 8.")


# --- What is given up -------------------------------------------------------------------------


def test_a_site_that_is_late_is_left_behind_and_serves_the_next_call(tmp_path: Path) -> None:
    ended: list[str] = []

    async def central(call: Call) -> Any:
        parts = await call.parts("late", deadline=0.05)
        return [[part.status for part in parts], await call.ask("double", n=2)]

    async def late(call: Call) -> Any:
        if call.seat == C:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(call.seat)
        return call.seat

    talked = federation(tmp_path, central=central, late=late).run()

    assert [["done", "done", "late"], [["alpha", 4], ["beta", 4], ["gamma", 4]]] == talked.result
    assert [C] == ended
    # What it was called in is gone, and another was started.
    assert 2 == sum(launch.seat == C for launch in talked.runtime.launches)


def test_what_a_job_asked_for_and_did_not_wait_for_ends_with_it(tmp_path: Path) -> None:
    """Several levels deep: whoever was at work is stopped before the next question is answered."""
    working, stopped = asyncio.Event(), asyncio.Event()
    begun: list[Seat] = []
    ends: list[str] = []

    async def central(call: Call) -> Any:
        await call.ask("middle", sites=["beta"])
        await stopped.wait()
        return await call.ask("double", n=3)

    async def middle(call: Call) -> Any:
        await call.gate.ask("inner", [(C, call_body("inner", {}))])
        await working.wait()
        return "without waiting"

    async def inner(call: Call) -> Any:
        try:
            return await call.ask("deep", sites=["alpha", "gamma"])
        finally:
            ends.append(f"inner {call.seat}")

    async def deep(call: Call) -> Any:
        begun.append(call.seat)
        if len(begun) == 2:
            working.set()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(f"deep {call.seat}")
            if len(ends) == 3:
                stopped.set()

    federation_ = federation(tmp_path, central=central, middle=middle, inner=inner, deep=deep)
    federation_.slots = 8

    assert [[site, 6] for site in sites] == federation_.run().result
    assert {"inner gamma", "deep alpha", "deep gamma"} == set(ends)


# --- What is kept -----------------------------------------------------------------------------


def kept(call: Call) -> dict[str, int]:
    """How much the hub, the turnstile and the node remember of what was asked."""
    link: Any = call.gate._link  # type: ignore[attr-defined]  # The real gate's.
    hub, turnstile = link._hub, link._turnstile
    (book,) = hub._runs._books.values()
    return {
        "messages": len(book.messages),
        "jobs": sum(len(room.jobs) for room in book.rooms.values()),
        "queued": sum(map(len, hub._runs._queues.values())),
        "children": sum(map(len, book.children.values())) - len(book.children[call.gate.ticket.job.id]),
        "waiting": len(hub.bells._rounds),
        "told": sum(len(told._jobs) for told in hub.bells._cancelled.values()),
        "turns": len(turnstile._claims) + len(turnstile._reports) + len(turnstile._parents),
        "unclaimed": sum(map(len, turnstile._unclaimed.values())),
        "tasks": len(asyncio.all_tasks()),
    }


@pytest.mark.parametrize("question", ["plain", "nested", "fails", "late"])
def test_what_is_remembered_does_not_grow_with_the_rounds_of_a_call(tmp_path: Path, question: str) -> None:
    async def central(call: Call) -> Any:
        sizes = []
        for number in range(20):
            await call.parts(question, deadline=0.002 if question == "late" else None)
            if number in (3, 19):
                sizes.append(kept(call))
        return sizes

    async def plain(_call: Call) -> Any:
        return "x" * 1_000

    async def ask_more(call: Call) -> Any:
        return await call.ask("plain")

    async def fails(_call: Call) -> Any:
        raise Stop("enough")

    async def late(call: Call) -> Any:
        await call.ask("endless")

    async def endless(_call: Call) -> Any:
        await asyncio.Event().wait()

    talked = federation(
        tmp_path, central=central, plain=plain, nested=ask_more, fails=fails, late=late, endless=endless
    ).run()

    early, later = talked.result
    assert early == later
    # Of the last round alone there is something to read.
    assert later["messages"] <= 1 + 3
    assert later["jobs"] <= 1 + 3
