"""What a run leaves in its folder.

::

    result.json       the result, whole
    run.json          how it came about: spec and inputs by digest, versions, seed, host, timings
    events.jsonl      every event in its order, without times: a seed repeats it to the byte, as long
                      as one job asks at a time. A round's claims stand before its reports
    calls.jsonl       the request of every call, so that an iteration can be repeated
    output/SEAT/      what the algorithm wrote into its output directory
    logs/SEAT.log     what it printed on standard error
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from atoll.engine.limits import JOURNAL_BYTES_MAX, WARNINGS_MAX
from atoll.engine.ports import Changes
from atoll.model.errors import OutputTaken
from atoll.model.events import Event, JobBroke, JobClaimed, JobReported, RoundGivenUp, RoundRequested
from atoll.model.work import Job, JobId, Message, Role, Round, Ticket, Work
from atoll.simulator.watch import Watcher


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run."""

    path: Path
    #: What was made for it, outermost first; removed if the run never begins.
    made: tuple[Path, ...] = ()

    def give_back(self) -> None:
        """Leave no trace of a run that can't begin."""
        for path in reversed(self.made):
            with suppress(OSError):  # Somebody else has put something there.
                path.rmdir()

    @property
    def outputs(self) -> Path:
        """Each seat's output folder, by its name."""
        return self.path / "output"

    @property
    def logs(self) -> Path:
        """Each seat's log."""
        return self.path / "logs"

    @property
    def scratch(self) -> Path:
        """What ends with the run."""
        return self.path / ".scratch"

    @property
    def events(self) -> Path:
        """Every event, one per line."""
        return self.path / "events.jsonl"

    @property
    def calls(self) -> Path:
        """Every call's request, one per line."""
        return self.path / "calls.jsonl"

    def lay_out(self) -> None:
        """Make the folders that algorithms write to, for their owner alone.

        An algorithm chooses the rights of its files: that its program runs as its owner, too.
        """
        for folder in (self.outputs, self.logs, self.scratch):
            folder.mkdir(mode=0o700, exist_ok=True)

    def write(self, name: str, document: Any) -> None:
        """Write a JSON document; it appears under its name when it is whole."""
        with self._arriving(name) as file:
            file.write(json.dumps(document, ensure_ascii=False))

    def write_record(self, name: str, document: Mapping[str, Any], key: str, items: Iterable[str]) -> None:
        """Write a JSON object with one more key, whose value is a list that need not fit in memory.

        Args:
            name: the file's name.
            document: what comes before the list.
            key: the list's key.
            items: its items as JSON text, a line each.
        """
        with self._arriving(name) as file:
            file.write(json.dumps(document, indent=2, ensure_ascii=False).removesuffix("\n}"))
            file.write(f',\n  "{key}": [')
            for number, item in enumerate(items):
                file.write(f"{',' if number else ''}\n    {item.strip()}")
            file.write("\n  ]\n}")

    @contextmanager
    def _arriving(self, name: str) -> Iterator[TextIO]:
        aside = self.path / f".{name}.arriving"
        # Half a surrogate pair, in a script's text or a name that is not UTF-8, is written as
        # ``\ud800``, as JSON has it.
        with aside.open("w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
            file.write("\n")
        os.replace(aside, self.path / name)


def take(wanted: Path | None, name: str) -> RunFolder:
    """Make the folder of a run: the wanted one, which may be there if it is empty, or a new one.

    Raises:
        OutputTaken: the folder holds something already, or is a file.
    """
    if wanted is not None:
        if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
            raise OutputTaken(
                f"{wanted} holds files already: expected a folder that is new or empty, so that no earlier "
                "result is mixed with this one. Name another with --output, or remove it"
            )
        made = _make(wanted)
        return RunFolder(wanted.resolve(), made)
    # A name that needs no quotes in a shell.
    plain = "-".join(re.findall(r"[a-z0-9]+", name.lower()))[:40] or "run"
    stem = f"{plain}-{time.strftime('%Y%m%d-%H%M%S')}"
    made = _make(Path("atoll-runs"))
    for number in range(1, 10_000):
        path = Path("atoll-runs", stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return RunFolder(path.resolve(), (*made, path.absolute()))
    raise OutputTaken(f"atoll-runs holds ten thousand runs named {stem}: remove some")


def _make(folder: Path) -> tuple[Path, ...]:
    """Make a folder and those above it; return what was made."""
    missing = [path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return tuple(reversed(missing))


class _Open:
    """A round that has not ended."""

    def __init__(self, round_: Round, started: float) -> None:
        self.round = round_
        self.started = started
        #: What each seat's call took and sent.
        self.calls: dict[str, dict[str, float | int]] = {}
        #: Jobs that nobody has claimed yet, and the lines that stand after their claims.
        self.unclaimed = round_.job_count
        self.later: list[bytes] = []
        #: What the call at each seat was refused: lines that stand before its report.
        self.refused: dict[str, list[bytes]] = {}


class Recorder:
    """Writes down what happens, and tells the watcher. A node's observer and a hub's listener."""

    def __init__(self, folder: RunFolder, watcher: Watcher) -> None:
        self._watcher = watcher
        self._events = folder.events.open("wb")
        self._calls = folder.calls.open("wb")
        self._calls_bytes = 0
        #: Whether every call is in the journal; else its limit was reached.
        self.journal_whole = True
        self.warnings: dict[str, None] = {}
        # On disk: ten thousand rounds at a hundred sites would not fit in memory.
        self._timings_path = folder.path / ".timings"
        self._timings = self._timings_path.open("w+", encoding="utf-8")
        #: Rounds in which the algorithm was called, and iterations over all steps.
        self.rounds = 0
        self.iterations = 0
        #: The round in which a job broke.
        self.broken: Round | None = None
        #: Child rounds that calls have asked for.
        self.asked = 0
        self._open: dict[int, _Open] = {}
        self._said: set[tuple[str, Role]] = set()

    # A node's observer.

    def started(self, ticket: Ticket, request: bytes) -> None:
        """Keep the request, so that this call can be repeated."""
        received = [[message.sender, blob.name] for message in ticket.inbox for blob in message.blobs]
        # Put together by hand, as events are below: there is a line for every call.
        head = (
            f'{{"step":{ticket.step},"iteration":{ticket.iteration},"seat":"{ticket.job.seat}",'
            f'"role":"{ticket.role.value}","received":{json.dumps(received) if received else "[]"}'
        )
        if ticket.parent is not None:
            head += f',"round":{ticket.job.round_number}'
        line = b'%s,"request":%s}\n' % (head.encode(), request)
        self._calls_bytes += len(line)
        if self._calls_bytes > JOURNAL_BYTES_MAX:
            self.journal_whole = False
        else:
            self._calls.write(line)
        self._watcher.job_started(
            seat=ticket.job.seat,
            role=ticket.role,
            step=ticket.step,
            iteration=ticket.iteration,
            number=ticket.job.round_number,
        )

    def finished(self, ticket: Ticket, seconds: float, message: Message | None) -> None:
        """Note the time that a call took, and what it sent."""
        sent = message.size_bytes if message else 0
        number = ticket.job.round_number
        if number in self._open:
            self._open[number].calls[ticket.job.seat] = {"seconds": round(seconds, 6), "sent_bytes": sent}
        self._watcher.job_ended(
            seat=ticket.job.seat,
            role=ticket.role,
            seconds=seconds,
            sent_bytes=sent,
            failed=message is None,
            number=number,
        )

    def progressed(self, ticket: Ticket, fraction: float | None, text: str) -> None:
        """Pass on how far a call is."""
        self._watcher.progressed(seat=ticket.job.seat, fraction=fraction, text=text)

    def waits(self, ticket: Ticket, text: str) -> None:
        """The start of a call waits for something."""
        self.progressed(ticket, None, text)

    def broke(self, ticket: Ticket, kind: str, sentence: str) -> None:
        """Nothing: the hub says it."""

    def refused(self, ticket: Ticket, sentence: str) -> None:
        """Write down that an algorithm asked for what it may not have."""
        seat, number = ticket.job.seat, ticket.job.round_number
        if number in self._open:
            document = {"event": "refused", "round": number, "seat": seat, "sentence": sentence}
            self._open[number].refused.setdefault(seat, []).append(_line(document))
        self.warn(f"{seat}: {sentence}")

    def warned(self, ticket: Ticket, text: str) -> None:
        """Pass a warning on, once per text and kind of seat."""
        step = f"step {ticket.step}, " if ticket.step else ""
        who = "the aggregator" if ticket.role is Role.AGGREGATOR else ticket.job.seat
        if (text, ticket.role) in self._said:
            return
        self._said.add((text, ticket.role))
        self.warn(f"{who} ({step}iteration {ticket.iteration}) {text}")

    def warn(self, text: str) -> None:
        """Tell the watcher, once per text."""
        if text in self.warnings or len(self.warnings) > WARNINGS_MAX:
            return
        if len(self.warnings) == WARNINGS_MAX:
            text = f"there are more than {WARNINGS_MAX} warnings, and what follows is left out"
        self.warnings[text] = None
        self._watcher.warned(text)

    # A hub's listener.

    def changed(self, event: Event | None, job: Job | None, changes: Changes) -> None:
        """Write the event down, and the rounds that it closed and opened."""
        if job is not None:
            self._note(event, job)
        if isinstance(event, JobBroke) and job is not None:
            message = event.failure.message
            self._watcher.broke(seat=job.seat, number=job.round_number, message=message)
        if isinstance(event, JobBroke) and job is not None and changes.run.status.ended:
            self.broken = self._open[job.round_number].round
        now = time.perf_counter()
        if changes.cancel_below is not None:
            self._close_below(changes.cancel_below, now)
        for round_ in changes.rounds:
            if round_.ended:
                self._closed(round_.number, now)
            elif round_.number not in self._open:
                self._opened(round_, changes, now)
        if changes.cancel_round is not None:
            self._closed(changes.cancel_round, now)
            self._close_below(None, now)
        if changes.run.status.ended:
            for number in list(self._open):
                self._closed(number, now, unfinished=True)
            self._write({"event": "run ended", "status": changes.run.status.value})

    def timings(self) -> Iterator[str]:
        """The seconds of every round and seat so far, a line of JSON for each round."""
        self._timings.seek(0)
        yield from self._timings

    def close(self) -> None:
        """Write what is buffered."""
        self._events.close()
        self._calls.close()
        self._timings.close()
        self._timings_path.unlink()

    def _note(self, event: Event | None, job: Job) -> None:
        """Write an event down. Whether a site is done before another begins is no order of the run's."""
        line = f"{_described(event, job)}\n".encode()
        room = self._open.get(job.round_number)
        if room is None or isinstance(event, RoundRequested | RoundGivenUp):
            self._events.write(line)
        elif isinstance(event, JobClaimed):
            self._events.write(line)
            room.unclaimed -= 1
            if not room.unclaimed:
                self._events.writelines(room.later)
                room.later = []
        else:
            lines = [*room.refused.pop(job.seat, ()), line]
            if room.unclaimed:
                room.later += lines
            else:
                self._events.writelines(lines)

    def _time(self, entry: Mapping[str, Any]) -> None:
        self._timings.write(f"{json.dumps(entry)}\n")

    def _opened(self, round_: Round, changes: Changes, now: float) -> None:
        self._open[round_.number] = _Open(round_, now)
        self._write({"event": "round opened", **_round(round_), "jobs": round_.job_count})
        if round_.asker is not None and round_.parent is not None:
            self.asked += 1
            seats = [job.seat for job in changes.jobs if job.round_number == round_.number]
            self._watcher.asked(
                number=round_.number,
                name=round_.name,
                asker=round_.asker,
                within=_round_of(round_.parent),
                seats=seats,
            )
        elif round_.work is Work.CALL:
            self.rounds += 1
            self.iterations += round_.role is Role.SITE

    def _closed(self, number: int, now: float, *, unfinished: bool = False) -> None:
        room = self._open.pop(number, None)
        if room is None:
            return
        # Where it was ended before all were claimed, or had reported.
        self._events.writelines(room.later)
        for lines in room.refused.values():
            self._events.writelines(lines)
        entry: dict[str, Any] = {**_round(room.round), "seconds": round(now - room.started, 6)}
        if unfinished:
            entry["unfinished"] = True
        if room.calls or not unfinished:
            self._time({**entry, "seats": room.calls})
        if not unfinished:
            self._write({"event": "round closed", "round": number})
        if room.round.parent is not None:
            self._watcher.answered(number=number)

    def _close_below(self, job_id: JobId | None, now: float) -> None:
        """What this job has asked for ends with it, and what was asked for in rounds that have ended."""
        for number, room in list(self._open.items()):
            parent = room.round.parent
            if parent is not None and (parent == job_id or _round_of(parent) not in self._open):
                self._closed(number, now)

    def _write(self, document: Mapping[str, Any]) -> None:
        self._events.write(_line(document))


@contextmanager
def recording(folder: RunFolder, watcher: Watcher) -> Iterator[Recorder]:
    """A recorder whose files are closed at the end, whatever the end is."""
    recorder = Recorder(folder, watcher)
    try:
        yield recorder
    finally:
        recorder.close()


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _round_of(job_id: JobId) -> int:
    """The number of the round that a job is of."""
    return int(job_id.rsplit(".", 2)[1])


def _round(round_: Round) -> dict[str, Any]:
    document: dict[str, Any] = {
        "round": round_.number,
        "step": round_.step,
        "iteration": round_.iteration,
        "role": round_.role.value,
        "work": round_.work.value,
    }
    if round_.parent is not None:
        asked = {
            "function": round_.name,
            "asker": round_.asker,
            "within": _round_of(round_.parent),
        }
        document |= asked
    return document


def _described(event: Event | None, job: Job) -> str:
    """An event about a job, as a line of JSON. Seats have plain names: nothing needs escaping."""
    about = f'"round": {job.round_number}, "seat": "{job.seat}"'
    match event:
        case JobClaimed():
            return f'{{"event": "job claimed", {about}}}'
        case JobReported(outcome=outcome):
            message = outcome.message
            sent = f', "bytes": {message.size_bytes}, "files": {len(message.blobs)}' if message else ""
            final = "true" if outcome.final else "false"
            return f'{{"event": "job reported", {about}{sent}, "final": {final}}}'
        case JobBroke(failure=failure):
            return f'{{"event": "job broke", {about}, "type": "{failure.type}"}}'
        case RoundRequested(number=number):
            return f'{{"event": "round requested", {about}, "request": {number}}}'
        case RoundGivenUp(round_number=number):
            return f'{{"event": "round given up", {about}, "child": {number}}}'
        case _:
            raise AssertionError(event)  # An event about a job is one of these.
