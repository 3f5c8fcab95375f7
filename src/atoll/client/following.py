"""What happens, as the hub tells it: server-sent events that go on where they were cut off."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import msgspec

from atoll.client.core import Core, part
from atoll.client.records import Event
from atoll.model.errors import EventsGone
from atoll.transports.connection import AGAIN

_ENDED = ("done", "failed")


async def follow_run(core: Core, run: str) -> AsyncIterator[Event]:
    """What happens in a run, from its state now to its end.

    The first event is the run as it is; each holds the whole form of one thing, which replaces what was
    told of it before. Where the hub keeps the events since no longer, the run is told anew.
    """
    while True:
        told = await core.get(f"/runs/{part(run)}")
        form = told.json
        yield Event(cursor=told.cursor, kind="run", form=form)
        if form["status"] in _ENDED:
            return
        try:
            async with aclosing(_follow(core, f"/runs/{part(run)}/events", told.cursor)) as events:
                async for event in events:
                    yield event
                    if event.kind == "run" and event.form["status"] in _ENDED:
                        return
        except EventsGone:
            continue


async def _follow(core: Core, path: str, after: int | None) -> AsyncGenerator[Event]:
    tries = core.tries()
    while True:
        query = "" if after is None else f"?after={after}"
        try:
            async with core.request("GET", path + query) as response:
                cursor, kind, data = after, "", ""
                async for line in response.content:
                    name, _, value = line.decode().rstrip("\n").partition(": ")
                    if name == "id":
                        cursor = int(value)
                    elif name == "event":
                        kind = value
                    elif name == "data":
                        data += value
                    elif not name and data:
                        after = cursor
                        tries.begin_anew()
                        yield Event(cursor=cursor, kind=kind, form=msgspec.json.decode(data))
                        kind, data = "", ""
        except AGAIN as error:
            await tries.wait(error)
