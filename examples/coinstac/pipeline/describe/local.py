"""A site's half of step 1: row count, means and sums of products of the complete rows."""

import json
import sys

import design
import ridge

document = json.loads(sys.stdin.read())
given, folder = document["input"], document["state"]["baseDirectory"]

rows, dropped = design.complete_rows(folder, given["data"], given["columns"], {})
table = design.numeric(rows, given["columns"], {})

output = {"columns": given["columns"], "dropped": dropped, "moments": ridge.moments(table.to_numpy())}
print(json.dumps({"output": output}))
