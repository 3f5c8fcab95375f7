"""A site's half: summarise the complete rows. Row count, means and sums of products leave."""

import json
import sys

import design
import ridge

document = json.loads(sys.stdin.read())
given, folder = document["input"], document["state"]["baseDirectory"]

columns = [*given["predictors"], given["outcome"]]
rows, dropped = design.complete_rows(folder, given["data"], columns, given["levels"])
table = design.numeric(rows, columns, given["levels"])

output = {
    "names": list(table.columns),
    "lambda": given["lambda"],
    "dropped": dropped,
    "moments": ridge.moments(table.to_numpy()),
}
print(json.dumps({"output": output}))
