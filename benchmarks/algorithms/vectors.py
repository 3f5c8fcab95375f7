"""Long vectors from every site, averaged again and again: what training a model sends."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from atoll_algorithm import Sites, central, partial

#: What a site answers with, by length: made once, since making it is not what is measured.
_known: dict[int, Any] = {}


@partial
def own(size: int) -> Any:
    """A vector of this site's."""
    if size not in _known:
        _known[size] = np.ones(size, np.float32)
    return _known[size]


@partial
def trained(weights: Any) -> Any:
    """The weights, each a little different."""
    return weights + np.float32(1)


@central
def averages(sites: Sites, size: int, times: int) -> list[float]:
    """How many seconds each round took in which every site sent a vector, and they were averaged."""
    took = []
    total = np.empty(size, np.float32)
    for _ in range(times):
        started = time.perf_counter()
        _average(sites.call(own, size=size), total)
        took.append(time.perf_counter() - started)
        assert total[-1] == 1
    return took


@central
def training(sites: Sites, size: int, times: int) -> list[float]:
    """How many seconds each round took in which every site was sent the average, and sent it back changed."""
    took = []
    weights = np.zeros(size, np.float32)
    for number in range(times):
        started = time.perf_counter()
        _average(sites.call(trained, weights=weights), weights)
        took.append(time.perf_counter() - started)
        assert weights[-1] == number + 1
    return took


def _average(parts: list[Any], total: Any) -> None:
    total[:] = parts[0]
    for part in parts[1:]:
        total += part
    total /= len(parts)
