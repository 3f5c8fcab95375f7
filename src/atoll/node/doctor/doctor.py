"""All that is looked at, in the order in which one would mend it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from atoll.model.errors import SpecInvalid
from atoll.node.data_maps import read_maps
from atoll.node.doctor import data, machine, network
from atoll.node.doctor.containers import containers
from atoll.node.doctor.environments import environments
from atoll.node.doctor.findings import Finding, fault, fine
from atoll.node.settings import NodeSettings


async def examine(settings: NodeSettings) -> AsyncIterator[Finding]:
    """Look at everything. A fault at one place doesn't keep the others from being looked at."""
    for look in (machine.workspace, machine.runtime, machine.reach):
        for finding in look(settings):
            yield finding
    async for finding in containers(settings):
        yield finding
    async for finding in environments(settings):
        yield finding
    async for finding in data.databases(settings):
        yield finding
    async for finding in data.services(settings):
        yield finding
    yield _data_maps(settings)
    async for finding in network.way(settings):
        yield finding


def _data_maps(settings: NodeSettings) -> Finding:
    try:
        count = len(read_maps(settings.data_maps))
    except SpecInvalid as error:
        return fault("data maps", str(error), f"mend {settings.data_maps}")
    return fine("data maps", f"{count} computations are mapped")
