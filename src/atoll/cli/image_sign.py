"""``atoll image sign``: vouch for exactly one image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atoll.cli.exits import DONE
from atoll.cli.refusal import print_document, tell_failure
from atoll.model.errors import AtollError, Unusable


def sign(
    image: Annotated[
        str,
        typer.Argument(
            metavar="IMAGE", help="NAME@sha256:…, as a registry knows it; or a file of Apptainer's."
        ),
    ],
    key: Annotated[
        Path,
        typer.Option(metavar="FILE", help="Your private key: Ed25519 or ECDSA P-256, in PEM."),
    ],
    key_password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the key's own password, where it has one.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Where the signature is added. Default: sha256-….sig here; with --push, nowhere.",
        ),
    ] = None,
    push: Annotated[
        bool,
        typer.Option("--push", help="Bring the signature to the image's registry, where cosign keeps it."),
    ] = False,
    username: Annotated[str | None, typer.Option(help="Who pushes it.")] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the password for the registry.")
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The certificates that the registry's is checked with."),
    ] = None,
    plain: Annotated[bool, typer.Option("--plain", help="Speak to the registry without encryption.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output, and nothing else.")
    ] = False,
) -> int:
    """Sign an image, for sites that run it only where you have."""
    try:
        # Imported here: --help answers at once, and who signs nothing needs no library for it.
        from atoll.cli import image_signing
    except ModuleNotFoundError as error:
        lacking = Unusable(
            f"signing needs {error.name}, which is not installed: run pip install 'atoll[containers]'"
        )
        return tell_failure(lacking, as_json=as_json)
    try:
        document = image_signing.signed(
            image_signing.Wish(
                image=image,
                key=key,
                key_password_file=key_password_file,
                output=output,
                push=push,
                username=username,
                password_file=password_file,
                ca_file=ca_file,
                plain=plain,
            )
        )
    except AtollError as error:
        return tell_failure(error, as_json=as_json)
    if as_json:
        print_document(document)
    else:
        image_signing.tell(document)
    return DONE
