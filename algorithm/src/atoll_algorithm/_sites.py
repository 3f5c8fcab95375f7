"""The sites as a function sees them: ask all or some of them, and get their answers."""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Tuple, Union

from atoll_algorithm._body import pack, unpack
from atoll_algorithm._calls import Call
from atoll_algorithm._marks import check_options
from atoll_algorithm.errors import (
    ArgumentsInvalid,
    Misdeclared,
    Refused,
    SiteFailed,
    TooFewSites,
)


class Failure:
    """Why a site didn't answer."""

    __slots__ = ("message", "type")

    def __init__(self, type: str, message: Optional[str] = None) -> None:  # noqa: A002 -- the word that failures have
        #: The class name of what was raised there; ``Late`` where the deadline went by.
        self.type = type
        #: What may be told of it, or None.
        self.message = message

    def __repr__(self) -> str:
        return "Failure(type=%r, message=%r)" % (self.type, self.message)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Failure) and (self.type, self.message) == (other.type, other.message)

    def __hash__(self) -> int:
        return hash((self.type, self.message))


class Parts(List[Any]):
    """What the sites returned: a list, in the order of the sites, that knows which is whose.

    A test may make one: ``Parts([{"n": 3}, {"n": 4}], sites=["alpha", "beta"])``.
    """

    def __init__(
        self,
        values: Iterable[Any] = (),
        sites: Optional[Iterable[str]] = None,
        failures: Optional[Mapping[str, Failure]] = None,
    ) -> None:
        super().__init__(values)
        #: The name of the site of each value, in the same order.
        self.sites: List[str] = (
            ["site%d" % number for number in range(len(self))] if sites is None else list(sites)
        )
        if len(self.sites) != len(self):
            raise ValueError("%d parts of %d sites" % (len(self), len(self.sites)))
        #: The sites that were asked and are not among these, and why.
        self.failures: Dict[str, Failure] = dict(failures or {})

    def items(self) -> List[Tuple[str, Any]]:
        """Pairs of a site's name and what it returned."""
        return list(zip(self.sites, self))


class Sites:
    """The sites of the run. A parameter annotated with this class is filled with them."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    @property
    def names(self) -> List[str]:
        """The names of all sites, in the run's order."""
        return list(self._call.sites)

    @property
    def here(self) -> str:
        """The name of the site that this function runs at."""
        return self._call.seat

    def __len__(self) -> int:
        return len(self._call.sites)

    def __repr__(self) -> str:
        return "<%d sites, at %s>" % (len(self), self.here)

    def call(
        self,
        function: Union[Callable[..., Any], str],
        /,
        *,
        sites: Optional[Iterable[str]] = None,
        on_failure: str = "raise",
        min_sites: Optional[int] = None,
        deadline: Optional[float] = None,
        databases: Optional[Iterable[str]] = None,
        **arguments: Any,
    ) -> Parts:
        """Run a function at the sites, all at the same time, and wait for their answers.

        Args:
            function: A decorated function of this algorithm, or its name.
            sites: The names of those to ask, in the order in which their answers are wanted;
                None: all, in the run's order.
            on_failure: ``raise``: one site that fails ends this. ``drop``: go on without it.
            min_sites: So many must answer.
            deadline: Seconds. Sites that answer later count as failed, with the type ``Late``.
            databases: The labels of the databases that the function gets; None: those that
                this function was asked to run on.
            arguments: What the function takes, by name.

        Returns:
            The answers in the order of the sites, whatever order they came in.

        Raises:
            SiteFailed: A site failed or was late, and `on_failure` is ``raise``.
            TooFewSites: Fewer than `min_sites` answered.
            Refused: The node doesn't carry the question, as too many were asked.
            ArgumentsInvalid: The function doesn't take these arguments, or there is no such site.
            NotServed: The algorithm has no such function.
            CantTravel: An argument can't be sent.
        """
        call = self._call
        chosen = self._chosen(sites)
        check_options(on_failure, min_sites, deadline)
        plan = call.algorithm.plan_of(function)
        plan.check(arguments)
        if plan.mark.style == "all_reduce":
            raise Misdeclared(
                "%s is all-reduce, and runs by itself: it can't be called from here" % (plan.name,)
            )
        labels = call.asked if databases is None else list(databases)
        parts = ask(call, plan.name, arguments, chosen, labels=labels, deadline=deadline)
        if on_failure == "raise":
            raise_failed(parts, plan.name)
        if min_sites is not None and len(parts) < min_sites:
            raise TooFewSites(
                "%s: %d of %d sites answered, and %d are needed%s"
                % (plan.name, len(parts), len(parts) + len(parts.failures), min_sites, _failed(parts))
            )
        return parts

    def sum(self, value: Any) -> Any:
        """The sum of a value over all sites, at each of them; in an `all_reduce` function.

        Whole numbers stay whole and exact; what has a fraction is added in the order of the
        sites, so that the same run has the same sum. Dicts and lists are summed element by
        element, and must be alike everywhere.

        Args:
            value: A number, an array, or a dict or list of them.

        Raises:
            OutOfStep: The sites' values don't fit together, or not all sites came to this sum.
            Misdeclared: The function is not `all_reduce`.
        """
        if self._call.meeting is None:
            raise Misdeclared(
                "sites.sum is for functions with @all_reduce; %s isn't one" % (self._call.function,)
            )
        return self._call.meeting.total(value)

    def mean(self, value: Any) -> Any:
        """The sum of a value over all sites, divided by their number: each site counts the same.

        Raises:
            OutOfStep: As for `sum`.
            Misdeclared: As for `sum`.
        """
        return _divided(self.sum(value), len(self))

    def _chosen(self, sites: Optional[Iterable[str]]) -> Optional[List[str]]:
        if sites is None:
            return None
        if isinstance(sites, str):
            raise ArgumentsInvalid("sites must be a list of names, and is one text: [%r]" % (sites,))
        chosen = list(sites)
        for name in chosen:
            if name not in self._call.sites:
                raise ArgumentsInvalid(
                    "there is no site %r: the sites are %s" % (name, ", ".join(self._call.sites))
                )
        if len(set(chosen)) != len(chosen):
            raise ArgumentsInvalid("sites names one site twice: %s" % (", ".join(chosen),))
        return chosen


def ask(
    call: Call,
    function: str,
    arguments: Dict[str, Any],
    sites: Optional[List[str]],
    *,
    labels: Optional[List[str]] = None,
    deadline: Optional[float] = None,
    key: Optional[str] = None,
) -> Parts:
    """Have the node run a function at sites, and gather what comes back.

    Raises:
        Refused: The node doesn't, and says why.
    """
    names = call.sites if sites is None else sites
    if not names:
        return Parts()
    if call.ask is None:
        raise Refused("%s can't ask the sites: it was called without a way to them" % (call.function,))
    body = pack({"function": function, "args": arguments, "databases": labels}, "call", call.words | {"args"})
    question = {"say": "call", "function": function, "sites": sites, "deadline": deadline, "keep": key}
    values: Dict[str, Any] = {}
    failures: Dict[str, Failure] = {}
    for head, content in call.ask(question, body):
        what = head.get("do")
        if what == "refused":
            raise Refused(head.get("message") or "the node refused the question")
        if what == "end":
            break
        site = head["site"]
        if head.get("status") == "done":
            values[site] = unpack(content, call.algorithm.make)
        else:
            failures[site] = _failure(head)
    for name in names:
        if name not in values and name not in failures:
            failures[name] = Failure("Lost", "the site gave no answer")
    answered = [name for name in names if name in values]
    return Parts(
        [values[name] for name in answered],
        answered,
        {name: failures[name] for name in names if name in failures},
    )


def _failure(head: Dict[str, Any]) -> Failure:
    if head.get("status") == "late":
        return Failure("Late", "the deadline went by")
    told = head.get("failure") or {}
    return Failure(told.get("type") or "Unknown", told.get("message"))


def raise_failed(parts: Parts, function: str) -> None:
    """Raise where a site failed.

    Raises:
        SiteFailed: With the first of them.
    """
    for site, failure in parts.failures.items():
        more = len(parts.failures) - 1
        raise SiteFailed(
            "%s failed at %s: %s%s%s"
            % (
                function,
                site,
                failure.type,
                ": %s" % (failure.message,) if failure.message else "",
                " (and at %d more)" % (more,) if more else "",
            ),
            site=site,
            function=function,
            type=failure.type,
        )


def _failed(parts: Parts) -> str:
    named = ["%s (%s)" % (site, failure.type) for site, failure in parts.failures.items()]
    if not named:
        return ""
    # Sites mostly fail alike, and one reason is what an author looks for first.
    why = next((failure.message for failure in parts.failures.values() if failure.message), None)
    return ". Failed: %s%s" % (", ".join(named), ". The first: %s" % (why,) if why else "")


def _divided(value: Any, count: int) -> Any:
    if isinstance(value, dict):
        return {key: _divided(one, count) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_divided(one, count) for one in value])
    return value / count
