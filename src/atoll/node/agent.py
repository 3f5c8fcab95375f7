"""The node's life: hear of work, claim it, run it, report.

One agent serves one seat. Its slot is taken for the work between claim and report, so that a
machine with many seats runs only as many calls at a time as it has room for.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from atoll.engine.ports import HubLink
from atoll.model.errors import StaleEvent
from atoll.node.runner import Runner


class Agent:
    """Claims the jobs of one seat and runs them, one after another."""

    def __init__(
        self, link: HubLink, runner: Runner, slot: AbstractAsyncContextManager[None, bool | None]
    ) -> None:
        self._link = link
        self._slot = slot
        self.runner = runner

    async def serve(self) -> None:
        """Work until cancelled."""
        while True:
            await self._link.listen()
            while await self.work_once():
                pass

    async def work_once(self) -> bool:
        """Claim and run one job, if there is one."""
        ticket = await self._link.claim()
        if ticket is None:
            return False
        async with self._slot:
            event = await self.runner.work(ticket)
        try:
            await self._link.report(event)
        except StaleEvent:
            pass  # The run ended meanwhile, for another reason. Nobody waits for this job.
        return True
