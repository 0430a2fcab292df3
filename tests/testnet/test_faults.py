"""Partition specifications: who is cut from whom, and what each member is told."""

from pathlib import Path

import pytest

from primitives.errors import LocalError
from testnet.directory import Network, read_network
from testnet.faults import build_rules, expand_members, parse_partition, read_partition, write_partition
from tests.testnet.network_setup import create_small_network


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Network:
    return read_network(create_small_network(tmp_path_factory.mktemp("runs"), shards=2, validators=4))


def cuts(spec: str, network: Network) -> dict[str, tuple[str, ...]]:
    return dict(parse_partition(spec, network).cuts)


def test_a_split_cuts_both_ways_and_leaves_the_others_alone(network: Network) -> None:
    assert cuts("s0v0,s0v1|s0v2,s0v3", network) == {
        "s0v0": ("s0v2", "s0v3"),
        "s0v1": ("s0v2", "s0v3"),
        "s0v2": ("s0v0", "s0v1"),
        "s0v3": ("s0v0", "s0v1"),
    }


def test_a_member_left_out_of_both_halves_is_a_bridge(network: Network) -> None:
    assert "s0v1" not in cuts("s0v0|s0v2", network)


def test_three_groups_are_all_cut_from_each_other(network: Network) -> None:
    assert cuts("s0v0|s0v1|s0v2", network)["s0v1"] == ("s0v0", "s0v2")


def test_a_one_way_cut_stops_only_what_the_left_side_sends(network: Network) -> None:
    assert cuts("s0v0>s0v1,s0v2", network) == {"s0v0": ("s0v1", "s0v2")}


def test_a_member_is_left_out_of_the_right_side(network: Network) -> None:
    assert len(cuts("s0v0>all", network)["s0v0"]) == len(network.members) - 1


def test_groups_are_names_too(network: Network) -> None:
    assert cuts("shard0|shard1", network)["s0v0"] == ("s1v0", "s1v1", "s1v2", "s1v3")
    assert cuts("shard1>beacon", network)["s1v3"] == ("bv0",)


def test_several_cuts_add_up(network: Network) -> None:
    assert cuts("s0v0|s0v1; s0v0>s0v2", network) == {"s0v0": ("s0v1", "s0v2"), "s0v1": ("s0v0",)}


def test_members_are_listed_once_in_the_networks_order(network: Network) -> None:
    names = [member.name for member in expand_members(["bv0", "shard0", "s0v1"], network)]
    assert names == ["s0v0", "s0v1", "s0v2", "s0v3", "bv0"]


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("s0v0", "name at least two groups"),
        ("", "empty name"),
        ("s0v0|", "empty name"),
        ("s0v0,,s0v1|s0v2", "empty name"),
        ("s0v0|s0v9", "unknown member or group 's0v9': did you mean"),
        ("s0v0,s0v1|s0v1", "s0v1 stands in two groups"),
        ("s0v0>s0v1|s0v2", "use | or > in one cut"),
        ("s0v0>s0v1>s0v2", "a one-way cut has one >"),
        ("all>s0v0", "nobody is left"),
    ],
)
def test_a_bad_specification_is_refused_with_a_reason(spec: str, complaint: str, network: Network) -> None:
    with pytest.raises(LocalError) as caught:
        parse_partition(spec, network)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("lease_s", [0, -1, 86_401])
def test_a_lease_has_bounds(lease_s: int, network: Network) -> None:
    with pytest.raises(LocalError, match="--lease"):
        parse_partition("s0v0|s0v1", network, lease_s)


def test_the_partition_in_force_survives_its_controller(network: Network) -> None:
    partition = parse_partition("s0v0|s0v1", network, 60)
    write_partition(network.directory, partition)
    assert read_partition(network.directory) == partition
    write_partition(network.directory, None)
    assert read_partition(network.directory) is None


def test_a_partition_whose_lease_is_over_is_not_in_force(network: Network) -> None:
    import dataclasses

    over = dataclasses.replace(parse_partition("s0v0|s0v1", network, 60), until_ms=1)
    write_partition(network.directory, over)
    assert read_partition(network.directory) is None
    assert build_rules(over, network.member("s0v0"), network) == []


def test_a_rule_names_places_and_what_is_left_of_the_lease(network: Network) -> None:
    partition = parse_partition("s0v0|beacon", network, 60)
    (rule,) = build_rules(partition, network.member("s0v0"), network)
    assert rule["destinations"] == [[0xFFFF, 0]]
    assert rule["cut"] is True
    assert 0 < rule["lease_ms"] <= 60_000
    assert build_rules(partition, network.member("s0v1"), network) == []


def test_no_faults_file_is_no_partition(tmp_path: Path) -> None:
    assert read_partition(create_small_network(tmp_path)) is None
