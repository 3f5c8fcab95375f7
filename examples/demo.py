"""Two regressions over three islands, side by side with the same regressions on pooled data.

One is a COINSTAC computation, the other two Python functions. The federated side is `atoll
simulate`, run as anyone runs it. The pooled side is statsmodels on all rows in one table: what no
single island could do with its own data.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import statsmodels.api as sm
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
COMPUTATION = ROOT / "examples" / "coinstac" / "ridge-one-shot"
FUNCTIONS = ROOT / "examples" / "functions"
#: What the second regression is asked.
PREDICTORS = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
#: Relative: both sides do the same arithmetic in another order.
TOLERANCE = 1e-9

Estimates = Mapping[str, Mapping[str, float]]


def simulate(output: Path, *words: str | Path) -> dict[str, Any]:
    """Run an example over its three sites; progress goes to the terminal, the result comes back."""
    atoll = str(Path(sys.executable).with_name("atoll"))
    sys.stdout.flush()  # What was said so far comes first, also where nobody watches a terminal.
    command = [atoll, "simulate", *map(str, words), "--output", str(output), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        document = json.loads(done.stdout or b"null")
        said = document["error"]["message"] if document and document.get("error") else "see above"
        raise SystemExit(f"The simulation failed with exit status {done.returncode}: {said}")
    result: dict[str, Any] = json.loads(done.stdout)["result"]
    return result


def federated_mass(output: Path) -> Estimates:
    """What explains body mass, as a COINSTAC computation finds it."""
    coefficients: Estimates = simulate(output, COMPUTATION)["coefficients"]
    return coefficients


def pooled_mass() -> Estimates:
    """The same model on the rows of all three islands in one table."""
    spec = json.loads((COMPUTATION / "test" / "inputspec.json").read_text())
    given = {name: entry["value"] for name, entry in spec[0].items()}
    folders = sorted((COMPUTATION / "test" / "input").glob("*/simulatorRun"))
    tables = [pd.read_csv(folder / name) for folder in folders for name in given["data"]]
    rows = pd.concat(tables)[[*given["predictors"], given["outcome"]]].dropna()
    columns = {"Intercept": np.ones(len(rows))}
    for name in given["predictors"]:
        if name in given["levels"]:
            columns |= {f"{name}={level}": rows[name] == level for level in given["levels"][name][1:]}
        else:
            columns[name] = rows[name]
    design = np.column_stack(list(columns.values())).astype(float)
    fit = sm.OLS(np.asarray(rows[given["outcome"]], float), design).fit()
    return {
        name: {"estimate": float(fit.params[i]), "standard_error": float(fit.bse[i])}
        for i, name in enumerate(columns)
    }


def federated_sex(output: Path) -> Estimates:
    """What tells males from females, as a central function finds it."""
    result = simulate(
        output,
        FUNCTIONS / "logistic-regression",
        *("--federation", FUNCTIONS / "islands" / "federation.yaml"),
        *("--arg", "outcome=sex", "--arg", "positive=male", "--arg", f"predictors={json.dumps(PREDICTORS)}"),
    )
    return {
        term: {key: result[key][term] for key in ("estimate", "standard_error")}
        for term in result["estimate"]
    }


def pooled_sex() -> Estimates:
    """The same model on the rows of all three islands in one table."""
    names = ("biscoe", "dream", "torgersen")
    tables = [pd.read_csv(FUNCTIONS / "islands" / f"{name}.csv") for name in names]
    rows = pd.concat(tables)[["sex", *PREDICTORS]].dropna()
    design = sm.add_constant(rows[PREDICTORS]).rename(columns={"const": "Intercept"})
    fit = sm.GLM(rows["sex"] == "male", design, family=sm.families.Binomial()).fit(tol=1e-14)
    return {
        term: {"estimate": float(fit.params[term]), "standard_error": float(fit.bse[term])} for term in design
    }


def largest_difference(federated: Estimates, pooled: Estimates) -> float:
    """The largest relative difference between the two sides, over every number that is shown."""
    if set(federated) != set(pooled):
        raise SystemExit(f"The two sides have other terms: {sorted(federated)} and {sorted(pooled)}")
    return max(
        abs(federated[term][key] - value) / abs(value)
        for term, numbers in pooled.items()
        for key, value in numbers.items()
    )


def show(console: Console, title: str, federated: Estimates, pooled: Estimates) -> None:
    """Both sides, term by term, and how far they are apart."""
    table = Table(title=title)
    table.add_column("term", no_wrap=True)
    for heading in ("federated", "pooled", "error, fed.", "error, pooled"):
        table.add_column(heading, justify="right")
    for term, numbers in pooled.items():
        ours = federated[term]
        cells = [f"{side[key]:#.5g}" for key in ("estimate", "standard_error") for side in (ours, numbers)]
        table.add_row(term, *cells)
    console.print(table)
    difference = largest_difference(federated, pooled)
    console.print(f"Largest relative difference: {difference:.1e}; at most {TOLERANCE:.0e} is expected.\n")
    if not difference <= TOLERANCE:
        raise SystemExit("The federated regression differs from the pooled one.")


def main() -> None:
    """Run both sides of both regressions, and compare them."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        "Biscoe, Dream and Torgersen are three islands with penguins, and three sites.\n"
        "Two regressions run over all of them: every island sends sums, and no bird leaves.\n"
    )
    if shutil.which("bwrap") is None:
        console.print(
            "bubblewrap is not installed, so the algorithm runs as an ordinary process: it\n"
            "can read what you can read, and use the network. To contain it:\n"
            "apt install bubblewrap\n"
        )
    folder = ROOT / "atoll-runs" / time.strftime("demo-%Y%m%d-%H%M%S")
    console.print("1. What explains body mass? A COINSTAC computation, in one round.")
    show(console, "Body mass of penguins in grams", federated_mass(folder / "mass"), pooled_mass())
    console.print("2. What tells males from females? Two Python functions, round after round.")
    show(console, "Log odds that a penguin is male", federated_sex(folder / "sex"), pooled_sex())
    console.print(
        f"What the runs left:       {folder.relative_to(ROOT)}\n"
        "The algorithms:           examples/coinstac/ridge-one-shot\n"
        "                          examples/functions/logistic-regression\n"
        "To write one of your own: docs/tutorials/first-function.md"
    )


if __name__ == "__main__":
    main()
