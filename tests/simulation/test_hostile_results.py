"""A result that nobody can read is its algorithm's failure, and no crash of whoever asked for it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from tests.federation import Watched

from atoll.simulator.arguments import Arguments
from atoll.simulator.simulation import simulate

#: Answers by itself, past the package that would refuse such a value.
ALGORITHM = """
import os
import socket

from atoll_algorithm import partial


@partial
def answer() -> int:
    header = {header!r}
    body = b"ATO1" + len(header).to_bytes(4, "big") + header
    head = b'{{"say": "returned"}}'
    content = len(head).to_bytes(4, "big") + head + body
    for descriptor in map(int, os.listdir("/proc/self/fd")):
        try:
            line = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            continue
        line.sendall(len(content).to_bytes(8, "big") + content)
    return 1
"""


@pytest.mark.parametrize(
    "header",
    [b'{"value": ' + b"[" * 300 + b"]" * 300 + b"}", b'{"value": {"$array": ["<f8", [1], 7]}}'],
    ids=["deep", "nowhere"],
)
def test_a_result_that_cannot_be_read_fails_the_run(header: bytes, tmp_path: Path) -> None:
    (tmp_path / "odd.py").write_text(ALGORITHM.format(header=header))
    asked = Arguments(path=tmp_path / "odd.py", runtime="process", output=tmp_path / "run")

    _, report = asyncio.run(simulate(asked, Watched))

    assert "failed" == report.status
    assert report.error is not None
    assert ("ReplyInvalid", "local0") == (report.error["type"], report.error["site"])
    assert "failed" == json.loads((tmp_path / "run" / "run.json").read_text())["status"]
    assert not (tmp_path / "run" / "result.json").exists()
