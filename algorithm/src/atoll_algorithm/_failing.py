"""What is told of an exception: its type and the lines of code. Its words stay at the site."""

from __future__ import annotations

import os
import sys
from typing import Any, Dict, List, Optional

from atoll_algorithm.errors import AlgorithmError, CantTravel

#: So many lines of a traceback leave: the outermost and the innermost halves.
FRAMES_MAX = 40
#: So long may the words of an error be.
MESSAGE_MAX = 2000
_PACKAGE = os.path.dirname(os.path.abspath(__file__))


def failed(error: BaseException) -> Dict[str, Any]:
    """The answer that says that a call failed."""
    return {
        "say": "failed",
        "type": type(error).__name__,
        "message": message_of(error),
        "frames": frames_of(error),
    }


def message_of(error: BaseException) -> Optional[str]:
    """An error's words where they are safe to send, else None."""
    if isinstance(error, CantTravel) and type(error) is CantTravel:
        return error.sendable[:MESSAGE_MAX]
    if isinstance(error, AlgorithmError) and type(error).__module__ == "atoll_algorithm.errors":
        return str(error)[:MESSAGE_MAX]
    if type(error) is ModuleNotFoundError and error.name and error.name.replace(".", "_").isidentifier():
        return "the module %s isn't installed here" % (error.name,)
    return None


def frames_of(error: BaseException) -> List[List[Any]]:
    """Where it was raised: file, line and function, outermost first, without this package's own."""
    frames: List[List[Any]] = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if os.path.dirname(os.path.abspath(code.co_filename)) != _PACKAGE:
            frames.append([os.path.basename(code.co_filename), trace.tb_lineno, code.co_name])
        trace = trace.tb_next
    if len(frames) > FRAMES_MAX:
        frames[FRAMES_MAX // 2 : -FRAMES_MAX // 2] = []
    return frames


def print_error(seat: str, error: BaseException) -> None:
    """Write an exception with its traceback to standard error, which is the site's own log."""
    if isinstance(error, AlgorithmError) and error.__cause__ is None and not frames_of(error):
        # The algorithm's own code isn't part of it: a traceback would show this package's alone.
        sys.stderr.write("%s: %s\n" % (type(error).__name__, error))
        return
    import traceback  # it takes milliseconds, and most calls return

    traceback.print_exception(type(error), error, error.__traceback__, file=sys.stderr)
