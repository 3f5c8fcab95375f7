"""What the decorators leave on a function: how it is called, and what leaves with its answer."""

from __future__ import annotations

from typing import Any, Callable, Dict, Mapping, Optional, TypeVar, Union, overload

from atoll_algorithm._annotations import resolve
from atoll_algorithm.errors import ArgumentsInvalid, Misdeclared

F = TypeVar("F", bound=Callable[..., Any])
#: What leaves: one kind for all, or one for each key of the result.
Kind = Union[str, Mapping[str, str], None]

#: The kinds of what may leave, after SACRO's statbarns; `parameters` are those of a fitted model.
KINDS = frozenset(
    [
        "frequencies",
        "linear_aggregations",
        "position",
        "endpoints",
        "mode",
        "shape",
        "correlation_coefficients",
        "hypothesis_tests",
        "survival_tables",
        "ratios",
        "concentration_ratios",
        "gini",
        "linked_tables",
        "clusters",
        "parameters",
    ]
)
#: What `Sites.call` takes itself, and so no function may take from a caller.
RESERVED = ("sites", "on_failure", "min_sites", "deadline", "databases")
#: Where the mark lies on a function.
ATTRIBUTE = "__atoll__"

_VARIABLE, _GENERATOR = 0x04 | 0x08, 0x20 | 0x80 | 0x200


class Mark:
    """How a function is called."""

    __slots__ = ("kind", "local", "options", "style")

    def __init__(
        self,
        style: str,
        kind: Kind = None,
        local: Optional[Callable[..., Any]] = None,
        options: Optional[Dict[str, Any]] = None,
    ) -> None:
        #: ``partial``, ``central``, ``local``, ``remote`` or ``all_reduce``.
        self.style = style
        self.kind = kind
        #: A remote function's local half.
        self.local = local
        #: What else the decorator was told.
        self.options = options or {}


def mark_of(function: Any) -> Optional[Mark]:
    """A function's mark, or None."""
    mark = getattr(function, ATTRIBUTE, None)
    return mark if isinstance(mark, Mark) else None


def innermost(function: Any) -> Any:
    """The function that was written, under what other decorators laid round it."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    return function


def mark(function: F, mark: Mark) -> F:
    """Mark a function, and return it as it is.

    Raises:
        Misdeclared: It is no function that can be called by the names of its parameters.
    """
    written = innermost(function)
    code = getattr(written, "__code__", None)
    name = getattr(function, "__name__", None) or type(function).__name__
    if code is None or isinstance(function, (staticmethod, classmethod)):
        raise Misdeclared("@%s is for functions, and %s is none" % (mark.style, name))
    if code.co_flags & _GENERATOR:
        raise Misdeclared(
            "%s: @%s is for functions that return; this one yields or awaits" % (name, mark.style)
        )
    if getattr(code, "co_posonlyargcount", 0):
        raise Misdeclared("%s: arguments go by name, and this function takes some by position only" % (name,))
    for parameter in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
        if parameter in RESERVED and resolve(written, parameter) != "sites":
            raise Misdeclared(
                "%s: a parameter can't be called %r, as sites.call takes that itself" % (name, parameter)
            )
    check_kind(name, mark.kind)
    setattr(function, ATTRIBUTE, mark)
    return function


def check_kind(name: str, kind: Kind) -> None:
    """Raise where a declared kind is none."""
    if kind is None:
        return
    named = list(kind.values()) if isinstance(kind, Mapping) else [kind]
    for one in named:
        if one not in KINDS:
            raise Misdeclared("%s: kind %r is none of %s" % (name, one, ", ".join(sorted(KINDS))))


def check_options(on_failure: str, min_sites: Optional[int], deadline: Optional[float]) -> None:
    """Raise where what `Sites.call` is told about failures makes no sense.

    Raises:
        ArgumentsInvalid: With what was expected.
    """
    if on_failure not in ("raise", "drop"):
        raise ArgumentsInvalid("on_failure must be 'raise' or 'drop'")
    if min_sites is not None and (type(min_sites) is not int or min_sites < 0):
        raise ArgumentsInvalid("min_sites must be a whole number")
    if deadline is not None and not (type(deadline) in (int, float) and deadline > 0):
        raise ArgumentsInvalid("deadline must be seconds, and more than none")


@overload
def partial(function: F) -> F: ...
@overload
def partial(*, kind: Kind = ...) -> Callable[[F], F]: ...
def partial(function: Optional[Any] = None, *, kind: Kind = None) -> Any:
    """A function that runs at each site, on that site's data; what it returns leaves the site.

    Its parameters are filled by their annotations: `Table` (or ``pandas.DataFrame``),
    ``pyarrow.Table``, ``polars.DataFrame`` or ``pathlib.Path`` take a database;
    ``random.Random`` or ``numpy.random.Generator`` a seeded generator; `Sites` the sites. All
    others are arguments. The function stays callable as it is: ``moments(frame, column="age")``.

    A table is the call's own, to be changed at will. Arrays among the arguments are read where
    they came in, and can't be written to: ``weights = weights + step``, not ``weights += step``.

    Args:
        function: The function. It must not be called for this: ``@partial`` is enough.
        kind: What leaves, in the vocabulary of SACRO's statbarns: one word, or one for each key
            of the result, such as ``{"n": "frequencies", "sum": "linear_aggregations"}``. Sites
            judge by it. It is not checked against what is returned.

    Raises:
        Misdeclared: The kind is unknown, or the function can't be called by parameter names.
    """
    return _decorate("partial", function, kind)


@overload
def central(function: F) -> F: ...
@overload
def central(*, kind: Kind = ...) -> Callable[[F], F]: ...
def central(function: Optional[Any] = None, *, kind: Kind = None) -> Any:
    """A function that runs once, and asks the sites: ``sites.call(moments, column="age")``.

    It runs at one of the sites, and may take that site's databases as a `partial` does.

    Args:
        function: The function.
        kind: What leaves, as for `partial`.

    Raises:
        Misdeclared: As for `partial`.
    """
    return _decorate("central", function, kind)


@overload
def local(function: F) -> F: ...
@overload
def local(*, kind: Kind = ...) -> Callable[[F], F]: ...
def local(function: Optional[Any] = None, *, kind: Kind = None) -> Any:
    """The half of an iterative function that runs at each site; `remote` is the other.

    It is a `partial` whose first argument (what is not filled by its annotation) is the state:
    what the remote half returned last.

    Args:
        function: The function.
        kind: What leaves, as for `partial`.

    Raises:
        Misdeclared: As for `partial`.
    """
    return _decorate("local", function, kind)


@overload
def all_reduce(function: F) -> F: ...
@overload
def all_reduce(*, kind: Kind = ...) -> Callable[[F], F]: ...
def all_reduce(function: Optional[Any] = None, *, kind: Kind = None) -> Any:
    """A function that runs at every site at once, and meets the others in ``sites.sum(...)``.

    ::

        @all_reduce
        def mean(data: Table, sites: Sites, column: str) -> float:
            return sites.sum(data[column].sum()) / sites.sum(len(data))

    Every site must ask for the same sums in the same order, and return the same value: that
    value is the result. At a sum the function waits in a thread of its own, so what is tied to
    one thread (a debugger's prompt under a served process, some database connections) should
    not be held across it.

    Args:
        function: The function.
        kind: What leaves, as for `partial`.

    Raises:
        Misdeclared: As for `partial`.
    """
    return _decorate("all_reduce", function, kind)


def _decorate(style: str, function: Optional[Any], kind: Kind) -> Any:
    if function is not None:
        return mark(function, Mark(style))

    def decorate(written: F) -> F:
        return mark(written, Mark(style, kind))

    return decorate


def remote(
    local: Callable[..., Any],
    *,
    max_iterations: int = 100,
    on_failure: str = "raise",
    min_sites: Optional[int] = None,
    deadline: Optional[float] = None,
    kind: Kind = None,
) -> Callable[[F], F]:
    """The half of an iterative function that combines what the sites sent, until it is `Done`.

    ::

        @local
        def gradient(data: Table, weights: list, column: str) -> list: ...


        @remote(gradient)
        def fit(parts: Parts, weights: list, rate: float = 0.1):
            following = step(weights, parts, rate)
            return Done(following) if close(following, weights) else following

    This makes a function ``fit`` that a person runs. In each iteration every site calls the
    local half, and then the remote half is called with their answers: `Parts`, its first
    parameter. What it returns is the *state* and goes to the sites next, as the first argument
    of the local half, here ``weights``. A parameter of the remote half by that name gets the
    state that the sites had. A `Done` ends it.

    The person's arguments go to the half, or to both, that has a parameter of that name. The
    state may be among them: it is then what the sites get first. Without it they get the
    default of the local half's parameter.

    The state is all that lasts from one iteration to the next.

    Args:
        local: The local half.
        max_iterations: So many may go by without a `Done`.
        on_failure: As for `Sites.call`, in every iteration.
        min_sites: As for `Sites.call`.
        deadline: As for `Sites.call`.
        kind: What leaves, as for `partial`.

    Raises:
        Misdeclared: The local half has no mark, the count isn't positive, or as for `partial`.
    """
    half = mark_of(local)
    if half is None or half.style not in ("local", "partial"):
        raise Misdeclared("@remote(...) takes the local half: a function with @local above it")
    check_options(on_failure, min_sites, deadline)
    if type(max_iterations) is not int or max_iterations < 1:
        raise Misdeclared("max_iterations must be a whole number from 1")
    options = {
        "max_iterations": max_iterations,
        "on_failure": on_failure,
        "min_sites": min_sites,
        "deadline": deadline,
    }

    def decorate(written: F) -> F:
        return mark(written, Mark("remote", kind, local, options))

    return decorate
