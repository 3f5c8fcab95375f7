"""A site's half: send 1 at first, then one more than the mean that came back."""

import json
import sys

document = json.loads(sys.stdin.read())

given = document["input"]
total = 1 if "start" in given else given["sum"] + 1

print(json.dumps({"output": {"sum": total}}))
