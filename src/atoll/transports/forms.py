"""What a node and its hub say to each other beside tickets and reports, as JSON.

Rule 1: what is decoded is equal to what was encoded. Rule 2: what a newer version says beside is
not seen. Rule 3: what has a wrong type is refused with `Malformed`, and nothing of it is used.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from atoll.model.errors import AtollError, Malformed
from atoll.model.work import JobId, RunId

T = TypeVar("T")

#: The header that goes with a ticket: ``no`` where there is no other for the node now.
MORE = "Atoll-More"


class Form(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Anything that is told. What is as one would expect it isn't said."""


class Claimed(Form, frozen=True, kw_only=True):
    """A job that a node works at, and how far it is."""

    run: RunId
    job: JobId
    #: Which claim of the job it is.
    attempt: int
    #: From 0 to 1; None where the algorithm doesn't say.
    fraction: float | None = None
    text: str = ""


class Hello(Form, frozen=True, kw_only=True):
    """What a node says when it comes, or comes back."""

    version: str
    #: The labels of its databases, in its order.
    databases: list[str] = []
    dialects: list[str] = []
    runtimes: list[str] = []
    holds_data: bool = True
    #: What it still works at; whatever else it had claimed is lost.
    working: list[Claimed] = []
    #: Runs that it keeps something of.
    runs: list[RunId] = []


class Welcome(Form, frozen=True, kw_only=True):
    """What a hub answers to it."""

    #: The node's name, which is the seat of its site in runs.
    node: str
    heartbeat_seconds: float
    #: Jobs that it needn't work at any more.
    stale: list[JobId] = []
    #: Runs that have ended.
    ended: list[RunId] = []


class Heartbeat(Form, frozen=True, kw_only=True):
    """What a node says again and again."""

    working: list[Claimed] = []
    runs: list[RunId] = []


class Heard(Form, frozen=True, kw_only=True):
    """What a hub answers to it."""

    stale: list[JobId] = []
    ended: list[RunId] = []


class Claim(Form, frozen=True, kw_only=True):
    """A node asks for its next job."""

    #: Whether an earlier claim got no answer: what it may have claimed is lost.
    unheard: bool = False
    #: All that it works at, where `unheard`.
    working: list[Claimed] = []


class Log(Form, frozen=True, kw_only=True):
    """Something that a node tells of a job for people to read."""

    run: RunId
    job: JobId
    #: ``info``, ``warning`` or ``error``.
    level: str = "info"
    text: str


class Logs(Form, frozen=True, kw_only=True):
    """Several of them."""

    logs: list[Log]


class Signal(Form, frozen=True, kw_only=True):
    """A line of the stream that wakes a node. An empty one says only that the hub is there."""

    work: bool = False
    #: A claimed job that nobody waits for any more.
    cancelled: JobId | None = None
    #: A run that has ended.
    ended: RunId | None = None
    #: The node is to send a heartbeat at once.
    look: bool = False


class Number(Form, frozen=True, kw_only=True):
    """The number of a round."""

    number: int


class Child(Form, frozen=True, kw_only=True):
    """A job speaks about a round that it has asked for."""

    run: RunId
    job: JobId
    number: int


class Upload(Form, frozen=True, kw_only=True):
    """A file is announced."""

    digest: str
    size: int


class Ended(Form, frozen=True, kw_only=True):
    """Whether a child round has ended."""

    ended: bool


class Key(Form, frozen=True, kw_only=True):
    """What a node is known by."""

    key: str


class Token(Form, frozen=True, kw_only=True):
    """What a node is known by for some minutes."""

    access_token: str
    expires_in: float = 600.0


class Offset(Form, frozen=True, kw_only=True):
    """How much of it has arrived."""

    offset: int
    #: Whether it is whole, and kept.
    whole: bool = False


class Codec(Generic[T]):
    """Decodes one kind of form, or says what is wrong with it."""

    def __init__(self, kind: type[T]) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._name = kind.__name__.lstrip("_").lower()

    def decode(self, text: bytes) -> T:
        """The form that a text stands for.

        Raises:
            Malformed: it is none.
        """
        try:
            return self._decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"what was sent is no {self._name}: {error}") from error
        except AtollError as error:  # a value that checks itself has refused
            raise Malformed(f"what was sent is no {self._name}: {error}") from error


_encoder = msgspec.json.Encoder()

hello, welcome = Codec(Hello), Codec(Welcome)
heartbeat, heard = Codec(Heartbeat), Codec(Heard)
claim, logs, signal = Codec(Claim), Codec(Logs), Codec(Signal)
number, child = Codec(Number), Codec(Child)
upload, offset = Codec(Upload), Codec(Offset)
ended, token = Codec(Ended), Codec(Token)


def encode(form: Form) -> bytes:
    """The text of a form."""
    return _encoder.encode(form)
