"""Somebody who speaks to a hub over a WebSocket, in the test's own process: ASGI, as a server would."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from tests.hub_app import Caller


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What a hub has said on a WebSocket."""

    #: What it said, in order: texts decoded, bytes as they are.
    said: tuple[Any, ...]
    #: With which code it has closed it; None where it didn't.
    closed: int | None

    @property
    def code(self) -> str:
        """The name of the error that it tells, or nothing."""
        told = [each for each in self.said if isinstance(each, dict) and "code" in each]
        return str(told[-1]["code"]) if told else ""


async def speak(caller: Caller, path: str, *said: Any) -> Heard:
    """Take up a WebSocket, say these things, and leave when the hub has nothing more to say.

    Args:
        caller: whose token is shown.
        path: where.
        said: bytes as they are; all else as JSON.
    """
    headers = [(b"authorization", f"Bearer {caller.token}".encode())] if caller.token else []
    scope = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "ws",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": (caller.address, 50_000),
        "server": ("hub.test", 80),
        "subprotocols": [],
    }
    incoming: list[dict[str, Any]] = [{"type": "websocket.connect"}]
    for each in said:
        content = {"bytes": each} if isinstance(each, bytes) else {"text": json.dumps(each)}
        incoming.append({"type": "websocket.receive", **content})
    answered: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if incoming:
            return incoming.pop(0)
        # Whatever it has to say, it says before it waits for more.
        for _ in range(10):
            await asyncio.sleep(0)
        return {"type": "websocket.disconnect", "code": 1005}

    async def send(message: Any) -> None:
        answered.append(message)

    await caller.app(scope, receive, send)
    return _heard(answered)


def _heard(answered: list[dict[str, Any]]) -> Heard:
    closed = None
    said: list[Any] = []
    for message in answered:
        match message["type"]:
            case "websocket.send":
                text = message.get("text")
                said.append(message["bytes"] if text is None else json.loads(text))
            case "websocket.close":
                closed = message["code"]
    return Heard(said=tuple(said), closed=closed)
