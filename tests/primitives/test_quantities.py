"""Checked arithmetic against exact fractions."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from primitives.errors import RialtoError
from primitives.quantities import (
    MAX_INT,
    PPM,
    Overflow,
    add,
    apply_ppm_down,
    apply_ppm_up,
    check,
    compare_ratios,
    divide_down,
    divide_half_away,
    divide_towards_zero,
    divide_up,
    mul,
    sub,
)

quantities = st.integers(-MAX_INT, MAX_INT)
divisors = st.integers(1, 50) | st.integers(1, MAX_INT)
dividends = st.integers(-200, 200) | st.integers(-(2**140), 2**140)


def assert_checked(compute: Callable[[], int], exact: int) -> None:
    """``compute`` gives ``exact`` where that is a quantity and overflows where it is not."""
    if abs(exact) <= MAX_INT:
        assert compute() == exact
        return
    with pytest.raises(Overflow):
        compute()


def round_half_away(ratio: Fraction) -> int:
    magnitude = math.floor(abs(ratio) + Fraction(1, 2))
    return magnitude if ratio >= 0 else -magnitude


@pytest.mark.parametrize("value", [0, 1, -1, MAX_INT, -MAX_INT])
def test_quantities_in_range_pass(value: int) -> None:
    assert check(value) == value


@pytest.mark.parametrize("value", [MAX_INT + 1, -MAX_INT - 1, 2**64, -(2**200)])
def test_quantities_out_of_range_overflow(value: int) -> None:
    with pytest.raises(Overflow):
        check(value)


def test_overflow_is_an_outcome_and_no_error_of_either_family() -> None:
    assert issubclass(Overflow, ArithmeticError)
    assert not issubclass(Overflow, RialtoError)


@given(quantities, quantities)
@example(MAX_INT, 1)
@example(-MAX_INT, 1)
@example(2**32, 2**31)
def test_sums_differences_and_products_are_exact_or_overflow(left: int, right: int) -> None:
    assert_checked(lambda: add(left, right), left + right)
    assert_checked(lambda: sub(left, right), left - right)
    assert_checked(lambda: mul(left, right), left * right)


@given(dividends, divisors)
@example(-1, 2)
@example(1, 2)
@example(-3, 2)
@example(MAX_INT + 1, 1)
@example(-MAX_INT, MAX_INT)
def test_quotients_round_in_the_named_direction(dividend: int, divisor: int) -> None:
    ratio = Fraction(dividend, divisor)
    assert_checked(lambda: divide_down(dividend, divisor), math.floor(ratio))
    assert_checked(lambda: divide_up(dividend, divisor), math.ceil(ratio))
    assert_checked(lambda: divide_towards_zero(dividend, divisor), math.trunc(ratio))
    assert_checked(lambda: divide_half_away(dividend, divisor), round_half_away(ratio))


@given(st.integers(-MAX_INT, MAX_INT), divisors)
def test_symmetric_roundings_commute_with_the_sign(dividend: int, divisor: int) -> None:
    assert divide_half_away(-dividend, divisor) == -divide_half_away(dividend, divisor)
    assert divide_towards_zero(-dividend, divisor) == -divide_towards_zero(dividend, divisor)
    assert divide_up(-dividend, divisor) == -divide_down(dividend, divisor)


@given(quantities, st.integers(-3 * PPM, 3 * PPM))
def test_rates_round_in_the_named_direction(amount: int, ppm: int) -> None:
    share = Fraction(amount * ppm, PPM)
    assert_checked(lambda: apply_ppm_up(amount, ppm), math.ceil(share))
    assert_checked(lambda: apply_ppm_down(amount, ppm), math.floor(share))


@given(quantities, divisors, quantities, divisors)
@example(1, 2, 2, 4)
@example(-1, 3, -2, 6)
def test_ratios_compare_as_fractions(a: int, b: int, c: int, d: int) -> None:
    left, right = Fraction(a, b), Fraction(c, d)
    assert compare_ratios(a, b, c, d) == (left > right) - (left < right)


@pytest.mark.parametrize("divide", [divide_down, divide_up, divide_towards_zero, divide_half_away])
@pytest.mark.parametrize("divisor", [0, -1])
def test_divisors_below_one_are_our_bug(divide: Callable[[int, int], int], divisor: int) -> None:
    with pytest.raises(AssertionError):
        divide(1, divisor)
