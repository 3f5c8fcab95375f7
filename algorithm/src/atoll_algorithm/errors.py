"""Every error that this package raises.

::

    AlgorithmError
    ├── Stop                 the author ends the function, in words that may be sent
    ├── Misdeclared          a decorator, or the function under it, can't be what it says
    ├── NotServed            the algorithm has no such function
    ├── ArgumentsInvalid     what was passed isn't what the function takes
    ├── DatabaseUnusable     a database isn't there, or can't be read as what was asked for
    ├── CantTravel           a value of a type that doesn't leave a process
    ├── BodyInvalid          bytes that are no body
    ├── Refused              the node refused a question
    ├── SiteFailed           a site that was asked didn't answer, and that matters
    ├── TooFewSites          fewer sites answered than the algorithm needs
    ├── NotConverged         an iterative function used up its iterations
    └── OutOfStep            the sites of an all-reduce function don't do the same

The words of these errors, and of no others, are sent from a site to who asked: they name
functions, arguments, types and sites, and never hold a value of the data.
"""

from __future__ import annotations

from typing import Optional


class AlgorithmError(Exception):
    """The root: whatever this package raises on purpose."""


class Stop(AlgorithmError):
    """Raise this to end a function with words for who asked.

    ``raise Stop("fewer than 10 rows")``: its author vouches that the message may leave the
    site. Of every other exception only the type and the lines of code leave.
    """


class Misdeclared(AlgorithmError, TypeError):
    """A decorator was used in a way that can't work."""


class NotServed(AlgorithmError, LookupError):
    """The algorithm has no function of this name."""


class ArgumentsInvalid(AlgorithmError, TypeError):
    """What was passed isn't what the function takes."""


class DatabaseUnusable(AlgorithmError):
    """A database isn't there, or can't be read as what was asked for."""


class CantTravel(AlgorithmError, TypeError):
    """A value can't leave the process."""

    def __init__(self, message: str, sendable: Optional[str] = None) -> None:
        super().__init__(message)
        #: The message without keys that the author didn't write: those may be data.
        self.sendable = message if sendable is None else sendable


class BodyInvalid(AlgorithmError, ValueError):
    """Bytes that were to be a body aren't one."""


class Refused(AlgorithmError):
    """The node refused a question, and says why."""


class SiteFailed(AlgorithmError):
    """A site that was asked didn't answer."""

    def __init__(self, message: str, site: str = "", function: str = "", type: str = "") -> None:  # noqa: A002 -- the word that failures have
        super().__init__(message)
        #: The site's name.
        self.site = site
        #: The function that it was asked for.
        self.function = function
        #: The class name of what was raised there, or ``Late``.
        self.type = type


class TooFewSites(AlgorithmError):
    """Fewer sites answered than ``min_sites``."""


class NotConverged(AlgorithmError):
    """``max_iterations`` went by without a `Done`."""


class OutOfStep(AlgorithmError):
    """The sites of an all-reduce function contribute or return what doesn't fit together."""
