"""Between a session and a dialect's door stands a porch, for one call and no longer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from atoll.engine.running import Head, HttpRequest, HttpResponse
from atoll.model.work import Content
from atoll.node.gateway.porch import Porch


class Echo:
    """A door that answers with what it was asked."""

    async def answers(self, head: Head, body: Content) -> AsyncIterator[tuple[Head, Content]]:
        """The question, twice."""
        yield head, body
        yield {"do": "end"}, b""

    async def respond(self, request: HttpRequest) -> HttpResponse:
        """The path that was asked for."""
        return HttpResponse(status=200, body=b'"%s"' % request.path.encode())


def listening() -> tuple[int, int]:
    """A socket that listens, and its port."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    port = listener.getsockname()[1]
    return listener.detach(), port


async def asked(port: int, path: str) -> bytes:
    """What is answered over HTTP."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n".encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_questions_are_handed_to_the_door_and_answers_back() -> None:
    async def ask() -> list[tuple[Head, Content]]:
        async with Porch(Echo()) as porch:
            return [frame async for frame in porch.answers({"say": "call"}, b"body")]

    assert [({"say": "call"}, b"body"), ({"do": "end"}, b"")] == asyncio.run(ask())


def test_http_is_served_while_the_call_goes_on_and_not_after_it() -> None:
    async def ask() -> tuple[list[bytes], int]:
        async with Porch(Echo()) as porch:
            first, port = listening()
            second, other = listening()
            porch.listen(first)
            porch.listen(second)
            answers = [await asked(port, "/one"), await asked(other, "/two")]
        return answers, port

    async def ask_and_come_too_late() -> list[bytes]:
        answers, port = await ask()
        with pytest.raises(ConnectionError):
            await asked(port, "/late")
        return answers

    answers = asyncio.run(ask_and_come_too_late())

    assert [b'"/one"', b'"/two"'] == [answer.partition(b"\r\n\r\n")[2] for answer in answers]
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
