"""What nodes and their hub say where jobs of one run talk to each other. The rules of `forms` hold.

Each connection begins with a form of the node's. What the hub refuses it tells as a problem, and
closes. What comes afterwards as bytes is a sealed piece of a stream.
"""

from __future__ import annotations

import msgspec

from atoll.engine.limits import STREAM_PIECE_BYTES
from atoll.engine.peers import Knock, Peer, Port
from atoll.model.work import JobId
from atoll.transports.forms import Codec, Form

#: Bytes of a sealed piece: what it holds, a flag, and what it is verified by.
PIECE_BYTES_MAX = STREAM_PIECE_BYTES + 1 + 16
#: Bytes of a text.
TEXT_BYTES_MAX = 16 * 1024


class Announce(Form, frozen=True, kw_only=True):
    """Others of the run may call this job."""

    job: JobId
    attempt: int | None = None
    ports: tuple[Port, ...]


class Connect(Form, frozen=True, kw_only=True):
    """This job calls another."""

    job: JobId
    attempt: int | None = None
    to: JobId
    port: int
    key: bytes


class AnswerCall(Form, frozen=True, kw_only=True):
    """This job takes a call."""

    job: JobId
    attempt: int | None = None
    stream: str
    key: bytes


class Refuse(Form, frozen=True, kw_only=True):
    """It takes none."""

    stream: str
    sentence: str


class Greeting(Form, frozen=True, kw_only=True):
    """The hub has done what the connection's first form asks for."""

    #: Of the other end, for whoever has called.
    key: bytes = b""


class Peers(Form, frozen=True, kw_only=True):
    """The jobs of a run that may be called."""

    peers: tuple[Peer, ...] = ()


_encoder = msgspec.json.Encoder()

announce, connect, answer_call = Codec(Announce), Codec(Connect), Codec(AnswerCall)
refuse, greeting, knock, peers = Codec(Refuse), Codec(Greeting), Codec(Knock), Codec(Peers)


def encode(said: Form | Knock) -> bytes:
    """The text of a form, or of a call."""
    return _encoder.encode(said)
