"""The aggregator's half: pool the sites' summaries and solve once."""

import json
import sys

import ridge

sites = json.loads(sys.stdin.read())["input"]

first = next(iter(sites.values()))
for name, site in sites.items():
    if (site["names"], site["lambda"]) != (first["names"], first["lambda"]):
        raise ValueError(f"{name} was given other columns or another lambda than the first site")

total = ridge.pool([site["moments"] for site in sites.values()])
result = ridge.fit(total, first["names"][:-1], first["lambda"])
result["sites"] = {
    name: {"n": site["moments"]["n"], "dropped": site["dropped"]} for name, site in sites.items()
}

print(json.dumps({"output": result, "success": True}))
