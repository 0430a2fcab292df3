"""CPU per action is what validators spent over what each of them executed."""

from __future__ import annotations

import os

import psutil
import pytest

from testnet.workloads.process_costs import ActionCosts, compute_growth, read_private_mb


def test_cost_is_time_over_executions() -> None:
    assert ActionCosts(cpu_s=0.8, executions=4_000).cpu_us_per_action == 200.0


def test_nothing_done_costs_nothing() -> None:
    assert ActionCosts(cpu_s=0.8, executions=0).cpu_us_per_action == 0.0


def test_an_interval_is_the_difference_of_two_readings() -> None:
    minute = ActionCosts(3.0, 9_000).since(ActionCosts(1.0, 5_000))
    assert minute == ActionCosts(2.0, 4_000)
    assert minute.cpu_us_per_action == 500.0


def test_growth_ignores_a_moment_in_which_tables_were_mapped() -> None:
    assert compute_growth([90.0] * 6 + [92.0] * 20 + [93.0, 93.0, 110.0, 93.0, 93.0, 93.0]) == 3.0


def test_growth_of_few_readings_is_that_of_their_halves() -> None:
    assert compute_growth([90.0]) == 0.0
    assert compute_growth([90.0, 95.0]) == 5.0
    assert compute_growth([90.0, 92.0, 95.0]) == 5.0


def test_written_memory_is_dirty_and_a_dead_process_has_none() -> None:
    unique, dirty = read_private_mb(os.getpid())
    held = bytearray(os.urandom(1 << 20)) * 32
    unique_now, dirty_now = read_private_mb(os.getpid())
    assert 30 < dirty_now - dirty < 40, len(held)
    assert 30 < unique_now - unique < 40
    assert abs(unique_now - psutil.Process().memory_full_info().uss / 1e6) < 1
    with pytest.raises(psutil.NoSuchProcess):
        read_private_mb(1 << 30)
