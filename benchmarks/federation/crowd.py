"""``python -m benchmarks.federation.crowd``: many nodes that have nothing to do, in one process.

To the hub each is a node: it has a key and a token of its own, says hello, holds a stream open, and
sends its heartbeats when they are due. Keys come on standard input, one a line. When all listen,
``ready`` is printed; the crowd leaves when standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from typing import Any

import aiohttp
import uvloop

from atoll import __version__

#: Nodes that say hello at the same time.
_AT_A_TIME = 20


class _Crowd:
    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = f"{url}/v1/node"
        self._session = session
        self._entrance = asyncio.Semaphore(_AT_A_TIME)
        self.heartbeats = 0
        self.lines = 0
        self.late_seconds = 0.0

    async def serve(self, key: str, listening: asyncio.Event) -> None:
        async with self._entrance:
            answer = await self._post("/token", {"key": key})
            headers = {"Authorization": f"Bearer {answer['access_token']}"}
            welcome = await self._post("/hello", {"version": __version__}, headers)
            stream = await self._session.get(f"{self._url}/events", headers=headers)
            stream.raise_for_status()
        listening.set()
        beating = asyncio.create_task(self._beat(headers, welcome["heartbeat_seconds"]))
        try:
            async for _ in stream.content:
                self.lines += 1
        finally:
            beating.cancel()

    async def _beat(self, headers: dict[str, str], seconds: float) -> None:
        # They were not all started at the same moment.
        await asyncio.sleep(random.uniform(0, seconds))
        while True:
            started = time.perf_counter()
            await self._post("/heartbeat", {}, headers)
            self.heartbeats += 1
            took = time.perf_counter() - started
            self.late_seconds = max(self.late_seconds, took)
            await asyncio.sleep(seconds - took)

    async def _post(self, path: str, body: object, headers: dict[str, str] | None = None) -> dict[str, float]:
        async with self._session.post(f"{self._url}{path}", json=body, headers=headers) as answer:
            answer.raise_for_status()
            found: dict[str, float] = await answer.json()
            return found


async def _unless(tasks: list[asyncio.Task[None]], awaited: asyncio.Future[Any]) -> None:
    """Wait for something, unless one of these ends: all should stay."""
    await asyncio.wait([*tasks, awaited], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        if task.done():
            task.result()
            raise SystemExit("the hub has ended a stream")


async def _stand(url: str, keys: list[str]) -> None:
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=120)
    timeout = aiohttp.ClientTimeout(total=None, sock_read=120)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers={"Atoll-Version": __version__}
    ) as session:
        crowd = _Crowd(url, session)
        listening = [asyncio.Event() for _ in keys]
        tasks = [asyncio.create_task(crowd.serve(*each)) for each in zip(keys, listening, strict=True)]
        await _unless(tasks, asyncio.gather(*(event.wait() for event in listening)))
        print("ready", flush=True)
        await _unless(tasks, asyncio.get_running_loop().run_in_executor(None, sys.stdin.read))
        said = {"heartbeats": crowd.heartbeats, "lines": crowd.lines, "slowest_seconds": crowd.late_seconds}
        print(json.dumps(said), flush=True)
        for task in tasks:
            task.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, required=True)
    asked = parser.parse_args()
    keys = [sys.stdin.readline().strip() for _ in range(asked.count)]
    uvloop.run(_stand(asked.url, keys))


if __name__ == "__main__":
    main()
