"""CPU per action is what validators spent over what each of them executed."""

from __future__ import annotations

from testnet.workloads.process_costs import ActionCosts


def test_cost_is_time_over_executions() -> None:
    assert ActionCosts(cpu_s=0.8, executions=4_000).cpu_us_per_action == 200.0


def test_nothing_done_costs_nothing() -> None:
    assert ActionCosts(cpu_s=0.8, executions=0).cpu_us_per_action == 0.0


def test_an_interval_is_the_difference_of_two_readings() -> None:
    minute = ActionCosts(3.0, 9_000).since(ActionCosts(1.0, 5_000))
    assert minute == ActionCosts(2.0, 4_000)
    assert minute.cpu_us_per_action == 500.0
