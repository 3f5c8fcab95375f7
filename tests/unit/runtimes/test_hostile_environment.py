"""What surrounds a call is for the call alone: nothing of it reaches a program outside of the sandbox."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from atoll.engine.running import Launch, Reply, Request, Style, whole
from atoll.model.work import Seat
from atoll.runtimes.bubblewrap import BubblewrapRuntime

pytestmark = pytest.mark.needs("bubblewrap")

SCRIPT = """
import json, os
print(json.dumps({name: os.environ.get(name) for name in ("LD_DEBUG", "LD_DEBUG_OUTPUT", "WORD")}))
"""


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_no_program_of_this_machine_is_started_with_a_calls_variables(warm: bool, tmp_path: Path) -> None:
    """The linker obeys variables such as LD_PRELOAD: outside of a sandbox that would run anybody's code."""
    code, outside = tmp_path / "code", tmp_path / "outside"
    for folder in (code, outside, tmp_path / "tmp"):
        folder.mkdir()
    (code / "script.py").write_text(SCRIPT)
    launch = Launch(
        seat=Seat("alpha"),
        style=Style.CALL,
        code=code,
        command=("python", "/computation/script.py"),
        temporary=tmp_path / "tmp",
        log=tmp_path / "log.txt",
    )
    # The linker would write to a folder that is nowhere in the sandbox.
    variables = {"LD_DEBUG": "libs", "LD_DEBUG_OUTPUT": str(outside / "linked"), "WORD": "one\ntwo = ü"}

    async def go() -> Reply:
        runtime = BubblewrapRuntime(warm=warm, roots=[tmp_path])
        try:
            session = await runtime.start(launch)
            try:
                return await session.call(Request(environment=variables))
            finally:
                await session.close()
        finally:
            await runtime.close()

    reply = asyncio.run(go())

    assert [] == sorted(path.name for path in outside.iterdir())
    # In the sandbox the linker has no such folder, and says what it does on standard output.
    (answer,) = [line for line in whole(reply.output).splitlines() if line.startswith(b"{")]
    assert variables == json.loads(answer)
