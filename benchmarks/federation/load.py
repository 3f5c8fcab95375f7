"""``python -m benchmarks.federation.load``: send the same request again and again, and count the answers.

It speaks just enough HTTP to be cheaper than what it measures. Each connection sends its next
request when its last answer has come, as a client that waits does.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from typing import cast

import uvloop

_LENGTH = b"content-length:"


class _Connection(asyncio.Protocol):
    """One connection, kept alive: request, answer, request."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._came = bytearray()
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's by their class.
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, gap, body = self._came.partition(b"\r\n\r\n")
        if not gap:
            return
        lower = head.lower()
        start = lower.index(_LENGTH) + len(_LENGTH)
        end = lower.find(b"\r", start)
        if len(body) < int(lower[start : end if end > 0 else None]):
            return
        status = int(head[9:12])
        self._load.answered(status, len(body), time.perf_counter() - self._sent_at)
        if status != 200:
            self._load.said = bytes(body[:300]).decode("utf-8", "replace")
        self._came.clear()
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._load.lost += not self._load.is_over

    def _send(self) -> None:
        if self._load.is_over:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(self._load.request)


class Load:
    """What all connections together have seen."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.is_over = False
        self.lost = 0
        self.said = ""
        self._forget()

    def _forget(self) -> None:
        self.seconds: list[float] = []
        self.statuses: dict[int, int] = {}
        self.body_bytes = 0

    def answered(self, status: int, body_bytes: int, seconds: float) -> None:
        """Count an answer."""
        self.seconds.append(seconds)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.body_bytes = body_bytes

    async def send(self, host: str, port: int, *, connections: int, seconds: float) -> dict[str, object]:
        """Ask for some seconds, after a fifth of them that isn't counted."""
        loop = asyncio.get_running_loop()
        for _ in range(connections):
            await loop.create_connection(lambda: _Connection(self), host, port)
        await asyncio.sleep(seconds / 5)
        self._forget()
        started = time.perf_counter()
        await asyncio.sleep(seconds)
        took = time.perf_counter() - started
        self.is_over = True
        answers = sorted(self.seconds)
        return {
            "per_second": len(answers) / took,
            "median_seconds": answers[len(answers) // 2] if answers else None,
            "p99_seconds": answers[len(answers) * 99 // 100] if answers else None,
            "statuses": self.statuses,
            "body_bytes": self.body_bytes,
            "lost": self.lost,
            "said": self.said,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    # The token comes by the environment: a command line can be read by others.
    token = os.environ["BENCHMARK_TOKEN"]
    request = (
        f"GET {asked.path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    load = Load(request)
    found = uvloop.run(
        load.send("127.0.0.1", asked.port, connections=asked.connections, seconds=asked.seconds)
    )
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
