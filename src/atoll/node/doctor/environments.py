"""Looks at the environments: whether interpreters work, whether images are there, and what Python they have."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

from atoll.engine.running import Image, ImageKind, Runtime
from atoll.model.errors import AtollError, RuntimeUnavailable
from atoll.node.choosing import Runtimes, why_not
from atoll.node.doctor.findings import Finding, doubt, fault, fine
from atoll.node.environment import Environment, NamedImage
from atoll.node.inventory import Inventories, Inventory
from atoll.node.settings import NodeSettings
from atoll.runtimes.interpreter import describe

#: The runtimes for which looking into a file is a matter of seconds, and no job in a queue.
_ASKED = ("bubblewrap", "apptainer")
_LATER = "is there; what it has is asked when it is first needed"


async def environments(settings: NodeSettings) -> AsyncIterator[Finding]:
    """Whether the environments that the settings name can be used.

    Images are left out where nothing could run them: then the runtime's finding says so.
    """
    runs_images = why_not(settings) is None
    if not settings.runs_code and not settings.environments:
        yield fine("environments", "none: this node runs algorithms that are images, and refuses code")
    for each in settings.environments:
        if each.python is not None:
            yield _interpreter(each, each.python)
        elif each.image is not None and runs_images:
            try:
                yield await _image(settings, f"environment {each.name}", each.image)
            except AtollError as error:
                yield fault(
                    f"environment {each.name}",
                    str(error),
                    f"name another image for {each.name!r} in node.yaml",
                )


def _interpreter(environment: Environment, python: Path) -> Finding:
    subject = f"environment {environment.name}"
    try:
        found = describe(python)
    except RuntimeUnavailable as error:
        return fault(subject, str(error), f"name another python for {environment.name!r} in node.yaml")
    return fine(subject, f"Python {found.version[0]}.{found.version[1]} ({python})")


async def _image(settings: NodeSettings, subject: str, named: NamedImage) -> Finding:
    if named.kind is ImageKind.SIF:
        return await _file(settings, subject, named)
    if settings.containers is None:
        return fine(subject, f"{named.name}, which the cluster fetches when it is first needed")
    # Late: they need an extra, and most nodes run no images.
    from atoll.runtimes.containers.docker import DockerRuntime
    from atoll.runtimes.containers.owners import passing_owner
    from atoll.runtimes.containers.reference import read_reference
    from atoll.runtimes.containers.settings import Pull  # Late, as said above.

    runtime = DockerRuntime(settings.containers, passing_owner())
    try:
        names = [named.name]
        if named.digest is not None:
            names = [read_reference(named.name).at(named.digest), named.digest]
        for name in names:
            facts = await runtime.facts(name)
            if facts is not None:
                # By the name that the node will have for it, so that it is asked once.
                known = Image(kind=named.kind, name=named.name, digest=named.digest or facts.id)
                return _told(subject, known, await _inventory(settings, known, runtime))
        missing = f"{names[0]} is not on this machine"
        remedy = f"fetch it: {runtime.name} pull {names[0]}"
        if named.digest is None:
            return fault(subject, missing, f"{remedy}, or name it with its digest in node.yaml")
        if settings.containers.pull is Pull.NEVER:
            return fault(subject, f"{missing}, and this node fetches none (pull: never)", remedy)
        return doubt(subject, f"{missing}: it is fetched when it is first needed", remedy)
    finally:
        await runtime.close()


async def _file(settings: NodeSettings, subject: str, named: NamedImage) -> Finding:
    if settings.runtime not in _ASKED or not _kept(settings).is_dir():
        return fine(subject, f"{named.name} {_LATER}")
    runtimes = Runtimes(settings, [])
    try:
        image = await runtimes.pin(named)
        return _told(subject, image, await runtimes.inventory(image, None))
    finally:
        await runtimes.close()


async def _inventory(settings: NodeSettings, image: Image, runtime: Runtime) -> Inventory:
    """What an image has; it is remembered where the node would look for it."""
    kept = _kept(settings)
    with nullcontext() if kept.is_dir() else tempfile.TemporaryDirectory(prefix="atoll-asking-") as folder:
        return await Inventories(Path(folder) if folder else kept / "inventories").of(image, runtime)


def _kept(settings: NodeSettings) -> Path:
    return settings.workspace.absolute() / "images"


def _told(subject: str, image: Image, found: Inventory) -> Finding:
    shown = f"{image.name} ({image.digest[:19]}…)"
    if found.python is None:
        return doubt(
            subject,
            f"no Python 3.8 or later, and {len(found.programs)} programs: {shown}",
            "name an image with Python, unless what runs there is written in another language",
        )
    version = ".".join(map(str, found.python))
    return fine(subject, f"Python {version} with {len(found.modules)} modules: {shown}")
