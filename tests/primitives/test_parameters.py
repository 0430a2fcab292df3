"""The rules that protocol parameters hold."""

from __future__ import annotations

from dataclasses import fields

import pytest

from primitives.errors import LocalError
from primitives.parameters import ProtocolParameters


def test_defaults_satisfy_every_rule_and_derive_the_window_shares() -> None:
    parameters = ProtocolParameters()
    assert parameters.window_per_account == parameters.channel_window // 16 == 64
    assert parameters.topup_reserve == 256


@pytest.mark.parametrize("name", [item.name for item in fields(ProtocolParameters)])
@pytest.mark.parametrize("value", [0, -1, 2**41, True, "16"])
def test_every_parameter_refuses_values_out_of_range_by_name(name: str, value: object) -> None:
    with pytest.raises(LocalError, match=f"^{name}: "):
        ProtocolParameters(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "values",
    [
        {"bucket_count": 1_000},
        {"bucket_count": 1 << 21},
        {"channel_window": 15},
        {"max_batch_bytes": 2 << 20},
        {"stall_after_blocks": 6_000},
        {"transfer_deadline_min_blocks": 20_000},
        {"message_bytes": 2 << 20},
        {"beacon_interval_ms": 2_000},
    ],
)
def test_contradictory_parameters_are_refused(values: dict[str, int]) -> None:
    with pytest.raises(LocalError, match=f"^{next(iter(values))}: "):
        ProtocolParameters(**values)
