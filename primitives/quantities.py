"""Checked integer quantities: money, sizes and prices with a bound and a named rounding direction.

Every amount that the state holds lies in ``-MAX_INT … MAX_INT``, so that it travels in 64 bits. The
functions compute exactly, in integers of any size, and check the result once: an intermediate product may
be large, a result may not. What does not live here: which direction a rule rounds in (always the one that
favours the protocol) and what the units are.

``Overflow`` belongs to neither error family. Reaching a bound is a deterministic outcome of executing a
well-formed transaction, the same on every replica; ``shards`` turns it into a receipt with the code
OVERFLOW and undoes what the transaction did. A divisor below 1 is a bug of ours and fails an assertion.
"""

from __future__ import annotations

from typing import Final

MAX_INT: Final = 2**63 - 1
"""The largest magnitude of a quantity; symmetric, so that negation never overflows."""

PPM: Final = 1_000_000
"""Rates (fees, margins, funding) are in parts per million."""


class Overflow(ArithmeticError):
    """A quantity left ``-MAX_INT … MAX_INT``: a transaction's result, not an error of ours or a peer's."""


def check(value: int) -> int:
    """``value`` itself; raises ``Overflow`` if it is out of range."""
    if -MAX_INT <= value <= MAX_INT:
        return value
    raise Overflow(f"a quantity of {value.bit_length()} bits does not fit into 63")


def add(left: int, right: int) -> int:
    """``left + right``, checked."""
    return check(left + right)


def sub(left: int, right: int) -> int:
    """``left - right``, checked."""
    return check(left - right)


def mul(left: int, right: int) -> int:
    """``left * right``, checked."""
    return check(left * right)


def divide_down(dividend: int, divisor: int) -> int:
    """The floor of ``dividend`` over ``divisor`` ≥ 1: towards minus infinity, checked."""
    assert divisor > 0, "a divisor is positive"
    return check(dividend // divisor)


def divide_up(dividend: int, divisor: int) -> int:
    """The ceiling of ``dividend`` over ``divisor`` ≥ 1: towards plus infinity, checked."""
    assert divisor > 0, "a divisor is positive"
    return check(-(-dividend // divisor))


def divide_towards_zero(dividend: int, divisor: int) -> int:
    """``dividend`` over ``divisor`` ≥ 1 without its fraction, symmetric in the sign, checked."""
    assert divisor > 0, "a divisor is positive"
    magnitude = abs(dividend) // divisor
    return check(magnitude if dividend >= 0 else -magnitude)


def divide_half_away(dividend: int, divisor: int) -> int:
    """``dividend`` over ``divisor`` ≥ 1 to the nearest integer, halves away from zero, checked."""
    assert divisor > 0, "a divisor is positive"
    magnitude = (2 * abs(dividend) + divisor) // (2 * divisor)
    return check(magnitude if dividend >= 0 else -magnitude)


def apply_ppm_up(amount: int, ppm: int) -> int:
    """``ppm`` millionths of ``amount``, rounded towards plus infinity, checked; either may be negative."""
    return divide_up(amount * ppm, PPM)


def apply_ppm_down(amount: int, ppm: int) -> int:
    """``ppm`` millionths of ``amount``, rounded towards minus infinity, checked; either may be negative."""
    return divide_down(amount * ppm, PPM)


def compare_ratios(left_dividend: int, left_divisor: int, right_dividend: int, right_divisor: int) -> int:
    """-1, 0 or 1 as the left ratio is below, equal to or above the right one; divisors are positive.

    Exact by cross multiplication; the products are never stored and need no bound.
    """
    assert left_divisor > 0 and right_divisor > 0, "a divisor is positive"
    left = left_dividend * right_divisor
    right = right_dividend * left_divisor
    return (left > right) - (left < right)
