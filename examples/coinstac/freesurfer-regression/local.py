"""A site's half: for each region, summarise volume and covariates over the site's subjects.

Row count, means and sums of products leave, per region. A subject without a file, or without
a value for the region, is left out of that region and counted.
"""

import json
import os
import sys

import numpy as np
import pandas as pd
import ridge

#: Fewer subjects than this are no aggregate.
FEWEST_SUBJECTS = 10
#: So many subjects there must be in each of two groups, if there are any.
SMALLEST_GROUP = 5


def volumes(folder, subjects):
    """One row per subject, one column per region. A file is `region<tab>volume`, with a header."""
    paths = {name: os.path.join(folder, name) for name in subjects}
    files = {
        name: pd.read_csv(path, sep="\t", index_col=0).iloc[:, 0]
        for name, path in paths.items()
        if os.path.exists(path)
    }
    return pd.DataFrame(files).T.reindex(subjects)


def summary(table):
    """The moments of the complete rows."""
    rows = table.dropna()
    if len(rows) < FEWEST_SUBJECTS:
        raise ValueError(f"fewer than {FEWEST_SUBJECTS} subjects with volume and covariates")
    for column in rows:
        values, sizes = np.unique(rows[column], return_counts=True)
        if len(values) == 2 and sizes.min() < SMALLEST_GROUP:
            raise ValueError(f"{column!r} has a group of fewer than {SMALLEST_GROUP} subjects")
    return {"dropped": len(table) - len(rows), "moments": ridge.moments(rows.to_numpy())}


document = json.loads(sys.stdin.read())
given, folder = document["input"], document["state"]["baseDirectory"]

covariates = pd.DataFrame.from_dict(given["covariates"], orient="index").astype(float)
regions = [region for item in given["data"] for region in item["value"]]
measured = volumes(folder, list(covariates.index))

output = {
    "covariates": list(covariates.columns),
    "lambda": given["lambda"],
    "regions": {region: summary(covariates.assign(volume=measured[region])) for region in regions},
}
print(json.dumps({"output": output}))
