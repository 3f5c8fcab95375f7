"""Checks of what a runtime promises, without any test framework.

A check is a name, a sentence that says what is promised, and something to run. Whoever examines a
runtime hears one of three things of each: the promise was kept, it was broken, or the runtime says
itself that it doesn't promise this, and why. What isn't promised is never counted as kept.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from atoll.runtimes.conformance.bench import Bench
from atoll.runtimes.conformance.subject import Broken, NotPromised, Subject

#: Seconds that one check may take, the start of everything that it needs included.
_SECONDS_MAX = 60.0


class Verdict(Enum):
    """What a check found."""

    KEPT = "kept"
    BROKEN = "broken"
    NOT_PROMISED = "not promised"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One promise."""

    #: A word or a few, with hyphens between.
    name: str
    #: What is promised, as a sentence.
    what: str
    #: Tries it. Raises `Broken` where the promise isn't kept, and `NotPromised`.
    run: Callable[[Bench], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check has found."""

    check: Check
    verdict: Verdict
    #: Why it isn't kept, or isn't promised.
    why: str = ""
    seconds: float = 0.0


async def examine(check: Check, subject: Subject, folder: Path) -> Finding:
    """Run one check on one runtime.

    Args:
        check: what to try.
        subject: whose promise it is.
        folder: an empty folder of this machine; all that algorithms see lies beneath it.
    """
    began = time.monotonic()
    verdict, why = await _try(check, subject, folder)
    return Finding(check=check, verdict=verdict, why=why, seconds=time.monotonic() - began)


async def _try(check: Check, subject: Subject, folder: Path) -> tuple[Verdict, str]:
    if check.name in subject.not_promised:
        return Verdict.NOT_PROMISED, subject.not_promised[check.name]
    try:
        async with asyncio.timeout(_SECONDS_MAX), Bench.of(subject, folder) as bench:
            said = bench.not_promised()
            if check.name in said:
                return Verdict.NOT_PROMISED, said[check.name]
            await check.run(bench)
    except NotPromised as error:
        return Verdict.NOT_PROMISED, str(error)
    except Broken as error:
        return Verdict.BROKEN, str(error)
    except TimeoutError:
        return Verdict.BROKEN, f"it was not over after {_SECONDS_MAX:g} seconds"
    # Whatever else a runtime raises, it wasn't promised.
    except Exception:
        return Verdict.BROKEN, traceback.format_exc()
    return Verdict.KEPT, ""
