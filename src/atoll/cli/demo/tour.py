"""What the demo shows: one run of each dialect, and one that mixes two."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import atoll
from atoll.cli.demo.material import DATABASE, examples
from atoll.cli.demo.stage import State
from atoll.cli.exits import DONE, FAILED
from atoll.cli.refusal import print_document
from atoll.client.client import Client
from atoll.client.runs import Run, Step
from atoll.model.errors import AtollError, RunFailed

#: Seconds that one of the runs may take. The first starts a warm parent for its libraries.
_PATIENCE_SECONDS = 300.0
_MEASURES = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
#: What the COINSTAC regression is asked. Each island's files are mapped at the island.
_REGRESSION = {
    "outcome": {"value": "body_mass_g"},
    "predictors": {"value": ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "sex", "species"]},
    "levels": {"value": {"sex": ["female", "male"], "species": ["Adelie", "Chinstrap", "Gentoo"]}},
    "lambda": {"value": 0},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One run of the demo."""

    title: str
    dialect: str
    submit: Callable[[Client], Run]
    #: What is told of its result: a line each.
    tell: Callable[[Any], Sequence[str]]


def tour(state: State, *, as_json: bool) -> int:
    """Run every example, and print what came of it; the command's exit status."""
    told: list[dict[str, Any]] = []
    failed = False
    # Programs read standard output; people read both, and want them in one order.
    say = _aside if as_json else _aloud
    with atoll.connect(state.url, token=state.token) as client:
        for number, scene in enumerate(_scenes(state, say), 1):
            say(f"\n{number}. {scene.title}")
            document = _play(client, scene, say)
            failed |= document["status"] != "done"
            told.append(document)
    if as_json:
        print_document({**state.document(), "runs": told})
    return FAILED if failed else DONE


def _play(client: Client, scene: Scene, say: Callable[[str], None]) -> dict[str, Any]:
    began = time.monotonic()
    document: dict[str, Any] = {"title": scene.title, "dialect": scene.dialect, "run": None}
    try:
        run = scene.submit(client)
        document["run"] = run.id
        run.wait(timeout=_PATIENCE_SECONDS)
        result = run.result if run.result is not None else dict(run.results)
        for line in scene.tell(result):
            say(f"   {line}")
        document |= {"status": "done", "result": result, "error": None}
    except RunFailed as error:
        document |= {
            "status": "failed",
            "error": {"type": error.type, "message": error.message, "site": error.site},
        }
        say(f"   failed: {error}")
    except AtollError as error:
        document |= {
            "status": "failed",
            "error": {"type": type(error).__name__, "message": str(error), "site": None},
        }
        say(f"   failed: {error}")
    seconds = time.monotonic() - began
    say(f"   run {document['run']}, {seconds:.1f} s")
    return document | {"seconds": seconds}


def _scenes(state: State, say: Callable[[str], None]) -> list[Scene]:
    folder = examples()
    scenes = [_coinstac(folder, state), _functions(folder, state)]
    if state.vantage6:
        scenes.append(_vantage6(folder, state))
    else:
        say("vantage6's tools are not installed here, so no algorithm of vantage6 is shown.")
    return [*scenes, _mixed(folder, state)]


def _coinstac(folder: Path, state: State) -> Scene:
    return Scene(
        title="What explains body mass? A COINSTAC computation: the islands send sums, a node without data combines.",
        dialect="coinstac",
        submit=lambda client: client.runs.submit(
            collaboration=state.collaboration,
            algorithm=folder / "coinstac" / "ridge-one-shot",
            inputs=_REGRESSION,
        ),
        tell=lambda result: [
            f"{term:<24}{numbers['estimate']:>12.4f}  ± {numbers['standard_error']:.4f}"
            for term, numbers in result["coefficients"].items()
        ],
    )


def _functions(folder: Path, state: State) -> Scene:
    return Scene(
        title="What tells males from females? Two Python functions, round after round.",
        dialect="functions",
        submit=lambda client: client.runs.submit(
            collaboration=state.collaboration,
            algorithm=folder / "functions" / "logistic-regression",
            args={"outcome": "sex", "positive": "male", "predictors": list(_MEASURES)},
        ),
        tell=lambda result: [
            f"{term:<24}{estimate:>12.4f}  ± {result['standard_error'][term]:.4f}"
            for term, estimate in result["estimate"].items()
        ],
    )


def _vantage6(folder: Path, state: State) -> Scene:
    return Scene(
        title="How heavy is a penguin? A vantage6 algorithm, as it would be published.",
        dialect="vantage6",
        submit=lambda client: client.runs.submit(
            collaboration=state.collaboration,
            algorithm=folder / "vantage6" / "average-4",
            function="average",
            args={"column": "body_mass_g"},
            databases=[DATABASE],
        ),
        tell=_lines,
    )


def _mixed(folder: Path, state: State) -> Scene:
    steps = [
        Step(
            algorithm=folder / "coinstac" / "pipeline" / "describe",
            inputs={"columns": {"value": list(_MEASURES)}},
        ),
        Step(algorithm=folder / "functions" / "mean", function="mean", args={"column": "flipper_length_mm"}),
    ]
    return Scene(
        title="A pipeline of two dialects: a COINSTAC step, then the mean flipper length by a function.",
        dialect="coinstac, functions",
        submit=lambda client: client.runs.submit(collaboration=state.collaboration, steps=steps),
        tell=_lines,
    )


def _lines(result: Any) -> list[str]:
    if isinstance(result, Mapping):
        return [f"{name:<24}{_plain(value):>12}" for name, value in result.items()]
    return [_plain(result)]


def _plain(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else f"{value}"


def _aloud(text: str) -> None:
    print(text, flush=True)


def _aside(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
