"""Making a new network: keys, genesis, a home for every validator, test accounts; all or nothing.

Everything is written into a hidden directory beside the final one, which appears by one rename: a network that
exists is whole. What does not live here: starting it (``testnet.supervisor``).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Final

import tomlkit

from consensus.engine import load_engine_factory
from node.clock import wall_ms
from node.config import NodeConfig, parse_config
from node.durable_files import PUBLIC_FILE_MODE, create_directory, create_file, sync_directory
from node.genesis import SALT_BYTES, BeaconGenesis, Genesis, ShardGenesis, compute_chain_id, write_genesis
from node.home import initialise_home
from node.keystore import create_devnet_key
from primitives.errors import LocalError
from primitives.identifiers import BEACON_SHARD, format_committee, format_member
from primitives.parameters import ProtocolParameters
from primitives.signing import Ed25519, Ed25519Signer
from shards.genesis import QUOTE, build_devnet_parameters, format_shard_parameters, parse_shard_parameters
from shards.noop.parameters import format_noop_parameters, is_noop, parse_noop_parameters
from testnet.directory import (
    ROLE_AGENT,
    ROLE_FAUCET,
    ROLE_REPORTER,
    AccountEntry,
    MemberEntry,
    NetworkDirectory,
    write_network,
)
from testnet.keys import (
    compute_key_address,
    compute_public_key,
    derive_account_seed,
    derive_faucet_seed,
    derive_validator_seed,
)
from testnet.progress import Progress
from testnet.topology import ShardTopology, Topology, render_topology

REPORTERS: Final = 3
"""Oracle reporters of each shard: a median of three survives one that is wrong or silent."""
REPORTER_BALANCE: Final = 1_000_000 * QUOTE
"""Reports cost a fee each; this pays for years of them."""
CONTROL_SOCKET: Final = "control.sock"
LOG_FILE: Final = "node.log"


def create_network(directory: NetworkDirectory, topology: Topology, progress: Progress) -> None:
    """Write the whole network; nothing is left behind where that fails. Raises ``LocalError``."""
    if directory.path.exists():
        raise LocalError(f"{directory.path} exists already: choose another name, or remove it")
    seeded = replace(topology, seed=secrets.randbelow(2**32)) if topology.seed is None else topology
    create_directory(directory.path.parent)
    draft = NetworkDirectory(directory.path.with_name(f".{directory.name}.{os.getpid()}.new"))
    shutil.rmtree(draft.path, ignore_errors=True)
    try:
        _write_network(draft, directory.name, seeded, progress)
        draft.path.rename(directory.path)
        sync_directory(directory.path.parent)
    except OSError as error:
        raise LocalError(f"cannot create the network in {directory.path}: {error.strerror}") from error
    finally:
        shutil.rmtree(draft.path, ignore_errors=True)


def _write_network(draft: NetworkDirectory, name: str, topology: Topology, progress: Progress) -> None:
    assert topology.seed is not None, "a seed was drawn"
    seed = topology.seed
    for folder in (draft.homes_path, draft.keys_path):
        create_directory(folder)
    create_file(draft.topology_path, render_topology(topology).encode(), PUBLIC_FILE_MODE)
    genesis = build_genesis(name, topology)
    for shard in (*range(len(topology.shards)), *([BEACON_SHARD] if genesis.has_beacon else [])):
        _validate_engine(genesis, shard, derive_validator_seed(seed, shard, 0))
    write_genesis(draft.genesis_path, genesis)
    members = _list_members(draft, topology)
    for done, member in enumerate(members):
        progress.show("making keys", done, len(members))
        _write_home(member, seed, topology, genesis)
    accounts = _write_accounts(draft, topology, seed, progress)
    # Last: a directory with this file is a network.
    write_network(draft, seed, compute_chain_id(genesis), members, accounts)


def build_genesis(name: str, topology: Topology) -> Genesis:
    """A devnet genesis with seeded keys; its time and salt make every call's chain another one.

    Raises ``LocalError`` where a shard's parameters contradict each other.
    """
    assert topology.seed is not None, "a seed was drawn"
    seed = topology.seed
    faucet = derive_faucet_seed(seed)
    return Genesis(
        network=name,
        devnet=True,
        created_ms=wall_ms(),
        salt=secrets.token_bytes(SALT_BYTES),
        beacon=BeaconGenesis(
            committee=_committee(seed, BEACON_SHARD, topology.beacon.validators),
            engine=topology.beacon.engine,
            engine_parameters=dict(topology.beacon.engine_parameters),
        ),
        shards=tuple(
            ShardGenesis(
                shard=number,
                committee=_committee(seed, number, shard.validators),
                application=_build_application(number, shard, seed, topology.parameters),
                engine=shard.engine,
                engine_parameters=dict(shard.engine_parameters),
            )
            for number, shard in enumerate(topology.shards)
        ),
        faucet=compute_public_key(faucet),
        parameters=topology.parameters,
    )


def _validate_engine(genesis: Genesis, shard: int, key_seed: bytes) -> None:
    """Make the engine once: only it knows its parameters, and members would refuse to start one by one."""
    # With it come the libraries of the transport, which no other command needs.
    from node.validator import build_committee, build_engine_parameters

    committee = build_committee(genesis, compute_chain_id(genesis), shard)
    holder = genesis.beacon if shard == BEACON_SHARD else genesis.shard(shard)
    try:
        factory = load_engine_factory(holder.engine)
        parameters = build_engine_parameters(genesis, shard)
        factory.create(committee, Ed25519Signer(key_seed), Ed25519(), parameters, None)
    except LocalError as error:
        raise LocalError(f"topology: {format_committee(shard)}: {error}") from None


def _committee(seed: int, shard: int, validators: int) -> tuple[bytes, ...]:
    return tuple(compute_public_key(derive_validator_seed(seed, shard, index)) for index in range(validators))


def _build_application(
    number: int, shard: ShardTopology, seed: int, protocol: ProtocolParameters
) -> dict[str, object]:
    if is_noop(shard.application):
        try:
            return format_noop_parameters(parse_noop_parameters(shard.application, protocol))
        except LocalError as error:
            raise LocalError(f"topology: shards[{number}].application: {error}") from None
    reporters = [compute_key_address(derive_account_seed(seed, ROLE_REPORTER, number, i)) for i in range(REPORTERS)]
    agents = [compute_key_address(derive_account_seed(seed, ROLE_AGENT, number, i)) for i in range(shard.accounts)]
    parameters = build_devnet_parameters(
        number,
        markets=shard.markets,
        reporters=reporters,
        accounts=dict.fromkeys(agents, shard.balance * QUOTE) | dict.fromkeys(reporters, REPORTER_BALANCE),
        faucet=compute_key_address(derive_faucet_seed(seed)),
    )
    plain = {**format_shard_parameters(parameters), **shard.application}
    try:
        checked = format_shard_parameters(parse_shard_parameters(plain))
    except LocalError as error:
        raise LocalError(f"topology: shards[{number}].application: {error}") from None
    # Through JSON and back, because a genesis holds lists where parameters hold tuples.
    application: dict[str, object] = json.loads(json.dumps(checked))
    return application


def _list_members(directory: NetworkDirectory, topology: Topology) -> list[MemberEntry]:
    sizes = [(number, shard.validators) for number, shard in enumerate(topology.shards)]
    return [
        MemberEntry(
            format_member(shard, index), shard, index, directory.home(format_member(shard, index)), rpc=None
        )
        for shard, validators in [*sizes, (BEACON_SHARD, topology.beacon.validators)]
        for index in range(validators)
    ]


def _write_home(member: MemberEntry, seed: int, topology: Topology, genesis: Genesis) -> None:
    create_directory(member.home)
    config = build_member_config(member, topology)
    config.genesis_path.symlink_to(Path("..") / ".." / "genesis.json")
    initialise_home(config, genesis, derive_validator_seed(seed, member.shard, member.index), passphrase=None)


def build_member_config(member: MemberEntry, topology: Topology) -> NodeConfig:
    """The configuration of a member whose ports the system will choose."""
    sections = {name: dict(section) for name, section in topology.node.items()}
    log = {"format": "json", "file": LOG_FILE, **sections.pop("log", {})}
    shard = "beacon" if member.shard == BEACON_SHARD else member.shard
    tables = {
        "node": {"name": member.name, "shard": shard, "index": member.index},
        "log": log,
        "devnet": {"control_socket": CONTROL_SOCKET},
        **sections,
    }
    return parse_config(tomlkit.dumps(tables), member.home, {})


def _write_accounts(
    directory: NetworkDirectory, topology: Topology, seed: int, progress: Progress
) -> list[AccountEntry]:
    plan = [
        (f"s{number}-{role}{index}", role, number, derive_account_seed(seed, role, number, index))
        for number, shard in enumerate(topology.shards)
        if not is_noop(shard.application)
        for role, count in ((ROLE_AGENT, shard.accounts), (ROLE_REPORTER, REPORTERS))
        for index in range(count)
    ]
    accounts = []
    for done, (name, role, number, key_seed) in enumerate(plan):
        progress.show("making test accounts", done, len(plan))
        accounts.append(_write_account(directory, name, role, number, key_seed))
    accounts.append(_write_account(directory, ROLE_FAUCET, ROLE_FAUCET, None, derive_faucet_seed(seed)))
    return accounts


def _write_account(
    directory: NetworkDirectory, name: str, role: str, shard: int | None, key_seed: bytes
) -> AccountEntry:
    path = directory.keys_path / f"{name}.pem"
    create_devnet_key(path, key_seed)
    return AccountEntry(name, compute_key_address(key_seed), role, shard, path)
