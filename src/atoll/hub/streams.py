"""Answers that go on for long: whether somebody still reads one, and how it waits for more to say.

Thousands of them wait at a time. Each is its request, and starts no task beside it.
"""

from __future__ import annotations

import asyncio
from enum import Enum

from starlette.types import Receive

from atoll.hub.notices import Bell


class Woken(Enum):
    """Why a wait has ended."""

    RUNG = "rung"  #: the bell was rung, or somebody wants the stream to look
    SILENT = "silent"  #: nothing happened for as long as it may
    GONE = "gone"  #: nobody reads the answer any more


async def is_gone(receive: Receive) -> bool:
    """Whether who asked has gone, without waiting."""
    try:
        async with asyncio.timeout(0):
            return await _disconnected(receive)
    except TimeoutError:
        return False


async def wait_for(bell: Bell, receive: Receive, seconds: float) -> Woken:
    """Wait for a bell, for who asked to go, or for some seconds.

    It waits for the request, since a server tells only there that it is over; and the bell ends
    that wait as if its time had come.
    """
    if bell.is_set():
        return Woken.RUNG
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(seconds) as wait:
            bell.on_set(lambda: wait.reschedule(loop.time()))
            while not await _disconnected(receive):
                pass  # It was the request's own body, which is empty.
            return Woken.GONE
    except TimeoutError:
        return Woken.SILENT if loop.time() - began >= seconds and not bell.is_set() else Woken.RUNG
    finally:
        bell.on_set(None)


async def _disconnected(receive: Receive) -> bool:
    return bool((await receive())["type"] == "http.disconnect")
