"""What a job on a compute node is told to start, as JSON in its session's folder."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from atoll.engine.limits import CallLimits
from atoll.engine.running import Image, ImageKind, Launch, Mount, Outlet, Style
from atoll.model.work import Seat


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often the two sides look and give signs of life."""

    #: Seconds between two looks at the queue, where nothing changes for long.
    poll_seconds: float = 5.0
    #: Seconds between two signs of life.
    beat_seconds: float = 5.0
    #: Seconds without one, after which the other side is lost: a job ends then, and a session fails.
    silent_seconds: float = 90.0
    #: Seconds that the other side gets to end something in order.
    end_seconds: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What is to be started, and how it talks."""

    launch: Launch
    #: The word of the runtime that starts it.
    inner: str
    #: The interpreter that stands for ``python``; None for Atoll's own.
    python: Path | None = None
    #: Folders under which all that algorithms are shown lies.
    roots: tuple[Path, ...] = ()
    #: Where the node is heard; None: in the session's folder.
    address: tuple[str, int] | None = None
    pace: Pace = field(default_factory=Pace)


def encode(spec: Spec) -> bytes:
    """A spec as JSON. Who takes over an outlet's connections stays behind."""
    launch = spec.launch
    image = launch.image
    document = {
        "inner": spec.inner,
        "python": _text(spec.python),
        "roots": [str(root) for root in spec.roots],
        "address": spec.address,
        "pace": asdict(spec.pace),
        "launch": {
            "seat": launch.seat,
            "style": launch.style.value,
            "code": _text(launch.code),
            "image": image and {"kind": image.kind.value, "name": image.name, "digest": image.digest},
            "code_name": launch.code_name,
            "command": launch.command,
            "masked": launch.masked,
            "mounts": [[str(each.source), each.target, each.writable] for each in launch.mounts],
            "temporary": str(launch.temporary),
            "log": str(launch.log),
            "environment": dict(launch.environment),
            "limits": asdict(launch.limits),
            "modules": [str(module) for module in launch.modules],
            "libraries": launch.libraries,
            "speaks_http": launch.speaks_http,
            "outlets": [[each.host, each.port, each.alias] for each in launch.outlets],
        },
    }
    return json.dumps(document).encode("ascii")


def decode(content: bytes) -> Spec:
    """A spec that a node has written. Nobody takes over an outlet's connections yet."""
    document = json.loads(content)
    address = document["address"]
    return Spec(
        launch=_launch(document["launch"]),
        inner=document["inner"],
        python=_path(document["python"]),
        roots=tuple(map(Path, document["roots"])),
        address=None if address is None else (address[0], address[1]),
        pace=Pace(**document["pace"]),
    )


def paths_of(spec: Spec) -> list[Path]:
    """What a compute node must see, beside the session's folder."""
    launch = spec.launch
    image = None if launch.image is None else Path(launch.image.name)
    given = [launch.code, image, spec.python]
    mounted = [mount.source for mount in launch.mounts]
    return [*filter(None, given), launch.temporary, launch.log.parent, *mounted, *launch.modules]


def _launch(told: dict[str, Any]) -> Launch:
    image = told["image"]
    return Launch(
        seat=Seat(told["seat"]),
        style=Style(told["style"]),
        code=_path(told["code"]),
        image=image and Image(kind=ImageKind(image["kind"]), name=image["name"], digest=image["digest"]),
        code_name=told["code_name"],
        command=tuple(told["command"]),
        masked=tuple(told["masked"]),
        mounts=tuple(
            Mount(source=Path(source), target=target, writable=writable)
            for source, target, writable in told["mounts"]
        ),
        temporary=Path(told["temporary"]),
        log=Path(told["log"]),
        environment=told["environment"],
        limits=CallLimits(**told["limits"]),
        modules=tuple(map(Path, told["modules"])),
        libraries=tuple(told["libraries"]),
        speaks_http=told["speaks_http"],
        outlets=tuple(
            Outlet(host=host, port=port, alias=alias, take=os.close) for host, port, alias in told["outlets"]
        ),
    )


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
