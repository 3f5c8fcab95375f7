"""A served process answers over its socket, in either form of a body, until the line ends."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.unit.algorithm.islands import body_of

from atoll_algorithm._body import pack, unpack
from atoll_algorithm._line import MEMORY_BYTES_MIN, Line

HEAD = {"do": "call", "seat": "alpha", "sites": ["alpha", "beta"], "seed": 1, "databases": [], "resume": None}
SOURCE = textwrap.dedent(
    """
    import sys
    from dataclasses import dataclass
    from atoll_algorithm import Sites, all_reduce, central, log, partial

    print("loaded")

    @dataclass
    class Pair:
        one: int
        two: int

    @partial
    def add(pair: Pair) -> Pair:
        print("adding", pair.one)
        return Pair(pair.one + 1, pair.two + 1)

    @partial
    def double(weights):
        return weights * 2

    @partial
    def boom():
        raise KeyError("patient 7")

    @partial
    def leave():
        sys.exit(3)

    @central
    def both(sites: Sites):
        log("asking")
        parts = sites.call(add, pair={"one": 1, "two": 2}, deadline=2)
        return [[site, part.two] for site, part in parts.items()]

    @all_reduce
    def met(sites: Sites):
        return sites.sum(2)
    """
)


class Served:
    """A process that serves, with this test as its node."""

    def __init__(self, target: Path, log: Path, by_path: bool = False) -> None:
        environment = {**os.environ, "PYTHONUNBUFFERED": ""}
        passed = []
        if by_path:
            door = socket.socket(socket.AF_UNIX)
            door.bind(str(log.parent / "door"))
            door.listen()
            environment["ATOLL_SOCKET"] = str(log.parent / "door")
        else:
            here, there = socket.socketpair()
            passed = [there.fileno()]
            environment["ATOLL_SERVE_FD"] = str(there.fileno())
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "atoll_algorithm", str(target)],
                env=environment,
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        if by_path:
            here, _ = door.accept()
            door.close()
        else:
            there.close()
        self.endpoint = here
        self.line = Line(here)
        self.log = log

    def call(self, function: str, **arguments: Any) -> tuple[dict[str, Any], Any]:
        self.line.send(HEAD, [body_of(function, None, **arguments)])
        return self.next()

    def next(self) -> tuple[dict[str, Any], Any]:
        frame = self.line.receive()
        assert frame is not None, self.log.read_text()
        return frame

    def end(self) -> int:
        self.endpoint.close()
        return self.process.wait(10)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "sums.py").write_text(SOURCE)
    return tmp_path / "sums.py"


@pytest.fixture
def served(target: Path, tmp_path: Path) -> Iterator[Served]:
    made = Served(target, tmp_path / "log")
    yield made
    assert 0 == made.end()


def test_a_call_is_answered_and_what_is_printed_stands_in_the_log_before(served: Served) -> None:
    head, body = served.call("add", pair={"one": 1, "two": 2})

    assert {"say": "returned"} == head
    assert {"one": 2, "two": 3} == unpack(body)
    assert "loaded\nadding 1\n" == served.log.read_text()


def test_what_an_exception_says_stands_in_the_log_and_is_not_sent(served: Served) -> None:
    head, body = served.call("boom")

    line = SOURCE.splitlines().index('    raise KeyError("patient 7")') + 1
    assert {
        "say": "failed",
        "type": "KeyError",
        "message": None,
        "frames": [["sums.py", line, "boom"]],
    } == head
    assert b"" == bytes(body)
    assert "patient 7" in served.log.read_text()
    assert "SystemExit" == served.call("leave")[0]["type"]
    assert "returned" == served.call("add", pair={"one": 1, "two": 2})[0]["say"]


def test_a_large_array_travels_as_a_sealed_file(served: Served) -> None:
    weights = np.arange(10_000_000, dtype="f4")
    served.line.send(HEAD, pack({"function": "double", "args": {"weights": weights}, "databases": None}))

    start, messages, _, _ = served.endpoint.recvmsg(12, socket.CMSG_SPACE(4))
    descriptor = int.from_bytes(messages[0][2], sys.byteorder)
    served.endpoint.recv(int.from_bytes(start[8:], "big"))

    assert len(start) == 12
    assert int.from_bytes(start[:8], "big") == 4 + int.from_bytes(start[8:], "big")
    assert 40_000_000 < os.fstat(descriptor).st_size < 40_001_000
    assert 15 == fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    with open(descriptor, "rb") as file:
        assert np.array_equal(weights * 2, unpack(file.read()))


def test_either_form_is_read_at_any_size(served: Served) -> None:
    weights = np.ones(MEMORY_BYTES_MIN)
    whole = b"".join(pack({"function": "double", "args": {"weights": weights}, "databases": None}))
    head = b'{"do":"call","seat":"alpha","sites":[],"seed":null,"databases":[],"resume":null}'
    served.endpoint.sendall(
        (4 + len(head) + len(whole)).to_bytes(8, "big") + len(head).to_bytes(4, "big") + head + whole
    )

    assert np.array_equal(weights * 2, unpack(served.next()[1]))
    small = os.memfd_create("small", os.MFD_ALLOW_SEALING)
    os.write(small, body_of("double", None, weights=4))
    fcntl.fcntl(small, fcntl.F_ADD_SEALS, 15)
    start = (4 + len(head)).to_bytes(8, "big") + len(head).to_bytes(4, "big") + head
    socket.send_fds(served.endpoint, [start], [small])
    os.close(small)
    assert 8 == unpack(served.next()[1])


def test_a_central_function_asks_and_goes_on_with_the_answers(served: Served) -> None:
    said, body = served.call("both")
    assert {"say": "log", "text": "asking"} == said
    question, body = served.next()

    assert {"say": "call", "function": "add", "sites": None, "deadline": 2, "keep": None} == question
    assert {"function": "add", "args": {"pair": {"one": 1, "two": 2}}, "databases": None} == unpack(body)
    for site, two in (("beta", 5), ("alpha", 4)):
        part = {"do": "part", "site": site, "status": "done", "failure": None}
        tagged = b'{"value":{"$data":["sums:Pair",{"one":0,"two":%d}]}}' % two
        answer = b"ATO1" + len(tagged).to_bytes(4, "big") + tagged
        served.line.send(part, [answer])
    served.line.send({"do": "end"}, [])

    head, body = served.next()
    assert {"say": "returned"} == head
    assert [["alpha", 4], ["beta", 5]] == unpack(body)


def test_a_paused_function_goes_on_with_the_total(served: Served) -> None:
    _, body = served.call("met", **{"atoll.step": ["k", 0], "arguments": {}})
    assert {"atoll.sum": 2} == unpack(body)

    _, body = served.call("met", **{"atoll.step": ["k", 1], "total": 8})

    assert {"atoll.result": 8} == unpack(body)


def test_a_function_that_is_paused_or_asks_doesnt_keep_the_process(target: Path, tmp_path: Path) -> None:
    paused, asking = Served(target, tmp_path / "one"), Served(target, tmp_path / "two")
    paused.call("met", **{"atoll.step": ["k", 0], "arguments": {}})
    asking.call("both")
    asking.next()

    assert [0, 0] == [paused.end(), asking.end()]


def test_the_socket_may_be_a_path(target: Path, tmp_path: Path) -> None:
    served = Served(target, tmp_path / "log", by_path=True)

    assert 6 == unpack(served.call("double", weights=3)[1])
    assert 0 == served.end()


def test_an_algorithm_that_cant_be_imported_fails_each_call_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import not_there_at_all\n")
    served = Served(tmp_path / "bad.py", tmp_path / "log")

    for _ in range(2):
        head, _ = served.call("add")
        assert ("ModuleNotFoundError", "the module not_there_at_all isn't installed here") == (
            head["type"],
            head["message"],
        )
        assert ["bad.py", 1, "<module>"] == head["frames"][-1]
    assert 0 == served.end()


def test_a_package_is_loaded_with_its_modules(tmp_path: Path) -> None:
    package = tmp_path / "statistics"  # a name that the standard library has, too
    package.mkdir()
    (package / "__init__.py").write_text("from .parts import half\n")
    (package / "parts.py").write_text(
        "import statistics\nfrom atoll_algorithm import partial\n\n"
        "@partial\ndef half(x: float) -> float:\n    return x / 2\n\n"
        "@partial\ndef middle(x: list) -> float:\n    return statistics.median(x)\n"
    )
    served = Served(package, tmp_path / "log")

    assert 1.5 == unpack(served.call("half", x=3)[1])
    assert "returned" == served.call("middle", x=[1, 2, 3])[0]["say"], served.log.read_text()
    assert 0 == served.end()


def test_who_starts_it_wrongly_is_told() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ATOLL_")}
    for words, sentence in (
        ([], "usage: python -m atoll_algorithm TARGET"),
        (["a.py"], "says where the node is"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "atoll_algorithm", *words],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert 2 == done.returncode
        assert sentence in done.stderr
