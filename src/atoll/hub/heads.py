"""How long the head of a request may be: the server by itself would take one without an end into its memory."""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: Bytes of a request's first line and headers. A token, a cursor and what proxies add have a hundredth.
HEAD_BYTES_MAX = 64 * 1024


class BoundedHeads(HttpToolsProtocol):
    """A connection on which no head is longer than it may be, and nothing behind a body is a header."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._is_head = True
        #: Of the head that is coming: whole pieces, as they were received.
        self._head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take in what has come."""
        if self._is_head and self._head_bytes > HEAD_BYTES_MAX:
            self.send_400_response("The head of the request is too long.")
            return
        super().data_received(data)
        if self._is_head:
            self._head_bytes += len(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._is_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has come, or what calls itself one behind a body: nobody has looked at that."""
        if self._is_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head has come."""
        self._is_head = False
        super().on_headers_complete()
