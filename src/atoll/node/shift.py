"""A job's time at work. A job that waits for others holds no slot, and doesn't keep its seat.

Else a machine with one slot would wait for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol


class Slot(Protocol):
    """Room for a call on this machine."""

    async def acquire(self) -> object:
        """Wait until there is room, and take it."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


class Shift:
    """One job's time at work: its slot, and who serves the seat while it waits.

    A job may wait for several things at a time, and goes on when it waits for none of them.
    """

    def __init__(self, slot: Slot, relieve: Callable[[], None]) -> None:
        self._slot = slot
        self._relieve = relieve
        self._held = False
        self._waiting = 0
        self._over = False
        self._taking = asyncio.Lock()
        self.relieved = False

    async def begin(self) -> None:
        """Take a slot."""
        await self._slot.acquire()
        self._held = True

    def end(self) -> None:
        """Give the slot back, for good."""
        self._over = True
        self._give_back()

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Hold no slot, and let somebody else serve the seat."""
        if not self.relieved:
            self.relieved = True
            self._relieve()
        self._waiting += 1
        self._give_back()
        try:
            yield
        finally:
            self._waiting -= 1

    async def go_on(self) -> None:
        """Take a slot again, unless something is still waited for."""
        async with self._taking:  # one slot, however many have stopped waiting
            if self._held or not self._may_hold():
                return
            await self.begin()
            if not self._may_hold():  # since it stood in the queue
                self._give_back()

    def _may_hold(self) -> bool:
        return not (self._waiting or self._over)

    def _give_back(self) -> None:
        if self._held:
            self._held = False
            self._slot.release()
