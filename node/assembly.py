"""Putting a replica together: reading store and vote log, checking that they belong together, building components.

Every component is given what it needs here and nowhere else; the replica gets them whole. Recovery in order:
identity of store and log; state loaded and its root compared with the tip's header; the log's pins back into pool
and tasks; the engine from its own records; what was executed or attested but not certified, to be attested again.

What does not live here: behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consensus.certificate import Certificate
from consensus.engine import NULL_PAYLOAD, Engine
from consensus.evidence import Jurisdiction
from crosslink.header import ShardHeader, compute_header_hash
from node.abstention import Abstention
from node.attestations import AttestationPool
from node.batch_receiver import BatchReceiver
from node.batches import BatchPool, HeldBatch
from node.beacon_follow import FollowingLink
from node.beacon_link import BeaconLink, NoBeacon
from node.beacon_serve import ServingLink
from node.catch_up import CatchUp
from node.censorship import CensorshipClock
from node.certification import Certifier
from node.chain import Chain, header_hash_at, validate_tip
from node.chain_records import FORMAT_VERSION as CHAIN_FORMAT
from node.chain_records import Areas, ChainIdentity, build_genesis_records
from node.components import Components
from node.dissemination import BatchMaker
from node.effects_draft import EffectsDraft
from node.engine_driver import EngineDriver
from node.events import StoreWrite
from node.evidence import EvidenceLocker
from node.executor import ExecutedBlock, Executor
from node.mempool import Mempool
from node.obtaining import Obtaining
from node.pacing import Pacing
from node.payload import decode_payload
from node.peers import Peers
from node.proposer import Proposer
from node.range_server import ServingBudget
from node.recollection import Recollection
from node.replica_setup import FollowsBeacon, ReplicaSetup, ServesShards, StandsAlone
from node.snapshot import Snapshots
from node.snapshot_download import SnapshotDownload
from node.snapshot_maker import SnapshotMaker
from node.snapshot_records import SnapshotReader
from node.snapshot_sweep import Sweeper
from node.standing import StandingKind
from node.submitter import Submitter
from node.verification import SubmissionTickets, VerificationQueue
from node.vote_records import Pins, RecoveredLog, build_identity_record, read_vote_log
from primitives.codec import encode
from primitives.errors import LocalError, RemoteError


@dataclass(frozen=True, slots=True)
class _Recovered:
    """What store and log hold, read and compared."""

    chain: Chain
    log: RecoveredLog
    identity: ChainIdentity
    tip: ShardHeader | None
    certificate: Certificate | None
    is_new_store: bool
    genesis_records: tuple[tuple[bytes, bytes], ...]


def build_components(setup: ReplicaSetup) -> Components:
    """See ``node.replica.open_replica``."""
    committee, parameters, limits = setup.committee, setup.parameters, setup.limits
    index = committee.index_of(setup.signer.public_key)
    if index is None:
        raise LocalError("this key is not a member of the committee")
    recovered = _recover(setup)
    chain, log = recovered.chain, recovered.log
    certified_height = _certified_height(recovered)
    peers, pins, budget = Peers(committee, index), Pins(log), ServingBudget()
    mempool, pool = Mempool(limits), BatchPool(committee.size)
    verification = VerificationQueue(
        setup.application, mempool, pool, limits, setup.wall, lambda identifier: _find_executed(chain, identifier)
    )
    receiver = BatchReceiver(committee, setup.scheme, setup.application, pool, chain, verification, parameters)
    submissions = SubmissionTickets(verification)
    jurisdiction = Jurisdiction(committee, setup.engine, setup.engine_parameters)
    evidence = EvidenceLocker(setup.store, chain.evidence(), jurisdiction, setup.scheme)
    areas = chain.areas()
    link = _build_link(setup, chain, peers, budget, submissions, evidence, certified_height, areas)
    snapshot_maker, sweeper = _build_snapshot_maker(setup, recovered, areas)
    executor = _build_executor(setup, recovered, link, pins, areas, snapshot_maker.on_executed)
    catch_up = CatchUp(committee, index, setup.scheme, setup.engine_parameters.window_slots, limits)
    obtaining = _build_obtaining(setup, index, pool, link, receiver, verification)
    pacing = Pacing(_compute_gap_ms(setup), verification.count_waiting)
    maker = BatchMaker(
        committee, setup.signer, index, mempool, pool, parameters, limits, pacing, first_sequence=setup.wall()
    )
    attestations = _build_attestations(setup, recovered)
    certifier = _build_certifier(setup, recovered, attestations, peers, pins)
    decisions = _restore_pins(recovered, pins, pool, receiver, obtaining)
    identity_bytes = encode(recovered.identity)
    abstention = _build_abstention(setup, recovered, peers)
    engine = _build_engine(setup, recovered, abstention.first_view) if abstention.has_engine else None
    return Components(
        abstention=abstention,
        application=setup.application,
        attestations=attestations,
        budget=budget,
        catch_up=catch_up,
        censorship=CensorshipClock(pool, committee.size, peers.own_index, limits),
        certifier=certifier,
        chain=chain,
        driver=EngineDriver(engine, setup.engine, committee, setup.scheme, peers),
        evidence=evidence,
        executor=executor,
        limits=limits,
        link=link,
        maker=maker,
        mempool=mempool,
        obtaining=obtaining,
        parameters=parameters,
        peers=peers,
        pins=pins,
        pool=pool,
        proposer=Proposer(committee, maker, pool, link, parameters, pacing, setup.wall),
        receiver=receiver,
        recollection=Recollection(setup.store, setup.engine_parameters.window_slots),
        snapshots=_build_snapshots(
            setup, chain, snapshot_maker, sweeper, link, peers, budget, catch_up, areas, pins
        ),
        submissions=submissions,
        verification=verification,
        wall=setup.wall,
        first_records=() if log.identity is not None else (build_identity_record(identity_bytes),),
        first_writes=_build_first_writes(recovered),
        recovered_decisions=decisions,
    )


# --- store and log -----------------------------------------------------------------------------------------


def _recover(setup: ReplicaSetup) -> _Recovered:
    chain = Chain(setup.store)
    log = read_vote_log(setup.vote_log)
    genesis_records = tuple(setup.application.genesis_records())
    genesis_root = setup.application.load(genesis_records)
    committee = setup.committee
    identity = ChainIdentity(CHAIN_FORMAT, committee.chain, committee.shard, genesis_root)
    stored = chain.identity()
    if stored is not None:
        _validate_identity(stored, identity)
    if log.identity is not None and log.identity != encode(identity):
        raise LocalError("the vote log belongs to another chain or shard: this is not its genesis")
    tip_height = chain.tip_height()
    _check_log_is_newest(log, tip_height)
    tip = validate_tip(chain, tip_height) if tip_height else None
    if tip is not None:
        root = setup.application.load(chain.state_records())
        if root != tip.state_root:
            raise LocalError(f"the stored state is not that of block {tip_height}: the database is damaged")
    if isinstance(setup.role, FollowsBeacon):
        setup.role.follower.load(chain.follower_records())
    certified = chain.certified_height()
    certificate = chain.get_certificate(certified) if certified else None
    if certified and (certificate is None or certified > tip_height):
        raise LocalError(f"the chain store lacks the certificate of height {certified}: it is damaged")
    if certificate is not None and certificate.header_hash != header_hash_at(chain, certified, setup.genesis_hash):
        raise LocalError(f"the stored certificate of height {certified} is of another header")
    return _Recovered(chain, log, identity, tip, certificate, stored is None, genesis_records)


def _check_log_is_newest(log: RecoveredLog, tip_height: int) -> None:
    """A log that says itself that votes are lost is no danger: see ``node.abstention``."""
    if log.standing is not None and log.standing.kind == StandingKind.FORGOTTEN:
        return
    remedy = "this member might contradict its own votes; run: rialto node rebuild --forget-votes"
    if log.identity is None and (tip_height or log.engine or log.attested):
        raise LocalError(f"the vote log is missing but the chain has blocks: {remedy}")
    if log.highest_executed < tip_height:
        raise LocalError(
            f"the vote log ends at height {log.highest_executed}, the chain at {tip_height}: an old copy: {remedy}"
        )


def _validate_identity(stored: ChainIdentity, expected: ChainIdentity) -> None:
    if stored.format_version != expected.format_version:
        raise LocalError(
            f"the database has format {stored.format_version}, this version reads {expected.format_version}"
        )
    if stored != expected:
        raise LocalError("the database belongs to another chain or shard: this is not its genesis")


def _build_first_writes(recovered: _Recovered) -> tuple[StoreWrite, ...]:
    if not recovered.is_new_store:
        return ()
    records = build_genesis_records(recovered.identity, recovered.genesis_records)
    return (StoreWrite(tuple(records), sync=True),)


def _read_uncertified(chain: Chain, certified: int, executed: int) -> tuple[ExecutedBlock, ...]:
    """Executed blocks whose certificate had not come; their events are gone, their receipts are not."""
    blocks = []
    for height in range(certified + 1, executed + 1):
        header = validate_tip(chain, height)
        summary = chain.get_summary(height) or b""
        blocks.append(
            ExecutedBlock(
                header,
                compute_header_hash(header),
                chain.get_receipts(height),
                (),
                chain.get_outbox(height),
                summary,
            )
        )
    return tuple(blocks)


def _restore_pins(
    recovered: _Recovered, pins: Pins, pool: BatchPool, receiver: BatchReceiver, obtaining: Obtaining
) -> tuple[tuple[int, bytes], ...]:
    """Pinned payloads and bodies come back; those of heights that we attested are decided, in order of height."""
    log, chain = recovered.log, recovered.chain
    tip_height = 0 if recovered.tip is None else recovered.tip.height
    restored: dict[bytes, HeldBatch] = {}
    for digest, frame in log.bodies.items():
        batch = restored[digest] = receiver.restore(digest, frame, 0)
        # One that was executed in a block which a snapshot spared us would wait here for ever.
        if chain.get_body(digest) is None and not chain.is_executed(digest):
            pool.hold(batch)
    for pinned in log.payloads:
        batches = _name_batches(pinned.payload, restored)
        pins.pin(pinned.slot, pinned.digest, pinned.payload, batches)
        if pinned.slot > tip_height:
            obtaining.adopt(pinned.slot, pinned.digest, pinned.payload, batches, 0)
    return tuple(
        (height, header.payload_digest) for height, header in sorted(log.attested.items()) if height > tip_height
    )


def _name_batches(payload: bytes, restored: dict[bytes, HeldBatch]) -> list[HeldBatch]:
    if payload == NULL_PAYLOAD:
        return []
    try:
        return [restored[reference.digest] for reference in decode_payload(payload).batches]
    except (RemoteError, KeyError) as error:
        raise LocalError(f"the vote log holds a payload without its bodies: {error}") from None


def _find_executed(chain: Chain, identifier: bytes) -> int | None:
    found = chain.find_transaction(identifier)
    return None if found is None else found[0]


# --- components by role ------------------------------------------------------------------------------------


def _build_executor(
    setup: ReplicaSetup,
    recovered: _Recovered,
    link: BeaconLink,
    pins: Pins,
    areas: Areas,
    on_written: Callable[[ShardHeader, EffectsDraft], None],
) -> Executor:
    return Executor(
        setup.committee,
        setup.application,
        link,
        setup.parameters,
        setup.limits,
        pins,
        recovered.log.attested,
        recovered.tip,
        setup.genesis_hash,
        setup.genesis_time_ms,
        areas,
        on_written,
    )


def _build_snapshot_maker(
    setup: ReplicaSetup, recovered: _Recovered, areas: Areas
) -> tuple[SnapshotMaker, Sweeper]:
    reader = SnapshotReader(setup.store)
    sweeper = Sweeper(reader, reader.list_litter())
    buckets = setup.bucket_count or setup.parameters.bucket_count
    interval = setup.limits.snapshot_blocks
    return SnapshotMaker(reader, recovered.chain, sweeper, areas, buckets, interval, recovered.tip), sweeper


def _build_snapshots(
    setup: ReplicaSetup,
    chain: Chain,
    maker: SnapshotMaker,
    sweeper: Sweeper,
    link: BeaconLink,
    peers: Peers,
    budget: ServingBudget,
    catch_up: CatchUp,
    areas: Areas,
    pins: Pins,
) -> Snapshots:
    reader, limits = SnapshotReader(setup.store), setup.limits
    download = SnapshotDownload(
        setup.committee, peers.own_index, setup.scheme, reader, sweeper, areas, limits.snapshot_timeout_ms
    )
    credible = setup.committee.faults + 1
    return Snapshots(
        chain, reader, sweeper, maker, download, link, peers, budget, catch_up, limits, areas, pins, credible
    )


def _certified_height(recovered: _Recovered) -> int:
    return 0 if recovered.certificate is None else recovered.certificate.height


def _build_attestations(setup: ReplicaSetup, recovered: _Recovered) -> AttestationPool:
    attestations = AttestationPool(
        setup.committee, setup.scheme, setup.engine_parameters.window_slots, _certified_height(recovered)
    )
    for _, certificate in sorted(recovered.log.certificates.items()):
        attestations.add_certificate(certificate)
    return attestations


def _build_certifier(
    setup: ReplicaSetup, recovered: _Recovered, attestations: AttestationPool, peers: Peers, pins: Pins
) -> Certifier:
    return Certifier(
        setup.committee,
        setup.signer,
        attestations,
        peers,
        pins,
        recovered.certificate,
        setup.genesis_hash,
        _read_uncertified(recovered.chain, _certified_height(recovered), recovered.chain.tip_height()),
    )


def _build_obtaining(
    setup: ReplicaSetup,
    index: int,
    pool: BatchPool,
    link: BeaconLink,
    receiver: BatchReceiver,
    verification: VerificationQueue,
) -> Obtaining:
    return Obtaining(
        setup.committee,
        index,
        pool,
        link,
        setup.parameters,
        setup.limits,
        setup.wall,
        receiver.take_inline,
        receiver.recall,
        verification.add_urgent,
        verification.accept_proven,
    )


def _build_abstention(setup: ReplicaSetup, recovered: _Recovered, peers: Peers) -> Abstention:
    return Abstention(
        setup.committee,
        setup.scheme,
        setup.engine,
        peers,
        setup.engine_parameters.window_slots,
        recovered.log,
        _certified_height(recovered),
        setup.limits.recall_answers,
        setup.wall(),
    )


def _build_engine(setup: ReplicaSetup, recovered: _Recovered, first_view: int) -> Engine:
    if not recovered.log.engine:
        return setup.engine.create(
            setup.committee,
            setup.signer,
            setup.scheme,
            setup.engine_parameters,
            recovered.certificate,
            first_view,
        )
    return setup.engine.restore(
        setup.committee,
        setup.signer,
        setup.scheme,
        setup.engine_parameters,
        recovered.certificate,
        recovered.log.engine,
    )


def _build_link(
    setup: ReplicaSetup,
    chain: Chain,
    peers: Peers,
    budget: ServingBudget,
    submissions: SubmissionTickets,
    evidence: EvidenceLocker,
    certified_height: int,
    areas: Areas,
) -> BeaconLink:
    committee, parameters = setup.committee, setup.parameters
    match setup.role:
        case FollowsBeacon(follower=follower, beacon=beacon):
            submitter = Submitter(chain, peers.own_index, committee.size, parameters, certified_height)
            return FollowingLink(
                follower, beacon, committee.shard, chain, peers, submitter, budget, evidence, areas
            )
        case ServesShards(shards=shards, deliveries=deliveries):
            return ServingLink(
                shards,
                deliveries,
                chain,
                peers.own_index,
                committee.size,
                parameters,
                budget,
                submissions.submit,
                peers.members[peers.own_index],
                evidence,
            )
        case StandsAlone():
            return NoBeacon()


def _compute_gap_ms(setup: ReplicaSetup) -> int:
    """The beacon has a pace of its own: its blocks are followed by everybody."""
    if isinstance(setup.role, ServesShards):
        return setup.parameters.beacon_interval_ms
    return setup.limits.proposal_gap_ms
