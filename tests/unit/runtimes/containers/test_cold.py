"""What is told of a container's end, where its image starts its service by itself."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiodocker.exceptions import DockerError

from atoll.runtimes.boxes import Kills
from atoll.runtimes.containers.cold import ContainerRun
from atoll.runtimes.containers.started import Container


class _Ended:
    """A container that has ended with this status, and what its engine says of its memory."""

    def __init__(self, status: int, ran_out: bool | None) -> None:
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.ended.set_result("it ended")
        self.status = status
        self.container = self
        self._ran_out = ran_out

    async def log(self, **_: Any) -> AsyncIterator[str]:
        yield "its last words\n"

    async def memory_ran_out(self) -> bool:
        if self._ran_out is None:
            raise DockerError(404, "there is no such container")
        return self._ran_out


@pytest.mark.parametrize(
    ("status", "ran_out", "ended", "kills"),
    [(137, True, -9, 1), (137, False, -9, 0), (137, None, -9, 0), (3, False, 3, 0), (0, True, 0, 0)],
)
def test_a_service_that_took_too_much_memory_is_known_by_its_end(
    status: int, ran_out: bool | None, ended: int, kills: int
) -> None:
    async def go() -> tuple[int, int, bytes]:
        counted = Kills()
        log = os.memfd_create("log")
        try:
            run = ContainerRun(cast("Container", _Ended(status, ran_out)), log, counted)
            return await run.ended, counted.total, os.pread(log, 100, 0)
        finally:
            os.close(log)

    assert asyncio.run(go()) == (ended, kills, b"its last words\n")
