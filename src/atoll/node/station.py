"""A data station: one process that calls out to its hub, does what its rules allow, and cleans up.

::

    workspace -> runtime -> hello -> leftovers -> agent (loops) + ended runs + remarks
                                                    |
              told to end: claim nothing, wait, give back what isn't done, say good-bye

What it is killed in the middle of, it tells of at its next start: the hub hands those jobs out anew.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from atoll.model.errors import AtollError, RuntimeUnavailable
from atoll.model.events import JobLost
from atoll.node import policies
from atoll.node.agent import Agent
from atoll.node.choosing import Runtimes, why_not
from atoll.node.giving import Giving, roots
from atoll.node.library import BundleLibrary
from atoll.node.network.network import Network
from atoll.node.notebook import Notebook
from atoll.node.peers.peering import Peering
from atoll.node.runner import Rules, Runner
from atoll.node.settings import NodeSettings
from atoll.node.telling import frames_only
from atoll.node.workspace import Workspace
from atoll.transports.http import HttpLink

_log = logging.getLogger(__name__)
_TIDY_SECONDS = 3_600.0


class Station:
    """A node at work.

    Args:
        settings: its node.yaml.
        link: the hub; closed when the node has ended.
        renew: replaces the node's key where it is old; asked now and then.
    """

    def __init__(
        self, settings: NodeSettings, link: HttpLink, renew: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._settings = settings
        self._renew = renew
        self._link = link
        self._workspace = Workspace(settings.workspace)
        self._notebook = Notebook(link.progressed, self._workspace.log, sends=settings.log.send)
        self._runtimes = Runtimes(settings, roots(settings))
        self._network = Network(settings.network)
        self._library = BundleLibrary(
            link,
            self._workspace.algorithms,
            settings.environments,
            self._runtimes,
            admit=policies.admission(settings.policies),
            by_image=policies.by_image(
                settings.policies, gives_more=bool(settings.env_for or settings.network.for_)
            ),
        )

    async def serve(self, stop: asyncio.Event, ready: Callable[[str], None] = lambda _: None) -> None:
        """Work until told to stop.

        Args:
            stop: is set when the node is to end.
            ready: is called with the node's name when it is at work.

        Raises:
            RuntimeUnavailable: the runtime that the settings name doesn't work here.
            SpecInvalid: another node works in the workspace, or a policy can't be loaded.
            AtollError: the hub doesn't take this node.
        """
        reason = why_not(self._settings)
        if reason is not None:
            raise RuntimeUnavailable(reason)
        rules = self._rules()
        self._workspace.open()
        try:
            await self._runtimes.recover()
            await self._network.start()
            left_over = self._workspace.runs()
            self._workspace.sweep(keep_days=self._settings.log.keep_days, living=left_over)
            await self._link.start(runs=left_over)
            agent = self._agent(self._link.node, rules)
            ready(self._link.node)
            await self._work(agent, stop)
        finally:
            await self._close()

    def _rules(self) -> Rules:
        settings = self._settings
        asked = [
            *policies.built_in(settings.policies),
            policies.space(settings.workspace, settings.limits),
            *policies.installed(),
        ]
        told = str if settings.log.send else frames_only
        return Rules(policies=asked, checks=list(policies.checks(settings.limits)), told=told)

    def _agent(self, name: str, rules: Rules) -> Agent:
        settings = self._settings
        runner = Runner(
            self._link,
            self._library,
            self._workspace.desk,
            self._notebook,
            limits=settings.limits.of_a_call(),
            rules=rules,
            provide=Giving(settings, name, self._network, described=self._library.described).provision,
            peering=Peering(self._link.peers, partial(policies.mute, settings.policies), self._notebook),
        )
        return Agent(self._link, runner, asyncio.Semaphore(settings.slots), loops=settings.slots)

    async def _work(self, agent: Agent, stop: asyncio.Event) -> None:
        """Serve until told to stop, or until something ends that shouldn't."""
        serving = [
            asyncio.create_task(each)
            for each in (
                agent.serve(),
                self._link.over(),
                self._hear_of_ends(agent),
                self._tell(),
                self._tidy(agent),
            )
        ]
        stopping = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait([stopping, *serving], return_when=asyncio.FIRST_COMPLETED)
            for task in serving:
                if task.done():
                    task.result()
            await self._drain(agent)
        finally:
            stopping.cancel()
            for task in serving:
                task.cancel()
            await asyncio.gather(stopping, *serving, return_exceptions=True)
            await agent.runner.close()

    async def _drain(self, agent: Agent) -> None:
        """Finish what is under way, or give it back."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.drain_seconds):
                await agent.drain()
        for job in agent.at_work:
            await agent.give_up(job.id)
            _log.warning("job %s is given back", job.id)
            # Whoever can't be told finds out by itself, a little later.
            with suppress(AtollError):
                await self._link.lost(JobLost(run_id=job.run_id, job_id=job.id, attempt=job.attempt))

    async def _hear_of_ends(self, agent: Agent) -> None:
        while True:
            run_id = await self._link.ended()
            await agent.end(run_id)
            self._workspace.remove(run_id)
            self._library.release(run_id)
            _log.info("run %s has ended", run_id)

    async def _tell(self) -> None:
        while True:
            remarks = await self._notebook.remarks()
            try:
                await self._link.log(remarks)
            except AtollError as error:
                _log.debug("%d remarks were not told: %s", len(remarks), error)

    async def _tidy(self, agent: Agent) -> None:
        """Remove what is old, and renew the key, every hour."""
        while True:
            await asyncio.sleep(_TIDY_SECONDS)
            self._library.sweep()
            self._workspace.sweep(keep_days=self._settings.log.keep_days, living=agent.runner.runs)
            try:
                for name in await self._runtimes.collect():
                    _log.info("the image %s is removed: nobody has used it for long", name)
            except AtollError as error:
                _log.warning("no image was removed: %s", error)
            if self._renew is not None:
                try:
                    await self._renew()
                except AtollError as error:
                    _log.warning("the node's key was not renewed: %s", error)

    async def _close(self) -> None:
        await self._runtimes.close()
        await self._network.close()
        await self._link.close()
        self._workspace.close()
