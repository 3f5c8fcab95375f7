"""The machine that is measured on, and whether others use it meanwhile."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atoll import __version__

#: The share of its processors that a quiet machine may spend on others: daemons, a clock.
QUIET_SHARE = 0.08
#: Seconds for which the processors are watched before the start.
_WATCH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Used:
    """What the processors have done since the machine's start, in seconds."""

    at: float
    busy: float
    #: How much of it was ours: this process and the commands that it waited for.
    ours: float


def used() -> Used:
    """Look at the processors' counters."""
    words = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    ticks = os.sysconf("SC_CLK_TCK")
    user, nice, system, _, _, irq, softirq, steal = (int(word) / ticks for word in words[:8])
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return Used(
        time.monotonic(),
        user + nice + system + irq + softirq + steal,
        sum(usage.ru_utime + usage.ru_stime for usage in usages),
    )


def share_of_others(since: Used) -> float:
    """The share of the processors' time that went elsewhere, from a moment until now."""
    now = used()
    elapsed = (now.at - since.at) * (os.cpu_count() or 1)
    return max(0.0, (now.busy - since.busy) - (now.ours - since.ours)) / elapsed


def watch() -> float:
    """The share of the processors' time that others take right now."""
    since = used()
    time.sleep(_WATCH_SECONDS)
    return share_of_others(since)


def describe() -> list[tuple[str, str]]:
    """What a reader must know to compare figures."""
    meminfo = Path("/proc/meminfo").read_text().split()
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return [
        ("date", time.strftime("%Y-%m-%d %H:%M %Z")),
        ("Atoll", f"{__version__}, {_first_line(['git', 'describe', '--always', '--dirty'])}"),
        ("processors", f"{len(os.sched_getaffinity(0))} × {_model()}"),
        ("memory", f"{int(meminfo[meminfo.index('MemTotal:') + 1]) / 1024**2:.1f} GiB"),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("Python", f"{platform.python_implementation()} {platform.python_version()}"),
        ("bubblewrap", _first_line(["bwrap", "--version"])),
        ("load before the start", f"{load} (over 1, 5 and 15 minutes)"),
    ]


def _model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _first_line(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parent)
    except FileNotFoundError:
        return "not installed"
    return (done.stdout.splitlines() or ["unknown"])[0]
