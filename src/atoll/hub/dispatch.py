"""Which endpoint a request is for, and what that is called with.

FastAPI finds a route by trying one after the other, and asks itself at each request what an endpoint
takes: with a hundred endpoints that is most of a request's time. The hub's own endpoints are plain:
they take the request, whoever asks, and the words of their path. So they are found by the shape of
the path, and called at once. What isn't found here is left to FastAPI, which says so.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, get_type_hints

from fastapi import Request, Response
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from atoll.hub.problems import is_fault, problem

_LOG = logging.getLogger(__name__)

#: What gives an argument of an endpoint.
Giver = Callable[[Request], Awaitable[Any]]


class _Endpoint:
    """An endpoint, as it is called.

    Args:
        route: as FastAPI has it.
        prefix: what its path begins with.
    """

    def __init__(self, route: APIRoute, prefix: str) -> None:
        self.segments = tuple((prefix + route.path).split("/"))
        #: Which of the segments are parameters, and of which name.
        self.names = [(index, part[1:-1]) for index, part in enumerate(self.segments) if part.startswith("{")]
        #: Those that aren't, the most telling first: all paths begin alike.
        self.words = [
            (index, part)
            for index, part in reversed(list(enumerate(self.segments)))
            if not part.startswith("{")
        ]
        self.call: Callable[..., Awaitable[Response]] = route.endpoint
        hints = get_type_hints(route.endpoint, include_extras=True)
        known = {name for _, name in self.names}
        self.takes_request: str | None = None
        self.givers: list[tuple[str, Giver]] = []
        for name in inspect.signature(route.endpoint).parameters:
            depends = [one for one in getattr(hints[name], "__metadata__", ()) if isinstance(one, Depends)]
            if depends:
                assert depends[0].dependency is not None
                self.givers.append((name, depends[0].dependency))
            elif hints[name] is Request:
                self.takes_request = name
            else:
                # Only words of the path are left. Anything else would be taken from nowhere.
                assert name in known, f"{route.path}: nothing gives {name}"
                assert hints[name] is str, f"{route.path}: {name} is no text"

    def fits(self, segments: list[str]) -> bool:
        """Whether a path of as many segments is this endpoint's."""
        return all(segments[index] == word for index, word in self.words) and all(
            segments[index] for index, _ in self.names
        )


class Dispatch:
    """An application whose own endpoints are called at once.

    Args:
        app: what is asked about all else.
        routes: the endpoints.
        prefix: what all of their paths begin with.
    """

    def __init__(self, app: ASGIApp, *, routes: Iterable[APIRoute], prefix: str) -> None:
        self._app = app
        #: Those whose paths are words alone: such a word comes before a parameter, /nodes/register is no node.
        self._plain: dict[tuple[str, str], _Endpoint] = {}
        self._known: dict[tuple[str, int], list[_Endpoint]] = {}
        for route in routes:
            endpoint = _Endpoint(route, prefix)
            for method in route.methods or ():
                if endpoint.names:
                    self._known.setdefault((method, len(endpoint.segments)), []).append(endpoint)
                else:
                    self._plain[method, "/".join(endpoint.segments)] = endpoint
        for endpoints in self._known.values():
            endpoints.sort(key=lambda one: len(one.names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        method, path = scope.get("method", ""), scope.get("path", "")
        segments: list[str] = path.split("/")
        endpoint = self._plain.get((method, path))
        if endpoint is None:
            for endpoint in self._known.get((method, len(segments)), ()):
                if endpoint.fits(segments):
                    break
            else:
                await self._app(scope, receive, send)
                return
        request = Request(scope, receive, send)
        given: dict[str, Any] = {name: segments[index] for index, name in endpoint.names}
        try:
            for name, giver in endpoint.givers:
                given[name] = await giver(request)
            if endpoint.takes_request is not None:
                given[endpoint.takes_request] = request
            response = await endpoint.call(**given)
        except Exception as error:  # whatever it is, who asked hears of it, and the hub goes on
            if is_fault(error):
                _LOG.error("%s %s failed", request.method, request.url.path, exc_info=error)
            response = problem(error)
        await response(scope, receive, send)
