"""What the checks have an algorithm do: one act for each call, as the request says.

Runs wherever the runtime under examination puts it: Python 3.8 or later, nothing but its own library.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sys
import time
from typing import Any, Dict, List

Asked = Dict[str, Any]


def echo(asked: Asked) -> Any:
    """Answer what was said."""
    print("heard", file=sys.stderr)
    return asked["said"]


def count(asked: Asked) -> Any:
    """How often this was called, as far as the process and as far as its folder knows."""
    json.calls = getattr(json, "calls", 0) + 1  # type: ignore[attr-defined]  # what a call may leave in a library
    path = os.path.join(asked["output"], "count")
    with open(path, "a") as file:
        file.write("x")
    return [json.calls, os.path.getsize(path)]  # type: ignore[attr-defined]  # as above


def variables(asked: Asked) -> Any:
    """Some variables of the environment."""
    return {name: os.environ.get(name) for name in asked["names"]}


def draw(asked: Asked) -> Any:
    """Chance."""
    return random.random()


def read(asked: Asked) -> Any:
    """What a file holds, and what a folder lists; null for what can't be had."""
    found: List[Any] = []
    for path in asked["paths"]:
        try:
            if os.path.isdir(path):
                found.append(sorted(os.listdir(path)))
            else:
                with open(path) as file:
                    found.append(file.read())
        except OSError:
            found.append(None)
    return found


def write(asked: Asked) -> Any:
    """Write to folders; whether it could be done."""
    done = []
    for path in asked["paths"]:
        try:
            with open(path, "w") as file:
                file.write("written")
            done.append(True)
        except OSError:
            done.append(False)
    return done


def leave(asked: Asked) -> Any:
    """End with an exit status."""
    print("last words", file=sys.stderr)
    sys.exit(asked["status"])


def crash(asked: Asked) -> Any:
    """End by a signal."""
    os.kill(os.getpid(), asked["signal"])
    signal.pause()


def _hold(asked: Asked) -> int:
    """Open the thread of life: whoever reads it notices when all who hold it have ended."""
    return os.open(asked["thread"], os.O_WRONLY)


def linger(asked: Asked) -> Any:
    """Take hold of the thread, as do a child in a group and one in a session of its own, and wait."""
    thread = _hold(asked)
    for detach in (os.setsid, lambda: os.setpgid(0, 0)):
        if os.fork() == 0:
            detach()
            os.write(thread, b"o")
            while True:
                signal.pause()
    os.write(thread, b"o")
    while not asked.get("ends"):
        signal.pause()
    return "left"


def linger_once(asked: Asked) -> Any:
    """Wait the first time, answer the second: a runtime may do a call again that it has lost."""
    path = os.path.join(asked["output"], "lingered")
    if os.path.exists(path):
        return "again"
    with open(path, "w"):
        pass
    return linger(asked)


def flood(asked: Asked) -> Any:
    """Print without end."""
    stream = sys.stdout if asked["stream"] == "out" else sys.stderr
    while True:
        stream.write("x" * 10000)


def prattle(asked: Asked) -> Any:
    """Print so much beside the answer, and answer."""
    sys.stderr.write("x" * asked["bytes"])
    return "said"


def fork(asked: Asked) -> Any:
    """Make processes that make processes, deaf to all that they can be deaf to."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _hold(asked)
    while True:
        try:
            if os.fork() == 0 and os.getpid() % 2:
                os.setsid()
        except OSError:
            pass


def hoard(asked: Asked) -> Any:
    """Take more and more memory."""
    size = 10_000_000
    return len([b"x" * size for _ in range(asked["megabytes"] // 10)])


def fill(asked: Asked) -> Any:
    """Fill the disk with files, and then stay or answer."""
    held = []
    for number in range(asked["megabytes"]):
        path = os.path.join(asked["output"], f"fill-{number}")
        with open(path, "wb") as file:
            file.write(os.urandom(1_000_000))
            if asked.get("hides"):
                os.unlink(path)
                held.append(os.dup(file.fileno()))
    while asked.get("stays"):
        signal.pause()
    return "filled"


def hole(asked: Asked) -> Any:
    """Make a file that is large and holds nothing."""
    with open(os.path.join(asked["output"], "hole"), "wb") as file:
        file.truncate(asked["megabytes"] * 1_000_000)
    return "made"


def knock(asked: Asked) -> Any:
    """Connect somewhere, say something, and hear the answer; null where nobody answers."""
    try:
        with socket.create_connection((asked["host"], asked["port"]), timeout=5) as line:
            line.sendall(asked["said"].encode())
            line.shutdown(socket.SHUT_WR)
            return line.makefile("rb").read().decode()
    except OSError:
        return None


def listen(asked: Asked) -> Any:
    """Listen, and answer the first who connects."""
    with socket.create_server(("127.0.0.1", asked["port"])) as listener:
        os.write(_hold(asked), b"o")
        listener.settimeout(10)
        line, _ = listener.accept()
        with line:
            line.sendall(b"in here")
    return "heard"


def busy(asked: Asked) -> Any:
    """Seconds of work of a processor that were had within some seconds."""
    began = time.process_time()
    end = time.monotonic() + asked["seconds"]
    while time.monotonic() < end:
        pass
    return time.process_time() - began


if __name__ == "__main__":
    request = json.loads(sys.stdin.read())
    sys.stdout.write(json.dumps(globals()[request["act"]](request)))
