"""One suite for all runtimes: what each promises, as named checks that need no test framework.

For whoever writes a runtime: ``python -m atoll.runtimes.conformance NAME``, or `CHECKS` and
`examine` from a test of one's own.
"""

from atoll.runtimes.conformance.checks import CHECKS
from atoll.runtimes.conformance.examining import Check, Finding, Verdict, examine
from atoll.runtimes.conformance.subject import Broken, NotPromised, Subject

__all__ = ["CHECKS", "Broken", "Check", "Finding", "NotPromised", "Subject", "Verdict", "examine"]
