"""Random names and secrets, and what is kept of a secret.

A token has 256 random bits. Its sha256 needs no salt and no slow hash: there is nothing to guess. A
password does, and is none of this module's business.
"""

from __future__ import annotations

import base64
import hashlib
import secrets

#: What each kind of secret begins with, so that a person or a scanner of leaks sees what it is.
ACCESS = "ata"
REFRESH = "atr"
PERSONAL = "atp"
NODE_KEY = "atn"
#: One-time codes: of an invitation, of a node's registration, of the first administrator.
INVITATION = "ati"
REGISTRATION = "atg"
SETUP = "ats"


def new_id(prefix: str) -> str:
    """A new name for a thing: its kind, and 120 random bits in 24 lower-case letters and digits."""
    return f"{prefix}_{base64.b32encode(secrets.token_bytes(15)).decode().lower()}"


def new_secret(prefix: str) -> str:
    """A new token, key or code."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def digest(secret: str) -> str:
    """What is kept of a secret, and what it is found by."""
    return hashlib.sha256(secret.encode()).hexdigest()
