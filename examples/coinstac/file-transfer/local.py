"""A site's half: files out, files in, and one file that stays.

Iteration 1: one table per measurement goes out, with number, mean and sum of squares about
the mean for each group of subjects. Small groups are left out.
Iteration 2: the pooled norms have arrived as files. Each subject is compared with the norm of
its group; who is far from it is listed in a file that stays at the site; how the site as a
whole compares goes out.
"""

import json
import os
import sys

import pandas as pd


def read_rows(given, folder):
    tables = [pd.read_csv(os.path.join(folder, name)) for name in given["data"]]
    return pd.concat(tables, ignore_index=True)


def send_groups(given, state):
    """transferDirectory/tables/MEASUREMENT.csv: the folder goes along with its files."""
    rows = read_rows(given, state["baseDirectory"])
    folder = os.path.join(state["transferDirectory"], "tables")
    os.makedirs(folder)
    for measurement in given["measurements"]:
        groups = rows.dropna(subset=[measurement, *given["groups"]]).groupby(given["groups"])[measurement]
        table = groups.agg(n="count", mean="mean", squares=lambda v: ((v - v.mean()) ** 2).sum())
        table[table["n"] >= given["smallest_group"]].to_csv(os.path.join(folder, measurement + ".csv"))
    return {"output": {"groups": given["groups"]}, "cache": given}


def compare(given, state):
    """Read baseDirectory/norms/MEASUREMENT.csv, which the aggregator sent; answer with one file."""
    rows = read_rows(given, state["baseDirectory"])
    compared, far = [], []
    for measurement in given["measurements"]:
        norms = pd.read_csv(os.path.join(state["baseDirectory"], "norms", measurement + ".csv"))
        matched = rows.assign(row=range(len(rows))).merge(norms, on=given["groups"])
        z = (matched[measurement] - matched["mean"]) / matched["sd"]
        if z.count() >= given["smallest_group"]:
            compared.append({"measurement": measurement, "n": z.count(), "mean_z": z.mean(), "sd_z": z.std()})
        far.append(matched.assign(measurement=measurement, z=z)[z.abs() > given["far"]])

    listed = pd.concat(far)[["row", *given["groups"], "measurement", "z"]]
    listed.to_csv(os.path.join(state["outputDirectory"], "far-from-norm.csv"), index=False)
    columns = ["measurement", "n", "mean_z", "sd_z"]
    pd.DataFrame(compared, columns=columns).to_csv(
        os.path.join(state["transferDirectory"], "comparison.csv"), index=False
    )
    return {"output": {"compared": True}}


document = json.loads(sys.stdin.read())
state = document["state"]
if state["iteration"] == 1:
    print(json.dumps(send_groups(document["input"], state)))
else:
    print(json.dumps(compare(document["cache"], state)))
