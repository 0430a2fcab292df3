"""Builds a member's replica from its open home: committees, application, engine, neighbours.

Synchronous and free of sockets: the same function is where the simulator could start from a genesis. What does
not live here: reading files (``node.home``), running anything (``node.runtime``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from consensus.committee import Committee
from consensus.engine import EngineParameters, load_engine_factory
from crosslink.beacon import BeaconApplication
from crosslink.follower import BeaconFollower
from node.application import Application
from node.clock import wall_ms
from node.documents import describe_kind
from node.genesis import BeaconGenesis, Genesis, ShardGenesis
from node.home import OpenHome
from node.identity import parse_seed_address
from node.members import Member
from node.replica import Replica, open_replica
from node.replica_setup import FollowsBeacon, ReplicaLimits, ReplicaSetup, Role, ServesShards
from primitives.errors import LocalError
from primitives.identifiers import BEACON_SHARD
from primitives.signing import Ed25519, Ed25519Signer, SignatureScheme
from shards.application import ShardApplication
from shards.genesis import ShardParameters, parse_shard_parameters

_ENGINE_DEFAULTS: Final = {
    field.name: getattr(EngineParameters(), field.name)
    for field in fields(EngineParameters)
    if field.name != "extra"
}

PlacedSeed = tuple[Member, str, int]


@dataclass(frozen=True, slots=True)
class Validator:
    """A member's place in the network, and its replica. ``follower`` and ``shard`` are a shard validator's,
    ``beacon`` a beacon validator's; ``peers`` are who it keeps links with."""

    committee: Committee
    member: Member
    peers: tuple[Member, ...]
    seeds: tuple[PlacedSeed, ...]
    replica: Replica
    shard: ShardApplication | None
    shard_parameters: ShardParameters | None
    beacon: BeaconApplication | None
    follower: BeaconFollower | None


def build_validator(opened: OpenHome) -> Validator:
    """Build everything; raises ``LocalError`` where genesis, databases and engine do not fit together."""
    config, genesis = opened.config, opened.genesis
    shard, index = config.node.shard, config.node.index
    scheme = Ed25519()
    committee = build_committee(genesis, opened.chain, shard)
    peers = list_peers(genesis, shard, index)
    beacon: BeaconApplication | None = None
    venue: ShardApplication | None = None
    parameters: ShardParameters | None = None
    follower: BeaconFollower | None = None
    application: Application
    role: Role
    if shard == BEACON_SHARD:
        committees = {item.shard: build_committee(genesis, opened.chain, item.shard) for item in genesis.shards}
        application = beacon = BeaconApplication(opened.chain, committees, genesis.parameters, scheme)
        role = ServesShards(tuple(committees.values()), beacon)
    else:
        beacon_committee = build_committee(genesis, opened.chain, BEACON_SHARD)
        follower = BeaconFollower(shard, beacon_committee, genesis.parameters, scheme)
        parameters = parse_shard_parameters(genesis.shard(shard).application)
        application = venue = build_shard_application(
            genesis, opened.chain, shard, follower, scheme, paranoid=config.checks.paranoid
        )
        role = FollowsBeacon(follower, beacon_committee)
    limits = config.limits
    setup = ReplicaSetup(
        committee=committee,
        signer=Ed25519Signer(opened.seed),
        scheme=scheme,
        engine=load_engine_factory(_holder(genesis, shard).engine),
        engine_parameters=build_engine_parameters(genesis, shard),
        application=application,
        parameters=genesis.parameters,
        genesis_hash=opened.chain,
        genesis_time_ms=genesis.created_ms,
        store=opened.store,
        vote_log=opened.vote_log.load(),
        wall=wall_ms,
        role=role,
        limits=ReplicaLimits(mempool_transactions=limits.mempool_transactions, mempool_bytes=limits.mempool_bytes),
    )
    return Validator(
        committee=committee,
        member=Member(shard, index, committee.members[index]),
        peers=peers,
        seeds=tuple(_find_seed(text, peers) for text in config.p2p.seeds),
        replica=open_replica(setup),
        shard=venue,
        shard_parameters=parameters,
        beacon=beacon,
        follower=follower,
    )


def build_committee(genesis: Genesis, chain: bytes, shard: int) -> Committee:
    """The committee of ``shard`` (or the beacon) in the first epoch and incarnation."""
    return Committee(chain, shard, 0, 0, genesis.committee_of(shard))


def build_shard_application(
    genesis: Genesis,
    chain: bytes,
    shard: int,
    follower: BeaconFollower,
    scheme: SignatureScheme,
    *,
    paranoid: bool,
) -> ShardApplication:
    """The venue of ``shard`` as the genesis describes it."""
    parameters = parse_shard_parameters(genesis.shard(shard).application)
    return ShardApplication(
        chain=chain,
        parameters=parameters,
        protocol=genesis.parameters,
        peers=[item.shard for item in genesis.shards if item.shard != shard],
        follower=follower,
        scheme=scheme,
        paranoid=paranoid,
    )


def build_engine_parameters(genesis: Genesis, shard: int) -> EngineParameters:
    """What the genesis says for this committee's engine; names that are not common to all engines are its own."""
    given = dict(_holder(genesis, shard).engine_parameters)
    common: dict[str, Any] = {name: given.pop(name) for name in sorted(_ENGINE_DEFAULTS.keys() & given.keys())}
    common.setdefault("window_slots", genesis.parameters.window_slots)
    common.setdefault("max_payload_bytes", genesis.parameters.max_payload_bytes)
    _validate_kinds(common)
    return EngineParameters(**common, extra=given)


def _validate_kinds(common: Mapping[str, Any]) -> None:
    """Each as its default is: an integer, a name, or a table of options."""
    for name, value in common.items():
        kind = type(_ENGINE_DEFAULTS[name])
        if type(value) is not kind:
            raise LocalError(f"engine_parameters.{name}: must be {describe_kind(kind)}")


def list_peers(genesis: Genesis, shard: int, index: int) -> tuple[Member, ...]:
    """Who a member keeps links with: its committee; a shard's member the beacon's, a beacon's all shards'."""
    shards = [item.shard for item in genesis.shards] if shard == BEACON_SHARD else [shard]
    members = [
        Member(number, place, key)
        for number in (*shards, BEACON_SHARD)
        for place, key in enumerate(genesis.committee_of(number))
    ]
    return tuple(member for member in members if (member.shard, member.index) != (shard, index))


def _holder(genesis: Genesis, shard: int) -> BeaconGenesis | ShardGenesis:
    return genesis.beacon if shard == BEACON_SHARD else genesis.shard(shard)


def _find_seed(text: str, peers: tuple[Member, ...]) -> PlacedSeed:
    """The peer that a configured seed address names."""
    seed = parse_seed_address(text)
    for member in peers:
        if member.public_key == seed.public_key:
            return member, seed.host, seed.port
    raise LocalError(f"p2p.seeds: {text!r} is the address of no member that this node keeps a link with")
