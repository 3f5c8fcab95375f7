"""Checks of the ways between an algorithm and its node."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from typing import Any

from atoll.engine.running import Head, Outlet, Request, Style, whole
from atoll.model.errors import RuntimeUnavailable
from atoll.model.work import Content
from atoll.runtimes.conformance.bench import Bench, ask, in_time, same
from atoll.runtimes.conformance.examining import Check
from atoll.runtimes.conformance.subject import NotPromised


class _Porch:
    """Answers whoever asks or connects with its own name, and what was said."""

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._serving: set[asyncio.Task[None]] = set()

    async def answers(self, head: Head, body: Content) -> AsyncIterator[tuple[Head, Content]]:
        yield {"answer": head["asked"]}, self._name + b" heard " + whole(body)

    def listen(self, listener: int) -> None:
        self._do(self._accept(socket.socket(fileno=listener)))

    def take(self, connection: int) -> None:
        self._do(self._answer(socket.socket(fileno=connection)))

    async def close(self) -> None:
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        self._serving.add(asyncio.create_task(work))

    async def _accept(self, listener: socket.socket) -> None:
        with listener:
            listener.setblocking(False)
            while True:
                connection, _ = await asyncio.get_running_loop().sock_accept(listener)
                await self._answer(connection)

    async def _answer(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with connection, suppress(OSError):
            connection.setblocking(False)
            said = await loop.sock_recv(connection, 1000)
            await loop.sock_sendall(connection, self._name + b" heard " + said)


async def _talk(bench: Bench) -> None:
    launch = bench.launch(style=Style.TALK, script="talks")
    porch = _Porch("porch")
    async with bench.session(launch) as session:
        found = []
        for number in range(2):
            request = Request(head={"asked": number}, body=b"body")
            reply = await in_time(session.call(request, doorway=porch), "a call that asks")
            found.append((reply.head["answer"], whole(reply.output)))
    same([(0, b"porch heard body"), (1, b"porch heard body")], found, "answers to what a process asked")


async def _door(bench: Bench) -> None:
    launch = bench.launch(speaks_http=True)
    async with bench.session(launch) as session:
        if session.address is None:
            raise NotPromised("this runtime gives its calls no way to their node over HTTP")
        host, port = session.address
        found = []
        for name in ("first", "second"):
            porch = _Porch(name)
            try:
                found.append(
                    await ask(session, launch, "knock", doorway=porch, host=host, port=port, said="hello")
                )
            finally:
                await porch.close()
    same(["first heard hello", "second heard hello"], found, "what was heard at the door")


async def _outlet(bench: Bench) -> None:
    porch = _Porch("service")
    launch = bench.launch(outlets=(Outlet(host="127.0.0.2", port=5432, alias="db", take=porch.take),))
    try:
        async with bench.session(launch) as session:
            found = await ask(session, launch, "knock", host="127.0.0.2", port=5432, said="select")
    finally:
        await porch.close()
    if found is None and not bench.runtime.isolated:
        raise NotPromised("a runtime without isolation has no addresses of its own to offer")
    same("service heard select", found, "what was heard at an outlet")


async def _reach(bench: Bench) -> None:
    launch = bench.launch()
    with bench.thread(launch) as thread:
        async with bench.session(launch) as session:
            call = asyncio.create_task(ask(session, launch, "listen", port=8765, thread=thread.path))
            try:
                await thread.taken()
                with socket.socket(fileno=await in_time(session.reach(8765), "a connection inside")) as line:
                    line.setblocking(False)
                    loop = asyncio.get_running_loop()
                    same(b"in here", await in_time(loop.sock_recv(line, 100), "an answer"), "what was said")
                same("heard", await call, "the answer")
            except RuntimeUnavailable as error:
                raise NotPromised(str(error)) from None
            finally:
                call.cancel()
                await asyncio.wait([call])


async def _network(bench: Bench) -> None:
    if not bench.runtime.isolated:
        raise NotPromised("this runtime doesn't isolate")
    launch = bench.launch()
    with socket.create_server(("127.0.0.1", 0)) as there:
        async with bench.session(launch) as session:
            found = await ask(
                session, launch, "knock", host="127.0.0.1", port=there.getsockname()[1], said="-"
            )
            named = await ask(session, launch, "knock", host=os.uname().nodename, port=22, said="-")
    same([None, None], [found, named], "what was heard of the machine's own network")


WAYS = (
    Check(name="talk", what="A process that asks is answered, before it answers itself.", run=_talk),
    Check(
        name="door",
        what="A call reaches its doorway over HTTP, and the next call its own.",
        run=_door,
    ),
    Check(name="outlet", what="What the launch offers is reached at its address inside.", run=_outlet),
    Check(name="reach", what="A port at which the algorithm listens is reached from outside.", run=_reach),
    Check(name="network", what="Nothing that listens on the machine is reached.", run=_network),
)
