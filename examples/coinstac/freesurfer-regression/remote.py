"""The aggregator's half: one regression per region over all sites, and one per site beside it."""

import json
import sys

import ridge


def statistics(summaries, covariates, penalty):
    """A row of the table: the fit to these sites' subjects."""
    regression = ridge.fit(ridge.pool([summary["moments"] for summary in summaries]), covariates, penalty)
    terms = regression["coefficients"].values()
    return {
        "covariates": list(regression["coefficients"]),
        "beta": [term["estimate"] for term in terms],
        "standard_error": [term["standard_error"] for term in terms],
        "t": [term["t"] for term in terms],
        "p": [term["p"] for term in terms],
        "r_squared": regression["fit"]["r_squared"],
        "degrees_of_freedom": regression["fit"]["degrees_of_freedom"],
        "n": regression["fit"]["n"],
        "dropped": sum(summary["dropped"] for summary in summaries),
    }


sites = json.loads(sys.stdin.read())["input"]

first = next(iter(sites.values()))
for name, site in sites.items():
    if any(site[key] != first[key] for key in ("covariates", "lambda")) or [*site["regions"]] != [
        *first["regions"]
    ]:
        raise ValueError(f"{name} was given other covariates, regions or another lambda than the first site")

regressions = [
    {
        "ROI": region,
        "global_stats": statistics(
            [site["regions"][region] for site in sites.values()], first["covariates"], first["lambda"]
        ),
        "local_stats": {
            name: statistics([site["regions"][region]], first["covariates"], first["lambda"])
            for name, site in sites.items()
        },
    }
    for region in first["regions"]
]
print(json.dumps({"output": {"regressions": regressions}, "success": True}))
