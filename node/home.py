"""A node's home directory: what `init` makes, and what `start` opens and checks.

``initialise_home`` refuses to touch anything that exists; ``open_home`` refuses whatever does not fit together:
a genesis that does not match the databases, a key that the genesis does not name, a vote log that is older than
the chain. What does not live here: the settings (``node.config``), and building a replica (``node.assembly``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consensus.committee import Committee
from node.body_segments import BodySegments
from node.body_store import BodyChainStore, BodyVoteLog
from node.chain import list_recent_ranges
from node.clock import wall_ms
from node.config import NodeConfig, read_config, write_config
from node.database_identity import DatabaseIdentity, DatabaseKind
from node.durable_files import create_directory
from node.genesis import Genesis, compute_chain_id, read_genesis, write_genesis
from node.keystore import create_devnet_key, create_key, load_seed, read_passphrase
from node.leveldb import require_unused
from node.plyvel_store import PlyvelChainStore, PlyvelVoteLog, SyncProbe
from node.standing import FORGOTTEN, build_standing_record
from primitives.errors import LocalError
from primitives.identifiers import BEACON_SHARD
from primitives.signing import Ed25519Signer

VALIDATOR: Final = "validator"
"""The only role so far."""


@dataclass(frozen=True, slots=True)
class OpenHome:
    """Everything of a home that a running node holds open; ``close`` gives the databases back."""

    config: NodeConfig
    genesis: Genesis
    chain: bytes
    seed: bytes
    store: BodyChainStore
    vote_log: BodyVoteLog
    bodies: BodySegments
    probe: SyncProbe

    def close(self) -> None:
        """Also after a failure."""
        self.store.close()
        self.vote_log.close()
        self.bodies.close()


def initialise_home(config: NodeConfig, genesis: Genesis, seed: bytes, passphrase: bytes | None) -> None:
    """Make a home: configuration, genesis, encrypted key and two empty databases.

    Without a ``passphrase`` one is made up and kept beside the key, on devnets only. Raises ``LocalError`` where
    anything exists already, or where the genesis does not name this key at this place.
    """
    if passphrase is None and not genesis.devnet:
        raise LocalError("a validator's key needs a passphrase: set RIALTO_PASSPHRASE_FILE, or use a terminal")
    _check_membership(config, genesis, seed)
    create_directory(config.home)
    if not config.genesis_path.exists():
        write_genesis(config.genesis_path, genesis)
    if passphrase is None:
        create_devnet_key(config.key_path, seed)
    else:
        create_key(config.key_path, seed, passphrase)
    chain = compute_chain_id(genesis)
    PlyvelChainStore.initialise(config.chain_path, _identity(config, chain, seed, DatabaseKind.CHAIN))
    PlyvelVoteLog.initialise(config.vote_log_path, _identity(config, chain, seed, DatabaseKind.VOTES))
    write_config(config)


def rebuild_chain(home: Path, environment: Mapping[str, str], prompt: Callable[[str], str] | None) -> Path | None:
    """Put an empty chain store in place of a damaged or lost one, which is set aside; where to, is returned.

    The vote log stays as it is, so the member goes on from what it signed. Raises ``LocalError``, also while the
    node runs.
    """
    config = read_config(home, environment)
    genesis = read_genesis(config.genesis_path)
    seed = load_seed(config.key_path, read_passphrase(config.key_path, environment, prompt))
    _check_membership(config, genesis, seed)
    chain = compute_chain_id(genesis)
    PlyvelVoteLog(config.vote_log_path, _identity(config, chain, seed, DatabaseKind.VOTES)).close()
    aside: Path | None = None
    if config.chain_path.exists():
        aside = config.chain_path.with_name(f"{config.chain_path.name}.{wall_ms()}")
        config.chain_path.rename(aside)
    PlyvelChainStore.initialise(config.chain_path, _identity(config, chain, seed, DatabaseKind.CHAIN))
    return aside


def renew_databases(home: Path, environment: Mapping[str, str]) -> None:
    """Take everything from a devnet's member but its key and its settings: it comes back as a new one, by snapshot.
    What it has signed is forgotten, and its vote log says so where the committee can settle that without it
    (``forget_votes``). Raises ``LocalError``."""
    config = read_config(home, environment)
    genesis = read_genesis(config.genesis_path)
    if not genesis.devnet:
        raise LocalError(f"{home}: only a member of a devnet may forget what it has signed")
    seed = load_seed(config.key_path, read_passphrase(config.key_path, environment, None))
    _check_membership(config, genesis, seed)
    chain = compute_chain_id(genesis)
    for path in (config.chain_path, config.vote_log_path):
        require_unused(path)
    for path in (config.chain_path, config.vote_log_path, config.bodies_path):
        shutil.rmtree(path, ignore_errors=True)
    committee = Committee(chain, config.node.shard, 0, 0, genesis.committee_of(config.node.shard))
    known = [build_standing_record(FORGOTTEN)] if committee.size - 1 >= committee.quorum else []
    PlyvelChainStore.initialise(config.chain_path, _identity(config, chain, seed, DatabaseKind.CHAIN))
    PlyvelVoteLog.initialise(config.vote_log_path, _identity(config, chain, seed, DatabaseKind.VOTES), known)


def forget_votes(home: Path, environment: Mapping[str, str], prompt: Callable[[str], str] | None) -> Path | None:
    """Put an empty vote log that says so in place of a lost, damaged or old one, which is set aside; where to, is
    returned. The member abstains until what it may have voted for is settled (``node.abstention``).

    Raises ``LocalError``, also while the node runs, and in a committee too small to settle that without it.
    """
    config = read_config(home, environment)
    genesis = read_genesis(config.genesis_path)
    seed = load_seed(config.key_path, read_passphrase(config.key_path, environment, prompt))
    _check_membership(config, genesis, seed)
    chain = compute_chain_id(genesis)
    committee = Committee(chain, config.node.shard, 0, 0, genesis.committee_of(config.node.shard))
    if committee.size - 1 < committee.quorum:
        raise LocalError(
            f"{home}: a committee of {committee.size} cannot show what one of its members forgot: "
            f"{committee.quorum} others would have to be asked"
        )
    for path in (config.vote_log_path, config.chain_path):
        require_unused(path)
    now_ms = wall_ms()
    aside: Path | None = None
    if config.vote_log_path.exists():
        aside = config.vote_log_path.with_name(f"{config.vote_log_path.name}.{now_ms}")
        config.vote_log_path.rename(aside)
    identity = _identity(config, chain, seed, DatabaseKind.VOTES)
    # The chain store has counted the writes of the old log; no log writes more often than once in a microsecond.
    PlyvelVoteLog.initialise(config.vote_log_path, identity, [build_standing_record(FORGOTTEN)], now_ms * 1_000)
    return aside


def open_home(home: Path, environment: Mapping[str, str], prompt: Callable[[str], str] | None) -> OpenHome:
    """Read and check everything in ``home``; raises ``LocalError`` with one line that says what to do."""
    config = read_config(home, environment)
    genesis = read_genesis(config.genesis_path)
    seed = load_seed(config.key_path, read_passphrase(config.key_path, environment, prompt))
    _check_membership(config, genesis, seed)
    if config.devnet.control_socket and not genesis.devnet:
        raise LocalError(f"{home}: devnet.control_socket: only on a network whose genesis says devnet")
    chain = compute_chain_id(genesis)
    with ExitStack() as stack:
        vote_log = PlyvelVoteLog(config.vote_log_path, _identity(config, chain, seed, DatabaseKind.VOTES))
        stack.callback(vote_log.close)
        probe = vote_log.probe_sync()
        identity = _identity(config, chain, seed, DatabaseKind.CHAIN)
        store = PlyvelChainStore(config.chain_path, identity, list_recent_ranges)
        stack.callback(store.close)
        store.check_vote_log(vote_log)
        store.attach_vote_log(vote_log)
        bodies = BodySegments(config.bodies_path)
        stack.callback(bodies.close)
        votes = BodyVoteLog(vote_log, bodies)
        chain_store = BodyChainStore(store, votes, bodies)
        bodies.sweep()
        stack.pop_all()
    return OpenHome(config, genesis, chain, seed, chain_store, votes, bodies, probe)


def _identity(config: NodeConfig, chain: bytes, seed: bytes, kind: DatabaseKind) -> DatabaseIdentity:
    return DatabaseIdentity(
        kind=kind,
        chain=chain,
        shard=config.node.shard,
        role=VALIDATOR,
        public_key=Ed25519Signer(seed).public_key,
    )


def find_membership(genesis: Genesis, seed: bytes) -> tuple[int, int]:
    """(shard, index) of the member whose key this is; raises ``LocalError`` where the genesis names no such key."""
    key = Ed25519Signer(seed).public_key
    for shard in (BEACON_SHARD, *(item.shard for item in genesis.shards)):
        committee = genesis.committee_of(shard)
        if key in committee:
            return shard, committee.index(key)
    raise LocalError(f"network {genesis.network!r} has no member with this key ({key.hex()})")


def _check_membership(config: NodeConfig, genesis: Genesis, seed: bytes) -> None:
    committee = genesis.committee_of(config.node.shard)
    index = config.node.index
    key = Ed25519Signer(seed).public_key
    if index >= len(committee):
        raise LocalError(f"{config.home}: node.index: {config.committee} has members 0 to {len(committee) - 1}")
    if committee[index] != key:
        raise LocalError(
            f"{config.home}: this key ({key.hex()[:16]}…) is not the one that the genesis names as member {index} "
            f"of {config.committee} ({committee[index].hex()[:16]}…)"
        )
