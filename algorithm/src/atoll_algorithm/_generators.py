"""Random generators for parameters that ask for one."""

from __future__ import annotations

from typing import Any

from atoll_algorithm._calls import Call


def generator_of(kind: str, call: Call, parameter: str) -> Any:
    """A ``random.Random`` or ``numpy.random.Generator`` of this site, this call and this parameter.

    With the call's seed it is the same at each time that the run is played; two sites with one
    seed draw different numbers all the same. Without a seed nobody can tell what it draws.
    """
    entropy = None
    if call.seed is not None:
        import hashlib  # most functions draw nothing

        text = "%d\n%s\n%s\n%s" % (call.seed, call.seat, call.function, parameter)
        entropy = int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:16], "big")
    if kind == "random":
        import random  # most functions draw nothing

        return random.Random(entropy)  # noqa: S311 -- it is to be repeatable
    import numpy  # its annotation says that numpy is there

    return numpy.random.default_rng(entropy)
