"""The way into a hub: `connect` with a token, or `login` with a password."""

from __future__ import annotations

import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from atoll.client.algorithms import Finder
from atoll.client.core import Background, Core, Credentials
from atoll.client.records import Me
from atoll.client.results import table
from atoll.client.rooms import (
    Algorithms,
    Collaborations,
    Invitations,
    Nodes,
    Organizations,
    Roles,
    Studies,
    Tokens,
    Users,
)
from atoll.client.runs import Reach, Runs


class Client:
    """A hub, as one person sees it.

    Each call waits for the hub's answer. The connection lives in a thread of its own, so that a client
    works in a notebook, too. It ends with `close`, at the end of a ``with``, or with the program.
    """

    def __init__(self, core: Core, background: Background) -> None:
        reach = Reach(core=core, background=background, finder=Finder(core))
        #: How it reaches the hub.
        self.reach = reach
        #: The hub's address.
        self.url = core.url
        self.runs = Runs(reach)
        self.algorithms = Algorithms(reach)
        self.collaborations = Collaborations(reach)
        self.studies = Studies(reach)
        self.nodes = Nodes(reach)
        self.organizations = Organizations(reach)
        self.users = Users(reach)
        self.invitations = Invitations(reach)
        self.roles = Roles(reach)
        self.tokens = Tokens(reach)
        self._end = weakref.finalize(self, _close, core, background)

    def me(self) -> Me:
        """Who is logged in."""
        told = self.reach.background.run(self.reach.core.get("/me"))
        return msgspec.json.decode(told.body, type=Me)

    def logout(self) -> None:
        """End the login, at the hub too, and close the client."""
        self.reach.background.run(self.reach.core.send("POST", "/logout"))
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self._end()

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.close()

    def __repr__(self) -> str:
        """Where the hub is."""
        return f"<Client of {self.url}>"

    def _repr_html_(self) -> str:
        me = self.me()
        return table([("hub", self.url), ("user", me.username), ("organization", me.organization.name)])


def connect(
    url: str,
    *,
    token: str | None = None,
    ca_file: str | Path | None = None,
    proxy: str | None = None,
) -> Client:
    """A hub, known by a token.

    Args:
        url: the hub's address, such as ``https://hub.example.org``.
        token: a personal token, or an access token.
        ca_file: certificates that are trusted beside nobody else's. None: those of the machine.
        proxy: an HTTP proxy. None: what the environment names.

    Raises:
        Unusable: the address is none, or would carry the token over the network in the open.
        HubUnreachable: there is no hub.
        VersionMismatch: the hub and this client are too far apart.
    """
    return open_client(url, Credentials(token=token or ""), ca_file=ca_file, proxy=proxy)


def login(
    url: str,
    username: str,
    password: str,
    *,
    ca_file: str | Path | None = None,
    proxy: str | None = None,
) -> Client:
    """A hub, known by a name and a password. The password is not kept.

    Args:
        url: the hub's address.
        username: the person's.
        password: the person's.
        ca_file: see `connect`.
        proxy: see `connect`.

    Raises:
        NotLoggedIn: nobody is known by these.
        Unusable: the address is none, or would carry the password over the network in the open.
        HubUnreachable: there is no hub.
        VersionMismatch: the hub and this client are too far apart.
    """
    return open_client(url, Credentials(), ca_file=ca_file, proxy=proxy, password=(username, password))


def open_client(
    url: str,
    credentials: Credentials,
    *,
    ca_file: str | Path | None = None,
    proxy: str | None = None,
    password: tuple[str, str] | None = None,
) -> Client:
    """A hub, known by some credentials.

    Args:
        url: the hub's address.
        credentials: what the person is known by.
        ca_file: see `connect`.
        proxy: see `connect`.
        password: a name and a password to log in with.

    Raises:
        NotLoggedIn: nobody is known by these.
        HubUnreachable: there is no hub.
        VersionMismatch: the hub and this client are too far apart.
    """
    core = Core(url, credentials, ca_file=None if ca_file is None else Path(ca_file), proxy=proxy)
    background = Background()
    client = Client(core, background)
    try:
        background.run(core.meet())
        if password is not None:
            background.run(core.log_in(*password))
    except BaseException:
        client.close()
        raise
    return client


def _close(core: Core, background: Background) -> None:
    if background.is_open:
        background.finish(core.close())
