"""Processes that are started, and what is left of them."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from tests.descriptors import descriptors

from atoll.runtimes.children import Streams, spawn


def test_a_process_that_can_not_be_watched_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody would hear of its end."""

    def watch(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pidfd_open", watch)

    async def go() -> None:
        before, children = descriptors(), _children()
        with open(os.devnull, "rb+") as nothing:
            streams = Streams(stdin=nothing.fileno(), stdout=nothing.fileno(), stderr=nothing.fileno())
            with pytest.raises(OSError, match="Too many open files"):
                spawn(["/bin/sleep", "600"], {}, streams)
        assert (descriptors(), _children()) == (before, children)

    asyncio.run(go())


def _children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()
