"""A hub from Python: `connect`, `login`, and what they give."""

from atoll.client.client import Client, connect, login
from atoll.client.runs import Run, Step

__all__ = ["Client", "Run", "Step", "connect", "login"]
