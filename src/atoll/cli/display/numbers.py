"""Numbers as people read them: few digits, decimal points below each other.

Rounding is for the eye only: `rounds` tells when digits were left out, so that a page can
say where they all are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeGuard

#: Significant digits of a number that is not whole. A statistic is rarely quoted with more.
SIGNIFICANT_DIGITS = 5
#: Whole numbers below this are counts, dates or identifiers: every digit is shown. Above it
#: a float has no fractions left to tell whole numbers apart, so that digits say nothing.
_WHOLE_MAX = 10**15
#: Below this a number is easier to read as a whole number than with an exponent.
_PLAIN_MAX = 1e9
#: Integers below this are shown in full. Python itself refuses to print more than 4,300 digits.
_INTEGER_MAX: int = 10**40


def is_number(value: object) -> TypeGuard[float]:
    """Whether this is a number; true and false are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number_text(number: float) -> str:
    """A number with five significant digits; whole numbers with all of theirs."""
    if isinstance(number, int):
        if abs(number) < _INTEGER_MAX:
            return str(number)
        return f"about {'-' if number < 0 else ''}2^{number.bit_length() - 1}"
    if not math.isfinite(number):
        return "not a number" if math.isnan(number) else "infinity" if number > 0 else "-infinity"
    if number.is_integer() and abs(number) < _WHOLE_MAX:
        return str(int(number))
    if 10**SIGNIFICANT_DIGITS <= abs(number) < _PLAIN_MAX:
        return f"{number:.0f}"
    mantissa, _, exponent = f"{number:.{SIGNIFICANT_DIGITS}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def rounds(number: float) -> bool:
    """Whether `number_text` leaves out digits of this number."""
    if isinstance(number, int):
        return abs(number) >= _INTEGER_MAX
    return math.isfinite(number) and float(number_text(number)) != number


def aligned(texts: Sequence[str]) -> list[str]:
    """Texts of numbers, padded to one width with their decimal points below each other."""
    parts = [_at_point(text) for text in texts]
    before = max((len(left) for left, _ in parts), default=0)
    after = max((len(right) for _, right in parts), default=0)
    return [f"{left:>{before}}{right:<{after}}" for left, right in parts]


def _at_point(text: str) -> tuple[str, str]:
    """What stands before the decimal point, or where it would be; and the rest."""
    for mark in (".", "e"):
        place = text.find(mark)
        if place > 0 and text[place - 1].isdigit():
            return text[:place], text[place:]
    return text, ""
