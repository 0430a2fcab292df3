"""Decimal strings to integers and back: prices in ticks, sizes in lots, cash in quantums.

Only what faces people or recorded data uses decimals; the state machine never sees one. Conversion is exact or
refused, never rounded: a price between two ticks is the caller's mistake.
"""

from __future__ import annotations

from typing import Final

from shards.codes import ResultCode, refuse

QUOTE_DECIMALS: Final = 6
"""A quote quantum is 10**-6 of the quote currency."""
MAX_DECIMAL_CHARACTERS: Final = 40
"""Longer than any number below 2**63 with any step in use."""


def parse_decimal(text: str) -> tuple[int, int]:
    """``text`` as (digits, scale): its value is digits · 10**-scale. Plain digits, one point, a sign at most.

    Raises ``RemoteError`` (``BAD_AMOUNT``).
    """
    body = text[1:] if text[:1] == "-" else text
    whole, point, fraction = body.partition(".")
    digits = whole + fraction
    if (
        len(text) > MAX_DECIMAL_CHARACTERS
        or not digits.isascii()
        or not digits.isdigit()
        or not whole
        or (point and not fraction)
    ):
        raise refuse(ResultCode.BAD_AMOUNT, repr(text[:MAX_DECIMAL_CHARACTERS]))
    value = int(digits)
    return (-value if text[:1] == "-" else value), len(fraction)


def convert_to_units(text: str, step: str, off_step: ResultCode) -> int:
    """How many ``step`` (a positive decimal string) make up ``text``.

    Raises ``RemoteError``: ``BAD_AMOUNT`` for no number, ``off_step`` where the ratio is no integer.
    """
    value, value_scale = parse_decimal(text)
    unit, unit_scale = parse_decimal(step)
    assert unit > 0, "genesis refuses steps that are not positive"
    units: int
    units, rest = divmod(value * pow(10, unit_scale), unit * pow(10, value_scale))
    if rest:
        raise refuse(off_step, f"{text} is no multiple of {step}")
    return units


def parse_price(text: str, tick_size: str) -> int:
    """A price in ticks; raises ``RemoteError`` (``OFF_TICK``, ``BAD_AMOUNT``)."""
    return _require_positive(convert_to_units(text, tick_size, ResultCode.OFF_TICK), text)


def parse_size(text: str, lot_size: str) -> int:
    """A size in lots; raises ``RemoteError`` (``OFF_LOT``, ``BAD_AMOUNT``)."""
    return _require_positive(convert_to_units(text, lot_size, ResultCode.OFF_LOT), text)


def parse_cash(text: str) -> int:
    """A positive amount of the quote currency in quantums; raises ``RemoteError`` (``BAD_AMOUNT``)."""
    quantum = "0." + "0" * (QUOTE_DECIMALS - 1) + "1"
    return _require_positive(convert_to_units(text, quantum, ResultCode.BAD_AMOUNT), text)


def _require_positive(units: int, text: str) -> int:
    if not 0 < units < 2**63:
        raise refuse(ResultCode.BAD_AMOUNT, f"{text} is out of range")
    return units


def format_units(units: int, step: str) -> str:
    """The decimal string of ``units`` steps, with as many places as ``step`` has."""
    unit, scale = parse_decimal(step)
    sign = "-" if units < 0 else ""
    digits = str(abs(units) * unit).rjust(scale + 1, "0")
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}" if scale else sign + digits


def format_cash(quantums: int) -> str:
    """Quantums as a decimal of the quote currency with six places."""
    sign = "-" if quantums < 0 else ""
    whole, fraction = divmod(abs(quantums), 10**QUOTE_DECIMALS)
    return f"{sign}{whole}.{fraction:06d}"
