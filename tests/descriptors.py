"""Which descriptors this process has open, for tests that none is left behind."""

from __future__ import annotations

import os
import threading


def descriptors() -> list[str]:
    """The numbers of what is open, sorted, once what is being closed aside is closed."""
    for thread in threading.enumerate():
        if thread.name == "close":  # see atoll.runtimes.aside
            thread.join()
    return sorted(os.listdir("/proc/self/fd"))
