"""The aggregator's half: average what the sites sent, and stop once the mean is above 4."""

import json
import sys

document = json.loads(sys.stdin.read())

sums = [output["sum"] for output in document["input"].values()]
mean = sum(sums) / len(sums)

print(json.dumps({"output": {"sum": mean}, "success": mean > 4}))
