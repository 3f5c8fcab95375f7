"""What a hub and a node take while nothing happens, and how fast a hub answers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from benchmarks.command import ROOT, CommandFailed
from benchmarks.federation import floors
from benchmarks.federation.stage import Federation, federation
from benchmarks.figures import Figure, Floor, Measure
from benchmarks.measures.federated import submit
from benchmarks.workshop import Workshop

_NODES = 1_000
_READ_RUNS = 10


def take_idle(workshop: Workshop) -> Sequence[Figure]:
    seconds = 20.0 if workshop.quick else 60.0
    with federation(workshop.folder, sites=1) as here:
        alone = here.hub.memory_bytes
        with _crowd(here, _NODES):
            # Hellos and their commits are over, and the first heartbeats have come.
            time.sleep(20.0)
            before, started = here.hub.cpu_seconds, time.monotonic()
            time.sleep(seconds)
            share = 100 * (here.hub.cpu_seconds - before) / (time.monotonic() - started)
            crowded = here.hub.memory_bytes
        node = here.nodes[here.sites[0]]
        idle, idle_before = node.memory_bytes, node.cpu_seconds
        time.sleep(seconds / 2)
        node_share = 100 * (node.cpu_seconds - idle_before) / (seconds / 2)
    megabytes = 1024 * 1024
    return [
        Figure(
            what=f"memory of a hub with {_NODES:,} idle nodes",
            unit="MiB",
            values=[crowded / megabytes],
            target=400.0,
            floor=Floor(what="a hub with 2 nodes", value=alone / megabytes),
        ),
        Figure(
            what=f"the hub's share of a core with {_NODES:,} idle nodes",
            unit="%",
            values=[share],
            target=10.0,
        ),
        Figure(what="memory of an idle node", unit="MB", values=[idle / 1e6], target=60.0),
        Figure(what="an idle node's share of a core", unit="%", values=[node_share]),
    ]


@contextmanager
def _crowd(here: Federation, count: int) -> Iterator[None]:
    """Let many nodes be registered, come, and stay."""
    keys = here.register(count)
    command = [sys.executable, "-m", "benchmarks.federation.crowd", "--url", here.url, "--count", str(count)]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n".join(keys) + "\n")
    process.stdin.flush()
    if process.stdout.readline().strip() != "ready":
        process.kill()
        process.communicate()
        raise CommandFailed(f"{count} nodes could not all listen to the hub")
    yield
    said, _ = process.communicate()
    if process.returncode:
        raise CommandFailed("a node's stream has ended")
    print(f"  the crowd: {json.loads(said)}", file=sys.stderr, flush=True)


def take_reads(workshop: Workshop) -> Sequence[Figure]:
    seconds = 3.0 if workshop.quick else 6.0
    plain = workshop.repeat(lambda: floors.reads(workshop.folder, seconds=seconds), times=2, quick=1)
    floor = max(plain, key=lambda each: each.value)
    with federation(workshop.folder, sites=3) as here:
        for _ in range(_READ_RUNS):
            submit(here)
        path = f"/v1/runs?limit={_READ_RUNS}"

        def load() -> float:
            found = floors.loaded(here.port, path, here.token, seconds=seconds)
            return float(found["per_second"])

        rates = workshop.repeat(load, times=5, quick=2)
    return [
        Figure(
            what="authenticated reads of ten runs, one worker, 16 connections",
            unit="/s",
            values=rates,
            target=3_000.0,
            is_least=True,
            floor=floor,
        )
    ]


IDLE = Measure(
    name="idle",
    about=(
        f"{_NODES:,} nodes with a key and a stream each, and a heartbeat every 15 s, at one hub, from one process "
        "that stands for all of them; and one real node that has nothing to do."
    ),
    take=take_idle,
)
READS = Measure(
    name="reads",
    about=(
        "`GET /v1/runs?limit=10` with a personal token, by one process over 16 connections that stay. The floor is "
        "a bare application with a token and ten rows as long, under the same server."
    ),
    take=take_reads,
)
