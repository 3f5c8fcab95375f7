"""All-reduce: the same function at every site, paused at each sum until all are there.

::

    driver (once)                       each site
    call f, keep ---------------------> f runs in a thread of its own
                 <--------- contribution  sites.sum(v): the thread waits
    adds them up
    call f, keep, total --------------> the thread goes on
                 <--------------- result  f returns
    compares them

The rounds of one driver carry a key. The node runs them, at each site, in the process in which
the thread waits.
"""

from __future__ import annotations

import queue
import threading
from typing import Any, Callable, Dict, List, Optional

from atoll_algorithm import _calls
from atoll_algorithm._body import join, pack
from atoll_algorithm._calls import Call
from atoll_algorithm._plans import Plan
from atoll_algorithm._sites import Parts, ask, raise_failed
from atoll_algorithm._sums import add_up
from atoll_algorithm.errors import AlgorithmError, NotServed, OutOfStep

#: The argument that marks a call as a step of a driver; no parameter can be called so.
STEP = "atoll.step"


# --- At the driver ----------------------------------------------------------------------------


def drive(plan: Plan, call: Call, arguments: Dict[str, Any]) -> Any:
    """Run an all-reduce function at all sites, and return what they all returned.

    Raises:
        SiteFailed: A site did.
        OutOfStep: They don't do the same.
        ArgumentsInvalid: The function doesn't take these arguments.
    """
    plan.check(arguments)
    call.keys += 1
    # Made from what is the same when a run is played again.
    key = "%s/%s/%d" % (call.seat, plan.name, call.keys)
    step = 0
    sent: Dict[str, Any] = {"arguments": arguments}
    while True:
        parts = ask(call, plan.name, {STEP: [key, step], **sent}, None, labels=call.asked, key=key)
        try:
            raise_failed(parts, plan.name)
            waiting = [site for site, part in parts.items() if "atoll.sum" in part]
            if not waiting:
                return _agreed(parts, plan.name)
            if len(waiting) < len(parts):
                gone = [site for site in parts.sites if site not in waiting]
                raise OutOfStep(
                    "%s: %s asked for a sum where %s returned: every site must ask for the same sums"
                    % (plan.name, ", ".join(waiting), ", ".join(gone))
                )
            total = add_up([part["atoll.sum"] for part in parts], parts.sites, plan.name)
        except AlgorithmError:
            _abandon(plan, call, key, step + 1, parts)
            raise
        step += 1
        sent = {"total": total}


def _agreed(parts: Parts, name: str) -> Any:
    results = [part["atoll.result"] for part in parts]
    first = join(pack(results[0]))
    others = [site for site, result in zip(parts.sites, results) if join(pack(result)) != first]
    if others:
        raise OutOfStep(
            "%s returned something else at %s than at %s: every site must return the same, "
            "made from what sites.sum returned" % (name, ", ".join(others), parts.sites[0])
        )
    return results[0]


def _abandon(plan: Plan, call: Call, key: str, step: int, parts: Parts) -> None:
    """End what waits at the sites, as nobody will come."""
    waiting = [site for site, part in parts.items() if "atoll.sum" in part]
    if not waiting:
        return
    try:
        ask(call, plan.name, {STEP: [key, step], "abandon": True}, waiting, labels=call.asked, key=key)
    except AlgorithmError:
        pass  # The threads then end with their sessions; what went wrong before is what matters.


# --- At a site --------------------------------------------------------------------------------


class _Abandoned(BaseException):
    """Unwinds a function that nobody waits for any more."""


class Meeting:
    """A function that runs in a thread of its own, and is paused at each sum."""

    def __init__(self, call: Call, run: Callable[[], Any]) -> None:
        self._call = call
        self._run = run
        self._said: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        self._heard: "queue.SimpleQueue[Any]" = queue.SimpleQueue()
        #: The number of the step that is expected next.
        self.step = 1
        call.meeting = self
        # A daemon: at the end of the process nothing waits for those that wait.
        self._thread = threading.Thread(target=self._work, name="atoll-%s" % (call.function,), daemon=True)

    def begin(self) -> Any:
        """Run to the first sum or the end; what the site says then."""
        self._thread.start()
        return self._listen()

    def go_on(self, total: Any, ask_node: Any) -> Any:
        """Run on with a total, to the next sum or the end."""
        self._call.ask = ask_node
        self.step += 1
        self._heard.put((total,))
        return self._listen()

    def abandon(self) -> None:
        """End the function where it waits."""
        self._heard.put(None)
        self._thread.join()

    def total(self, value: Any) -> Any:
        """In the function's thread: contribute, and wait for the total."""
        self._said.put({"atoll.sum": value})
        heard = self._heard.get()
        if heard is None:
            raise _Abandoned
        return heard[0]

    def _listen(self) -> Any:
        said = self._said.get()
        if isinstance(said, BaseException):
            raise said
        return said

    @property
    def is_over(self) -> bool:
        """Whether the function has ended, or is about to."""
        return self._over

    _over = False

    def _work(self) -> None:
        _calls.enter(self._call)
        try:
            said: Any = {"atoll.result": self._run()}
        except _Abandoned:
            return
        except BaseException as error:  # the top of a thread: who listens raises it again
            said = error
        self._over = True
        self._said.put(said)


def answer_step(
    paused: Dict[str, Meeting],
    call: Call,
    arguments: Dict[str, Any],
    resume: Optional[str],
    start: Callable[[Dict[str, Any]], Meeting],
) -> Any:
    """One round of a driver, at a site.

    Args:
        paused: The functions that wait in this process, by key.
        call: The round's.
        arguments: Of the round: the driver's.
        resume: The node's name for the driver, or None: the driver's own is used.
        start: Makes the function's meeting from the person's arguments.

    Raises:
        NotServed: Nothing waits here under this key.
    """
    place: List[Any] = arguments[STEP]
    # One process may serve several sites, and one site several drivers.
    key, step = "%s/%s/%s" % (call.seat, resume or "", place[0]), place[1]
    if step == 0:
        meeting = start(arguments.get("arguments") or {})
        said = meeting.begin()
    else:
        waiting = paused.pop(key, None)
        if waiting is None or waiting.step != step:
            raise NotServed(
                "%s isn't paused at its sum %d here: its process has ended" % (call.function, step)
            )
        if arguments.get("abandon"):
            waiting.abandon()
            return None
        meeting = waiting
        said = meeting.go_on(arguments.get("total"), call.ask)
    if not meeting.is_over:
        paused[key] = meeting
    return said
