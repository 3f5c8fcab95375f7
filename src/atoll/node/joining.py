"""A node's first start: its one-time code becomes a key, and a node.yaml that says what can be said."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll import __version__
from atoll.model.errors import HubUnreachable, SpecInvalid
from atoll.node.secrets import write_secret
from atoll.transports import forms, problem, version
from atoll.transports.connection import Connection

#: Seconds that the hub may take to answer.
_SECONDS = 30.0
#: Seconds after which a key is replaced: thirty days.
_KEY_SECONDS = 30 * 86_400.0
_TEMPLATE = """\
# The settings of a data station. All of them: docs/reference/node-yaml.md
hub: {hub}
name: {name}
key_file: {key_file}
{way}
# What this site offers to algorithms, each under a label. The first is meant where nobody names one.
databases:
  # patients: {{uri: /data/patients.csv, type: csv}}

# Algorithms run in a sandbox, or not at all.
runtime: bubblewrap

policies:
  # Uploaded source code runs only where its digest is listed. `allow` takes all, `refuse` none.
  bundles: listed
  algorithms:
    # - sha256:…
  # collaborations: [islands]

# limits: {{seconds: 3600, memory: 4GiB}}
# environments: {{vantage6-4: /opt/vantage6-4/bin/python}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joining:
    """What somebody says who starts a node for the first time."""

    #: The one-time code from the hub's people.
    code: str
    hub: str
    #: Where node.yaml is, or is to be.
    config: Path
    #: Where its key goes.
    key_file: Path
    ca_file: Path | None = None
    proxy: str | None = None


async def join(joining: Joining) -> str:
    """Register a node, keep its key, and write a node.yaml if there is none; the node's name.

    Raises:
        SpecInvalid: the folder can't be written to. The code is not used then.
        HubUnreachable: no hub answers.
        AtollError: the hub doesn't take the code.
    """
    folder = joining.key_file.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        joining.config.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SpecInvalid(
            f"{folder} can't be made ({error.strerror}): expected a place for the key"
        ) from None
    for path in {folder, joining.config.parent}:
        if not os.access(path, os.W_OK | os.X_OK):
            raise SpecInvalid(f"nothing can be written to {path}: expected a place for the node's key")
    answer = await _register(joining)
    write_secret(joining.key_file, answer["key"])
    if not joining.config.exists():
        # A proxy's address may hold a password.
        joining.config.touch(mode=0o600)
        joining.config.write_text(_template(joining, answer["name"]), encoding="utf-8")
    return str(answer["name"])


async def renew_key(connection: Connection, key_file: Path, *, now: Callable[[], float] = time.time) -> bool:
    """Replace a node's key where it is a month old; whether it was.

    The one before ends when the new one is used for the first time, or a little later.

    Raises:
        AtollError: the hub gives no new one.
    """
    if now() - key_file.stat().st_mtime < _KEY_SECONDS:
        return False
    answered = await connection.call("POST", "/node/key")
    write_secret(key_file, forms.Codec(forms.Key).decode(answered.body).key)
    return True


def _template(joining: Joining, name: str) -> str:
    way = [f"{key}: {json.dumps(str(value))}" for key, value in _way(joining) if value is not None]
    relative = os.path.relpath(joining.key_file, joining.config.parent)
    return _TEMPLATE.format(
        hub=json.dumps(joining.hub),
        name=json.dumps(name),
        key_file=json.dumps(relative),
        way="".join(f"{line}\n" for line in way),
    )


def _way(joining: Joining) -> list[tuple[str, Any]]:
    ca_file = None if joining.ca_file is None else joining.ca_file.absolute()
    return [("ca_file", ca_file), ("proxy", joining.proxy)]


async def _register(joining: Joining) -> dict[str, Any]:
    # Imported here: a node that has joined has no more use for it.
    import aiohttp

    Connection(joining.hub, "")  # refuses an address over which no key may travel
    tls = None if joining.ca_file is None else ssl.create_default_context(cafile=joining.ca_file)
    timeout = aiohttp.ClientTimeout(total=_SECONDS)
    url = f"{joining.hub.rstrip('/')}/v1/nodes/register"
    headers = {version.HEADER: __version__, "Content-Type": "application/json"}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=joining.proxy is None) as session,
            session.post(
                url,
                data=json.dumps({"code": joining.code}),
                headers=headers,
                proxy=joining.proxy,
                ssl=tls if tls is not None else True,
                allow_redirects=False,
            ) as response,
        ):
            status, text = response.status, await response.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise HubUnreachable(
            f"no hub answers at {joining.hub} ({type(error).__name__}): check the address, the proxy, and the "
            "certificate. The code was not used"
        ) from error
    if status >= 300:
        raise problem.error_of(status, text)
    try:
        answer: dict[str, Any] = json.loads(text)
        return {"key": str(answer["key"]), "name": str(answer["name"])}
    except (ValueError, KeyError, TypeError):
        raise HubUnreachable(f"what answers at {joining.hub} is no hub: check the address") from None
