"""Topology files: what they may say, and that every mistake is named with its place."""

import pytest

from primitives.errors import LocalError
from testnet.topology import build_noop_topology, build_topology, parse_topology, render_topology


def test_an_empty_file_is_the_default_network() -> None:
    assert parse_topology("") == build_topology()


def test_what_is_written_reads_back_as_the_same() -> None:
    topology = parse_topology(
        """
        seed = 7
        [beacon]
        validators = 1
        [[shards]]
        validators = 7
        markets = ["BTCUSDT", "SOLUSDT"]
        balance = 5
        engine_parameters = { view_timeout_ms = 900 }
        [shards.application.fees]
        action = 50
        [[shards]]
        [parameters]
        channel_window = 2048
        [node.checks]
        paranoid = true
        """
    )
    assert [shard.validators for shard in topology.shards] == [7, 4]
    assert topology.shards[1].markets == ("ETHUSDT",)
    assert topology.parameters.channel_window == 2048
    assert topology.processes == 12
    assert parse_topology(render_topology(topology)) == topology


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("shards = 3", "shards: must be a list, not an integer"),
        ("[[shards]]\nvalidatrs = 4", "shards[0]: unknown key 'validatrs': did you mean 'validators'?"),
        ("[[shards]]\nvalidators = 0", "shards[0].validators: must lie between 1 and 64, not 0"),
        (
            "[[shards]]\n[[shards]]\nmarkets = ['BTCUSD']",
            "shards[1].markets[0]: unknown market 'BTCUSD': did you mean",
        ),
        ("[beacon]\nvalidators = '4'", "beacon.validators: must be an integer, not a string"),
        (
            "[parameters]\nchannel_windw = 8",
            "parameters: unknown key 'channel_windw': did you mean 'channel_window'?",
        ),
        ("[parameters]\nchannel_window = 3", "parameters.channel_window: must be at least 16"),
        ("[node.log]\nlevel = 'loud'", "node.log.level: unknown value 'loud'"),
        ("[node.p2p]\nport = 1", "node: unknown key 'p2p'"),
        ("seeds = 1", "unknown key 'seeds': did you mean 'seed'?"),
        ("seed = -1", "seed: must lie between 0"),
        ("[[shards]", "is not TOML"),
        (
            "[[shards]]\napplication = { rate = 0.5 }",
            "shards[0].application.rate: cannot hold a number with a fraction",
        ),
        ("shards = []", "shards: there must be 1 to 64, not 0"),
        ("[[shards]]\nvalidators = 64\n" * 5, "324 validators where one machine runs 256"),
    ],
)
def test_every_mistake_is_named_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(LocalError) as caught:
        parse_topology(text, "net.toml")
    assert str(caught.value).startswith("net.toml: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize("options", [{"shards": 0}, {"validators": 65}, {"beacon_validators": 0}, {"seed": -1}])
def test_options_out_of_bounds_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(LocalError, match="must lie between"):
        build_topology(**options)


def test_one_engine_for_every_committee() -> None:
    topology = build_topology(shards=2).with_engine("tendermint")
    assert [part.engine for part in (*topology.shards, topology.beacon)] == ["tendermint"] * 3
    assert parse_topology(render_topology(topology)) == topology


def test_the_genesis_names_schedule_and_pacemaker() -> None:
    text = """
        [beacon]
        engine_parameters = { leader_schedule = "shuffled" }
        [[shards]]
        engine_parameters = { pacemaker = "linear", leader_options = { weight = 3 } }
    """
    topology = parse_topology(text)
    assert topology.beacon.engine_parameters["leader_schedule"] == "shuffled"
    assert topology.beacon.engine_parameters["pacemaker"] == "exponential"
    assert topology.shards[0].engine_parameters["pacemaker"] == "linear"
    assert topology.shards[0].engine_parameters["leader_options"] == {"weight": 3}
    assert parse_topology(render_topology(topology)) == topology


NOOP = """
[beacon]
validators = 0
[[shards]]
application = "noop"
"""


def test_a_shard_may_run_the_no_op_application_and_then_needs_no_beacon() -> None:
    topology = parse_topology(NOOP)
    (shard,) = topology.shards
    assert (shard.application, shard.markets, shard.accounts) == ({"kind": "noop"}, (), 0)
    assert topology.beacon.validators == 0 and topology.processes == 4
    assert parse_topology(render_topology(topology)) == topology
    tuned = parse_topology('[[shards]]\napplication = { kind = "noop", command_bytes = 64 }\n[[shards]]\n')
    assert tuned.shards[0].application == {"kind": "noop", "command_bytes": 64}
    assert tuned.shards[1].markets and tuned.beacon.validators == 4


def test_the_topology_of_engine_benches_reads_back() -> None:
    topology = build_noop_topology(7, "pbft", seed=1, command_bytes=64)
    assert topology.processes == 7
    assert parse_topology(render_topology(topology)) == topology


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[beacon]\nvalidators = 0", "only a single no-op shard can do without a beacon"),
        (NOOP + "[[shards]]\napplication = 'noop'", "only a single no-op shard can do without a beacon"),
        (
            "[[shards]]\napplication = 'nop'",
            "shards[0].application: unknown application 'nop': did you mean 'noop'?",
        ),
        ("[[shards]]\napplication = 'noop'\nmarkets = ['BTCUSDT']", "shards[0]: unknown key 'markets'"),
        ("[[shards]]\napplication = 'noop'\naccounts = 3", "shards[0]: unknown key 'accounts'"),
        ("[[shards]]\nvalidators = 0", "shards[0].validators: must lie between 1 and 64, not 0"),
    ],
)
def test_what_a_no_op_shard_cannot_have_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(LocalError) as refused:
        parse_topology(text)
    assert complaint in str(refused.value)
