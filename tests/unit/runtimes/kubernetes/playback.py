"""A stand-in for a cluster: it plays back recorded exchanges, in their order, to the official client.

An exchange names the request that is expected (what stands in ``query`` and ``body`` has to be there, and
more may be), and the answer. A pod stands by its name in ``pods.json``. An event may say what the algorithm
has been given, and what it has written by then, which the stand-in does in the files of the volume.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

GOLDEN = Path(__file__).parents[3] / "golden" / "kubernetes"
TOKEN = "a-token-of-the-site"


def golden(name: str) -> Any:
    """A recording."""
    return json.loads((GOLDEN / f"{name}.json").read_text())


def fits(expected: Any, actual: Any) -> bool:
    """Whether all that is expected is there."""
    if isinstance(expected, Mapping) and isinstance(actual, Mapping):
        return all(key in actual and fits(value, actual[key]) for key, value in expected.items())
    return bool(expected == actual)


@dataclass(kw_only=True)
class Playback:
    """What is played, and how far it is."""

    exchanges: list[Any]
    volume: Path
    pods: Any = field(default_factory=lambda: golden("pods"))
    address: str = ""
    at: int = 0
    faults: list[str] = field(default_factory=list)
    #: The bodies of Jobs that were asked for.
    jobs: list[Any] = field(default_factory=list)
    #: Is set when a request arrives after a stream that is held open for it.
    released: threading.Event = field(default_factory=threading.Event)

    def write_kubeconfig(self, path: Path) -> Path:
        """What a client needs to get here."""
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "here",
                    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "node"}}],
                    "clusters": [{"name": "here", "cluster": {"server": self.address}}],
                    "users": [{"name": "node", "user": {"token": TOKEN}}],
                }
            )
        )
        return path

    def next(self, request: Mapping[str, Any]) -> Any:
        """The exchange of a request; None for one that isn't expected."""
        expected = self.exchanges[self.at] if self.at < len(self.exchanges) else None
        wanted = (
            None
            if expected is None
            else {key: expected[key] for key in ("method", "path", "query", "body") if key in expected}
        )
        watching = "watch" in request["query"]
        if wanted is None or not fits(wanted, request) or watching != ("watch" in wanted.get("query", {})):
            self.faults.append(f"exchange {self.at}: expected {wanted}, got {request}")
            return None
        self.at += 1
        return expected

    def act(self, event: Mapping[str, Any]) -> None:
        """Do in the volume what the algorithm has done by then."""
        mounts = self.jobs[-1]["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        files = {each["mountPath"]: self.volume / each["subPath"] for each in mounts if "subPath" in each}
        if "reads" in event and (found := files["/run/atoll/call/in"].read_text()) != event["reads"]:
            self.faults.append(f"the algorithm was given {found!r}, and expected was {event['reads']!r}")
        for name, text in event.get("writes", {}).items():
            files[f"/run/atoll/call/{name}"].write_text(text)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    playback: Playback

    def _answer(self) -> None:
        split = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        query = {key: values[0] for key, values in parse_qs(split.query).items()}
        query = {key: value.lower() if key == "watch" else value for key, value in query.items()}
        request = {"method": self.command, "path": split.path, "query": query, "body": body}
        play = self.playback
        play.released.set()
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            play.faults.append(f"nobody is known by {self.headers.get('Authorization')!r}")
        exchange = play.next(request)
        if exchange is None:
            self._send(400, {"message": "this request was not expected"})
            return
        if self.command == "POST" and split.path.endswith("/jobs"):
            play.jobs.append(body)
        if "events" in exchange:
            self._stream(exchange)
            return
        answer = exchange["answer"]
        if "pods" in exchange:
            answer = {**answer, "items": [play.pods[name] for name in exchange["pods"]]}
        self._send(exchange["status"], answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 -- the library's names

    def _send(self, status: int, answer: Any) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _stream(self, exchange: Mapping[str, Any]) -> None:
        self.playback.released.clear()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in exchange["events"]:
            self.playback.act(event)
            told = {"type": event["type"], "object": self.playback.pods[event["pod"]]}
            line = json.dumps(told).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        if exchange.get("hold"):
            self.playback.released.wait(10)
        self.wfile.write(b"0\r\n\r\n")

    def handle(self) -> None:
        """Serve a connection; who hangs up has heard enough."""
        try:
            super().handle()
        except ConnectionError:
            pass  # as said
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 -- the library's name
        """Print nothing."""


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


@contextmanager
def playing(name: str, volume: Path) -> Iterator[Playback]:
    """Play a recording back; at the end all of it must have been asked for, and nothing else."""
    playback = Playback(exchanges=golden(name), volume=volume)
    handler = type("Handler", (_Handler,), {"playback": playback})
    with _Server(("127.0.0.1", 0), handler) as server:
        playback.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield playback
        finally:
            playback.released.set()
            server.shutdown()
            thread.join()
    assert not playback.faults
    assert playback.at == len(playback.exchanges)
