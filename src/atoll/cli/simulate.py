"""``atoll simulate``: run an algorithm on simulated sites."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from atoll.cli import given
from atoll.cli.exits import UNUSABLE
from atoll.cli.refusal import refuse
from atoll.engine.limits import CALL_SECONDS_MAX, ITERATIONS_MAX, PROCESSES_MAX
from atoll.model.errors import Unusable
from atoll.simulator.arguments import Arguments


class DialectName(StrEnum):
    """Dialects that an algorithm may be written in."""

    AUTO = "auto"
    COINSTAC = "coinstac"
    VANTAGE6 = "vantage6"
    FUNCTIONS = "functions"


def command(
    path: Annotated[
        Path,
        typer.Argument(
            help="A folder with a compspec.json, a pipelinespec.json, a Python package or module; or an image: "
            "docker:NAME, sif:FILE."
        ),
    ] = Path(),
    federation: Annotated[
        Path | None,
        typer.Option("-f", "--federation", help="A federation.yaml: the sites and their databases."),
    ] = None,
    function: Annotated[str | None, typer.Option(metavar="NAME", help="The function to call.")] = None,
    arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="An argument of the function: JSON, or else text. May be repeated."
        ),
    ] = None,
    args: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A JSON object of arguments. --arg wins over it.")
    ] = None,
    database: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LABEL",
            help="A database to ask for. May be repeated; the order counts. Default: each site's first.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            metavar="central|all|SITE,...",
            help="Where the function runs. Default: what its decorator says, else at the first site.",
        ),
    ] = None,
    package: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The package to import. Default: what the Dockerfile names, else the folder's only one.",
        ),
    ] = None,
    extract: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="vantage6 5: the function that reads the databases. Default: Atoll reads them.",
        ),
    ] = None,
    preprocess: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:JSON",
            help="vantage6 5: a step before the function, and its arguments. May be repeated.",
        ),
    ] = None,
    clients: Annotated[
        int | None,
        typer.Option(
            "-c",
            "--clients",
            min=1,
            help="Number of sites. Default: the length of the inputspec array, else 1.",
        ),
    ] = None,
    inputspec: Annotated[
        Path | None, typer.Option("-i", "--inputspec", help="The inputs. Default: DIRECTORY/inputspec.json.")
    ] = None,
    compspec: Annotated[
        Path | None, typer.Option("-s", "--compspec", help="The spec. Default: PATH/compspec.json.")
    ] = None,
    directory: Annotated[
        Path | None, typer.Option("-d", "--directory", help="Where the sites' files lie. Default: PATH/test.")
    ] = None,
    pipeline: Annotated[
        Path | None,
        typer.Option("-p", "--pipeline", help="A pipelinespec.json: one computation after another."),
    ] = None,
    runtime: Annotated[
        str,
        typer.Option(
            metavar="auto|inline|process|bubblewrap|docker|podman|apptainer|NAME",
            help="auto: an image in a container; else under bubblewrap where that works, else as a process. NAME: one "
            "that another package has installed.",
        ),
    ] = "auto",
    image: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="The image that the code runs in, or sif:FILE. Default: what the specification names.",
        ),
    ] = None,
    helper_image: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="An image with Python, which an image without it needs to speak with its node.",
        ),
    ] = None,
    python: Annotated[
        Path | None, typer.Option(help="The interpreter for the algorithm's code. Default: Atoll's own.")
    ] = None,
    entry: Annotated[
        str | None,
        typer.Option(
            help="Protocol 2: the entry script. Default: what the Dockerfile starts, else entry.py."
        ),
    ] = None,
    dialect: Annotated[
        DialectName, typer.Option(help="How the algorithm is written. auto looks at PATH.")
    ] = DialectName.AUTO,
    output: Annotated[
        Path | None, typer.Option("--output", help="The run's folder, new or empty. Default: atoll-runs/RUN.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on standard output, all else on standard error.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Take warnings about specs and inputs as errors.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Repeat the order of claims, and the scripts' generators.")
    ] = None,
    max_iterations: Annotated[
        int, typer.Option(min=1, help="Iterations after which a step that has not ended fails.")
    ] = ITERATIONS_MAX,
    call_seconds: Annotated[
        float, typer.Option(min=0.001, help="Seconds that one call of a script may take.")
    ] = CALL_SECONDS_MAX,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="Memory of one call: 4GiB; a number alone is MiB. Default: no bound."
        ),
    ] = None,
    processors: Annotated[
        float | None,
        typer.Option(min=0.01, help="Processors that one call may keep busy, such as 1.5. Default: all."),
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help=f"Processes and threads of one call. Default: {PROCESSES_MAX}."),
    ] = None,
    disk: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="What the folders may hold which the algorithm can write to at one site: bytes, or 10GiB. Default: "
            "what the disk holds.",
        ),
    ] = None,
    log: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE", help="What an algorithm may print at one site: bytes, or 100MB. Default: 1GiB."
        ),
    ] = None,
    resume: Annotated[
        Path | None, typer.Option("--resume", help="A kept run's folder, to repeat one of its iterations.")
    ] = None,
    from_iteration: Annotated[
        int | None, typer.Option("--from", min=1, help="With --resume: the iteration to repeat.")
    ] = None,
) -> int:
    """Run an algorithm on simulated sites, and show what it found."""
    try:
        where, inside = given.place(path, image)
        asked = Arguments(
            path=where,
            image=inside,
            helper_image=helper_image,
            packed=where != path,
            dialect=dialect.value,
            federation=federation,
            function=function,
            args=given.arguments(arg or (), args),
            databases=given.databases(database or ()),
            at=at,
            package=package,
            extract=given.steps("--extract", [extract])[0] if extract is not None else None,
            preprocess=given.steps("--preprocess", preprocess or ()),
            clients=clients,
            inputspec=inputspec,
            compspec=compspec,
            directory=directory,
            pipeline=pipeline,
            runtime=runtime,
            python=python,
            entry=entry,
            output=output,
            strict=strict,
            seed=seed,
            max_iterations=max_iterations,
            call_seconds=call_seconds,
            memory=given.mebibytes("--memory", memory),
            processors=processors,
            processes=processes,
            disk=given.size("--disk", disk),
            log=given.size("--log", log),
        )
        # Imported here, so that --help and a wrong option answer at once.
        from atoll.cli.conduct import conduct

        return conduct(asked, kept=resume, iteration=from_iteration, as_json=as_json)
    except Unusable as error:
        refuse(type(error).__name__, str(error), as_json=as_json)
        return UNUSABLE
