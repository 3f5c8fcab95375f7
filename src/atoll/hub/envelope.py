"""What goes with every request: its size, its version, headers of the answer, a line in the log.

One plain ASGI application around another, since each layer of a framework's costs as much as a read
of the database. The log's line never has a query or a header: tokens stand there.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from atoll import __version__
from atoll.hub.problems import is_fault, problem
from atoll.model.errors import TooLarge

ACCESS_LOG = logging.getLogger("atoll.hub.access")
_LOG = logging.getLogger(__name__)
_LINE = "%s %s %d %.1f ms %s"

_HEADERS = (
    (b"atoll-version", __version__.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
#: Told to browsers only where the hub is reached over TLS.
_STRICT = (b"strict-transport-security", b"max-age=31536000")


class Envelope:
    """An application with what goes with every request.

    Args:
        app: the application inside.
        body_bytes_max: of a request, where `unbounded` doesn't name its path.
        unbounded: whether a request to a path streams its body, and bounds it by itself.
        check_version: of a path and the other side's version; raises where they don't go together.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        body_bytes_max: int,
        unbounded: Callable[[str, str], bool],
        check_version: Callable[[str, str], None],
    ) -> None:
        self._app = app
        self._bytes_max = body_bytes_max
        self._unbounded = unbounded
        self._check_version = check_version

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500
        begun = False
        strict = scope.get("scheme") == "https"

        async def sending(message: Message) -> None:
            nonlocal status, begun
            if message["type"] == "http.response.start":
                begun = True
                status = message["status"]
                own = message.setdefault("headers", [])
                names = {name for name, _ in own}
                own.extend(pair for pair in _HEADERS if pair[0] not in names)
                if strict:
                    own.append(_STRICT)
            await send(message)

        try:
            await self._serve(scope, receive, sending)
        except Exception as error:  # whatever it is, the one who asked hears of it, and the hub goes on
            if is_fault(error):
                _LOG.error("%s %s failed", scope["method"], _line(scope["path"]), exc_info=error)
            if not begun:
                await problem(error)(scope, receive, sending)
        finally:
            if ACCESS_LOG.isEnabledFor(logging.INFO):
                principal = scope.get("atoll.principal")
                took = (time.perf_counter() - began) * 1000
                name = principal.name if principal is not None else "-"
                # Made here: a logger would look through the stack for who has called it.
                said = (scope["method"], _line(scope["path"]), status, took, name)
                ACCESS_LOG.handle(
                    logging.LogRecord(ACCESS_LOG.name, logging.INFO, __file__, 0, _LINE, said, None)
                )

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = 0
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = int(value) if value.isdigit() else 0
            elif name == b"atoll-version":
                try:
                    self._check_version(scope["path"], value.decode("latin-1"))
                except Exception as error:  # a refusal, which is told as every other
                    await problem(error)(scope, receive, send)
                    return
        if self._unbounded(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        if length > self._bytes_max:
            await self._too_large(length)(scope, receive, send)
            return
        taken = 0

        async def receiving() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > self._bytes_max:
                    raise TooLarge(
                        f"the request has more than the {self._bytes_max} bytes that the hub takes"
                    )
            return message

        await self._app(scope, receiving, send)

    def _too_large(self, length: int) -> ASGIApp:
        return problem(TooLarge(f"the request has {length} bytes; the hub takes {self._bytes_max}"))


def _line(path: str) -> str:
    """A path as one line of a log: whoever asks may put line ends into it."""
    return path if path.isprintable() else ascii(path)
