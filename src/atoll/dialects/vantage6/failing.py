"""How a call that failed is told of, without a word of what it worked on.

An exception's text may quote a row of a table. So of a traceback only its type and the places in
the code are passed on, and of what a wrapper prints only what it counts. The rest stays in the
site's log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

_HEAD = "Traceback (most recent call last):"
_FRAME = re.compile(r'  File "(?P<file>[^"]+)", line (?P<line>\d+)(?:, in (?P<function>[\w.<>]{1,100})$)?')
_TYPE = re.compile(r"(?:\w+\.)*(?P<type>[^\W\d]\w{0,99})(?::.*)?")
_SIGNALS = {6: "SIGABRT", 9: "SIGKILL", 11: "SIGSEGV", 15: "SIGTERM"}
#: A file's name that holds nothing but a name: code that is made while it runs may have any text for one.
_PLAIN = re.compile(r"[\w.+<>/-]{1,200}")
#: What Python says of a call that doesn't fit the function: names of its code, and of what was submitted.
_NAMED = r"'[^\W\d]\w{0,99}'"
_MISFITS = (
    (rf"missing \d+ required [\w-]+ arguments?: ({_NAMED}(?:(?:,| and|, and) {_NAMED})*)", "it needs {}"),
    (rf"got an unexpected keyword argument ({_NAMED})", "it takes no argument {}"),
)
#: What a program ends with that could not be started, as a shell has it.
_NOT_STARTED = {
    126: "the program that it starts can't be run",
    127: "the program that it starts is not there",
}
#: Places in the code that are shown: the innermost.
_FRAMES_MAX = 3
_LIBRARIES = ("/site-packages/", "/dist-packages/", "/lib/python")
_TOOLS = "/vantage6/algorithm/"
_WRAPPER = "vantage6/algorithm/tools/wrap.py"
#: What a wrapper prints before it ends without an exception, and what that means.
_PRINTED = (
    (r"requires (\d+) databases but only (\d+) were provided", "it takes {} tables and was given {}"),
    (r"requires (\d+) database connections", "it takes {} database connections and was given fewer"),
    (r"Query is required for database type", "a database was asked for without the query that reads it"),
    (r"is not decorated with a vantage6 decorator", "it has none of vantage6's decorators"),
    (r"Token not found\.", "it asks for a client, which only a central function gets"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A place in the code that a traceback names."""

    file: str
    line: int
    #: Empty where a file can't be read as Python.
    function: str

    @property
    def installed(self) -> bool:
        """Whether the code is a library's, or the interpreter's own."""
        return not self.file.startswith("/") or any(part in self.file for part in _LIBRARIES)

    def within(self, package: str) -> str | None:
        """The file's name from its package on; None where it is in another."""
        path = package.replace(".", "/")
        _, found, rest = self.file.partition(f"/{path}/")
        if found:
            return f"{path}/{rest}"
        return f"{path}.py" if self.file.endswith(f"/{path}.py") else None

    def shown(self, package: str) -> str:
        """The place, as people are told of it."""
        name = self.within(package)
        if name is None:
            name = re.split("|".join(_LIBRARIES), self.file)[-1] if self.installed else self.file
            name = "/".join(name.removeprefix("/computation/").split("/")[-3:])
        if not _PLAIN.fullmatch(name):
            name = "a file"
        return f"{name}:{self.line}{self.function and f' in {self.function}'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traceback:
    """What is told of an exception."""

    type: str
    frames: tuple[Frame, ...]
    #: How the call didn't fit the function; empty where it is about something else.
    misfit: str = ""


def last_traceback(log: str) -> Traceback | None:
    """The last traceback of a log, of which the beginning may be missing; None where there is none."""
    lines = log.splitlines()
    heads = [number for number, line in enumerate(lines) if line == _HEAD]
    places = [number for number, line in enumerate(lines) if _FRAME.match(line)]
    start = heads[-1] + 1 if heads else min(places, default=len(lines))
    frames = []
    for line in lines[start:]:
        if found := _FRAME.match(line):
            function = found["function"] or ""
            frames.append(Frame(file=found["file"], line=int(found["line"]), function=function))
        elif not line.startswith(" "):
            named = _TYPE.fullmatch(line)
            return named and Traceback(
                type=named["type"], frames=tuple(frames), misfit=next(_misfits(line), "")
            )
    return None


def why(exit_code: int, *, function: str, package: str, log: str, printed: str) -> str:
    """A sentence about a process that ended with another exit status than 0.

    Args:
        exit_code: the status, or minus the signal.
        function: what was called.
        package: what its code lies in; empty where it isn't Python.
        log: the end of what it wrote to standard error.
        printed: the end of what it printed.
    """
    if exit_code < 0:
        name = _SIGNALS.get(-exit_code, f"number {-exit_code}")
        return f"{function} was ended by the signal {name}; what it wrote is in this site's log"
    traceback = last_traceback(log)
    if traceback is None:
        reason = next(_reasons(f"{printed}\n{log}"), _NOT_STARTED.get(exit_code))
        return (
            f"{function} ended with exit status {exit_code}{f': {reason}' if reason else ''}; what it wrote is "
            "in this site's log"
        )
    return f"{_failed(traceback, function, package)}; the traceback is in this site's log"


def _failed(traceback: Traceback, function: str, package: str) -> str:
    own = [frame for frame in traceback.frames if frame.within(package) or not frame.installed]
    wrapper = [frame.function for frame in traceback.frames if frame.file.endswith(_WRAPPER)]
    if not own and wrapper:
        if wrapper[-1] == "_write_output":
            return f"{function} returned what can't be written as a result ({traceback.type})"
        if traceback.type == "AttributeError" and traceback.frames[-1].file.endswith(_WRAPPER):
            return f"{package or 'its package'} has no function named {function}"
        if traceback.type == "ModuleNotFoundError":
            return f"{package or 'its package'} can't be imported, or a module that it imports is missing"
        # Raised where the tools call the function: what its own code calls in a wrong way may hold data.
        if traceback.misfit and _TOOLS in traceback.frames[-1].file:
            return f"{function} can't be called like that: {traceback.misfit}"
    others = [frame for frame in traceback.frames if not frame.file.endswith(_WRAPPER)]
    shown = _without_repeats(frame.shown(package) for frame in own or others[-1:])[-_FRAMES_MAX:]
    places = ", ".join(shown)
    return f"{function} failed with {traceback.type}{f' ({places})' if places else ''}"


def _without_repeats(places: Iterable[str]) -> list[str]:
    """A function that calls itself is shown once."""
    return [place for place, _ in groupby(places)]


def _misfits(line: str) -> Iterator[str]:
    if line.startswith("TypeError: "):
        for pattern, reason in _MISFITS:
            if found := re.search(rf"\(\) {pattern}", line):
                yield reason.format(found[1])


def _reasons(text: str) -> Iterator[str]:
    for pattern, reason in _PRINTED:
        if found := re.search(pattern, text):
            yield reason.format(*found.groups())
