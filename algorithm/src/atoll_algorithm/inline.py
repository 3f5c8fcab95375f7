"""An algorithm, loaded into this process, and called with the bytes that travel.

This is what both a served process and a simulation in one process run. Functions are called
where the caller stands: ``print`` prints and ``breakpoint()`` breaks.
"""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple, Union

from atoll_algorithm import _calls, _loading
from atoll_algorithm._body import join, pack, peek, unpack
from atoll_algorithm._calls import Ask, Call
from atoll_algorithm._databases import table_of
from atoll_algorithm._failing import failed, print_error
from atoll_algorithm._generators import generator_of
from atoll_algorithm._iterative import iterate
from atoll_algorithm._marks import mark_of
from atoll_algorithm._meeting import STEP, Meeting, answer_step, drive
from atoll_algorithm._plans import Filled, Plan
from atoll_algorithm._sites import Sites
from atoll_algorithm.errors import AlgorithmError, ArgumentsInvalid, BodyInvalid, DatabaseUnusable, NotServed

Head = Dict[str, Any]
#: What a caller of `Algorithm.call` hands in to be asked: the head and body of a question, and
#: the heads and bodies of its answers.
AskBytes = Callable[[Head, bytes], Iterable[Tuple[Head, Any]]]
#: Told of an exception in a function, with its traceback, which must not leave the site.
Report = Callable[[str, BaseException], None]
#: So large may a body be that is remembered for having been asked about.
_PEEKED_BYTES_MAX = 1 << 16


class Algorithm:
    """The functions of one algorithm.

    One object may serve any number of sites in one process: their calls share the module's
    globals, so what a function keeps there is not kept per site, and nothing is promised of it.
    """

    def __init__(self, functions: Dict[str, Any], roots: Iterable[str], module: Any, report: Report) -> None:
        self._functions = functions
        #: The modules whose dataclasses may be made, with all that lie beneath them.
        self._roots = tuple(roots)
        self._module = module
        self._plans: Dict[str, Plan] = {}
        self._report = report
        self._peeked: Tuple[Any, bool] = (None, False)
        #: All-reduce functions that wait for a total, by key.
        self._paused: Dict[str, Meeting] = {}

    @classmethod
    def load(cls, target: str, *, report: Report = print_error) -> "Algorithm":
        """Load a file, or a package's folder.

        Args:
            target: The path of a ``.py`` file or of a folder with an ``__init__.py``.
            report: Told of exceptions in functions; by default their traceback goes to standard error.

        Raises:
            NotServed: There is no such file or package.
            Exception: Whatever the module raises when it is imported.
        """
        module = _loading.load(target)
        return cls(_loading.functions_of(module), [module.__name__], module, report)

    @classmethod
    def of(cls, source: Union[Any, Iterable[Any]], *, report: Report = print_error) -> "Algorithm":
        """Take a module that is loaded, or functions.

        Args:
            source: A module, or decorated functions. A remote function brings its local half.
            report: As for `load`.

        Raises:
            NotServed: One has no decorator.
        """
        if hasattr(source, "__dict__") and hasattr(source, "__name__") and not callable(source):
            return cls(_loading.functions_of(source), [source.__name__], source, report)
        functions = [source] if callable(source) else list(source)
        named = _loading.functions_in(functions)
        return cls(named, {one.__module__ for one in named.values()}, None, report)

    @property
    def names(self) -> List[str]:
        """The names of its functions."""
        return sorted(self._functions)

    def plan_of(self, function: Any) -> Plan:
        """How a function is called.

        Args:
            function: It, or its name.

        Raises:
            NotServed: This algorithm hasn't this function.
        """
        if isinstance(function, str):
            plan = self._plans.get(function)
            if plan is None:
                plan = self._plans[function] = Plan(self._find(function), function)
            return plan
        name = getattr(function, "__name__", "")
        if self._functions.get(name) is not function:
            for other, one in self._functions.items():
                if one is function:
                    return self.plan_of(other)
            if mark_of(function) is None:
                raise NotServed(
                    "%s has no decorator: put @partial above it" % (name or type(function).__name__,)
                )
            raise NotServed(
                "%s isn't a function of this algorithm: import it in the algorithm's module or package"
                % (name,)
            )
        return self.plan_of(name)

    def _find(self, name: str) -> Any:
        function = self._functions.get(name)
        if function is not None:
            return function
        plain = getattr(self._module, name, None) if name.isidentifier() else None
        if callable(plain) and not isinstance(plain, type):
            raise NotServed("%s has no decorator: put @partial or @central above it" % (name,))
        there = ", ".join(self.names)
        raise NotServed(
            "there is no function %r: there %s" % (name[:80], "are " + there if there else "is none")
        )

    def asks(self, body: Any) -> bool:
        """Whether the function that a call's body names may ask the sites.

        Then whoever calls it must be ready to be asked while it runs. What can't be read or
        isn't there asks nothing: calling it says what is wrong.
        """
        last, asks = self._peeked
        if last is body:
            return asks
        try:
            request = peek(body)
            plan = self.plan_of(request["function"])
            asks = plan.asks and not (plan.mark.style == "all_reduce" and STEP in request["args"])
        except (AlgorithmError, LookupError, TypeError):
            asks = False
        # One body goes to many sites. A large one isn't held for this alone.
        self._peeked = (body if len(body) < _PEEKED_BYTES_MAX else None, asks)
        return asks

    def call(self, head: Head, body: Any, ask: Optional[AskBytes] = None) -> Tuple[Head, bytes]:
        """Call a function as the line does, and return its answer as the line would carry it.

        Args:
            head: ``{"do": "call", ...}``. A database may be a frame in memory, under ``table``.
            body: The container that names the function and holds its arguments.
            ask: Answers what the function asks. It is called in the thread that calls this.
                None: the function can't ask, and what it says of its progress is dropped. What an
                all-reduce function says of its progress comes from the thread that it runs in.

        Returns:
            ``{"say": "returned"}`` with a container, or ``{"say": "failed", ...}`` with nothing.

        Raises:
            KeyboardInterrupt: A person wants the process to end.
        """
        answer, pieces = self.answer(head, body, None if ask is None else _asking(ask))
        return answer, join(pieces) if pieces else b""

    def answer(self, head: Head, body: Any, ask: Optional[Ask]) -> Tuple[Head, List[Any]]:
        """As `call`, with the pieces of the answer's container."""
        words = None
        try:
            plan, arguments, labels = self._read(body)
            words = plan.words
            call = Call(self, head, plan, labels, ask)
            before = _calls.enter(call)
            try:
                value = self._run(plan, call, arguments, head.get("resume"))
            finally:
                _calls.enter(before)
            return {"say": "returned"}, pack(value, "result", words)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # the top of a call: whatever it raised is its answer
            self._report(head.get("seat") or "", error)
            return failed(error), []

    def _read(self, body: Any) -> Tuple[Plan, Dict[str, Any], Optional[List[str]]]:
        request = unpack(body, self.make)
        if type(request) is not dict or type(request.get("function")) is not str:
            raise BodyInvalid("a call names no function")
        arguments = request.get("args")
        labels = request.get("databases")
        if not (arguments is None or type(arguments) is dict) or not (labels is None or type(labels) is list):
            raise BodyInvalid("a call's args must be a dict, and its databases a list or null")
        return self.plan_of(request["function"]), arguments or {}, labels

    def _run(self, plan: Plan, call: Call, arguments: Dict[str, Any], resume: Optional[str]) -> Any:
        style = plan.mark.style
        if style == "all_reduce":
            if STEP in arguments:
                return answer_step(
                    self._paused, call, arguments, resume, lambda given: self._meet(plan, call, given)
                )
            return drive(plan, call, arguments)
        if style == "remote":
            return iterate(plan, Sites(call), arguments, self._fill(plan, call))
        filled = self._fill(plan, call) if plan.filled else {}
        return plan.function(**plan.fit(arguments), **filled)

    def _meet(self, plan: Plan, call: Call, arguments: Dict[str, Any]) -> Meeting:
        plan.check(arguments)
        return Meeting(call, lambda: plan.function(**plan.fit(arguments), **self._fill(plan, call)))

    def _fill(self, plan: Plan, call: Call) -> Dict[str, Any]:
        """What the site fills in, by parameter."""
        filled: Dict[str, Any] = {}
        rest: Optional[Iterator[Dict[str, Any]]] = None
        for one in plan.filled:
            if one.filler == "sites":
                filled[one.name] = Sites(call)
            elif one.filler in ("random", "numpy_random"):
                filled[one.name] = generator_of(one.filler, call, one.name)
            elif one.filler == "parts":
                if plan.mark.style != "remote":
                    raise ArgumentsInvalid("%s: only a remote half is given parts" % (plan.name,))
            elif one.label is not None:
                filled[one.name] = table_of(call.by_label(one.label), one.filler)
            else:
                rest = iter(call.in_order()) if rest is None else rest
                database = next(rest, None)
                if database is not None:
                    filled[one.name] = table_of(database, one.filler)
                elif not one.has_default:
                    raise _too_few(plan, call)
        return filled

    def close(self) -> None:
        """End what waits in threads for sums that won't come."""
        for meeting in self._paused.values():
            meeting.abandon()
        self._paused.clear()

    def make(self, name: str, fields: Dict[str, Any]) -> Any:
        """A dataclass's instance, if its class is in a loaded module of this algorithm; else its fields.

        Raises:
            BodyInvalid: The class doesn't take these fields.
        """
        module, _, path = name.partition(":")
        if not any(module == root or module.startswith(root + ".") for root in self._roots):
            return fields
        found: Any = sys.modules.get(module)
        for part in path.split("."):
            found = getattr(found, part, None)
        if not (isinstance(found, type) and "__dataclass_fields__" in found.__dict__):
            return fields
        return _make(found, fields)


def _make(kind: Any, fields: Dict[str, Any]) -> Any:
    known = kind.__dataclass_fields__
    given = {name: value for name, value in fields.items() if name in known and known[name].init}
    try:
        if len(fields) != len([name for name in fields if name in known]):
            raise TypeError
        made = kind(**given)
        for name, value in fields.items():
            if name not in given:
                object.__setattr__(made, name, value)
    except (TypeError, ValueError, AttributeError) as error:
        raise BodyInvalid("a %s can't be made from what a body holds" % (kind.__qualname__,)) from error
    return made


def _too_few(plan: Plan, call: Call) -> DatabaseUnusable:
    wanted: List[Filled] = [one for one in plan.tables if one.label is None and not one.has_default]
    given = [repr(one.get("label")) for one in call.in_order()]
    return DatabaseUnusable(
        "%s takes %d database%s (%s), and %s"
        % (
            plan.name,
            len(wanted),
            "" if len(wanted) == 1 else "s",
            ", ".join(one.name for one in wanted),
            "was given %s" % (", ".join(given),) if given else "was given none",
        )
    )


def _asking(ask: AskBytes) -> Ask:
    def ask_bytes(head: Head, pieces: List[Any]) -> Iterable[Tuple[Head, Any]]:
        return ask(head, join(pieces) if pieces else b"")

    return ask_bytes
