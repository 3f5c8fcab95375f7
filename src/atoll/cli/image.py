"""``atoll image``: algorithms as images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atoll.cli.exits import DONE
from atoll.cli.image_sign import sign
from atoll.cli.refusal import print_document, tell_failure
from atoll.model.errors import AtollError, Unusable

image_app = typer.Typer(name="image", help="Algorithms as images.", rich_markup_mode=None)


@image_app.callback()
def _image() -> None:
    """Nothing to do before the verb."""


@image_app.command("build")
def build(
    path: Annotated[
        Path, typer.Argument(help="A computation, a module, a package, or a folder with one.")
    ] = Path(),
    tag: Annotated[
        str | None,
        typer.Option(
            "--tag",
            "-t",
            metavar="NAME",
            help="What the image is called. Default: what the algorithm is called.",
        ),
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            metavar="IMAGE",
            envvar="ATOLL_IMAGE_BASE",
            help="The image that it is made on. Default: python:3.11-slim; of vantage6 5 python:3.13-slim.",
        ),
    ] = None,
    requirements: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What must be installed: a requirements.txt, a pyproject.toml or a setup.py. Default: the first of "
            "these in the folder.",
        ),
    ] = None,
    no_requirements: Annotated[
        bool, typer.Option("--no-requirements", help="Install nothing: the base has all that is needed.")
    ] = False,
    dockerfile: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Use this Dockerfile. Default: one is written, even where there is one."
        ),
    ] = None,
    package: Annotated[
        str | None, typer.Option(help="The package with the functions, where a folder holds several.")
    ] = None,
    entry: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The entry script of a COINSTAC computation of protocol 2."),
    ] = None,
    dialect: Annotated[str, typer.Option(help="auto, coinstac, vantage6 or functions.")] = "auto",
    engine: Annotated[str, typer.Option(help="auto, docker or podman: who builds it.")] = "auto",
    socket: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The engine's socket. Default: where it usually lies.")
    ] = None,
    push: Annotated[
        bool, typer.Option("--push", help="Bring it to the registry that its name says.")
    ] = False,
    username: Annotated[str | None, typer.Option(help="Who pushes it.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the password for the registry.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Show the Dockerfile and the files, and build nothing.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output, and nothing else.")
    ] = False,
) -> int:
    """Make an image of an algorithm, without a Dockerfile."""
    try:
        # Imported here: --help answers at once, and who builds nothing needs no engine's library.
        from atoll.cli import imaging
    except ModuleNotFoundError as error:
        lacking = Unusable(
            f"images need {error.name}, which is not installed: run pip install 'atoll[containers]'"
        )
        return tell_failure(lacking, as_json=as_json)
    try:
        wish = imaging.Wish(
            path=path,
            tag=tag,
            base=base,
            requirements=requirements,
            installs=not no_requirements,
            dockerfile=dockerfile,
            package=package,
            entry=entry,
            dialect=dialect,
            engine=engine,
            socket=socket,
            push=push,
            username=username,
            password_file=password_file,
        )
        document = imaging.planned(wish) if show else imaging.built(wish)
    except AtollError as error:
        return tell_failure(error, as_json=as_json)
    if as_json:
        print_document(document)
    else:
        (imaging.tell_plan if show else imaging.tell)(document)
    return DONE


image_app.command("sign")(sign)
