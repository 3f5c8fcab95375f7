"""How the demo's federation is founded: by the same requests that any administrator makes."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll import __version__
from atoll.cli.demo.material import LAGOON
from atoll.cli.demo.stage import COLLABORATION, USERNAME
from atoll.model.errors import AtollError, HubUnreachable

#: Seconds that a process may take until it answers.
START_SECONDS = 60.0
#: Seconds between two looks at a hub that hasn't answered yet.
_LOOK_SECONDS = 0.05
#: Days that the demo's token is good for.
_TOKEN_DAYS = 30
#: What a hub prints when it is started first: the code that makes the first administrator.
_CODE = re.compile(r"\bats_[A-Za-z0-9_-]{16,}")
#: Nothing on the way to this machine itself.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Founded:
    """What was founded."""

    token: str
    #: The key of each node, by its name.
    keys: Mapping[str, str]


class Office:
    """Asks a hub of this machine.

    Args:
        url: the hub's address.
        token: what is shown; empty before there is one.
    """

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url
        self.token = token

    @property
    def nobody(self) -> Office:
        """The same hub, asked by who shows nothing."""
        return Office(self._url)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request; the answer, decoded.

        Raises:
            AtollError: the hub refuses it, with its sentence.
            HubUnreachable: nothing answers.
        """
        headers = {"Content-Type": "application/json", "Atoll-Version": __version__}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}/v1{path}", content, headers, method=method)  # noqa: S310  # a hub that was just started here
        try:
            with _DIRECT.open(request, timeout=START_SECONDS) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise AtollError(f"{method} {path}: {_detail(error)}") from None
        except (urllib.error.URLError, OSError) as error:
            raise HubUnreachable(f"no hub answers at {self._url}: {error}") from None
        return json.loads(text) if text else None


def _detail(error: urllib.error.HTTPError) -> str:
    """What a hub says of its refusal; or what another program says that listens in its place."""
    try:
        return str(json.loads(error.read())["detail"])
    except (ValueError, KeyError, TypeError):
        return f"status {error.code}, {error.reason}"


def wait_until(holds: Callable[[], bool], *, what: str, alive: Callable[[], bool], log: Path) -> None:
    """Wait until something holds.

    Args:
        holds: is asked again and again.
        what: is waited for, in words.
        alive: whether the process that should bring it about is still there.
        log: what that process printed.

    Raises:
        HubUnreachable: it doesn't hold in time, or the process has ended; with the end of its log.
    """
    until = time.monotonic() + START_SECONDS
    while not holds():
        if not alive() or time.monotonic() > until:
            tail = log.read_text(errors="replace")[-2_000:] if log.exists() else ""
            raise HubUnreachable(f"{what} did not come up; its log {log} ends with:\n{tail}")
        time.sleep(_LOOK_SECONDS)


def answers(office: Office) -> bool:
    """Whether a hub answers."""
    try:
        office.ask("GET", "/health")
    except AtollError:
        return False
    return True


def found(office: Office, log: Path, password: str, data: Sequence[str]) -> Founded:
    """Make the first administrator, the organizations, the collaboration and the nodes.

    Args:
        office: asks the hub, as nobody so far.
        log: what the hub printed: the set-up code is in it.
        password: of the first administrator.
        data: names of the nodes with data.
    """
    code = _CODE.search(log.read_text(errors="replace"))
    if code is None:
        raise HubUnreachable(f"the hub printed no set-up code: look at {log}")
    newcomer = {"code": code[0], "organization": LAGOON, "username": USERNAME, "password": password}
    office.ask("POST", "/setup", newcomer)
    login = office.ask("POST", "/login", {"username": USERNAME, "password": password})
    office.token = login["access_token"]
    me = office.ask("GET", "/me")
    owners = {LAGOON: me["organization"]["id"]}
    for name in data:
        owners[name] = office.ask("POST", "/organizations", {"name": name})["id"]
    collaboration = office.ask("POST", "/collaborations", {"name": COLLABORATION})["id"]
    for organization in owners.values():
        office.ask("PUT", f"/collaborations/{collaboration}/organizations/{organization}")
    keys = {}
    for name, organization in owners.items():
        holds_data = name != LAGOON
        made = office.ask(
            "POST", "/nodes", {"name": name, "organization": organization, "holds_data": holds_data}
        )
        node = made["id"]
        if holds_data:
            office.ask("PUT", f"/collaborations/{collaboration}/nodes/{node}")
        else:
            office.ask("PATCH", f"/collaborations/{collaboration}", {"default_aggregator": node})
        keys[name] = office.nobody.ask("POST", "/nodes/register", {"code": made["code"]})["key"]
    wanted = {"name": "demo", "scopes": me["scopes"], "days": _TOKEN_DAYS}
    return Founded(token=office.ask("POST", "/tokens", wanted)["token"], keys=keys)
