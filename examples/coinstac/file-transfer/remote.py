"""The aggregator's half: pool the sites' tables into norms, then report how the sites compare.

Iteration 1: `norms/MEASUREMENT.csv` goes to every site's baseDirectory.
Iteration 2, the last: `index.html` and `norms.csv` go to every site's outputDirectory.

Source:
    Chan, Golub, LeVeque (1983), Algorithms for computing the sample variance,
    The American Statistician 37(3), 242-247: sums of squares from those of parts.
"""

import html
import json
import os
import sys

import numpy as np
import pandas as pd


def received(state, sites, *path):
    """The same file of every site. It lies below baseDirectory, in a folder named like the site."""
    return {name: pd.read_csv(os.path.join(state["baseDirectory"], name, *path)) for name in sites}


def norms(parts, groups):
    """Number, mean and standard deviation per group, over all sites that sent the group."""
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    table["total"] = table["n"] * table["mean"]
    pooled = table.groupby(groups)[["n", "total"]].sum()
    pooled["mean"] = pooled["total"] / pooled["n"]
    shift = table["mean"] - table[groups].merge(pooled["mean"], left_on=groups, right_index=True)["mean"]
    table["squares"] += table["n"] * shift**2
    pooled["sd"] = np.sqrt(table.groupby(groups)["squares"].sum() / (pooled["n"] - 1))
    return pooled[["n", "mean", "sd"]].reset_index()


def send_norms(sites, state):
    groups = next(iter(sites.values()))["groups"]
    first = next(iter(sites))
    folder = os.path.join(state["transferDirectory"], "norms")
    os.makedirs(folder)
    pooled = {}
    for file in sorted(os.listdir(os.path.join(state["baseDirectory"], first, "tables"))):
        pooled[file] = norms(received(state, sites, "tables", file).values(), groups)
        pooled[file].to_csv(os.path.join(folder, file), index=False)
    kept = pd.concat(pooled, names=["measurement"]).reset_index(level=0)
    kept["measurement"] = kept["measurement"].str.replace(".csv", "", regex=False)
    return {"output": {"norms": list(pooled)}, "cache": {"norms": kept.to_dict("records")}}


def send_report(sites, cache, state):
    pooled = pd.DataFrame(cache["norms"])
    compared = pd.concat(received(state, sites, "comparison.csv"), names=["site"]).reset_index(level=0)
    pooled.to_csv(os.path.join(state["transferDirectory"], "norms.csv"), index=False)
    with open(os.path.join(state["transferDirectory"], "index.html"), "w", encoding="utf-8") as file:
        file.write(report(pooled, compared))
    return {
        "output": {
            "norms": cache["norms"],
            "comparison": compared.to_dict("records"),
            "files": ["index.html", "norms.csv"],
        },
        "success": True,
    }


def report(pooled, compared):
    """One page without any other file: a bar per site and measurement, and the two tables."""
    bars = []
    for i, row in enumerate(compared.itertuples()):
        y, width = 22 * i, 150 * min(abs(row.mean_z), 1)
        left = 400 - width if row.mean_z < 0 else 400
        bars.append(
            f'<text x="0" y="{y + 15}">{html.escape(row.measurement)}, {html.escape(row.site)}</text>'
            f'<rect x="{left:.1f}" y="{y + 3}" width="{width:.1f}" height="15" fill="#2a7f8e"/>'
            f'<text x="560" y="{y + 15}">{row.mean_z:+.3f}</text>'
        )
    height = 22 * len(bars)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>Sites compared with pooled norms</title>
<style>body {{ font: 15px sans-serif; margin: 2em }} td, th {{ padding: 2px 10px; text-align: right }}</style>
<h1>Sites compared with pooled norms</h1>
<p>How far a site's subjects lie from the pooled mean of their own group, on average, in standard deviations.</p>
<svg width="640" height="{height}" font-size="13" role="img" aria-label="Mean z score per site and measurement">
<line x1="400" x2="400" y1="0" y2="{height}" stroke="#888"/>
{"".join(bars)}
</svg>
<h2>Comparison</h2>
{compared.to_html(index=False, float_format="%.4f", border=0)}
<h2>Norms</h2>
{pooled.to_html(index=False, float_format="%.3f", border=0)}
</html>
"""


document = json.loads(sys.stdin.read())
state = document["state"]
if state["iteration"] == 1:
    print(json.dumps(send_norms(document["input"], state)))
else:
    print(json.dumps(send_report(document["input"], document["cache"], state)))
