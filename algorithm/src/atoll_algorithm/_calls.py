"""One call of a function: what the node said with it, and the way back to ask for more."""

from __future__ import annotations

import threading
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple

from atoll_algorithm._plans import Plan
from atoll_algorithm.errors import DatabaseUnusable

#: Says something to the node; what comes back, where something does.
Ask = Callable[[Dict[str, Any], List[Any]], Iterable[Tuple[Dict[str, Any], Any]]]

_here = threading.local()


class Call:
    """What a function that runs is surrounded by."""

    __slots__ = (
        "algorithm",
        "ask",
        "asked",
        "databases",
        "function",
        "keys",
        "meeting",
        "seat",
        "seed",
        "sites",
        "words",
    )

    def __init__(
        self,
        algorithm: Any,
        head: Dict[str, Any],
        plan: Plan,
        asked: Optional[List[str]],
        ask: Optional[Ask],
    ) -> None:
        #: What finds functions by name.
        self.algorithm = algorithm
        self.function: str = plan.name
        #: The text that the function's author wrote: the keys that an error may show.
        self.words = plan.words
        self.seat: str = head.get("seat") or ""
        self.sites: List[str] = head.get("sites") or []
        self.seed: Optional[int] = head.get("seed")
        #: What the site offers.
        self.databases: List[Dict[str, Any]] = head.get("databases") or []
        #: The labels that were asked for; None: all, in the site's order.
        self.asked = asked
        self.ask = ask
        #: Where this function meets its likes at the other sites, if it is all-reduce.
        self.meeting: Any = None
        #: How many all-reduce functions it has driven.
        self.keys = 0

    def by_label(self, label: str) -> Dict[str, Any]:
        """A database of the site.

        Raises:
            DatabaseUnusable: The site has none of this label.
        """
        for one in self.databases:
            if one.get("label") == label:
                return one
        labels = ", ".join(repr(one.get("label")) for one in self.databases)
        raise DatabaseUnusable(
            "%s: the site has no database %r: it has %s" % (self.function, label, labels or "none")
        )

    def in_order(self) -> List[Dict[str, Any]]:
        """The databases that were asked for."""
        return self.databases if self.asked is None else [self.by_label(label) for label in self.asked]

    def say(self, head: Dict[str, Any]) -> None:
        """Tell the node something that has no answer."""
        if self.ask is not None:
            for _ in self.ask(head, []):
                pass


def enter(call: Optional[Call]) -> Optional[Call]:
    """Make a call this thread's own; the one before."""
    before = getattr(_here, "call", None)
    _here.call = call
    return before


def progress(fraction: Optional[float], text: str = "") -> None:
    """Tell how far the function is.

    Outside of a served call, as in a unit test, and in threads that the function started
    itself, this does nothing. The text goes to who watches the run: it must not hold data.

    Args:
        fraction: 0 to 1, or None where nobody can tell. What lies beyond is cut.
        text: A few words, such as "fold 3 of 10".
    """
    call: Optional[Call] = getattr(_here, "call", None)
    if call is None:
        return
    if fraction is not None:
        fraction = float(fraction)
        fraction = None if fraction != fraction else min(1.0, max(0.0, fraction))  # noqa: PLR0124 -- NaN alone differs from itself
    call.say({"say": "progress", "fraction": fraction, "text": str(text)})


def log(text: str) -> None:
    """Say a line to who watches the run; it must not hold data. ``print`` stays at the site.

    Outside of a served call this does nothing, as `progress`.
    """
    call: Optional[Call] = getattr(_here, "call", None)
    if call is not None:
        call.say({"say": "log", "text": str(text)})
