"""Builds a member's replica from its open home: committees, application, engine, neighbours.

Synchronous and free of sockets: the same function is where the simulator could start from a genesis. What does
not live here: reading files (``node.home``), running anything (``node.runtime``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from consensus.committee import Committee
from consensus.engine import EngineFactory, EngineParameters, load_engine_factory
from consensus.evidence import Jurisdiction
from crosslink.beacon import BeaconApplication
from crosslink.follower import BeaconFollower
from node.application import Application
from node.clock import wall_ms
from node.config import ChainSettings, LimitSettings
from node.documents import describe_kind
from node.genesis import BeaconGenesis, Genesis, ShardGenesis
from node.home import OpenHome
from node.identity import parse_seed_address
from node.members import Member
from node.replica import Replica, open_replica
from node.replica_setup import FollowsBeacon, ReplicaLimits, ReplicaSetup, Role, ServesShards, StandsAlone
from primitives.errors import LocalError
from primitives.identifiers import BEACON_SHARD
from primitives.signing import Ed25519, Ed25519Signer, SignatureScheme
from shards.application import ShardApplication
from shards.genesis import ShardParameters, parse_shard_parameters
from shards.noop.application import NoopApplication
from shards.noop.parameters import is_noop, parse_noop_parameters

_ENGINE_DEFAULTS: Final = {
    field.name: getattr(EngineParameters(), field.name)
    for field in fields(EngineParameters)
    if field.name != "extra"
}

PlacedSeed = tuple[Member, str, int]


@dataclass(frozen=True, slots=True)
class Validator:
    """A member's place in the network, and its replica. ``follower`` and ``shard`` are a shard validator's,
    ``beacon`` a beacon validator's, ``noop`` that of a member of a no-op shard (whose ``shard`` is ``None``);
    ``peers`` are who it keeps links with."""

    committee: Committee
    member: Member
    peers: tuple[Member, ...]
    seeds: tuple[PlacedSeed, ...]
    replica: Replica
    engine: EngineFactory
    engine_parameters: EngineParameters
    shard: ShardApplication | None
    shard_parameters: ShardParameters | None
    beacon: BeaconApplication | None
    follower: BeaconFollower | None
    noop: NoopApplication | None = None


def build_validator(opened: OpenHome) -> Validator:
    """Build everything; raises ``LocalError`` where genesis, databases and engine do not fit together."""
    config, genesis = opened.config, opened.genesis
    shard, index = config.node.shard, config.node.index
    scheme = Ed25519()
    committee = build_committee(genesis, opened.chain, shard)
    peers = list_peers(genesis, shard, index)
    part = _build_part(genesis, opened.chain, shard, scheme, paranoid=config.checks.paranoid)
    setup = ReplicaSetup(
        committee=committee,
        signer=Ed25519Signer(opened.seed),
        scheme=scheme,
        engine=load_engine_factory(_holder(genesis, shard).engine),
        engine_parameters=build_engine_parameters(genesis, shard),
        application=part.application,
        parameters=genesis.parameters,
        genesis_hash=opened.chain,
        genesis_time_ms=genesis.created_ms,
        store=opened.store,
        vote_log=opened.vote_log.load(),
        wall=wall_ms,
        role=part.role,
        limits=_build_limits(config.limits, config.chain, has_senders=part.noop is None),
    )
    return Validator(
        committee=committee,
        member=Member(shard, index, committee.members[index]),
        peers=peers,
        seeds=tuple(_find_seed(text, peers) for text in config.p2p.seeds),
        replica=open_replica(setup),
        engine=setup.engine,
        engine_parameters=setup.engine_parameters,
        shard=part.shard,
        shard_parameters=part.parameters,
        beacon=part.beacon,
        follower=part.follower,
        noop=part.noop,
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """What a member runs: one of ``beacon``, ``shard`` and ``noop`` is the application."""

    application: Application
    role: Role
    beacon: BeaconApplication | None = None
    shard: ShardApplication | None = None
    parameters: ShardParameters | None = None
    noop: NoopApplication | None = None
    follower: BeaconFollower | None = None


def _build_part(genesis: Genesis, chain: bytes, shard: int, scheme: SignatureScheme, *, paranoid: bool) -> _Part:
    if shard == BEACON_SHARD:
        committees = {item.shard: build_committee(genesis, chain, item.shard) for item in genesis.shards}
        judges = build_jurisdictions(genesis, chain)
        beacon = BeaconApplication(chain, committees, genesis.parameters, scheme, judges)
        return _Part(beacon, ServesShards(tuple(committees.values()), beacon), beacon=beacon)
    role: Role = StandsAlone()
    follower: BeaconFollower | None = None
    if genesis.has_beacon:
        beacon_committee = build_committee(genesis, chain, BEACON_SHARD)
        follower = BeaconFollower(shard, beacon_committee, genesis.parameters, scheme)
        role = FollowsBeacon(follower, beacon_committee)
    table = genesis.shard(shard).application
    if is_noop(table):
        noop = NoopApplication(parse_noop_parameters(table, genesis.parameters), genesis.parameters, follower)
        return _Part(noop, role, noop=noop, follower=follower)
    if follower is None:
        raise LocalError("a venue needs a beacon; only a no-op shard can run alone")
    venue = build_shard_application(genesis, chain, shard, follower, scheme, paranoid=paranoid)
    return _Part(venue, role, shard=venue, parameters=parse_shard_parameters(table), follower=follower)


def _build_limits(limits: LimitSettings, chain: ChainSettings, *, has_senders: bool) -> ReplicaLimits:
    """What this member chose. Where nobody signs, there is only one sender, who may then fill the mempool."""
    chosen = ReplicaLimits(
        mempool_transactions=limits.mempool_transactions,
        mempool_bytes=limits.mempool_bytes,
        flush_ms=limits.flush_ms,
        proposal_gap_ms=limits.proposal_gap_ms,
        keep_blocks=chain.keep or None,
        snapshot_blocks=chain.snapshot_blocks,
        snapshot_gap_blocks=chain.snapshot_gap_blocks,
    )
    return chosen if has_senders else replace(chosen, sender_transactions=limits.mempool_transactions)


def build_committee(genesis: Genesis, chain: bytes, shard: int) -> Committee:
    """The committee of ``shard`` (or the beacon) in the first epoch and incarnation."""
    return Committee(chain, shard, 0, 0, genesis.committee_of(shard))


def build_jurisdictions(
    genesis: Genesis, chain: bytes, load: Callable[[str], EngineFactory] = load_engine_factory
) -> dict[int, Jurisdiction]:
    """Every committee with the engine that judges evidence against its members: a beacon's member needs the engines
    of all shards. Raises ``LocalError`` where one is not installed; ``load`` finds them."""
    numbers = [*[item.shard for item in genesis.shards], *([BEACON_SHARD] if genesis.has_beacon else [])]
    return {
        number: Jurisdiction(
            build_committee(genesis, chain, number),
            load(_holder(genesis, number).engine),
            build_engine_parameters(genesis, number),
        )
        for number in numbers
    }


def build_shard_application(
    genesis: Genesis,
    chain: bytes,
    shard: int,
    follower: BeaconFollower,
    scheme: SignatureScheme,
    *,
    paranoid: bool,
) -> ShardApplication:
    """The venue of ``shard`` as the genesis describes it. No-op shards are no peers: they hold no money."""
    parameters = parse_shard_parameters(genesis.shard(shard).application)
    return ShardApplication(
        chain=chain,
        parameters=parameters,
        protocol=genesis.parameters,
        peers=[item.shard for item in genesis.shards if item.shard != shard and not is_noop(item.application)],
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
