"""The hub over HTTP: all its rooms under ``/v1``."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.routing import APIRoute

from atoll import __version__
from atoll.hub import problems
from atoll.hub.algorithms import routes as algorithm_routes
from atoll.hub.answers import answer
from atoll.hub.blobs import routes as blob_routes
from atoll.hub.collaborations import routes as collaboration_routes
from atoll.hub.described import described, description
from atoll.hub.dispatch import Dispatch
from atoll.hub.envelope import Envelope
from atoll.hub.events import routes as event_routes
from atoll.hub.parts import Parts, Rooms
from atoll.hub.peers import routes as peer_routes
from atoll.hub.people import login_routes
from atoll.hub.people import routes as people_routes
from atoll.hub.runs import routes as run_routes
from atoll.hub.sites import protocol_routes
from atoll.hub.sites import routes as site_routes
from atoll.transports import version as version_rule

PREFIX = "/v1"
#: What answers every version, so that who is too old can find out.
_FOR_ALL_VERSIONS = (f"{PREFIX}/health", f"{PREFIX}/version")
#: What brings a file. Nothing else may match: a body that isn't taken in piece by piece fills the memory.
_FILES = re.compile(rf"PATCH {PREFIX}/runs/[^/]+/uploads/[^/]+|PUT {PREFIX}/algorithms/[^/]+")

router = APIRouter(tags=["hub"])

#: Every room's endpoints.
ROUTERS: tuple[APIRouter, ...] = (
    router,
    login_routes.router,
    people_routes.router,
    collaboration_routes.router,
    site_routes.router,
    algorithm_routes.router,
    run_routes.router,
    event_routes.router,
    blob_routes.router,
    protocol_routes.router,
    peer_routes.router,
)


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the hub works."""

    #: ``ok``, whenever there is an answer.
    status: str


class Version(msgspec.Struct, frozen=True, kw_only=True):
    """Which Atoll this is."""

    #: As ``MAJOR.MINOR.PATCH``.
    version: str


@router.get("/health", **described("open", answer=Health))
async def health(request: Request) -> Response:
    """Whether the hub works: its database answers."""
    rooms: Rooms = request.app.state.rooms
    async with rooms.parts.database.reading():
        pass
    return answer(Health(status="ok"))


@router.get("/version", **described("open", answer=Version))
async def version() -> Response:
    """Which version of Atoll the hub is."""
    return answer(Version(version=__version__))


@router.get("/openapi.json", **described("open", answer=dict[str, Any]))
async def openapi(request: Request) -> Response:
    """This description."""
    return answer(request.app.openapi())


def create_app(parts: Parts) -> FastAPI:
    """The hub's endpoints."""
    app = FastAPI(title="Atoll hub", version=__version__, openapi_url=None, docs_url=None, redoc_url=None)
    app.state.rooms = Rooms(parts)
    problems.install(app)
    for one in ROUTERS:
        app.include_router(one, prefix=PREFIX)
    for path, endpoint in peer_routes.SOCKETS.items():
        app.add_api_websocket_route(PREFIX + path, endpoint)
    routes = [route for one in ROUTERS for route in one.routes if isinstance(route, APIRoute)]
    # Around all that FastAPI would put around them: its layers take longer than most of the hub's answers.
    app.middleware_stack = Envelope(
        Dispatch(app.build_middleware_stack(), routes=routes, prefix=PREFIX),
        body_bytes_max=parts.settings.body_bytes_max,
        unbounded=_streams,
        check_version=_check_version,
    )
    made: dict[str, Any] = {}

    def described_app() -> dict[str, Any]:
        if not made:
            made.update(description(app))
        return made

    app.openapi = described_app  # type: ignore[method-assign]  # FastAPI's own way of replacing it
    return app


def _check_version(path: str, theirs: str) -> None:
    """Refuse a version that this one doesn't understand, except where it asks which this one is."""
    if path not in _FOR_ALL_VERSIONS:
        version_rule.check(theirs, __version__, they="who asks")


def _streams(method: str, path: str) -> bool:
    """Whether a request brings a file, which is taken in piece by piece and has a bound of its own."""
    return _FILES.fullmatch(f"{method} {path}") is not None
