"""How the command makes an image: what goes in, the engine, and what it tells of it."""

from __future__ import annotations

import asyncio
import shlex
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atoll.algorithms.building import DOCKERFILE, Asked, Recipe, plan
from atoll.cli.escape import escape
from atoll.model.errors import SpecInvalid
from atoll.runtimes.containers.engine import Engine, find_socket
from atoll.runtimes.containers.making import Made, fetch_base, make_image, push_image
from atoll.runtimes.containers.registry import read_password
from atoll.runtimes.containers.settings import ContainerSettings

_ENGINES = ("auto", "docker", "podman")
#: Characters of a label that are shown.
_VALUE_MAX = 100
_DIALECTS = ("auto", "coinstac", "vantage6", "functions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the command was asked for."""

    path: Path
    tag: str | None
    base: str | None
    requirements: Path | None
    installs: bool
    dockerfile: Path | None
    package: str | None
    entry: str | None
    dialect: str
    engine: str
    socket: Path | None
    push: bool
    username: str | None
    password_file: Path | None


def planned(wish: Wish) -> dict[str, Any]:
    """What would be built, for programs.

    Raises:
        SpecInvalid: nothing can be.
    """
    recipe = _recipe(wish)
    return {
        "name": recipe.name,
        "dialect": recipe.manifest.dialect,
        "base": recipe.base,
        "dockerfile": recipe.dockerfile,
        "labels": dict(recipe.labels),
        "files": sorted(recipe.files),
        "notes": list(recipe.notes),
    }


def built(wish: Wish) -> dict[str, Any]:
    """Build the image; what became of it, for programs.

    Raises:
        Unusable: it can't be built as it was asked for.
        BuildFailed: building or pushing it failed.
    """
    recipe = _recipe(wish)
    credentials = _credentials(wish)  # Before: nobody builds for minutes to hear that there is none.
    for note in recipe.notes:
        print(f"note: {escape(note)}", file=sys.stderr)
    return asyncio.run(_built(wish, recipe, credentials))


async def _built(wish: Wish, recipe: Recipe, credentials: Mapping[str, str] | None) -> dict[str, Any]:
    engine = Engine(find_socket(ContainerSettings(engine=wish.engine, socket=wish.socket)))
    try:
        await engine.open()
        made = await _made(engine, recipe)
        digest = None
        if wish.push:
            digest = await push_image(engine, recipe.name, credentials=credentials, hear=_hear) or None
        return _document(recipe, made, digest, engine)
    finally:
        await engine.close()


async def _made(engine: Engine, recipe: Recipe) -> Made:
    if recipe.base is not None:
        await fetch_base(engine, recipe.base, hear=_hear)
    with tempfile.TemporaryFile() as context:
        recipe.write(context)
        context.seek(0)
        return await make_image(engine, context, DOCKERFILE, recipe.name, recipe.labels, hear=_hear)


def _document(recipe: Recipe, made: Made, digest: str | None, engine: Engine) -> dict[str, Any]:
    words = ["atoll", "simulate", f"docker:{recipe.name}", *_further(recipe)]
    return {
        "name": recipe.name,
        "id": made.id,
        "digest": digest,
        "size_bytes": made.size_bytes,
        "dialect": recipe.manifest.dialect,
        "base": recipe.base,
        "engine": "podman" if engine.is_podman else "docker",
        "simulate": [*words, *(["--runtime", "podman"] if engine.is_podman else [])],
        "notes": list(recipe.notes),
    }


def _further(recipe: Recipe) -> list[str]:
    """What a simulation of the image has to be told besides."""
    if recipe.manifest.dialect == "coinstac":
        return ["--inputspec", "inputspec.json"]
    words = ["--federation", "federation.yaml"]
    for function in sorted(recipe.manifest.functions, key=lambda function: not function.central)[:1]:
        words += ["--function", function.name]
        needed = [argument for argument in function.arguments if not argument.optional]
        words += [word for argument in needed for word in ("--arg", f"{argument.name}=VALUE")]
    return words


def _recipe(wish: Wish) -> Recipe:
    for what, word, known in (("engine", wish.engine, _ENGINES), ("dialect", wish.dialect, _DIALECTS)):
        if word not in known:
            raise SpecInvalid(f"there is no {what} {word!r}: expected one of {', '.join(known)}")
    if (wish.username is None) != (wish.password_file is None):
        raise SpecInvalid("--username and --password-file belong together: name both, or none")
    asked = Asked(
        base=wish.base,
        dockerfile=wish.dockerfile,
        requirements=wish.requirements,
        installs=wish.installs,
        name=wish.tag,
        dialect=wish.dialect,
        package=wish.package,
        entry=wish.entry,
    )
    return plan(wish.path, asked)


def _credentials(wish: Wish) -> Mapping[str, str] | None:
    if wish.username is None or wish.password_file is None:
        return None
    return {"username": wish.username, "password": read_password(wish.password_file)}


def _hear(line: str) -> None:
    print(escape(line), file=sys.stderr)


def tell(document: Mapping[str, Any]) -> None:
    """Tell a person of the image."""
    print(
        f"{document['name']}: {document['dialect']}, {document['size_bytes'] / 1e6:,.0f} MB, in {document['engine']}"
    )
    print(f"id      {document['id']}")
    if document["digest"]:
        print(f"digest  {document['digest']}")
    print(f"Try it: {shlex.join(document['simulate'])}")


def tell_plan(document: Mapping[str, Any]) -> None:
    """Show a person what would be built."""
    for note in document["notes"]:
        print(f"note: {escape(note)}", file=sys.stderr)
    print(escape(document["dockerfile"], keep_lines=True))
    for name, value in document["labels"].items():
        shown = value if len(value) <= _VALUE_MAX else f"{value[: _VALUE_MAX - 1]}…"
        print(f"{name}={escape(shown)}")
    print()
    for name in document["files"]:
        print(escape(name))
