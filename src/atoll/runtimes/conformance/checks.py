"""All checks, in the order in which they tell most."""

from __future__ import annotations

from atoll.runtimes.conformance.answers import ANSWERS
from atoll.runtimes.conformance.bounds import BOUNDS
from atoll.runtimes.conformance.ends import ENDS
from atoll.runtimes.conformance.examining import Check
from atoll.runtimes.conformance.ways import WAYS

#: Every promise of a runtime that can be tried from outside.
CHECKS: tuple[Check, ...] = (*ANSWERS, *WAYS, *BOUNDS, *ENDS)
