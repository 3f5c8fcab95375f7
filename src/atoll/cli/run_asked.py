"""From the options of ``atoll run submit`` to a run that is wanted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from atoll.cli import given
from atoll.client.submitting import Step, Wanted
from atoll.model.errors import SpecInvalid

#: What an object of a pipeline may say.
_KEYS = (
    "algorithm",
    "function",
    "args",
    "databases",
    "at",
    "inputs",
    "extract",
    "preprocess",
    "package",
    "entry",
    "image",
    "dialect",
)


def wanted_of(asked: Mapping[str, Any]) -> Wanted:
    """The run that the options ask for.

    Raises:
        SpecInvalid: a file can't be read, or options don't fit together.
    """
    return Wanted(
        collaboration=asked["collaboration"],
        steps=_steps(asked),
        study=asked["study"],
        name=asked["name"],
        sites=asked["site"] or None,
        aggregator=asked["aggregator"],
        min_sites=asked["min_sites"],
        on_failure=asked["on_failure"],
        on_refusal=asked["on_refusal"],
        deadline_seconds=asked["deadline"],
    )


def _steps(asked: Mapping[str, Any]) -> list[Step]:
    if asked["pipeline"] is not None:
        if asked["algorithm"] is not None:
            raise SpecInvalid("--pipeline names its algorithms itself: leave the other one out")
        return _pipeline(asked["pipeline"])
    if asked["algorithm"] is None:
        raise SpecInvalid(
            "no algorithm is named: give a folder, a module, a compspec.json, a digest or a name"
        )
    labels = given.databases(asked["database"] or [])
    return [
        Step(
            algorithm=asked["algorithm"],
            function=asked["function"],
            args=given.arguments(asked["arg"] or [], asked["args"]),
            databases=[_database(label) for label in labels] or None,
            at=asked["at"],
            inputs=None if asked["inputspec"] is None else _json(asked["inputspec"], "the owner's inputs"),
            extract=asked["extract"],
            preprocess=given.steps("--preprocess", asked["preprocess"] or []),
            dialect=asked["dialect"],
            package=asked["package"],
            entry=asked["entry"],
            image=asked["image"],
        )
    ]


def _pipeline(path: Path) -> list[Step]:
    entries = _json(path, "a list of steps")
    if not isinstance(entries, list) or not entries:
        raise SpecInvalid(
            f"{path} is no pipeline: expected a list of compspecs or of objects, one for each step"
        )
    return [_step(entry, path, number) for number, entry in enumerate(entries)]


def _step(entry: Any, path: Path, number: int) -> Step:
    if isinstance(entry, str):
        compspec = path.parent / entry
        name = "inputspec.json" if number == 0 else "inputspec-pipeline.json"
        beside = (compspec if compspec.is_dir() else compspec.parent) / "test" / name
        return Step(algorithm=compspec, inputs=_json(beside, "a step's inputs") if beside.exists() else None)
    if not isinstance(entry, dict) or not isinstance(entry.get("algorithm"), str):
        raise SpecInvalid(
            f'{path}, step {number}: expected the path of a compspec, or an object such as {{"algorithm": "mean", '
            '"function": "mean", "args": {}}'
        )
    unknown = [key for key in entry if key not in _KEYS]
    if unknown:
        raise SpecInvalid(
            f"{path}, step {number}: nothing is known of {unknown[0]!r}. Expected {', '.join(_KEYS)}"
        )
    inputs = entry.get("inputs")
    if isinstance(inputs, str):
        inputs = _json(path.parent / inputs, "a step's inputs")
    here = path.parent / entry["algorithm"]
    step = {**entry, "algorithm": here if here.exists() else entry["algorithm"], "inputs": inputs}
    return Step(**step)


def _database(text: str) -> str | dict[str, Any]:
    """A label, or a label with what its reader is told."""
    if ":{" not in text:
        return text
    label, _, rest = text.partition(":{")
    try:
        return {"label": label, **json.loads("{" + rest)}
    except (ValueError, RecursionError) as error:
        raise SpecInvalid(f"--database {text}: what stands behind the label is not JSON ({error})") from None


def _json(path: Path, what: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise SpecInvalid(f"{path} can't be read ({error.strerror}): expected {what}") from None
    except (ValueError, RecursionError) as error:
        raise SpecInvalid(f"{path} is not JSON ({error}): expected {what}") from None
