"""A site's half of step 2: standardise by the means and deviations of step 1, then summarise."""

import json
import sys

import design
import pandas as pd
import ridge

document = json.loads(sys.stdin.read())
given, folder = document["input"], document["state"]["baseDirectory"]

predictors = [column for column in given["means"] if column != given["outcome"]]
columns = [*predictors, given["outcome"]]
rows, dropped = design.complete_rows(folder, given["data"], columns, {})
table = design.numeric(rows, columns, {})
standardised = (table - pd.Series(given["means"])) / pd.Series(given["standard_deviations"])

output = {
    "names": columns,
    "lambda": given["lambda"],
    "dropped": dropped,
    "moments": ridge.moments(standardised[columns].to_numpy()),
}
print(json.dumps({"output": output}))
