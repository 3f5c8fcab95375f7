"""``python -m atoll.runtimes.conformance NAME``: examine a runtime, and say what it promises and keeps."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from atoll.engine.running import Image, ImageKind
from atoll.model.errors import RuntimeUnavailable
from atoll.runtimes import outside
from atoll.runtimes.conformance.checks import CHECKS
from atoll.runtimes.conformance.examining import Finding, Verdict, examine
from atoll.runtimes.conformance.own import OWN
from atoll.runtimes.conformance.subject import Subject


def main(words: list[str]) -> int:
    """Examine the runtime that the command line names.

    Returns:
        0 where every promise is kept, 1 where one is broken, 2 where the runtime can't be had.
    """
    asked = _parser().parse_args(words)
    known = {check.name for check in CHECKS}
    if unknown := [name for name in asked.check if name not in known]:
        print(
            f"there is no check {unknown[0]!r}: expected one of {', '.join(sorted(known))}", file=sys.stderr
        )
        return 2
    try:
        make = OWN[asked.name] if asked.name in OWN else outside.load(asked.name)
    except RuntimeUnavailable as error:
        print(error, file=sys.stderr)
        return 2
    image = None
    if asked.image is not None:
        image = Image(kind=ImageKind(asked.kind), name=asked.image, digest=asked.digest)
    subject = Subject(name=asked.name, make=make, options=dict(asked.option), image=image)
    return asyncio.run(_examine_all(subject, asked.check))


async def _examine_all(subject: Subject, only: list[str]) -> int:
    broken = 0
    for check in CHECKS:
        if only and check.name not in only:
            continue
        with tempfile.TemporaryDirectory(prefix="atoll-conformance-") as folder:
            finding = await examine(check, subject, Path(folder))
        broken += finding.verdict is Verdict.BROKEN
        print(_line(finding), flush=True)
    return 1 if broken else 0


def _line(finding: Finding) -> str:
    text = (
        f"{finding.verdict.value:<13} {finding.check.name:<13} {finding.seconds:5.1f} s  {finding.check.what}"
    )
    return text if not finding.why else f"{text}\n{'':<27}{finding.why}"


def _option(text: str) -> tuple[str, object]:
    """KEY=VALUE; a value is JSON where it can be read as that."""
    key, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} has no value: expected KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m atoll.runtimes.conformance", description="Examine what a runtime promises."
    )
    parser.add_argument("name", help="process, bubblewrap, or a runtime that is installed")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="KEY=VALUE",
        help="what it is made from",
    )
    parser.add_argument(
        "--image", metavar="NAME", help="an image with Python 3.8 or later, where it runs images"
    )
    parser.add_argument("--digest", default="", help="the image's")
    parser.add_argument(
        "--kind", choices=[kind.value for kind in ImageKind], default="oci", help="of the image"
    )
    parser.add_argument(
        "--check", action="append", default=[], metavar="NAME", help="only this check; may be repeated"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
