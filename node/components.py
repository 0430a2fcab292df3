"""The parts of one replica, for those that need several of them.

What does not live here: how they are made (``node.assembly``), behaviour.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from consensus.engine import Record
from node.abstention import Abstention
from node.application import Application
from node.attestations import AttestationPool
from node.batch_receiver import BatchReceiver
from node.batches import BatchPool
from node.beacon_link import BeaconLink
from node.catch_up import CatchUp
from node.censorship import CensorshipClock
from node.certification import Certifier
from node.chain import Chain
from node.dissemination import BatchMaker
from node.engine_driver import EngineDriver
from node.events import StoreWrite
from node.evidence import EvidenceLocker
from node.executor import Executor
from node.mempool import Mempool
from node.obtaining import Obtaining
from node.peers import Peers
from node.proposer import Proposer
from node.range_server import ServingBudget
from node.recollection import Recollection
from node.replica_setup import ReplicaLimits
from node.snapshot import Snapshots
from node.verification import SubmissionTickets, VerificationQueue
from node.vote_records import Pins
from primitives.parameters import ProtocolParameters


@dataclass(frozen=True, slots=True)
class Components:
    """One replica's parts. ``first_…`` are part of the effects of ``Start``; ``recovered_decisions`` are (height,
    payload digest) that we executed before a crash and that the store lost."""

    abstention: Abstention
    application: Application
    attestations: AttestationPool
    budget: ServingBudget
    catch_up: CatchUp
    censorship: CensorshipClock
    certifier: Certifier
    chain: Chain
    driver: EngineDriver
    evidence: EvidenceLocker
    executor: Executor
    limits: ReplicaLimits
    link: BeaconLink
    maker: BatchMaker
    mempool: Mempool
    obtaining: Obtaining
    parameters: ProtocolParameters
    peers: Peers
    pins: Pins
    pool: BatchPool
    proposer: Proposer
    receiver: BatchReceiver
    recollection: Recollection
    snapshots: Snapshots
    submissions: SubmissionTickets
    verification: VerificationQueue
    wall: Callable[[], int]
    first_records: tuple[Record, ...]
    first_writes: tuple[StoreWrite, ...]
    recovered_decisions: tuple[tuple[int, bytes], ...]
