"""``python -m benchmarks.federation.hop``: keep one file that is sent by HTTP, and give it out again.

The floor of a file that goes through a hub: one process writes what comes into a file, and sends
that file to who asks for it. It checks nothing.
"""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socket import SHUT_WR

_CHUNK_BYTES = 1024 * 1024


class _Keeper(BaseHTTPRequestHandler):
    """Takes a file, and gives it out."""

    path_kept: Path

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        with self.path_kept.open("wb", buffering=0) as file:
            while left:
                count = self.rfile.readinto(buffer[: min(left, _CHUNK_BYTES)])
                file.write(buffer[:count])
                left -= count
        self.send_response(204)
        self.end_headers()

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(self.path_kept.stat().st_size))
        self.end_headers()
        self.wfile.flush()
        with self.path_kept.open("rb") as file:
            self.connection.sendfile(file)
        self.connection.shutdown(SHUT_WR)
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the standard library's name
        pass  # There is nobody to read it.


def main() -> None:
    _Keeper.path_kept = Path(sys.argv[1])
    server = HTTPServer(("127.0.0.1", 0), _Keeper)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
