"""How an algorithm is run on a machine: what runtimes are told, and what they promise.

One suite in ``tests/contract`` runs over all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from atoll.engine.limits import CallLimits
from atoll.model.work import Content, Seat

#: What stands before a frame's body: what JSON can say.
Head = Mapping[str, Any]


def whole(content: Content) -> bytes:
    """The bytes of a content, copied where it is held."""
    return content if isinstance(content, bytes) else content.read()


class Style(Enum):
    """How an algorithm's process is spoken to."""

    #: A fresh process per call: the request on standard input, the reply on standard output.
    CALL = "call"
    #: One process per session that answers request after request; its prints are its log.
    SERVE = "serve"
    #: As `SERVE`, and the process may put questions before it answers. Every frame has a head.
    TALK = "talk"


class ImageKind(Enum):
    """What an image is kept as."""

    #: In the store of a container engine, or in a registry: what Docker and Podman run.
    OCI = "oci"
    #: A file of Apptainer's format, or a folder with an unpacked root file system.
    SIF = "sif"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What an algorithm is packed in, with all that it needs of a system."""

    kind: ImageKind
    #: What it is called: ``registry.example/group/name:tag``, or the path of a file or folder.
    name: str
    #: ``sha256:`` and 64 hexadecimal digits: a registry's digest of it, or its own id; of a file's
    #: content. What has another digest is another image, whatever it is called.
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlet:
    """An address that an algorithm reaches beside its door: its node passes on what arrives there."""

    #: Where it is found inside: an address of the sandbox's own loopback, and a port.
    host: str
    port: int
    #: A name by which the algorithm finds `host`; empty for none.
    alias: str = ""
    #: Takes over the descriptor of a connection that the algorithm has made. Called in the event loop.
    take: Callable[[int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A folder or file of this machine that an algorithm may see."""

    source: Path
    #: Where it appears inside; absolute. A runtime without isolation shows `source` itself.
    target: str
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """All that a runtime needs to start an algorithm at a seat."""

    seat: Seat
    style: Style
    #: The algorithm's folder; appears read-only as ``/computation``, the working directory. None:
    #: the code is in the image, and the working directory is the one that the image names.
    code: Path | None
    #: What it runs in, instead of this machine's own system; not every runtime knows images.
    image: Image | None = None
    #: Whether the machine's own people have chosen the image, and not whoever submitted the algorithm:
    #: then nobody has to have signed it.
    chosen_here: bool = False
    #: Where the code is a package or a single file: its name within ``/computation``, beside
    #: which nothing of its own folder appears. The working directory is ``/computation`` then, too.
    code_name: str | None = None
    #: What to start, as the algorithm's author wrote it: ``("python", "/computation/local.py")``.
    #: Empty, with an image: what the image itself starts.
    command: tuple[str, ...]
    #: Parts of `code` that the algorithm must not see, relative to it: they hold sites' data.
    masked: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    #: Appears as ``/tmp``; lives as long as the step at this seat.
    temporary: Path
    #: What the algorithm prints beside its replies is appended here.
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    limits: CallLimits = field(default_factory=CallLimits)
    #: Packages of this machine that the algorithm may import though it doesn't bring them.
    modules: tuple[Path, ...] = ()
    #: Installed libraries that calls import beside those that the code names.
    libraries: tuple[str, ...] = ()
    #: Whether calls may speak HTTP to their node: `Session.address` says where.
    speaks_http: bool = False
    #: What calls may reach beside; a runtime without isolation leaves them out.
    outlets: tuple[Outlet, ...] = ()
    #: Is told in a sentence what a start waits for, such as a place in a queue, and when that has changed.
    waits: Callable[[str], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one call is given."""

    #: Standard input (`Style.CALL`), or a frame's content.
    body: Content = b""
    #: A frame's head (`Style.TALK`).
    head: Head = field(default_factory=dict)
    #: Variables for this call, beside those of the launch (`Style.CALL`).
    environment: Mapping[str, str] = field(default_factory=dict)
    #: What the call was asked, as JSON, for the node's own journal. None: the body is that.
    told: bytes | None = None
    #: The data themselves by label, for functions that run in Atoll's own process.
    tables: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What one call left."""

    #: Standard output (`Style.CALL`), the returned value as JSON (`Style.SERVE`), or the last
    #: frame's body (`Style.TALK`).
    output: Content
    #: The last frame's head (`Style.TALK`).
    head: Head = field(default_factory=dict)
    #: 0, the process's exit status, or minus the signal that ended it.
    exit_code: int = 0
    #: The end of what this call wrote to the log.
    log_tail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """What a running algorithm asks over HTTP."""

    method: str
    #: Without the query, decoded: ``/task/3/status``.
    path: str
    query: Mapping[str, str]
    #: What stands behind ``Bearer`` in the authorization header; empty where there is none.
    token: str
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """What a running algorithm is answered over HTTP."""

    status: int
    #: JSON.
    body: bytes = b""
    #: Gives the body where it isn't known yet. What waits for it may be told to wait on.
    later: Callable[[], Awaitable[bytes]] | None = None
    #: Is called where the connection broke before the answer was there: whoever asked may ask again.
    lost: Callable[[], None] | None = None


class Doorway(Protocol):
    """Who answers an algorithm while it runs. A session is given one for each call."""

    def answers(self, head: Head, body: Content) -> AsyncIterator[tuple[Head, Content]]:
        """The frames that answer a question (`Style.TALK`); none where it is only a remark."""
        ...

    def listen(self, listener: int) -> None:
        """Serve HTTP on a socket that listens where the algorithm can reach it.

        Args:
            listener: the socket's descriptor, which the doorway closes when the call has ended.
        """
        ...


class Session(Protocol):
    """A started algorithm at one seat. Calls come one after another, never two at a time."""

    @property
    def address(self) -> tuple[str, int] | None:
        """The host and port at which calls reach their doorway over HTTP, where they may."""
        ...

    def inside(self, path: Path) -> str:
        """Where the algorithm sees a mounted folder, or the temporary one."""
        ...

    async def call(
        self, request: Request, *, seed: int | None = None, doorway: Doorway | None = None
    ) -> Reply:
        """Hand over one request and wait for the reply.

        A call that is cancelled leaves no process behind. With a seed, the generators of
        ``random`` and numpy start from it, where the algorithm is written in Python.

        Args:
            request: what is handed over.
            seed: for the call's generators.
            doorway: answers what the call asks; needed for `Style.TALK` and for HTTP.

        Raises:
            LimitReached: the call took longer, or answered more, than its limits allow.
            AlgorithmFailed: the process ended without an exit status of its own.
        """
        ...

    async def offer(self, outlet: Outlet) -> None:
        """Let the algorithm reach a further address, for as long as the session lives.

        Raises:
            RuntimeUnavailable: this runtime can't, or nothing of the session runs yet.
        """
        ...

    async def reach(self, port: int) -> int:
        """Connect to a port at which the algorithm listens; the connection's descriptor.

        Raises:
            RuntimeUnavailable: this runtime can't, or nothing of the session runs yet.
            ConnectionRefusedError: nobody listens there.
        """
        ...

    async def close(self) -> None:
        """End every process of this session. May be called twice."""
        ...


class Runtime(Protocol):
    """A way to run algorithms on this machine."""

    @property
    def name(self) -> str:
        """The word that asks for this runtime on the command line."""
        ...

    @property
    def isolated(self) -> bool:
        """Whether an algorithm sees nothing of this machine but what its launch names."""
        ...

    def caveats(self) -> Sequence[str]:
        """Sentences about what this runtime does not contain or enforce here; may be empty."""
        ...

    async def recover(self) -> None:
        """End and remove what an earlier life of this runtime's owner has left on this machine."""
        ...

    async def warm_up(self, launch: Launch) -> None:
        """Start what sessions for launches like this one will share. A hint: nothing is promised."""
        ...

    async def start(self, launch: Launch) -> Session:
        """Make a session ready. Whether a process starts now or at the first call is not promised.

        Raises:
            RuntimeUnavailable: this machine can't.
            AlgorithmFailed: the command can't be started.
        """
        ...

    async def close(self) -> None:
        """End what outlives sessions."""
        ...
