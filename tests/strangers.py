"""Hosts that an algorithm must not reach, or may: stand-ins in network namespaces of a test's own.

::

    this thread, in a namespace of its own  ---- a pair of virtual interfaces ----  strangers, in theirs
    192.0.2.0/31: .0                                                             .1, and every address asked for

No packet leaves: what this thread and its children send to any address arrives at the strangers, whatever
the address, or nowhere. Both namespaces are gone with the processes that live in them.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from atoll.runtimes.guest.cell import CLONE_NEWNET, setns, unshare

OURS, THEIRS = "192.0.2.0", "192.0.2.1"
#: Where a stranger answers for names; see `answer_names`.
RESOLVER = "192.0.2.53"
#: Kinds of answers: addresses of version 4, and of version 6.
_A, _AAAA = 1, 28


@cache
def why_missing() -> str | None:
    """Why there can be no network of strangers here, as a sentence; None where there can."""
    words = "unshare --net ip link add sea type veth peer name shore"
    tried = subprocess.run(words.split(), capture_output=True, text=True, check=False)
    return (
        None
        if tried.returncode == 0
        else f"no network of its own can be made ({words}): {tried.stderr.strip()}"
    )


@contextmanager
def among(
    listening: Sequence[tuple[str, int]],
    *,
    names: Mapping[str, Sequence[Sequence[str]]],
    certificate: Path,
    secure: Sequence[int] = (443, 8443),
) -> Iterator[None]:
    """Be in a network with strangers, for as long as it lasts: this thread, and what it starts.

    Args:
        listening: where they listen; each answers every request with its address and port.
        names: for a name, what is answered to one question after another, and the last to all that follow.
        certificate: with its key, for ports that speak TLS.
        secure: those ports.
    """
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    told = {"listening": listening, "names": names, "certificate": str(certificate), "secure": secure}
    unshare(CLONE_NEWNET)
    try:
        with subprocess.Popen(
            [
                "unshare",
                "--net",
                "setpriv",
                "--pdeathsig",
                "KILL",
                "--",
                sys.executable,
                __file__,
                json.dumps(told),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as strangers:
            try:
                assert strangers.stdin is not None
                assert strangers.stdout is not None
                assert strangers.stdout.readline() == b"here\n"
                _ip("link", "set", "lo", "up")
                _ip("link", "add", "sea", "type", "veth", "peer", "name", "sea", "netns", str(strangers.pid))
                _ip("address", "add", f"{OURS}/31", "dev", "sea")
                _ip("link", "set", "sea", "up")
                _ip("route", "add", "default", "via", THEIRS)
                strangers.stdin.write(b"connected\n")
                strangers.stdin.flush()
                assert strangers.stdout.readline() == b"listening\n"
                yield
            finally:
                strangers.kill()
    finally:
        setns(before, CLONE_NEWNET)
        os.close(before)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _be_strangers(told: Any) -> None:
    """What runs on the other side."""
    _say("here")
    sys.stdin.readline()
    _ip("link", "set", "lo", "up")
    _ip("address", "add", f"{THEIRS}/31", "dev", "sea")
    _ip("link", "set", "sea", "up")
    _ip("route", "add", "default", "via", OURS)
    for address in dict.fromkeys([*(address for address, _ in told["listening"]), RESOLVER]):
        _ip("address", "add", f"{address}/32", "dev", "lo")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(told["certificate"])
    for address, port in told["listening"]:
        listener = socket.create_server((address, port))
        secured = context if port in told["secure"] else None
        threading.Thread(target=_serve, args=(listener, secured), daemon=True).start()
    resolver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    resolver.bind((RESOLVER, 53))
    threading.Thread(target=_answer_names, args=(resolver, told["names"]), daemon=True).start()
    _say("listening")
    sys.stdin.read()


def _serve(listener: socket.socket, context: ssl.SSLContext | None) -> None:
    address, port = listener.getsockname()
    body = f"{address}:{port}".encode()
    while True:
        line, _ = listener.accept()
        try:
            if context is not None:
                line = context.wrap_socket(line, server_side=True)
            with line:
                line.recv(65536)
                line.sendall(
                    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
                    % (len(body), body)
                )
        except OSError:
            continue


def _answer_names(resolver: socket.socket, names: Mapping[str, list[list[str]]]) -> None:
    """A resolver, as small as it can be: addresses that hold for no second."""
    while True:
        question, asker = resolver.recvfrom(4096)
        name, end = "", 12
        while question[end]:
            name += question[end + 1 : end + 1 + question[end]].decode() + "."
            end += question[end] + 1
        kind = struct.unpack("!H", question[end + 1 : end + 3])[0]
        answers = names.get(name.rstrip(".").lower(), [[]])
        found = answers.pop(0) if len(answers) > 1 and kind == _A else answers[0]
        family = {_A: socket.AF_INET, _AAAA: socket.AF_INET6}.get(kind)
        packed = (
            [socket.inet_pton(family, each) for each in found if (":" in each) == (kind == _AAAA)]
            if family
            else []
        )
        head = question[:2] + struct.pack("!5H", 0x8180, 1, len(packed), 0, 0)
        records = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(each)) + each for each in packed)
        resolver.sendto(head + question[12 : end + 5] + records, asker)


if __name__ == "__main__":
    _be_strangers(json.loads(sys.argv[1]))
