"""A regression over three islands, side by side with the same regression on pooled data.

The federated side is `atoll simulate`, run as anyone runs it. The pooled side is statsmodels on
all rows in one table: what no single island could do with its own data.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm
from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "coinstac" / "ridge-one-shot"
#: Relative: both sides do the same arithmetic in another order.
TOLERANCE = 1e-9

Estimates = Mapping[str, Mapping[str, float]]


def simulate(output: Path) -> dict[str, object]:
    """Run the example over its three sites; progress goes to the terminal, the result comes back."""
    atoll = str(Path(sys.executable).with_name("atoll"))
    sys.stdout.flush()  # What was said so far comes first, also where nobody watches a terminal.
    command = [atoll, "simulate", str(EXAMPLE), "--output", str(output), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        document = json.loads(done.stdout or b"null")
        said = document["error"]["message"] if document and document.get("error") else "see above"
        raise SystemExit(f"The simulation failed with exit status {done.returncode}: {said}")
    result: dict[str, object] = json.loads(done.stdout)
    return result


def pool() -> Estimates:
    """Fit the same model to the rows of all three islands in one table."""
    given = {name: entry["value"] for name, entry in json.loads(inputspec())[0].items()}
    folders = sorted((EXAMPLE / "test" / "input").glob("*/simulatorRun"))
    tables = [pd.read_csv(folder / name) for folder in folders for name in given["data"]]
    rows = pd.concat(tables)[[*given["predictors"], given["outcome"]]].dropna()
    columns = {"Intercept": np.ones(len(rows))}
    for name in given["predictors"]:
        if name in given["levels"]:
            columns |= {f"{name}={level}": rows[name] == level for level in given["levels"][name][1:]}
        else:
            columns[name] = rows[name]
    fit = sm.OLS(
        np.asarray(rows[given["outcome"]], float), np.column_stack(list(columns.values())).astype(float)
    ).fit()
    return {
        name: {"estimate": float(fit.params[i]), "standard_error": float(fit.bse[i])}
        for i, name in enumerate(columns)
    }


def inputspec() -> str:
    """What the example's sites are asked."""
    return (EXAMPLE / "test" / "inputspec.json").read_text()


def largest_difference(federated: Estimates, pooled: Estimates) -> float:
    """The largest relative difference between the two sides, over every number that is shown."""
    if set(federated) != set(pooled):
        raise SystemExit(f"The two sides have other terms: {sorted(federated)} and {sorted(pooled)}")
    return max(
        abs(federated[term][key] - value) / abs(value)
        for term, numbers in pooled.items()
        for key, value in numbers.items()
    )


def show(console: Console, federated: Estimates, pooled: Estimates) -> None:
    """Both sides, term by term."""
    table = Table(title="Body mass of penguins in grams")
    table.add_column("term", no_wrap=True)
    for heading in ("federated", "pooled", "error, fed.", "error, pooled"):
        table.add_column(heading, justify="right")
    for term, numbers in pooled.items():
        ours = federated[term]
        cells = [f"{side[key]:.4f}" for key in ("estimate", "standard_error") for side in (ours, numbers)]
        table.add_row(term, *cells)
    console.print(table)


def main() -> None:
    """Run both sides and compare them."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        "Biscoe, Dream and Torgersen are three islands with penguins, and three sites.\n"
        "One regression runs over all of them: every island sends sums, and no bird leaves.\n"
    )
    if shutil.which("bwrap") is None:
        console.print(
            "bubblewrap is not installed, so the algorithm runs as an ordinary process: it\n"
            "can read what you can read, and use the network. To contain it:\n"
            "apt install bubblewrap\n"
        )
    output = ROOT / "atoll-runs" / time.strftime("demo-%Y%m%d-%H%M%S")
    document = simulate(output)
    federated: Estimates = document["result"]["coefficients"]  # type: ignore[index]  # JSON of our own example
    pooled = pool()
    show(console, federated, pooled)
    difference = largest_difference(federated, pooled)
    console.print(f"Largest relative difference: {difference:.1e}; at most {TOLERANCE:.0e} is expected.\n")
    console.print(
        f"What the run left:        {output.relative_to(ROOT)}\n"
        "The algorithm:            examples/coinstac/ridge-one-shot\n"
        "To write one of your own: docs/tutorials/first-computation.md"
    )
    if not difference <= TOLERANCE:
        raise SystemExit("The federated regression differs from the pooled one.")


if __name__ == "__main__":
    main()
