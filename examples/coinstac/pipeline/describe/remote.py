"""The aggregator's half of step 1: means and sample standard deviations over all sites."""

import json
import sys

import numpy as np
import ridge

sites = json.loads(sys.stdin.read())["input"]

columns = next(iter(sites.values()))["columns"]
if any(site["columns"] != columns for site in sites.values()):
    raise ValueError("the sites were given different columns")

total = ridge.pool([site["moments"] for site in sites.values()])
deviations = np.sqrt(np.diag(total["products"]) / (total["n"] - 1))

output = {
    "n": total["n"],
    "means": {column: total["means"][i] for i, column in enumerate(columns)},
    "standard_deviations": {column: deviations[i] for i, column in enumerate(columns)},
    "sites": {name: {"n": site["moments"]["n"], "dropped": site["dropped"]} for name, site in sites.items()},
}
print(json.dumps({"output": output, "success": True}))
