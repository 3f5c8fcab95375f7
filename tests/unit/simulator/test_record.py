"""What a run of functions leaves in its folder, and what whoever watches is told of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.asking import Call, Federation, Refused, Stop, Talked
from tests.federation import Watched

from atoll.dialects.functions.body import call_body
from atoll.model.work import Role, Seat
from atoll.simulator import record
from atoll.simulator.record import Recorder, RunFolder, recording

A, B, C = SITES = tuple(map(Seat, ("alpha", "beta", "gamma")))


class Kept:
    """A run, and what was kept and shown of it."""

    def __init__(self, root: Path, **functions: Callable[[Call], Coroutine[Any, Any, Any]]) -> None:
        self.folder = RunFolder(root)
        self.watched = Watched()
        federation = Federation(root=root / "work", functions=functions, sites=SITES, slots=8)
        self.talked: Talked
        self.recorder: Recorder
        with recording(self.folder, self.watched) as recorder:
            self.recorder = federation.recorder = recorder
            self.talked = federation.run()
            self.timings = [json.loads(line) for line in recorder.timings()]

    @property
    def events(self) -> list[dict[str, Any]]:
        """What stands in events.jsonl."""
        return [json.loads(line) for line in self.folder.events.read_text().splitlines()]

    def lines(self, *names: str) -> list[dict[str, Any]]:
        """The events of these names."""
        return [event for event in self.events if event["event"] in names]


async def double(call: Call) -> Any:
    """Twice what was asked."""
    return 2 * call.args.get("n", 1)


async def nested(call: Call) -> Any:
    """Ask one site, which asks all."""
    return await call.ask("middle", sites=["beta"])


async def middle(call: Call) -> Any:
    """Ask all sites."""
    return await call.ask("double", n=3)


def test_every_round_is_written_down_with_who_asked_for_it(tmp_path: Path) -> None:
    kept = Kept(tmp_path, central=nested, middle=middle, double=double)

    assert [[6, 6, 6]] == kept.talked.result
    opened = kept.lines("round opened")
    assert [None, "middle", "double"] == [event.get("function") for event in opened]
    assert [(None, None), ("alpha", 0), ("beta", 1)] == [
        (event.get("asker"), event.get("within")) for event in opened
    ]
    assert [1, 1, 3] == [event["jobs"] for event in opened]
    assert [2, 1, 0] == [event["round"] for event in kept.lines("round closed")]
    assert [{"event": "run ended", "status": "done"}] == kept.events[-1:]
    assert [(0, "alpha", 0), (1, "beta", 0)] == [
        (event["round"], event["seat"], event["request"]) for event in kept.lines("round requested")
    ]
    assert (1, 2, 0) == (kept.recorder.rounds, kept.recorder.asked, kept.recorder.iterations)


def test_a_rounds_claims_stand_before_its_reports(tmp_path: Path) -> None:
    async def central(call: Call) -> Any:
        return [await call.ask("double") for _ in range(3)]

    kept = Kept(tmp_path, central=central, double=double)

    for number in (1, 2, 3):
        names = [event["event"] for event in kept.events if event.get("round") == number]
        claims, reports = ["job claimed"] * 3, ["job reported"] * 3
        assert ["round opened", *claims, *reports, "round closed"] == names


def test_who_watches_sees_each_question_open_and_close(tmp_path: Path) -> None:
    kept = Kept(tmp_path, central=nested, middle=middle, double=double)

    first = {"number": 1, "name": "middle", "asker": A, "within": 0, "seats": [B]}
    second = {"number": 2, "name": "double", "asker": B, "within": 1, "seats": [A, B, C]}
    assert [
        ("asked", first),
        ("asked", second),
        ("answered", {"number": 2}),
        ("answered", {"number": 1}),
    ] == kept.watched.of("asked", "answered")
    started = [shown for _, shown in kept.watched.of("job_started")]
    assert [(A, 0, Role.AGGREGATOR), (B, 1, Role.SITE)] == [
        (shown["seat"], shown["number"], shown["role"]) for shown in started[:2]
    ]
    assert {A, B, C} == {shown["seat"] for shown in started[2:]}


def test_the_times_of_child_rounds_are_kept_too(tmp_path: Path) -> None:
    kept = Kept(tmp_path, central=nested, middle=middle, double=double)

    assert [2, 1, 0] == [entry["round"] for entry in kept.timings]
    assert [{A, B, C}, {B}, {A}] == [set(entry["seats"]) for entry in kept.timings]
    assert all(entry["seconds"] >= 0 for entry in kept.timings)


def test_every_call_is_kept_with_its_request_and_its_round(tmp_path: Path) -> None:
    kept = Kept(tmp_path, central=nested, middle=middle, double=double)

    calls = [json.loads(line) for line in kept.folder.calls.read_text().splitlines()]
    assert [("central", None), ("middle", 1), *[("double", 2)] * 3] == [
        (call["request"]["function"], call.get("round")) for call in calls
    ]


def test_what_is_given_up_is_closed_and_what_lies_below_with_it(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def central(call: Call) -> Any:
        number = await call.gate.ask("slow", [(B, call_body("slow", {}))])
        await begun.wait()
        await call.gate.give_up(number)
        return await call.ask("double")

    async def slow(call: Call) -> Any:
        return await call.ask("endless", sites=["gamma"])

    async def endless(_call: Call) -> Any:
        begun.set()
        await asyncio.Event().wait()

    kept = Kept(tmp_path, central=central, slow=slow, endless=endless, double=double)

    assert [2, 2, 2] == kept.talked.result
    assert [1, 2, 3, 0] == [event["round"] for event in kept.lines("round closed")]
    assert [{"event": "round given up", "round": 0, "seat": "alpha", "child": 1}] == kept.lines(
        "round given up"
    )
    assert [1, 2, 3] == [shown["number"] for _, shown in kept.watched.of("asked")]
    assert [1, 2, 3] == [shown["number"] for _, shown in kept.watched.of("answered")]


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_job_leaves_open_is_closed_with_it(tmp_path: Path, fails: bool) -> None:
    async def central(call: Call) -> Any:
        parts = await call.parts("careless", sites=["beta"])
        return [parts[0].status, await call.ask("double")]

    async def careless(call: Call) -> Any:
        await call.gate.ask("endless", [(C, call_body("endless", {}))])
        if fails:
            raise Stop("enough")
        return None

    async def endless(_call: Call) -> Any:
        await asyncio.Event().wait()

    kept = Kept(tmp_path, central=central, careless=careless, endless=endless, double=double)

    assert ["failed" if fails else "done", [2, 2, 2]] == kept.talked.result
    # What was asked for is closed before the round of who asked.
    assert [2, 1, 3, 0] == [event["round"] for event in kept.lines("round closed")]
    assert [2, 1, 3] == [shown["number"] for _, shown in kept.watched.of("answered")]
    assert {} == kept.recorder._open


def test_a_run_that_fails_names_the_round_and_closes_the_others(tmp_path: Path) -> None:
    async def central(call: Call) -> Any:
        await call.gate.ask("endless", [(site, call_body("endless", {})) for site in SITES])
        raise Stop("enough")

    async def endless(_call: Call) -> Any:
        await asyncio.Event().wait()

    kept = Kept(tmp_path, central=central, endless=endless)

    assert kept.recorder.broken is not None
    assert 0 == kept.recorder.broken.number
    assert ["alpha"] == [event["seat"] for event in kept.lines("job broke")]
    assert [{"event": "run ended", "status": "failed"}] == kept.events[-1:]
    assert [1] == [shown["number"] for _, shown in kept.watched.of("answered")]


def test_a_failed_child_job_is_no_failed_round(tmp_path: Path) -> None:
    async def central(call: Call) -> Any:
        return [part.status for part in await call.parts("fails")]

    async def fails(call: Call) -> Any:
        if call.seat == B:
            raise Stop("enough")
        return None

    kept = Kept(tmp_path, central=central, fails=fails)

    assert ["done", "failed", "done"] == kept.talked.result
    assert kept.recorder.broken is None
    assert [("beta", "AlgorithmFailed")] == [
        (event["seat"], event["type"]) for event in kept.lines("job broke")
    ]
    assert [True] == [shown["failed"] for _, shown in kept.watched.of("job_ended") if shown["seat"] == B]
    # Why is told after the call's end, and while its round is known.
    (told,) = kept.watched.of("broke")
    assert (B, 1, True) == (told[1]["seat"], told[1]["number"], "enough" in told[1]["message"])
    order = kept.watched.of("job_ended", "broke", "answered")
    end = next(number for number, (_, shown) in enumerate(order) if shown.get("seat") == B)
    assert end < order.index(told) < order.index(("answered", {"number": 1}))


def test_what_is_refused_is_written_down_before_its_calls_report(tmp_path: Path) -> None:
    async def central(call: Call) -> Any:
        with pytest.raises(Refused):
            await call.parts("double", sites=["nowhere"])
        return await call.ask("double")

    kept = Kept(tmp_path, central=central, double=double)

    names = [event["event"] for event in kept.events if event.get("round") == 0]
    assert [
        "round opened",
        "job claimed",
        "round requested",
        "refused",
        "job reported",
        "round closed",
    ] == names
    (refused,) = kept.lines("refused")
    assert "nowhere" in refused["sentence"]
    assert [f"alpha: {refused['sentence']}"] == list(kept.recorder.warnings)


def test_how_far_a_call_is_is_passed_on(tmp_path: Path) -> None:
    async def central(call: Call) -> Any:
        await call.say(say="progress", fraction=0.5, text="half")

    kept = Kept(tmp_path, central=central)

    assert [("progressed", {"seat": A, "fraction": 0.5, "text": "half"})] == kept.watched.of("progressed")


def test_only_so_many_warnings_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "WARNINGS_MAX", 3)

    async def central(call: Call) -> Any:
        for number in range(10):
            with pytest.raises(Refused):
                await call.parts("double", sites=[f"nowhere{number}"])

    kept = Kept(tmp_path, central=central)

    shown = [seen["text"] for _, seen in kept.watched.of("warned")]
    assert shown == list(kept.recorder.warnings)
    assert 4 == len(shown)
    assert "there are more than 3 warnings, and what follows is left out" == shown[-1]
    # The events have all of them.
    assert 10 == len(kept.lines("refused"))
