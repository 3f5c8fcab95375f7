"""A stream between two nodes, sealed from one end to the other: whoever passes it on sees lengths alone.

Each end makes a key pair for the one stream. Both public keys, the run, both jobs and the port
stand in what the keys of the pieces are made from, so that no end can be led to another than the
one that it means. Each direction has a key and a counter of its own: a piece that is changed, left
out, repeated or moved can't be opened, and a stream that ends without its last piece was cut off.

::

    X25519 -> HKDF-SHA256 (salt: the transcript) -> a ChaCha20-Poly1305 key for each direction
    piece = flag (0, or 1 for the last of a direction) + ciphertext; nonce = number of the piece

Rule 1: a key pair serves one stream. Rule 2: nothing of a piece is given out before it was verified.

This says nothing about who holds a key: the hub tells each end the other's. A hub that lies could
put itself between. Where nodes have keys of their own that are pinned, the public key of an end
would be signed with it, and checked in `Keys.agree`, the one place that takes another's key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from atoll.model.errors import StreamBroken
from atoll.model.work import JobId, RunId

_NAME = b"atoll stream 1"
_KEY_BYTES = 32
_MORE, _LAST = b"\0", b"\1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """What a stream connects."""

    run_id: RunId
    #: The job that called, and the one that was called at a port of its own.
    caller: JobId
    called: JobId
    port: int

    def transcript(self, caller_key: bytes, called_key: bytes) -> bytes:
        """A digest of all that both ends must agree on."""
        digest = hashlib.sha256()
        words = (self.run_id, self.caller, self.called, str(self.port))
        for part in (_NAME, *(word.encode() for word in words), caller_key, called_key):
            digest.update(len(part).to_bytes(8))
            digest.update(part)
        return digest.digest()


class Sealer:
    """Seals the pieces of one direction."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._count = 0

    def seal(self, data: bytes, *, last: bool = False) -> bytes:
        """The next piece."""
        flag = _LAST if last else _MORE
        sealed = self._cipher.encrypt(_nonce(self._count), data, flag)
        self._count += 1
        return flag + sealed


class Opener:
    """Opens the pieces of one direction."""

    def __init__(self, key: bytes) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._count = 0
        #: Whether the last piece has come. A stream that ends before was cut off.
        self.ended = False

    def open(self, piece: bytes) -> bytes:
        """What a piece holds.

        Raises:
            StreamBroken: it is not the next piece that the other end has sealed.
        """
        flag = piece[:1]
        if self.ended:
            raise StreamBroken("something came after the end of a stream: it isn't the other site's")
        try:
            data = self._cipher.decrypt(_nonce(self._count), piece[1:], flag)
        except InvalidTag:
            raise StreamBroken(
                f"piece {self._count} of a stream is not what the other site has sealed: it was changed on its way"
            ) from None
        self._count += 1
        self.ended = flag == _LAST
        return data


class Keys:
    """The key pair of one end of one stream."""

    def __init__(self) -> None:
        self._private = X25519PrivateKey.generate()
        #: What the other end is told.
        self.public = self._private.public_key().public_bytes_raw()

    def agree(self, theirs: bytes, between: Between, *, called: bool) -> tuple[Sealer, Opener]:
        """What seals this end's pieces, and what opens the other's.

        Args:
            theirs: the other end's public key.
            between: what the stream connects.
            called: whether this is the end that was called.

        Raises:
            StreamBroken: the key is none.
        """
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(theirs))
        except ValueError:
            raise StreamBroken("the other end of a stream has no key that can be used") from None
        pair = (theirs, self.public) if called else (self.public, theirs)
        derive = HKDF(
            algorithm=SHA256(), length=2 * _KEY_BYTES, salt=between.transcript(*pair), info=_NAME + b" keys"
        )
        both = derive.derive(shared)
        forth, back = both[:_KEY_BYTES], both[_KEY_BYTES:]
        return (Sealer(back), Opener(forth)) if called else (Sealer(forth), Opener(back))


def _nonce(count: int) -> bytes:
    return count.to_bytes(12)
