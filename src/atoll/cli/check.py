"""``atoll check``: say what a site would object to."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from atoll.cli.exits import DONE, FAILED, UNUSABLE
from atoll.cli.refusal import print_document
from atoll.model.errors import Unusable


def command(
    path: Annotated[
        Path,
        typer.Argument(help="A computation, a pipeline, a module, a package, or a folder with one."),
    ] = Path(),
    package: Annotated[
        str | None, typer.Option(help="The package with the functions, where a folder holds several.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output, and nothing else.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Take remarks as objections.")] = False,
) -> int:
    """Read an algorithm, without running it, and say what a site would object to."""
    # Imported here, so that --help and a wrong option answer at once.
    from atoll.cli.output import console
    from atoll.cli.vetting.report import refuse, show
    from atoll.cli.vetting.vet import vet

    try:
        vetted = vet(path, package)
    except Unusable as error:
        refuse(error, path, as_json=as_json)
        return UNUSABLE
    if as_json:
        print_document(vetted.document(strict=strict))
    else:
        show(vetted, console(error=False), strict=strict)
    return FAILED if vetted.is_objectionable(strict=strict) else DONE
