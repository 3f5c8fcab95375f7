"""Which images are removed that are kept for runs to come: what is old, and the oldest of what is too much.

Only those are Atoll's to remove which it has pulled itself, and which nobody else has given a name
since. What a container uses stays, and what somebody has just asked for.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import aiodocker
from aiodocker.exceptions import DockerError

from atoll.engine.limits import IMAGE_GRACE_SECONDS
from atoll.model.errors import JobRefused
from atoll.runtimes.containers.reference import read_reference

_LOG = logging.getLogger(__name__)
#: Seconds after which a further use of an image is written down. It is asked for at each start of a session.
_NOTED_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An image that is kept for runs to come."""

    name: str
    size_bytes: int
    #: When it was last asked for, in seconds.
    used: float
    #: Whether somebody uses it now.
    busy: bool = False


def choose(
    kept: Iterable[Kept], *, now: float, keep_days: float | None, keep_bytes: int | None
) -> list[Kept]:
    """What is to be removed, the oldest first.

    Args:
        kept: all that there is.
        now: the time, in seconds.
        keep_days: how long it stays while nobody uses it; None for ever.
        keep_bytes: how much may stay; None for all.
    """
    items = sorted(kept, key=lambda each: each.used)
    total_bytes = sum(each.size_bytes for each in items)
    chosen = []
    for each in items:
        age = now - each.used
        is_old = keep_days is not None and age > keep_days * 86_400
        is_too_much = keep_bytes is not None and total_bytes > keep_bytes
        if each.busy or age < IMAGE_GRACE_SECONDS or not (is_old or is_too_much):
            continue
        chosen.append(each)
        total_bytes -= each.size_bytes
    return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pulled:
    """An image that Atoll has pulled, or had begun to."""

    #: The engine's id of it; empty where the pull has not ended.
    id: str = ""
    used: float


class Ledger:
    """The images that Atoll has pulled into one engine, and when they were last asked for.

    Args:
        path: where it is written down; None for nowhere.
        now: the time, in seconds.
    """

    def __init__(self, path: Path | None, *, now: Callable[[], float] = time.time) -> None:
        self._path = path
        self.now = now
        self._pulled: dict[str, _Pulled] = dict(_read(path)) if path else {}

    def names(self) -> tuple[str, ...]:
        """The names of the images, with their digests."""
        return tuple(self._pulled)

    def used(self, name: str) -> float:
        """When an image was last asked for; now, for one that isn't Atoll's."""
        found = self._pulled.get(name)
        return found.used if found else self.now()

    def begin(self, name: str) -> None:
        """An image is about to be pulled that wasn't there. Written first: nothing is lost with a node."""
        self._pulled.setdefault(name, _Pulled(used=self.now()))
        self._write()

    def end(self, name: str, image_id: str) -> None:
        """A pull that was begun has brought an image."""
        if name in self._pulled:
            self._pulled[name] = _Pulled(id=image_id, used=self.now())
            self._write()

    def forget(self, name: str) -> None:
        """An image isn't there any more, or isn't Atoll's."""
        if self._pulled.pop(name, None) is not None:
            self._write()

    def use(self, image_id: str) -> None:
        """An image is asked for, whoever brought it."""
        now, noted = self.now(), False
        for name, each in self._pulled.items():
            if each.id == image_id and now - each.used > _NOTED_SECONDS:
                self._pulled[name], noted = replace(each, used=now), True
        if noted:
            self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        aside = self._path.with_name(f".{self._path.name}.new")
        aside.write_text(json.dumps({name: asdict(each) for name, each in self._pulled.items()}, indent=1))
        aside.replace(self._path)


def _read(path: Path) -> Iterable[tuple[str, _Pulled]]:
    """What is written down. What can't be read is forgotten: its images stay, as others' do."""
    try:
        document = json.loads(path.read_bytes())
        for name, each in document.items():
            yield name, _Pulled(id=str(each["id"]), used=float(each["used"]))
    except FileNotFoundError:
        return
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        _LOG.warning(
            "%s can't be read (%s): the images that it names are kept for ever", path, type(error).__name__
        )


async def collect_images(
    engine: aiodocker.Docker,
    ledger: Ledger,
    *,
    keep_days: float | None,
    keep_bytes: int | None,
    stay: Collection[str] = (),
) -> tuple[str, ...]:
    """Remove images that Atoll has pulled; the names of those that are gone.

    Args:
        engine: has them.
        ledger: says which Atoll has pulled, and when they were used.
        keep_days: how long one stays while nobody uses it; None for ever.
        keep_bytes: how much may stay; None for all.
        stay: digests of images that are in use, whether or not a container uses them now.

    Raises:
        DockerError: the engine doesn't answer.
    """
    running = {str(each["ImageID"]) for each in await engine.containers.list(all=True)}
    kept: dict[str, Kept] = {}
    for name in ledger.names():
        found = await _inspect(engine, name)
        if found is None:
            # A pull that has only just begun has no image yet.
            if ledger.now() - ledger.used(name) > IMAGE_GRACE_SECONDS:
                ledger.forget(name)
        elif _is_ours(found, ledger.names()):
            image_id = str(found["Id"])
            # One image may have come by several names. It is counted once, and as old as its youngest.
            before = kept.get(image_id)
            kept[image_id] = Kept(
                name=image_id,
                size_bytes=int(found.get("Size") or 0),
                used=max(ledger.used(name), before.used if before else 0.0),
                busy=image_id in running
                or image_id.removeprefix("sha256:") in running
                or not {image_id, name.rpartition("@")[2]}.isdisjoint(stay)
                or (before is not None and before.busy),
            )
    removed: list[str] = []
    for each in choose(kept.values(), now=ledger.now(), keep_days=keep_days, keep_bytes=keep_bytes):
        removed += await _remove(engine, ledger, each.name)
    return tuple(removed)


async def _inspect(engine: aiodocker.Docker, name: str) -> dict[str, Any] | None:
    try:
        return await engine.images.inspect(name)
    except DockerError as error:
        if error.status == 404:
            return None
        raise


def _is_ours(image: Mapping[str, Any], names: Collection[str]) -> bool:
    """Whether an image has no other names than those by which Atoll has pulled it."""
    ours = {name.partition("@")[0] for name in names}
    for each in image.get("RepoDigests") or ():
        with suppress(JobRefused):
            if read_reference(str(each)).repository not in ours:
                return False
    return not image.get("RepoTags")


async def _remove(engine: aiodocker.Docker, ledger: Ledger, image_id: str) -> list[str]:
    """Remove an image by its names, without force: the engine keeps what is in use."""
    removed = []
    for name in ledger.names():
        found = await _inspect(engine, name)
        if found is None or found["Id"] != image_id:
            continue
        try:
            await engine.images.delete(name)
        except DockerError as error:
            if error.status != 404:
                _LOG.info("the image %s is kept: %s", name, error.message)
                continue
        ledger.forget(name)
        removed.append(name)
    return removed
