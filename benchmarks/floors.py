"""What the machine needs at the least, measured beside Atoll in the same run."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.algorithms.counting import count
from benchmarks.command import python
from benchmarks.figures import Floor

_CHUNK_BYTES = 1024 * 1024
#: Answers every line with itself.
_ECHO = (
    "import sys\nfor line in sys.stdin.buffer:\n    sys.stdout.buffer.write(line); sys.stdout.buffer.flush()"
)
#: Forks and waits, with libraries loaded, and prints the median in seconds.
_FORKS = """
import gc, os, statistics, time
{imports}
gc.collect(); gc.freeze()
took = []
for _ in range(50):
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        {work}
        os._exit(0)
    os.waitpid(pid, 0)
    took.append(time.perf_counter() - started)
print(statistics.median(took))
"""


def plain_python() -> Floor:
    """Start an interpreter and end it, in seconds."""
    seconds = statistics.median(python("-c", "pass").seconds for _ in range(9))
    return Floor(what="`python -c pass`", value=seconds)


def function_calls(calls: int) -> Floor:
    """A loop of calls that each read and write a small JSON document, in seconds."""

    def answer(request: bytes) -> bytes:
        document = json.loads(request)
        return json.dumps({"output": {"sum": document["state"]["iteration"], "count": 1}}).encode()

    request = json.dumps({"input": {"mean": 1}, "cache": {}, "state": {"iteration": 1}}).encode()
    started = time.perf_counter()
    for _ in range(calls):
        answer(request)
    return Floor(what="a loop of function calls with JSON", value=time.perf_counter() - started)


def rounds_of_calls(sites: int, *, rounds: int = 300) -> Floor:
    """A loop that calls a function once for each site and makes a mean of what it returns, in seconds per round."""

    def one_round() -> None:
        parts = [count(number) for number in range(sites)]
        assert sum(part["sum"] for part in parts) / sum(part["count"] for part in parts) >= 0

    seconds = statistics.median(_timed(one_round) for _ in range(rounds))
    return Floor(what="a loop of function calls", value=seconds)


def average(vectors: int, size: int) -> Floor:
    """Average vectors of this process, in seconds."""
    parts = [np.ones(size, np.float32) for _ in range(vectors)]
    total = np.empty(size, np.float32)

    def work() -> None:
        total[:] = parts[0]
        for part in parts[1:]:
            np.add(total, part, out=total)
        np.divide(total, vectors, out=total)

    work()
    return Floor(what="the same in one process", value=statistics.median(_timed(work) for _ in range(5)))


def fork(imports: str, work: str) -> Floor:
    """Fork a process that has libraries loaded, let it work, and wait for it, in seconds."""
    printed = python("-c", _FORKS.format(imports=imports, work=work)).printed
    return Floor(what="fork, the same work, wait", value=float(printed))


def pipes(processes: int, *, rounds: int = 300) -> Floor:
    """Persistent processes that are each sent a line and answer it, in seconds per round."""
    line = json.dumps({"input": {"mean": 1}, "cache": {}, "state": {"iteration": 1}}).encode() + b"\n"
    command = [sys.executable, "-c", _ECHO]
    started = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(processes)
    ]

    def one_round() -> None:
        for process in started:
            assert process.stdin is not None
            process.stdin.write(line)
            process.stdin.flush()
        for process in started:
            assert process.stdout is not None
            process.stdout.readline()

    one_round()
    seconds = statistics.median(_timed(one_round) for _ in range(rounds))
    for process in started:
        process.communicate()
    return Floor(what="pipes to processes that stay", value=seconds)


def copy_and_digest(folder: Path, size_bytes: int) -> Floor:
    """Write a file, copy it, and take the sha256 of the copy, in seconds."""
    block = os.urandom(_CHUNK_BYTES)
    first, second = folder / "floor", folder / "floor-copy"

    def work() -> None:
        with first.open("wb") as file:
            for start in range(0, size_bytes, _CHUNK_BYTES):
                file.write(block[: size_bytes - start])
        shutil.copyfile(first, second)
        with second.open("rb") as file:
            hashlib.file_digest(file, "sha256")

    seconds = _timed(work)
    first.unlink()
    second.unlink()
    return Floor(what="write, copy and sha256 of the same file", value=seconds)


def _timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
