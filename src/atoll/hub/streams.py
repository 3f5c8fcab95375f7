"""What an answer that goes on for long must know: whether somebody still reads it."""

from __future__ import annotations

import asyncio

from starlette.types import Receive


async def is_gone(receive: Receive) -> bool:
    """Whether who asked has gone. It doesn't wait, and starts no task: thousands may be asked about."""
    try:
        async with asyncio.timeout(0):
            return bool((await receive())["type"] == "http.disconnect")
    except TimeoutError:
        return False
