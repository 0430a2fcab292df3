"""What is simulated: committees, their applications, and how each member's replica is put together.

Three shapes, one genesis format: a committee with a toy application, one shard with the real venue, and a whole
network of shards under a beacon. Each process opens its replica from a ``ReplicaSetup`` as the production start-up
does, with simulated stores, clock and (mostly) signatures. What does not live here: hosts and links (``world``).
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Final

from consensus.committee import Committee
from consensus.engine import EngineFactory, load_engine_factory
from crosslink.beacon import BeaconApplication
from crosslink.follower import BeaconFollower
from node.application import Application
from node.genesis import BeaconGenesis, Genesis, ShardGenesis, compute_chain_id
from node.members import Member
from node.replica_setup import FollowsBeacon, ReplicaLimits, ReplicaSetup, Role, ServesShards, StandsAlone
from node.validator import (
    build_committee,
    build_engine_parameters,
    build_jurisdictions,
    build_shard_application,
    list_peers,
)
from primitives.errors import LocalError
from primitives.hashing import hash_tagged
from primitives.identifiers import BEACON_SHARD, compute_address
from primitives.parameters import ProtocolParameters
from primitives.signing import Signer
from shards.genesis import ShardParameters, build_devnet_parameters, format_shard_parameters
from testnet.simulator.disk import Disk
from testnet.simulator.host import WallClock
from testnet.simulator.plan import Kind, Shape
from testnet.simulator.signatures import KeyMaker
from testnet.simulator.toy_application import BUCKETS, ToyApplication
from testnet.simulator.wrapped_factory import SharedReading

GENESIS_MS: Final = 1_700_000_000_000
TRADERS_PER_SHARD: Final = 6
REPORTERS_PER_SHARD: Final = 3
TRADER_CASH: Final = 1_000_000_000_000
REPORTER_CASH: Final = 1_000_000_000
MARKETS: Final = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
VENUE_BUCKETS: Final = 256


def build_parameters(shape: Shape) -> ProtocolParameters:
    """Deadlines and stalls come sooner than in production, so that a run of seconds sees them."""
    return ProtocolParameters(
        window_slots=shape.window_slots,
        bucket_count=VENUE_BUCKETS,
        stall_after_blocks=60,
        freeze_after_blocks=100_000,
        transfer_deadline_min_blocks=8,
        transfer_deadline_max_blocks=2_000,
        channel_window=256,
    )


def build_limits(shape: Shape) -> ReplicaLimits:
    """As in production, but for snapshots and pruning, which no run lives long enough for otherwise."""
    return ReplicaLimits(
        snapshot_blocks=shape.snapshot_blocks,
        snapshot_gap_blocks=2 * shape.snapshot_blocks,
        keep_blocks=shape.keep_blocks or None,
    )


def load_factory(engine: str) -> EngineFactory:
    """The engine registered under this name, or the factory at ``module:attribute`` (a class or an instance).

    Raises ``LocalError`` where there is none.
    """
    module, colon, attribute = engine.partition(":")
    if not colon:
        return load_engine_factory(engine)
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise LocalError(f"no engine factory {engine!r}: {error}") from None
    factory: EngineFactory = found() if isinstance(found, type) else found
    return factory


class SimulatedNetwork:
    """Everything that members agree on, and the secrets of all of them."""

    def __init__(self, shape: Shape, keys: KeyMaker, seed: int, factory: EngineFactory | None = None) -> None:
        """``factory`` replaces the engine that ``shape`` names: an engine that is not installed, or a mutant."""
        self.shape = shape
        self.factory = SharedReading(load_factory(shape.engine) if factory is None else factory)
        self.keys = keys
        self.parameters = build_parameters(shape)
        self.shards = tuple(range(shape.shards))
        self._signers: dict[tuple[int, int], Signer] = {}
        self.traders = {
            shard: [keys.make("trader", shard, place) for place in range(TRADERS_PER_SHARD)]
            for shard in self.shards
        }
        self.reporters = {
            shard: [keys.make("reporter", shard, place) for place in range(REPORTERS_PER_SHARD)]
            for shard in self.shards
        }
        self._venues = {shard: self._build_venue_parameters(shard) for shard in self.shards}
        self.genesis = self._build_genesis(seed)
        self.chain = compute_chain_id(self.genesis)
        numbers = (*self.shards, BEACON_SHARD) if self.has_beacon else self.shards
        self.committees: Mapping[int, Committee] = {
            number: build_committee(self.genesis, self.chain, number) for number in numbers
        }

    @property
    def has_beacon(self) -> bool:
        """Whether shards follow a beacon."""
        return self.shape.kind is Kind.SHARDED

    @property
    def members(self) -> tuple[Member, ...]:
        """Every member of every committee that runs, shard by shard."""
        return tuple(
            Member(number, index, key)
            for number, committee in self.committees.items()
            for index, key in enumerate(committee.members)
        )

    def list_peers(self, member: Member) -> tuple[Member, ...]:
        """Who keeps a link with ``member``."""
        running = dict.fromkeys(self.members)
        return tuple(peer for peer in list_peers(self.genesis, member.shard, member.index) if peer in running)

    def signer_of(self, member: Member) -> Signer:
        """The member's own key."""
        return self._signers[member.shard, member.index]

    def compute_supply(self) -> dict[int, int]:
        """What the genesis makes on all shards, by asset."""
        total = 0
        for parameters in self._venues.values():
            total += parameters.insurance.funding + sum(sum(account.balances) for account in parameters.accounts)
        return {0: total}

    # --- genesis ---------------------------------------------------------------------------------------

    def _make_committee(self, shard: int, size: int) -> tuple[bytes, ...]:
        for index in range(size):
            self._signers[shard, index] = self.keys.make("member", shard, index)
        return tuple(self._signers[shard, index].public_key for index in range(size))

    def _build_venue_parameters(self, shard: int) -> ShardParameters:
        cash = {compute_address(signer.public_key): TRADER_CASH for signer in self.traders[shard]}
        cash |= {compute_address(signer.public_key): REPORTER_CASH for signer in self.reporters[shard]}
        reporters = [compute_address(signer.public_key) for signer in self.reporters[shard]]
        market = MARKETS[shard % len(MARKETS)]
        return build_devnet_parameters(shard, markets=[market], reporters=reporters, accounts=cash)

    def _build_genesis(self, seed: int) -> Genesis:
        shape = self.shape
        engine: dict[str, Any] = {"leader_rotation_slots": shape.rotation_slots}
        shards = [
            ShardGenesis(
                shard,
                self._make_committee(shard, shape.members),
                format_shard_parameters(self._venues[shard]),
                self.factory.name,
                engine,
            )
            for shard in self.shards
        ]
        return Genesis(
            network="simulated",
            devnet=True,
            created_ms=GENESIS_MS,
            salt=hash_tagged(b"rialto/simulated-salt", str(seed).encode())[:16],
            beacon=BeaconGenesis(
                self._make_committee(BEACON_SHARD, shape.beacon_members), self.factory.name, engine
            ),
            shards=tuple(shards),
            parameters=self.parameters,
        )

    # --- replicas --------------------------------------------------------------------------------------

    def prepare(self, member: Member, disk: Disk, wall: WallClock) -> ReplicaSetup:
        """What a fresh process of ``member`` opens its replica from."""
        application, role = self._build_application(member.shard)
        return ReplicaSetup(
            committee=self.committees[member.shard],
            signer=self.signer_of(member),
            scheme=self.keys.scheme,
            engine=self.factory,
            engine_parameters=build_engine_parameters(self.genesis, member.shard),
            application=application,
            parameters=self.parameters,
            genesis_hash=self.chain,
            genesis_time_ms=GENESIS_MS,
            store=disk.store,
            vote_log=disk.vote_log.load(),
            wall=wall,
            role=role,
            limits=build_limits(self.shape),
            bucket_count=BUCKETS if self.shape.kind is Kind.TOY else None,
        )

    def _build_application(self, shard: int) -> tuple[Application, Role]:
        if self.shape.kind is Kind.TOY:
            return ToyApplication(), StandsAlone()
        if shard == BEACON_SHARD:
            committees = {number: self.committees[number] for number in self.shards}
            judges = build_jurisdictions(self.genesis, self.chain, lambda name: self.factory)
            beacon = BeaconApplication(self.chain, committees, self.parameters, self.keys.scheme, judges)
            return beacon, ServesShards(tuple(committees.values()), beacon)
        beacon_committee = build_committee(self.genesis, self.chain, BEACON_SHARD)
        follower = BeaconFollower(shard, beacon_committee, self.parameters, self.keys.scheme)
        venue = build_shard_application(
            self.genesis, self.chain, shard, follower, self.keys.scheme, paranoid=self.shape.paranoid
        )
        return venue, FollowsBeacon(follower, beacon_committee) if self.has_beacon else StandsAlone()
