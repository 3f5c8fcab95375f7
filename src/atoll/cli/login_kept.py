"""Where a login is kept between commands, and how a command finds its hub.

The file is its owner's alone. A refresh token works once: whoever uses it holds the file's lock, so
that two commands at the same time don't look like a thief.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from atoll.cli.exits import DONE
from atoll.cli.refusal import print_document
from atoll.client.client import Client, open_client
from atoll.client.core import Credentials
from atoll.model.errors import AtollError, NotLoggedIn, Unusable


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A login that is kept in a file."""

    path: Path

    @contextmanager
    def holding(self, credentials: Credentials) -> Iterator[None]:
        """Alone with the file. It is read into `credentials` at the beginning."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self.path.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            document = self.read()
            credentials.token = document.get("access_token", "")
            credentials.refresh_token = document.get("refresh_token", "")
            yield

    def keep(self, credentials: Credentials) -> None:
        """Keep the latest tokens."""
        tokens = {"access_token": credentials.token, "refresh_token": credentials.refresh_token}
        self.write({**self.read(), **tokens})

    def read(self) -> dict[str, Any]:
        """What is kept; empty where nobody has logged in.

        Raises:
            Unusable: others may read it, or it is damaged.
        """
        try:
            if self.path.stat().st_mode & 0o077:
                raise Unusable(f"others may read {self.path}: chmod 600 it, or log in again with atoll login")
            document = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise Unusable(
                f"{self.path} can't be read ({type(error).__name__}): log in again with atoll login"
            ) from None
        return document if isinstance(document, dict) else {}

    def write(self, document: dict[str, Any]) -> None:
        """Keep a document, whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        written = self.path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as target:
            json.dump(document, target)
        written.replace(self.path)

    def forget(self) -> None:
        """Keep nothing any more."""
        self.path.unlink(missing_ok=True)


def kept() -> Kept:
    """This person's login."""
    return Kept(path=Path.home() / ".config" / "atoll" / "login.json")


def open_hub(url: str | None, token: str | None) -> Client:
    """The hub that a command speaks to.

    Args:
        url: as the environment names it; None: that of the login.
        token: as the environment names it.

    Raises:
        Unusable: there is no login, or it belongs to another hub.
        HubUnreachable: there is no hub.
    """
    login = kept()
    document = login.read() if url is None or token is None else {}
    where = url or document.get("url")
    if not where:
        raise Unusable("no hub is named: log in with atoll login URL, or set ATOLL_URL and ATOLL_TOKEN")
    ca_file = document.get("ca_file")
    if token is not None:
        return open_client(where, Credentials(token=token), ca_file=ca_file)
    if document.get("url") != where.rstrip("/"):
        raise Unusable(f"there is no login at {where}: log in with atoll login {where}, or set ATOLL_TOKEN")
    if "refresh_token" not in document:
        return open_client(where, Credentials(token=document.get("access_token", "")), ca_file=ca_file)
    return open_client(where, Credentials(keeper=login), ca_file=ca_file)


def log_in(url: str, username: str | None, *, token_stdin: bool, ca_file: Path | None, as_json: bool) -> int:
    """Log in, and keep it."""
    login = kept()
    document: dict[str, Any] = {"url": url.rstrip("/")}
    if ca_file is not None:
        document["ca_file"] = str(ca_file.absolute())
    if token_stdin:
        token = sys.stdin.readline().strip()
        with open_client(url, Credentials(token=token), ca_file=ca_file) as client:
            me = client.me()
        login.write({**document, "username": me.username, "access_token": token})
    else:
        name = username or typer.prompt("Username", err=True)
        password = _password()
        credentials = Credentials()
        with open_client(url, credentials, ca_file=ca_file, password=(name, password)) as client:
            me = client.me()
            tokens = {"access_token": credentials.token, "refresh_token": credentials.refresh_token}
        login.write({**document, "username": me.username, **tokens})
    if as_json:
        print_document({"url": document["url"], "username": me.username})
    else:
        print(f"logged in at {document['url']} as {me.username}", file=sys.stderr)
    return DONE


def _password() -> str:
    """The password: asked for at a terminal, else the next line of standard input."""
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, err=True))
    if not (line := sys.stdin.readline().rstrip("\r\n")):
        raise Unusable(
            "no password stands on standard input: type it at a terminal, or write it there with a pipe"
        )
    return line


def log_out(*, as_json: bool) -> int:
    """End the login and forget it."""
    login = kept()
    document = login.read()
    if not document:
        raise NotLoggedIn("nobody is logged in here: there is nothing to end")
    try:
        with open_hub(None, None) as client:
            if "refresh_token" in document:
                client.logout()
    except AtollError as error:
        # What is kept here is forgotten all the same; what the hub keeps ends by itself.
        print(f"warning: the hub was not told: {error}", file=sys.stderr)
    login.forget()
    if as_json:
        print_document({"url": document.get("url")})
    else:
        print(f"logged out of {document.get('url')}", file=sys.stderr)
    return DONE
