"""Sums over sites: exact for whole numbers, in the sites' order for all others."""

from __future__ import annotations

import sys
from typing import Any, List

from atoll_algorithm.errors import OutOfStep


def add_up(values: List[Any], sites: List[str], function: str) -> Any:
    """The sum of what the sites contributed.

    Raises:
        OutOfStep: The values aren't alike, aren't numbers, or their sum doesn't fit 64 bits.
    """
    return _add(values, sites, function, "the sum")


def _add(values: List[Any], sites: List[str], function: str, where: str) -> Any:
    first = values[0]
    if isinstance(first, dict):
        _check_alike(
            [sorted(map(repr, one)) if type(one) is dict else None for one in values], sites, function, where
        )
        return {key: _add([one[key] for one in values], sites, function, where) for key in first}
    if isinstance(first, (list, tuple)):
        _check_alike(
            [len(one) if isinstance(one, (list, tuple)) else None for one in values], sites, function, where
        )
        return type(first)(
            [_add([one[index] for one in values], sites, function, where) for index in range(len(first))]
        )
    numpy = sys.modules.get("numpy")
    if numpy is not None and any(isinstance(one, numpy.ndarray) for one in values):
        return _add_arrays([numpy.asarray(one) for one in values], sites, function, where)
    for site, one in zip(sites, values):
        if not isinstance(one, (int, float, complex)):
            raise OutOfStep(
                "%s: %s contributed a %s to %s: expected numbers, arrays, or dicts and lists of them"
                % (function, site, type(one).__name__, where)
            )
    total = first + 0
    for one in values[1:]:
        total += one
    return total


def _add_arrays(arrays: List[Any], sites: List[str], function: str, where: str) -> Any:
    numpy = sys.modules["numpy"]
    _check_alike([array.shape for array in arrays], sites, function, where)
    for site, array in zip(sites, arrays):
        if array.dtype.kind not in "biufc":
            raise OutOfStep(
                "%s: %s contributed an array of %s to %s: expected numbers"
                % (function, site, array.dtype, where)
            )
    dtype = numpy.result_type(*arrays)
    if all(array.dtype.kind in "biu" for array in arrays):
        dtype = numpy.dtype("u8" if dtype == numpy.dtype("u8") else "i8")
        bound = sum([max(abs(int(one.max())), abs(int(one.min()))) for one in arrays if one.size])
        if bound > numpy.iinfo(dtype).max:
            raise OutOfStep("%s: %s of whole numbers doesn't fit 64 bits: use floats" % (function, where))
    total = arrays[0].astype(dtype)
    for array in arrays[1:]:
        total += array.astype(dtype, copy=False)
    return total


def _check_alike(shapes: List[Any], sites: List[str], function: str, where: str) -> None:
    for site, shape in zip(sites, shapes):
        if shape != shapes[0]:
            raise OutOfStep(
                "%s: %s and %s contributed things of other shapes or keys to %s: they must be alike"
                % (function, sites[0], site, where)
            )
