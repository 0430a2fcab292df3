"""What the observer of a demo concludes from heights over time."""

from pathlib import Path

from testnet.directory import read_network
from testnet.observer import Observer, Sighting
from tests.testnet.network_setup import create_small_network


def make_observer(tmp_path: Path) -> Observer:
    observer = Observer(read_network(create_small_network(tmp_path)))
    observer.growth[0] = [Sighting(1_000, 5), Sighting(2_000, 8), Sighting(9_000, 9)]
    return observer


def test_blocks_of_a_time_are_the_growth_within_it(tmp_path: Path) -> None:
    observer = make_observer(tmp_path)
    assert observer.count_blocks(0, 1_000, 2_000) == 3
    assert observer.count_blocks(0, 2_000, 8_999) == 0, "a split shard stands still"
    assert observer.count_blocks(0, 0, 9_000) == 9
    assert observer.count_blocks(1, 0, 9_000) == 0


def test_resumption_is_the_first_growth_after_the_heal(tmp_path: Path) -> None:
    observer = make_observer(tmp_path)
    assert observer.find_growth_after(0, 8_500) == 0.5
    assert observer.find_growth_after(0, 9_000) is None
