"""How a function is called: what fills each parameter, and what arguments it takes."""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Tuple

from atoll_algorithm._annotations import DATABASES, annotation_of, filler, split_optional
from atoll_algorithm._marks import Mark, innermost, mark_of
from atoll_algorithm._tables import LabelledDatabase
from atoll_algorithm.errors import ArgumentsInvalid

_VARIABLE_KEYWORDS = 0x08
_WORDS = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    tuple: "a list",
    set: "a list",
    frozenset: "a list",
    dict: "a dict",
    type(None): "nothing",
}

#: Makes an argument what its annotation says, or raises TypeError.
Fit = Callable[[Any], Any]


class Filled:
    """A parameter that the site fills."""

    __slots__ = ("default", "filler", "has_default", "label", "name")

    def __init__(self, name: str, filler: str, default: Any, has_default: bool) -> None:
        self.name = name
        self.filler = filler
        #: The label of a database that it takes whatever was asked for.
        self.label = default.label if isinstance(default, LabelledDatabase) else None
        self.has_default = has_default and self.label is None
        self.default = default


class Plan:
    """A function, and how it is called. It is made once per function."""

    __slots__ = (
        "asks",
        "defaults",
        "filled",
        "fits",
        "function",
        "mark",
        "name",
        "names",
        "open",
        "required",
        "tables",
        "words",
    )

    def __init__(self, function: Callable[..., Any], name: Optional[str] = None) -> None:
        written = innermost(function)
        code = written.__code__
        parameters = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        self.function = function
        self.name: str = name or function.__name__
        self.mark: Mark = mark_of(function) or Mark("")
        self.defaults: Dict[str, Any] = dict(written.__kwdefaults__ or {})
        given = written.__defaults__ or ()
        self.defaults.update(zip(code.co_varnames[code.co_argcount - len(given) : code.co_argcount], given))
        #: Whether it takes arguments by any name.
        self.open = bool(code.co_flags & _VARIABLE_KEYWORDS)
        self.filled: List[Filled] = []
        self.fits: Dict[str, Tuple[str, bool, Fit]] = {}
        names: List[str] = []
        for parameter in parameters:
            annotation = annotation_of(written, parameter)
            fills = filler(annotation)
            default = self.defaults.get(parameter)
            if fills is None and isinstance(default, LabelledDatabase):
                fills = "pandas"
            if fills is not None:
                self.filled.append(Filled(parameter, fills, default, parameter in self.defaults))
                continue
            names.append(parameter)
            self._fit(parameter, annotation)
        #: The arguments, in order.
        self.names = tuple(names)
        self._find_parts()
        self.required: FrozenSet[str] = frozenset(one for one in self.names if one not in self.defaults)
        self.tables = [one for one in self.filled if one.filler in DATABASES]
        #: Whether it may ask the node for more.
        self.asks = self.mark.style == "remote" or any(one.filler == "sites" for one in self.filled)
        self.words = _words(code)

    def _find_parts(self) -> None:
        """The first parameter of a remote half takes the parts, with an annotation or without."""
        if (
            self.mark.style == "remote"
            and not any(one.filler == "parts" for one in self.filled)
            and self.names
        ):
            self.filled.append(Filled(self.names[0], "parts", None, has_default=False))
            self.names = self.names[1:]

    def _fit(self, parameter: str, annotation: Any) -> None:
        plain, optional = split_optional(annotation)
        plain = getattr(plain, "__origin__", None) or plain
        if not isinstance(plain, type):
            return
        fit = _FITS.get(plain) or _fit_of(plain)
        if fit is not None:
            optional = optional or (parameter in self.defaults and self.defaults[parameter] is None)
            self.fits[parameter] = (_takes(plain), optional, fit)

    def check(self, arguments: Dict[str, Any]) -> None:
        """Raise where arguments are unknown, missing, or filled by the site.

        Raises:
            ArgumentsInvalid: With the function, the argument, and what it takes.
        """
        for name in arguments:
            if name in self.names:
                continue
            if any(one.name == name for one in self.filled):
                raise ArgumentsInvalid("%s: %r is filled at the site, and no argument" % (self.name, name))
            if not self.open:
                raise ArgumentsInvalid("%s takes no argument %r: %s" % (self.name, name, self._takes()))
        missing = [name for name in self.names if name in self.required and name not in arguments]
        if missing:
            raise ArgumentsInvalid(
                "%s needs the argument %s: %s" % (self.name, " and ".join(map(repr, missing)), self._takes())
            )

    def _takes(self) -> str:
        if not self.names:
            return "it takes none"
        named = [name if name in self.required else "%s (optional)" % (name,) for name in self.names]
        return "it takes %s" % (", ".join(named),)

    def fit(self, arguments: Dict[str, Any]) -> Dict[str, Any]:
        """Arguments as the function takes them: checked, and of the annotated types.

        Raises:
            ArgumentsInvalid: With the function, the argument, and what it takes.
        """
        if len(arguments) != len(self.names) or not all(name in self.names for name in arguments):
            self.check(arguments)
        for name, (takes, optional, fit) in self.fits.items():
            if name not in arguments:
                continue
            value = arguments[name]
            if value is None and optional:
                continue
            try:
                arguments[name] = fit(value)
            except (TypeError, ValueError, OverflowError):
                given = _WORDS.get(type(value)) or "a %s" % (type(value).__name__,)
                if isinstance(value, dict) and "dict" in takes:
                    given = "another dict"
                raise ArgumentsInvalid(
                    "%s: argument %r must be %s, and is %s" % (self.name, name, takes, given)
                ) from None
        return arguments


def _takes(kind: Any) -> str:
    """What an annotation asks for, in words."""
    if "__dataclass_fields__" in kind.__dict__:
        return "a dict with the fields %s" % (", ".join(kind.__dataclass_fields__),)
    if kind.__qualname__ == "ndarray":
        return "an array"
    return _WORDS.get(kind) or "a %s" % (kind.__name__,)


def _words(code: Any) -> FrozenSet[str]:
    """The text that a function's author wrote in it: the names that an error may show."""
    found = set(code.co_names) | set(code.co_varnames)
    rest = list(code.co_consts)
    while rest:
        one = rest.pop()
        if isinstance(one, str):
            found.add(one)
        elif isinstance(one, (tuple, frozenset)):
            rest.extend(one)
        elif hasattr(one, "co_consts"):
            found |= set(one.co_names) | set(one.co_varnames)
            rest.extend(one.co_consts)
    return frozenset(found)


# --- Arguments of the annotated types ---------------------------------------------------------


def _expect(holds: bool) -> None:
    if not holds:
        raise TypeError


def _fit_exact(kind: type) -> Fit:
    def fit(value: Any) -> Any:
        _expect(isinstance(value, kind))
        return value

    return fit


def _fit_int(value: Any) -> Any:
    _expect(isinstance(value, (int, float)) and not isinstance(value, bool))
    whole = int(value)
    _expect(whole == value)
    return whole


def _fit_float(value: Any) -> Any:
    _expect(isinstance(value, (int, float)) and not isinstance(value, bool))
    number = float(value)
    _expect(number == value or number != number)  # noqa: PLR0124 -- NaN alone differs from itself
    return number


def _fit_gathered(kind: Any) -> Fit:
    def fit(value: Any) -> Any:
        if type(value) is kind:
            return value
        _expect(isinstance(value, (list, tuple, set, frozenset)))
        return kind(value)

    return fit


_FITS: Dict[type, Fit] = {
    str: _fit_exact(str),
    bool: _fit_exact(bool),
    dict: _fit_exact(dict),
    bytes: _fit_exact(bytes),
    int: _fit_int,
    float: _fit_float,
    list: _fit_gathered(list),
    tuple: _fit_gathered(tuple),
    set: _fit_gathered(set),
    frozenset: _fit_gathered(frozenset),
}


def _fit_of(kind: type) -> Optional[Fit]:
    if kind.__qualname__ == "ndarray" and kind.__module__.partition(".")[0] == "numpy":
        return _fit_array
    if "__dataclass_fields__" not in kind.__dict__:
        return None

    def fit(value: Any) -> Any:
        if isinstance(value, kind):
            return value
        _expect(isinstance(value, dict))
        return kind(**value)

    return fit


def _fit_array(value: Any) -> Any:
    numpy = sys.modules["numpy"]
    if isinstance(value, numpy.ndarray):
        return value
    _expect(isinstance(value, (list, tuple, int, float, complex)))
    array = numpy.asarray(value)
    _expect(array.dtype.kind in "biufcU")
    return array
